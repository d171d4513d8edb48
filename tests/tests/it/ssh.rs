//! Real OpenSSH through `spa`: the connected socket handed over, or relayed.

use std::process::Stdio;

use spa_tests::binaries;
use spa_tests::echo::Echo;
use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::process::{Process, run, run_with_input};
use spa_tests::reach::Reachability;
use spa_tests::settings::{SSH, Settings};
use spa_tests::sshd::Sshd;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

const FDPASS: &str = "ProxyUseFdpass=yes";

/// A hidden sshd, and `spa` that knows it as `gw`.
fn hidden_sshd() -> (TestBed, Sshd) {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    bed.enrol_spa(SERVER4.into());
    assert_eq!(bed.tcp(SSH), Reachability::Refused, "hidden");
    (bed, sshd)
}

fn proxy(bed: &TestBed, options: &str) -> String {
    format!("ProxyCommand={}", bed.proxy_command(options))
}

/// An ssh session that stays, and whether `spa` runs beside it.
fn session(bed: &TestBed, sshd: &Sshd, options: &[&str]) -> (Process, bool) {
    let mut command = bed.ssh_command_through(sshd, options);
    command.arg("echo inside; exec sleep 60");
    let session = Process::start(&mut command, &bed.lab.path().join("session"));
    wait::eventually("ssh gets in", || {
        session.output().contains("inside").then_some(())
    });
    let is_spa = |id: &i32| {
        let program = std::fs::read_link(format!("/proc/{id}/exe"));
        program.is_ok_and(|program| program == binaries::spa())
    };
    let beside = bed.lab.client.processes().iter().any(is_spa);
    (session, beside)
}

/// The source port that a grant for port 22 admits, if it admits one alone.
fn granted_source_port(bed: &TestBed) -> Option<u64> {
    let grants = bed.spad.cli(&["grants", "--json"]).ok().json();
    let grants = grants.get("grants").unwrap_or(&grants).clone();
    let listed = grants.as_array().expect("a list of grants");
    let ssh = listed
        .iter()
        .find(|grant| grant.get("service").and_then(|s| s.as_str()) == Some("tcp/22"));
    ssh.expect("a grant for ssh").get("source_port")?.as_u64()
}

#[test]
fn ssh_is_handed_the_very_socket_that_connected() {
    let (bed, sshd) = hidden_sshd();
    let proxy = proxy(&bed, "");
    let done = bed
        .ssh_through(&sshd, &[&proxy, FDPASS], "echo inside")
        .ok();
    assert_eq!(done.stdout.trim(), "inside");
    let (_session, beside) = session(&bed, &sshd, &[&proxy, FDPASS]);
    assert!(!beside, "spa has ended, ssh has the socket");
}

#[test]
fn without_fdpass_the_bytes_are_relayed_both_ways_to_their_end() {
    let (bed, sshd) = hidden_sshd();
    let proxy = proxy(&bed, "");
    let mut command = bed.ssh_command_through(&sshd, &[&proxy]);
    command.arg("cat; echo the end").stdin(Stdio::piped());
    let long: String = (0..200_000).map(|line| format!("{line}\n")).collect();
    let done = run_with_input(&mut command, &long).ok();
    assert_eq!(done.stdout.len(), long.len() + "the end\n".len());
    assert!(done.stdout.ends_with("199999\nthe end\n"));
    let (_session, beside) = session(&bed, &sshd, &[&proxy]);
    assert!(beside, "spa carries the bytes");
}

#[test]
fn spa_ssh_needs_no_configuration_of_ssh() {
    let (bed, sshd) = hidden_sshd();
    for before in [&[][..], &["--once"], &["-4", "--ttl", "10s"]] {
        let mut command = bed.lab.client.command(binaries::spa());
        command.arg("--config").arg(bed.spa_directory());
        command.arg("ssh").args(before).arg("root@gw");
        command.args(["-F", "/dev/null"]).args(sshd.options());
        let done = run(command.arg("echo inside")).ok();
        assert_eq!(done.stdout.trim(), "inside", "{before:?}");
    }
}

#[test]
fn spa_ssh_ends_as_ssh_ends() {
    let (bed, sshd) = hidden_sshd();
    let mut command = bed.lab.client.command(binaries::spa());
    command.arg("--config").arg(bed.spa_directory());
    command.args(["ssh", "root@gw", "-F", "/dev/null"]);
    command.args(sshd.options());
    assert_eq!(run(command.arg("exit 42")).code, Some(42));
}

#[test]
fn a_neighbour_at_the_same_address_is_not_let_in_by_a_source_port_grant() {
    let (bed, sshd) = hidden_sshd();
    let (_session, _) = session(&bed, &sshd, &[&proxy(&bed, ""), FDPASS]);
    let port = granted_source_port(&bed).expect("a grant for one source port");
    let connections = bed.lab.client.run_ok("ss", &["-Htn", "dport", "=", ":22"]);
    assert!(connections.contains(&format!(":{port} ")), "{connections}");
    assert_eq!(bed.tcp(SSH), Reachability::Refused, "from another port");
}

#[test]
fn a_grant_for_one_connection_is_used_up_by_the_one_that_is_handed_over() {
    let (bed, sshd) = hidden_sshd();
    for more in [&[FDPASS][..], &[]] {
        let proxy = proxy(&bed, "--once");
        let (mut session, _) = session(&bed, &sshd, &[&[proxy.as_str()], more].concat());
        assert_eq!(bed.tcp(SSH), Reachability::Refused, "a second connection");
        assert!(session.try_wait().is_none(), "the first goes on");
    }
}

