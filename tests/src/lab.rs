//! A world of two machines: namespaces joined by one Ethernet link, with the
//! addresses of the documentation ranges, and a temporary directory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pnet::util::MacAddr;
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::run_with_input;
use crate::wait;

/// The server's addresses.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The server's addresses.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The client's addresses.
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The client's addresses.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// A second pair of addresses at the client's machine: somebody else.
pub const STRANGER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// A second pair of addresses at the client's machine: somebody else.
pub const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
/// The server's end of the link.
pub const SERVER_MAC: MacAddr = MacAddr(2, 0, 0x5e, 0, 0x53, 1);
/// The client's end of the link.
pub const CLIENT_MAC: MacAddr = MacAddr(2, 0, 0x5e, 0, 0x53, 2);
/// The link's name at both ends.
pub const LINK: &str = "eth0";

/// Two machines and a link.
#[derive(Debug)]
pub struct Lab {
    /// The machine of `spad`.
    pub server: Namespace,
    /// The machine of `spa`, and of everybody else.
    pub client: Namespace,
    directory: TempDir,
}

impl Lab {
    /// Makes both machines and joins them.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("spalab-")
            .tempdir()
            .expect("a temporary directory");
        // The engine runs as another user and must come through.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))
            .expect("the directory's mode");
        let lab = Self {
            server: Namespace::new("server"),
            client: Namespace::new("client"),
            directory,
        };
        lab.join_machines();
        lab
    }

    fn join_machines(&self) {
        batch(&format!(
            "link add {LINK} address {SERVER_MAC} netns {} type veth peer name {LINK} address {CLIENT_MAC} netns {}\n",
            self.server.name(),
            self.client.name()
        ));
        addresses(&self.server, &[(SERVER4.into(), SERVER6.into())]);
        addresses(
            &self.client,
            &[
                (CLIENT4.into(), CLIENT6.into()),
                (STRANGER4.into(), STRANGER6.into()),
            ],
        );
    }

    /// The temporary directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes the link away, as a pulled card would be.
    pub fn unplug(&self) {
        self.server.run_ok("ip", &["link", "del", LINK]);
    }

    /// Puts a new link in.
    pub fn plug(&self) {
        self.join_machines();
        wait::eventually("the new link carries", || {
            self.server
                .run("ip", &["-br", "link", "show", LINK])
                .stdout
                .contains("UP")
                .then_some(())
        });
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// Brings the link up with these addresses; no waiting for duplicate detection.
fn addresses(namespace: &Namespace, pairs: &[(IpAddr, IpAddr)]) {
    namespace.enter(|| {
        for name in ["all", "default", LINK] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0")
                .expect("accept_dad");
        }
    });
    let mut commands = format!("link set lo up\nlink set {LINK} up\n");
    for (index, (four, six)) in pairs.iter().enumerate() {
        // Nobody speaks from the second IPv6 address without saying so.
        let preferred = if index == 0 { "forever" } else { "0" };
        commands.push_str(&format!(
            "addr add {four}/24 dev {LINK} broadcast 192.0.2.255\naddr add {six}/64 dev {LINK} nodad preferred_lft {preferred}\n"
        ));
    }
    let done = run_with_input(namespace.command("ip").args(["-batch", "-"]), &commands);
    assert!(done.success, "{}", done.stderr);
}

fn batch(commands: &str) {
    let done = run_with_input(
        std::process::Command::new("ip").args(["-batch", "-"]),
        commands,
    );
    assert!(
        done.success,
        "cannot join the namespaces: {}\nhelp: the kernel needs veth",
        done.stderr
    );
}
