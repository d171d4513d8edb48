//! A real OpenSSH server with throw-away keys, and its client.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespace::Namespace;
use crate::process::{Finished, Process, run};
use crate::wait;

/// A running sshd; ends when dropped.
#[derive(Debug)]
pub struct Sshd {
    directory: PathBuf,
    port: u16,
    _process: Process,
}

impl Sshd {
    /// Starts it on `port` of every address; root may come in with the key of [`Sshd::ssh`].
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &Namespace, directory: &Path, port: u16) -> Self {
        let directory = directory.join("sshd");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))
            .expect("its mode");
        // Debian's sshd wants its privilege separation directory even in the foreground.
        std::fs::create_dir_all("/run/sshd").expect("/run/sshd");
        for name in ["host", "user"] {
            let key = directory.join(name);
            let made = run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(key));
            assert!(made.success, "{}", made.stderr);
        }
        std::fs::copy(directory.join("user.pub"), directory.join("authorized")).expect("a copy");
        let shown = directory.display();
        let config = format!(
            "Port {port}\nAddressFamily any\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             UsePAM no\nStrictModes no\nPidFile none\nUseDNS no\n"
        );
        std::fs::write(directory.join("config"), config).expect("sshd's configuration");
        let mut command = namespace.command("/usr/sbin/sshd");
        command
            .args(["-D", "-e", "-f"])
            .arg(directory.join("config"));
        let mut process = Process::start(&mut command, &directory.join("output"));
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        wait::eventually("sshd answers at home", || {
            let ended = process.try_wait();
            assert!(
                ended.is_none(),
                "sshd ended ({ended:?}):\n{}\nhelp: apt-get install openssh-server",
                process.output()
            );
            (crate::reach::tcp(namespace, here, port) == crate::reach::Reachability::Open)
                .then_some(())
        });
        Self {
            directory,
            port,
            _process: process,
        }
    }

    /// The options with which `ssh` gets in.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let directory = self.directory.display();
        let mut options = vec![
            "-p".to_owned(),
            self.port.to_string(),
            "-i".to_owned(),
            format!("{directory}/user"),
        ];
        for option in [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!("UserKnownHostsFile={directory}/known"),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "ConnectTimeout=3".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    /// An `ssh` command line to this server, without the remote command.
    #[must_use]
    pub fn ssh_command(&self, from: &Namespace, to: IpAddr) -> Command {
        let mut command = from.command("ssh");
        command
            .args(["-F", "/dev/null"])
            .args(self.options())
            .arg(format!("root@{to}"));
        command
    }

    /// Runs `remote` over ssh.
    #[must_use]
    pub fn ssh(&self, from: &Namespace, to: IpAddr, remote: &str) -> Finished {
        run(self.ssh_command(from, to).arg(remote))
    }
}
