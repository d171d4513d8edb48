//! What a test of `spa` needs besides a [`TestBed`]: ssh through it, and names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::binaries;
use crate::lab::SERVER4;
use crate::process::{Finished, run};
use crate::sshd::Sshd;
use crate::test_bed::TestBed;

impl TestBed {
    /// Where `spa` of the client's machine has its files.
    #[must_use]
    pub fn spa_directory(&self) -> PathBuf {
        self.lab.path().join("spa")
    }

    /// Calls the server by this name instead of its address.
    #[track_caller]
    pub fn rename_gw(&self, name: &str) {
        let path = self.spa_directory().join("config.toml");
        let text = std::fs::read_to_string(&path).expect("spa's configuration");
        let named = text.replace(&format!("\"{SERVER4}\""), &format!("\"{name}\""));
        assert_ne!(text, named, "{text}");
        std::fs::write(&path, named).expect("spa's configuration");
    }

    /// Adds lines to the table of the host `gw`, the last one in the file.
    #[track_caller]
    pub fn configure_spa(&self, lines: &str) {
        let path = self.spa_directory().join("config.toml");
        let text = std::fs::read_to_string(&path).expect("spa's configuration");
        std::fs::write(&path, format!("{text}{lines}\n")).expect("spa's configuration");
    }

    /// A ProxyCommand of `spa proxy` with these options.
    #[must_use]
    pub fn proxy_command(&self, options: &str) -> String {
        format!(
            "{} --config {} proxy {options} %n %h %p",
            binaries::spa().display(),
            self.spa_directory().display()
        )
    }

    /// Runs `remote` over ssh to the host `gw`, with these options of ssh.
    #[must_use]
    pub fn ssh_through(&self, sshd: &Sshd, options: &[&str], remote: &str) -> Finished {
        run(self.ssh_command_through(sshd, options).arg(remote))
    }

    /// The same, not run.
    #[must_use]
    pub fn ssh_command_through(&self, sshd: &Sshd, options: &[&str]) -> Command {
        let mut command = self.lab.client.command("ssh");
        command.args(["-F", "/dev/null"]).args(sshd.options());
        for option in options {
            command.args(["-o", option]);
        }
        command.arg("root@gw");
        command
    }

    /// Runs `spa` where a name stands for these addresses.
    #[must_use]
    pub fn spa_knowing(&self, name: &str, addresses: &[IpAddr], arguments: &[&str]) -> Finished {
        let hosts = self.lab.path().join("hosts");
        let lines: String = addresses
            .iter()
            .map(|address| format!("{address} {name}\n"))
            .collect();
        std::fs::write(&hosts, lines).expect("a hosts file");
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = self.lab.client.command("sh");
        command
            .args(["-c", script])
            .arg(&hosts)
            .arg(binaries::spa());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.spa_directory());
        run(&mut command)
    }
}