/// A server with the limits that a new configuration has, and `spa` that knows it as `gw`.
fn with_default_limits() -> TestBed {
    let mut bed = TestBed::stopped(&Settings::default());
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let ours = ["ttl", "max_ttl", "max_per_client", "rate"];
    let kept = text.lines().filter(|line| {
        let key = line.split(" =").next().unwrap_or_default();
        !ours.contains(&key)
    });
    let kept: Vec<&str> = kept.collect();
    assert_eq!(text.lines().count(), kept.len() + ours.len());
    std::fs::write(&file, kept.join("\n")).expect("spad.toml");
    bed.spad.start();
    bed.enrol_spa(SERVER4.into());
    bed
}

/// Nothing was refused, and what took the place of what, for a run of connections.
fn nothing_was_refused(bed: &TestBed, at_least: u64) {
    let verdicts = bed.spad.verdicts();
    let opened = verdicts.get("opened").copied().unwrap_or_default();
    assert!(opened >= at_least, "{verdicts:?}");
    let refused = ["rate", "too_many_grants", "firewall_set_full"];
    for reason in refused {
        assert_eq!(verdicts.get(reason), None, "{verdicts:?}");
    }
}

#[test]
fn sixty_four_connections_at_once_and_three_hundred_in_a_row_meet_no_limit() {
    let bed = with_default_limits();
    let _echo = Echo::tcp(&bed.lab.server, SSH);
    let connect = || {
        let mut command = bed.lab.client.command(binaries::spa());
        command.arg("--config").arg(bed.spa_directory());
        command.args(["proxy", "gw", "gw", "22"]);
        command
    };
    let all: Vec<_> = (0..64)
        .map(|number| {
            let output = bed.lab.path().join(format!("at-once-{number}"));
            Process::start(&mut connect(), &output)
        })
        .collect();
    for mut one in all {
        let code = wait::eventually("a connection ends", || one.try_wait());
        assert!(code.success(), "{code}: {}", one.output());
    }
    // As fast as a loop of real sessions is at most: some twenty a second.
    let script = format!(
        "for i in $(seq 300); do \"{}\" --config \"{}\" proxy gw gw 22 </dev/null || exit 1; sleep 0.03; done",
        binaries::spa().display(),
        bed.spa_directory().display()
    );
    let done = run(bed.lab.client.command("sh").args(["-c", &script]));
    assert!(done.success, "{done:?}");
    nothing_was_refused(&bed, 364);
    assert!(bed.spad.status()["connections_gave_way"].as_u64() > Some(0));
    assert_eq!(bed.spad.status()["windows_gave_way"], 0);
}

/// How many connections the loop of ssh, git and rsync makes: more than could be open at
/// once, or as many as `SPA_TESTS_CONNECTIONS` says (500: some minutes).
fn connections() -> usize {
    let limit = std::env::var("SPA_TESTS_CONNECTIONS").ok();
    limit.and_then(|limit| limit.parse().ok()).unwrap_or(36)
}

#[test]
fn ssh_git_and_rsync_in_a_loop_all_get_in() {
    let bed = with_default_limits();
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    let directory = bed.lab.path();
    let source = directory.join("source");
    let by_ssh = format!(
        "ssh -F /dev/null {} -o '{}' -o {FDPASS}",
        sshd.options().join(" "),
        proxy(&bed, "")
    );
    let script = format!(
        "set -e\ncd {directory}\nexport GIT_SSH_COMMAND=\"$1\" RSYNC_RSH=\"$1\" HOME={directory}\n\
         git init -q {source}\n\
         git -C {source} -c user.name=a -c user.email=a commit -q --allow-empty -m one\n\
         git clone -q root@gw:{source} copy\n\
         for i in $(seq {each}); do\n\
           test \"$(eval \"$1\" root@gw echo inside)\" = inside\n\
           git -C copy fetch -q\n\
           rsync -a root@gw:{source}/ mirror/\n\
         done\necho all",
        directory = directory.display(),
        source = source.display(),
        each = connections() / 3
    );
    let mut command = bed.lab.client.command("sh");
    command.args(["-c", &script, "sh", &by_ssh]);
    let done = run(&mut command);
    assert_eq!(done.stdout.trim(), "all", "{done:?}");
    let made = u64::try_from(connections() / 3 * 3).expect("a count");
    nothing_was_refused(&bed, made);
}

#[test]
fn behind_translation_no_source_port_is_asked_for() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    // Private addresses: others may see another one, and another port.
    for (machine, address) in [
        (&bed.lab.server, "10.9.0.1/24"),
        (&bed.lab.client, "10.9.0.2/24"),
    ] {
        machine.run_ok("ip", &["addr", "add", address, "dev", "eth0"]);
    }
    bed.enrol_spa([10, 9, 0, 1].into());
    let done = bed.ssh_through(&sshd, &[&proxy(&bed, ""), FDPASS], "true");
    let _ = done.ok();
    assert_eq!(granted_source_port(&bed), None);
}

#[test]
fn ssh_over_ipv6_gets_in() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    bed.enrol_spa(SERVER6.into());
    let options = [proxy(&bed, ""), FDPASS.to_owned()];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let _ = bed.ssh_through(&sshd, &options, "true").ok();
    assert!(granted_source_port(&bed).is_some());
}

#[test]
fn ssh_is_told_why_there_is_no_connection() {
    let (bed, sshd) = hidden_sshd();
    let _ = bed.spad.cli(&["client", "disable", "laptop"]).ok();
    let proxy = proxy(&bed, "--timeout 500ms");
    let done = bed.ssh_through(&sshd, &[&proxy, FDPASS], "true");
    assert_eq!(done.code, Some(255), "{done:?}");
    assert!(done.stderr.contains("tcp/22 still closed"), "{done:?}");
}
