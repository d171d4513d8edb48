//! What an administrator grants and revokes by hand, with real OpenSSH.

use std::net::IpAddr;
use std::time::Duration;

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::process::Process;
use spa_tests::reach::Reach;
use spa_tests::settings::{SSH, Settings, WEB};
use spa_tests::sshd::Sshd;
use spa_tests::wait;
use spa_tests::world::World;

/// A session in which the server goes on talking.
fn session(world: &World, sshd: &Sshd, to: IpAddr) -> Process {
    let mut command = sshd.ssh_command(&world.lab.client, to);
    command.arg("while echo tick; do sleep 0.1; done");
    let output = world.lab.path().join("session");
    let mut session = Process::start(&mut command, &output);
    wait::soon("the session talks", || {
        assert!(session.ended().is_none(), "{}", session.said());
        session.said().contains("tick").then_some(())
    });
    session
}

fn has_ended(mut session: Process) {
    wait::soon("the session dies", || session.ended());
}

fn goes_on(session: &mut Process) {
    let before = session.said().len();
    wait::soon("the session goes on", || {
        (session.said().len() > before + 10).then_some(())
    });
    assert!(session.ended().is_none());
}

#[test]
fn a_grant_by_hand_opens_survives_a_restart_and_is_revoked_by_hand() {
    let mut world = World::new();
    let from = CLIENT4.to_string();
    assert_eq!(world.tcp(WEB), Reach::Refused);
    let said = world
        .spad
        .cli(&["grant", "web", "--from", &from, "--ttl", "10m"])
        .ok();
    assert!(
        said.stdout.contains("web is open for 600 s"),
        "{}",
        said.stdout
    );
    assert_eq!(world.tcp(WEB), Reach::Open);
    let line = world.spad.wait_audited(&[
        ("event", "grant"),
        ("detail", "by hand"),
        ("granted_to", &from),
    ]);
    assert_eq!(line.get("uid").and_then(serde_json::Value::as_u64), Some(0));
    world.spad.kill();
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Open);
    let shown = world.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains("(administrator)"), "{shown}");
    let said = world.spad.cli(&["revoke", "web", "--from", &from]).ok();
    assert!(said.stdout.contains("1 grant closed"), "{}", said.stdout);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world
        .spad
        .wait_audited(&[("event", "revoke"), ("granted_to", &from)]);
}

#[test]
fn what_cannot_be_granted_says_so_and_how_to_mend_it() {
    let world = World::new();
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
        let said = world.spad.cli(arguments);
        assert!(
            !said.success && said.stderr.contains(why),
            "{}",
            said.stderr
        );
    }
}

#[test]
fn revoking_a_client_with_cut_ends_its_ssh_session_after_its_grant_has_ended_too() {
    for (to, from) in [
        (IpAddr::from(SERVER4), IpAddr::from(CLIENT4)),
        (SERVER6.into(), CLIENT6.into()),
    ] {
        let world = World::with(&Settings::ttl("2s"));
        let sshd = Sshd::start(&world.lab.server, world.lab.path(), SSH);
        let packet = world.laptop.open(&["tcp/22"]);
        if from.is_ipv4() {
            world.send(&packet);
        } else {
            world.send6(&packet);
        }
        world.spad.wait_counted("opened", 1);
        let mut session = session(&world, &sshd, to);
        world.spad.wait_audited(&[("event", "expire")]);
        goes_on(&mut session);
        let _ = world.spad.cli(&["revoke", "laptop"]).ok();
        goes_on(&mut session);
        let said = world.spad.cli(&["revoke", "laptop", "--cut"]).ok();
        assert!(said.stdout.contains("1 connection cut"), "{}", said.stdout);
        has_ended(session);
        wait::soon("the server's end dies too", || {
            let left = world
                .lab
                .server
                .must("ss", &["-Htn", "state", "established"]);
            (!left.contains(":22 ")).then_some(())
        });
    }
}

#[test]
fn a_cut_by_service_and_address_ends_the_session_and_the_next_knock_begins_anew() {
    let world = World::with(&Settings::ttl("30s"));
    let sshd = Sshd::start(&world.lab.server, world.lab.path(), SSH);
    world.open(&["tcp/22"]);
    let session = session(&world, &sshd, SERVER4.into());
    let from = CLIENT4.to_string();
    let revoke = ["revoke", "ssh", "--from", &from, "--cut"];
    let said = world.spad.cli(&revoke).ok();
    assert!(
        said.stdout.contains("1 grant closed, 1 connection cut"),
        "{}",
        said.stdout
    );
    has_ended(session);
    world.stays_closed(SSH, Duration::from_millis(500));
    world.open(&["tcp/22"]);
    let said = sshd
        .ssh(&world.lab.client, SERVER4.into(), "echo again")
        .ok();
    assert!(said.stdout.contains("again"));
}
