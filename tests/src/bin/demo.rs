//! The whole story on a terminal: each step and the time it was reached.
//!
//! Two machines in network namespaces, a real sshd, the real binaries, all of
//! them the lab of the tests; removed at the end, whatever happens. With the
//! argument `tidy` it only removes what an interrupted one left.
#![forbid(unsafe_code)]

use std::time::Instant;

use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::process::{Finished, run};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{SPA_PORT, SSH, Settings};
use spa_tests::spad::Spad;
use spa_tests::sshd::Sshd;
use spa_tests::tap::Tap;
use spa_tests::{attacker, binaries, namespace, wait};

fn main() {
    if std::env::args().nth(1).as_deref() == Some("tidy") {
        return namespace::remove_orphans();
    }
    let story = DemoScript {
        start: wait::now(),
        lab: Lab::new(),
    };
    story.run();
}

/// What the steps share.
struct DemoScript {
    start: Instant,
    lab: Lab,
}

impl DemoScript {
    fn print_step(&self, what: &str) {
        println!("{:7.2} s  {what}", self.start.elapsed().as_secs_f64());
    }

    fn run(&self) {
        self.print_step(&format!(
            "two machines: server {SERVER4}, client {CLIENT4}; a real sshd listens at the server"
        ));
        let sshd = Sshd::start(&self.lab.server, self.lab.path(), SSH);
        let settings = Settings {
            hide: &["ssh"],
            ttl: "3s",
            ..Settings::default()
        };

        let mut spad = Spad::init(&self.lab.server, self.lab.path(), &settings);
        self.print_step(&format!("server$ spad init                     knock port {SPA_PORT}; ssh is hidden, grants last 3 s"));
        let _ = self.spa(&["key", "new"]).ok();
        let shown = self.spa(&["key", "show"]).ok().stdout;
        let key = shown
            .split_whitespace()
            .find(|word| word.starts_with("spa-pub-"))
            .unwrap_or_default()
            .to_owned();
        self.print_step(&format!("client$ spa key new                   {key}"));
        let _ = spad
            .cli(&["client", "add", "laptop", "--key", &key, "--allow", "ssh"])
            .ok();
        self.print_step("server$ spad client add laptop …      it may open ssh");
        let (port, public) = (SPA_PORT.to_string(), spad.public().to_string());
        let address = SERVER4.to_string();
        let _ = self
            .spa(&[
                "host",
                "add",
                "gw",
                "--address",
                &address,
                "--port",
                &port,
                "--key",
                &public,
                "--service",
                "ssh=tcp/22",
            ])
            .ok();
        self.print_step(
            "client$ spa host add gw …             the server's address and public key",
        );
        spad.start();
        self.print_step("server$ spad run                      one process without capabilities, one that writes nftables");

        self.expect_refused(&sshd, "before any packet");
        let tap = Tap::start(&self.lab.client);
        let before = wait::now();
        let opened = self.spa(&["open", "gw:ssh"]);
        assert_eq!(opened.code, Some(0), "{}{}", opened.stdout, opened.stderr);
        let elapsed = before.elapsed().as_millis();
        self.print_step(&format!("client$ spa open gw:ssh               one packet, no answer; the port is open after {elapsed} ms"));
        let inside = sshd
            .ssh(&self.lab.client, SERVER4.into(), "echo inside as $(id -un)")
            .ok();
        self.print_step(&format!(
            "client$ ssh gw                        {}",
            inside.stdout.trim()
        ));

        wait::eventually("the kernel closes the port", || {
            (self.reachability() != Reachability::Open).then_some(())
        });
        self.print_step(
            "        time passes                   the kernel closed the port by itself",
        );
        self.expect_refused(&sshd, "after the grant's end");

        let captured = tap.datagram_to(SPA_PORT);
        attacker::send(
            &self.lab.client,
            CLIENT4.into(),
            (SERVER4, SPA_PORT).into(),
            &captured,
        );
        spad.wait_verdict_count("replay", 1);
        assert_ne!(
            self.reachability(),
            Reachability::Open,
            "a replayed packet opened the port"
        );
        self.print_step(&format!(
            "        the captured packet again     {} bytes, refused: replay",
            captured.len()
        ));
        self.expect_refused(&sshd, "after the replay");
        let opened = spad.verdict_count("opened");
        spad.stop();
        assert_ne!(
            self.reachability(),
            Reachability::Open,
            "hidden without the daemon too"
        );
        self.print_step(&format!(
            "server$ spad stopped                  {opened} packet opened the port; it stays hidden"
        ));
    }

    fn spa(&self, arguments: &[&str]) -> Finished {
        let mut command = self.lab.client.command(binaries::spa());
        run(command
            .args(arguments)
            .arg("--config")
            .arg(self.lab.path().join("spa")))
    }

    fn reachability(&self) -> Reachability {
        reach::tcp(&self.lab.client, SERVER4.into(), SSH)
    }

    /// ssh must not get in.
    fn expect_refused(&self, sshd: &Sshd, when: &str) {
        let done = sshd.ssh(&self.lab.client, SERVER4.into(), "true");
        assert!(!done.success, "ssh got in {when}");
        let output = done
            .stderr
            .lines()
            .last()
            .unwrap_or_default()
            .trim()
            .to_owned();
        self.print_step(&format!("client$ ssh gw                        {output}"));
    }
}
