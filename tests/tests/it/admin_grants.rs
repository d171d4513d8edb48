//! What an administrator grants and revokes by hand, with real OpenSSH.

use std::net::IpAddr;
use std::time::Duration;

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::process::Process;
use spa_tests::reach::Reachability;
use spa_tests::settings::{SSH, Settings, WEB};
use spa_tests::sshd::Sshd;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A session in which the server goes on talking.
fn session(bed: &TestBed, sshd: &Sshd, to: IpAddr) -> Process {
    let mut command = sshd.ssh_command(&bed.lab.client, to);
    command.arg("while echo tick; do sleep 0.1; done");
    let output = bed.lab.path().join("session");
    let mut session = Process::start(&mut command, &output);
    wait::eventually("the session talks", || {
        assert!(session.try_wait().is_none(), "{}", session.output());
        session.output().contains("tick").then_some(())
    });
    session
}

fn has_ended(mut session: Process) {
    wait::eventually("the session dies", || session.try_wait());
}

fn is_alive(session: &mut Process) {
    let before = session.output().len();
    wait::eventually("the session goes on", || {
        (session.output().len() > before + 10).then_some(())
    });
    assert!(session.try_wait().is_none());
}

#[test]
fn a_grant_by_hand_opens_survives_a_restart_and_is_revoked_by_hand() {
    let mut bed = TestBed::new();
    let from = CLIENT4.to_string();
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    let output = bed
        .spad
        .cli(&["grant", "web", "--from", &from, "--ttl", "10m"])
        .ok();
    assert!(
        output.stdout.contains("web is open for 600 s"),
        "{}",
        output.stdout
    );
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let line = bed.spad.wait_audited(&[
        ("event", "grant"),
        ("detail", "by hand"),
        ("granted_to", &from),
    ]);
    assert_eq!(line.get("uid").and_then(serde_json::Value::as_u64), Some(0));
    bed.spad.kill();
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let shown = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains("(administrator)"), "{shown}");
    let output = bed.spad.cli(&["revoke", "web", "--from", &from]).ok();
    assert!(
        output.stdout.contains("1 grant closed"),
        "{}",
        output.stdout
    );
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.spad
        .wait_audited(&[("event", "revoke"), ("granted_to", &from)]);
}

#[test]
fn what_cannot_be_granted_says_so_and_how_to_mend_it() {
    let bed = TestBed::new();
    for (arguments, why) in [
        (
            &["grant", "wbe", "--from", "192.0.2.2"][..],
            "there is no service",
        ),
        (
            &["grant", "web", "--from", "192.0.2.2/24"],
            "write 192.0.2.0/24",
        ),
        (
            &["grant", "web", "--from", "192.0.2.2", "--ttl", "25h"],
            "admin_max_ttl",
        ),
        (
            &["revoke", "nobody"],
            "does not know nobody, neither as a client nor as a door",
        ),
    ] {
        let output = bed.spad.cli(arguments);
        assert!(
            !output.success && output.stderr.contains(why),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn revoking_a_client_with_cut_ends_its_ssh_session_after_its_grant_has_ended_too() {
    for (to, from) in [
        (IpAddr::from(SERVER4), IpAddr::from(CLIENT4)),
        (SERVER6.into(), CLIENT6.into()),
    ] {
        let bed = TestBed::with(&Settings::ttl("2s"));
        let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
        let packet = bed.laptop.open(&["tcp/22"]);
        if from.is_ipv4() {
            bed.send(&packet);
        } else {
            bed.send6(&packet);
        }
        bed.spad.wait_verdict_count("opened", 1);
        let mut session = session(&bed, &sshd, to);
        bed.spad.wait_audited(&[("event", "expire")]);
        is_alive(&mut session);
        let _ = bed.spad.cli(&["revoke", "laptop"]).ok();
        is_alive(&mut session);
        let output = bed.spad.cli(&["revoke", "laptop", "--cut"]).ok();
        assert!(
            output.stdout.contains("1 connection cut"),
            "{}",
            output.stdout
        );
        has_ended(session);
        wait::eventually("the server's end dies too", || {
            let left = bed
                .lab
                .server
                .run_ok("ss", &["-Htn", "state", "established"]);
            (!left.contains(":22 ")).then_some(())
        });
    }
}

#[test]
fn a_cut_by_service_and_address_ends_the_session_and_the_next_knock_begins_anew() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    bed.open(&["tcp/22"]);
    let session = session(&bed, &sshd, SERVER4.into());
    let from = CLIENT4.to_string();
    let revoke = ["revoke", "ssh", "--from", &from, "--cut"];
    let output = bed.spad.cli(&revoke).ok();
    assert!(
        output.stdout.contains("1 grant closed, 1 connection cut"),
        "{}",
        output.stdout
    );
    has_ended(session);
    bed.stays_closed(SSH, Duration::from_millis(500));
    bed.open(&["tcp/22"]);
    let output = sshd.ssh(&bed.lab.client, SERVER4.into(), "echo again").ok();
    assert!(output.stdout.contains("again"));
}
