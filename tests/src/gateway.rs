//! A third machine behind the server, which is its gateway.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use crate::identity::Identity;
use crate::lab::{SERVER4, SERVER6};
use crate::namespace::Namespace;
use crate::process::run_with_input;
use crate::settings::Settings;
use crate::test_bed::TestBed;

/// The inner host's addresses.
pub const INNER4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// The inner host's addresses.
pub const INNER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 5);
/// The port of the gateway that leads there.
pub const OUTER: u16 = 2222;
/// The inner host's port.
pub const INNER: u16 = 7022;

/// Machines and a server that runs on the gateway. Fields are dropped in this order.
pub struct Gateway {
    /// The client's machine and the gateway.
    pub bed: TestBed,
    /// A client that may open the service `nas` and nothing else.
    pub visitor: Identity,
    /// The inner host.
    pub inner: Namespace,
}

impl Gateway {
    /// The gateway offers `nas` with these values, `hide` as in the settings; with or without a way
    /// from the inner host to where the client is. It forwards packets, and the
    /// client knows the way to the inner host.
    #[must_use]
    #[track_caller]
    pub fn new(nas: &str, settings: &Settings, return_route: bool) -> Self {
        let mut gateway = Self::stopped(nas, settings, return_route);
        gateway.bed.spad.start();
        gateway
    }

    /// The same, not started yet.
    #[must_use]
    #[track_caller]
    pub fn stopped(nas: &str, settings: &Settings, return_route: bool) -> Self {
        let bed = TestBed::stopped(&Settings::default());
        let inner = Namespace::new("inner");
        join(&bed, &inner, return_route);
        let gateway = Self {
            visitor: Identity::new(&bed.server_public),
            bed,
            inner,
        };
        gateway.write_config(nas, settings);
        gateway.bed.add_client("visitor", &gateway.visitor, "nas");
        gateway
    }

    /// Writes `spad.toml` with these values of `nas`.
    pub fn write_config(&self, nas: &str, settings: &Settings) {
        let spad = &self.bed.spad;
        let text = settings.toml(&spad.audit_file());
        let services = format!("[services]\nnas = {{ {nas} }}\n");
        let text = text.replacen("[services]\n", &services, 1);
        std::fs::write(spad.config().join("spad.toml"), text).expect("spad.toml");
    }

    /// Opens `nas` for the client's machine and waits until the server says so.
    #[track_caller]
    pub fn open(&self) {
        let packet = self.visitor.open(&[&format!("tcp/{OUTER}")]);
        self.bed.send_counted(&packet, "opened");
    }

    /// The same over IPv6.
    #[track_caller]
    pub fn open6(&self) {
        let before = self.bed.spad.verdict_count("opened");
        let packet = self.visitor.open(&[&format!("tcp/{OUTER}")]);
        self.bed.send6(&packet);
        self.bed.spad.wait_verdict_count("opened", before + 1);
    }
}

/// A link between gateway and inner host, and the routes.
fn join(bed: &TestBed, inner: &Namespace, return_route: bool) {
    let server = &bed.lab.server;
    let commands = format!(
        "link add in0 netns {} type veth peer name eth0 netns {}\n",
        server.name(),
        inner.name()
    );
    let done = run_with_input(Command::new("ip").args(["-batch", "-"]), &commands);
    assert!(done.success, "{}", done.stderr);
    let batch = |namespace: &Namespace, commands: &str| {
        let done = run_with_input(namespace.command("ip").args(["-batch", "-"]), commands);
        assert!(done.success, "{commands}\n{}", done.stderr);
    };
    batch(
        server,
        "link set in0 up\naddr add 10.0.0.1/24 dev in0\naddr add 2001:db8:5::1/64 dev in0 nodad\n",
    );
    batch(
        inner,
        &format!(
            "link set lo up\nlink set eth0 up\naddr add {INNER4}/24 dev eth0\naddr add {INNER6}/64 dev eth0 nodad\n"
        ),
    );
    if return_route {
        batch(
            inner,
            "route add default via 10.0.0.1\nroute add ::/0 via 2001:db8:5::1\n",
        );
    }
    batch(
        &bed.lab.client,
        &format!("route add 10.0.0.0/24 via {SERVER4}\nroute add 2001:db8:5::/64 via {SERVER6}\n"),
    );
    forwarding(server, true);
}

/// Whether the machine forwards packets.
pub fn forwarding(namespace: &Namespace, on: bool) {
    namespace.enter(|| {
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let value = if on { "1" } else { "0" };
            std::fs::write(format!("/proc/sys/net/{file}"), value).expect("forwarding");
        }
    });
}
