//! What a client may, and how a refusal is named in the audit.

use std::time::Duration;

use spa_proto::{Addresses, CommandName, Request};
use spa_tests::identity::{Identity, close, open, open_for, open_stating};
use spa_tests::lab::{CLIENT4, CLIENT6, STRANGER4};
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// Sends it; it must be refused for this reason, in the counter and in the audit.
#[track_caller]
fn refused(world: &World, packet: &[u8], client: &str, reason: &str) {
    world.send_counted(packet, reason);
    world
        .spad
        .wait_audited(&[("event", "refuse"), ("client", client), ("reason", reason)]);
}

#[test]
fn a_service_that_is_not_the_clients_refuses_the_whole_packet() {
    let world = World::new();
    let desk = world.client("desk", "web", "");
    refused(
        &world,
        &desk.open(&["tcp/8080", "udp/9999"]),
        "desk",
        "service_not_allowed",
    );
    refused(
        &world,
        &desk.open(&["tcp/23"]),
        "desk",
        "service_not_allowed",
    );
    assert_eq!(
        (world.tcp(WEB), world.udp(CHAT)),
        (Reach::Refused, Reach::Refused)
    );
}

#[test]
fn a_disabled_client_is_refused_at_once_and_its_grants_are_closed() {
    let world = World::with(&Settings::ttl("30s"));
    let desk = world.client("desk", "web,ssh,chat", "");
    world.open(&["tcp/8080"]);
    let _ = world.spad.cli(&["client", "disable", "laptop"]).ok();
    assert_eq!(world.wait_closed(WEB), Reach::Refused);
    refused(
        &world,
        &world.laptop.open(&["tcp/8080"]),
        "laptop",
        "disabled",
    );
    let _ = world.spad.cli(&["client", "enable", "laptop"]).ok();
    world.spad.reload();
    world.open(&["tcp/8080"]);
    drop(desk);
}

#[test]
fn an_expired_client_is_refused() {
    let world = World::new();
    let desk = world.client("desk", "web", "expires = \"2020-01-01T00:00:00Z\"");
    refused(&world, &desk.open(&["tcp/8080"]), "desk", "expired");
}

#[test]
fn an_address_outside_the_clients_sources_is_refused() {
    let world = World::new();
    let desk = world.client(
        "desk",
        "web",
        "sources = [\"198.51.100.0/24\", \"192.0.2.66/32\"]",
    );
    refused(
        &world,
        &desk.open(&["tcp/8080"]),
        "desk",
        "source_not_allowed",
    );
    let stated = Addresses::new(Some(STRANGER4), Some(CLIENT6)).expect("usable addresses");
    refused(
        &world,
        &desk.seal(&open_stating(&["tcp/8080"], stated)),
        "desk",
        "source_not_allowed",
    );
    let stated = Addresses::new(Some(STRANGER4), None).expect("usable addresses");
    world.send_counted(&desk.seal(&open_stating(&["tcp/8080"], stated)), "opened");
}

#[test]
fn a_client_that_must_state_its_address_is_refused_without() {
    let world = World::with(&Settings {
        require_address: true,
        ..Settings::default()
    });
    refused(
        &world,
        &world.laptop.open(&["tcp/8080"]),
        "laptop",
        "address_required",
    );
    let stated = Addresses::new(Some(CLIENT4), None).expect("usable addresses");
    world.send_counted(
        &world.laptop.seal(&open_stating(&["tcp/8080"], stated)),
        "opened",
    );
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_client_holds_no_more_than_it_may_and_its_oldest_gives_way() {
    let world = World::with(&Settings {
        max_per_client: 2,
        ttl: "30s",
        ..Settings::default()
    });
    refused(
        &world,
        &world.laptop.open(&["tcp/22", "tcp/8080", "udp/9999"]),
        "laptop",
        "too_many_grants",
    );
    world.open(&["tcp/22", "udp/9999"]);
    world.open(&["tcp/22"]);
    world.open(&["tcp/8080"]);
    let gone = world
        .spad
        .wait_audited(&[("event", "expire"), ("detail", "gave_way")]);
    assert_eq!(gone["port"], CHAT);
    assert_eq!(
        (world.tcp(WEB), world.udp(CHAT)),
        (Reach::Open, Reach::Refused)
    );
    let status = world.spad.status();
    assert_eq!(status["open_grants"], 2);
    assert_eq!(status["windows_gave_way"], 1);
}

#[test]
fn a_client_that_sends_too_often_is_refused_and_another_is_not() {
    let world = World::with(&Settings {
        rate: "3/s",
        ..Settings::default()
    });
    let desk = world.client("desk", "web", "");
    let packets: Vec<_> = (0..20).map(|_| world.laptop.open(&["udp/9999"])).collect();
    world.send_all(&packets);
    world.send(&desk.open(&["tcp/8080"]));
    world.spad.wait_counted("rate", 10);
    world.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "rate"),
    ]);
    world
        .spad
        .wait_audited(&[("event", "grant"), ("client", "desk")]);
}

#[test]
fn an_open_older_than_the_clients_last_close_is_refused() {
    let world = World::new();
    let now = wait::wall();
    let earlier = world.laptop.seal_at(
        &open(&["tcp/8080"]),
        now.saturating_sub(Duration::from_secs(2)),
    );
    world.open(&["tcp/8080"]);
    world.send_counted(&world.laptop.seal(&close(&["tcp/8080"])), "closed");
    refused(&world, &earlier, "laptop", "older_than_close");
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn an_open_older_than_the_last_close_is_refused_after_a_restart_too() {
    let mut world = World::new();
    let now = wait::wall();
    let earlier = world.laptop.seal_at(
        &open(&["tcp/8080"]),
        now.saturating_sub(Duration::from_secs(2)),
    );
    world.open(&["tcp/8080"]);
    world.send_counted(&world.laptop.seal(&close(&["tcp/8080"])), "closed");
    world.spad.kill();
    world.spad.start();
    refused(&world, &earlier, "laptop", "older_than_close");
}

#[test]
fn who_holds_nothing_can_close_nothing() {
    let world = World::new();
    refused(
        &world,
        &world.laptop.seal(&close(&[])),
        "laptop",
        "no_services",
    );
}

#[test]
fn only_invitations_join_and_only_declared_commands_run() {
    let world = World::new();
    refused(
        &world,
        &world.laptop.seal(&Request::Join { joiner: [9; 32] }),
        "laptop",
        "not_invited",
    );
    let command: CommandName = "backup".parse().expect("a name");
    refused(
        &world,
        &world.laptop.seal(&Request::Run { command }),
        "laptop",
        "command_unknown",
    );
}

#[test]
fn one_client_cannot_close_or_shorten_anothers_grant_at_the_same_address() {
    let world = World::with(&Settings::ttl("30s"));
    let desk = world.client("desk", "web", "");
    world.open(&["tcp/8080"]);
    world.send_counted(&desk.seal(&open_for(&["tcp/8080"], 1)), "opened");
    world
        .spad
        .wait_audited(&[("event", "expire"), ("client", "desk")]);
    assert_eq!(
        world.tcp(WEB),
        Reach::Open,
        "a shorter grant of another ended"
    );
    world.send_counted(&desk.open(&["tcp/8080"]), "opened");
    world.send_counted(&desk.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(world.tcp(WEB), Reach::Open, "another closed its own");
    world.send_counted(&world.laptop.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(world.tcp(WEB), Reach::Refused, "nobody holds it now");
}

#[test]
fn the_longer_of_two_grants_counts_whichever_came_last() {
    let world = World::with(&Settings::ttl("1s"));
    let desk = world.client("desk", "web", "");
    world.send_counted(&world.laptop.seal(&open_for(&["tcp/8080"], 3)), "opened");
    let first = wait::now();
    world.send_counted(&desk.open(&["tcp/8080"]), "opened");
    wait::until_after(first, Duration::from_millis(2200));
    assert_eq!(world.tcp(WEB), Reach::Open);
    world.wait_closed(WEB);
    assert!(
        first.elapsed() < Duration::from_millis(3700),
        "{:?}",
        first.elapsed()
    );
}

#[test]
fn removing_a_client_works_at_once_even_the_last_one() {
    let world = World::with(&Settings::ttl("30s"));
    world.open(&["tcp/8080"]);
    let removed = world.spad.cli(&["client", "remove", "laptop"]).ok();
    assert_eq!(world.wait_closed(WEB), Reach::Refused);
    assert!(
        !removed.stderr.is_empty(),
        "a lock-out is said, with its mend"
    );
    world.send(&world.laptop.open(&["tcp/8080"]));
    wait::soon("the packet is refused", || {
        let verdicts = world.spad.verdicts();
        let refused = verdicts.get("unknown_key").copied().unwrap_or(0)
            + verdicts.get("disabled").copied().unwrap_or(0);
        (refused == 1).then_some(())
    });
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn a_removed_client_is_nobody_to_the_running_server() {
    let world = World::new();
    let desk = world.client("desk", "web", "");
    let _ = world.spad.cli(&["client", "remove", "desk"]).ok();
    let status = world.spad.status();
    assert_eq!(status.get("clients"), Some(&1.into()), "{status}");
    world.send(&desk.open(&["tcp/8080"]));
    world.spad.wait_counted("unknown_key", 1);
}

#[test]
fn removing_a_client_works_at_once_when_the_configuration_is_broken() {
    let world = World::with(&Settings::ttl("30s"));
    world.open(&["tcp/8080"]);
    std::fs::write(world.spad.config().join("spad.toml"), "hide = [\"ssh\"\n").expect("spad.toml");
    let _ = world.spad.cli(&["client", "remove", "laptop"]).ok();
    assert_eq!(world.wait_closed(WEB), Reach::Refused);
}

#[test]
fn a_removed_client_stays_removed_after_a_restart_with_a_broken_configuration() {
    let mut world = World::with(&Settings::ttl("1s"));
    world.open(&["tcp/8080"]);
    std::fs::write(world.spad.config().join("spad.toml"), "hide = [\"ssh\"\n").expect("spad.toml");
    let _ = world.spad.cli(&["client", "remove", "laptop"]).ok();
    world.spad.stop();
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Refused, "hidden as before");
    let opened = world.spad.counted("opened");
    world.send(&world.laptop.open(&["tcp/8080"]));
    wait::soon("the packet gets its verdict", || {
        (world.spad.verdicts().values().sum::<u64>() > opened).then_some(())
    });
    assert_eq!(world.spad.counted("opened"), opened);
}

/// A request's bytes: version, action, flags, duration, source port, then this.
fn plaintext(version: u8, action: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    [&[version, action, flags, 0, 0, 0, 0, 0, 0][..], rest].concat()
}

#[test]
fn each_fault_of_a_request_is_refused_by_its_name() {
    let world = World::new();
    let ssh = [1, 6, 0, 22];
    let with_services = |services: &[u8]| plaintext(1, 1, 0, &[&[0], services, &[0]].concat());
    let with_addresses = |addresses: &[u8]| plaintext(1, 1, 0, &[addresses, &ssh, &[0]].concat());
    let four = [4, 192, 0, 2, 2];
    let six = [&[6][..], &CLIENT6.octets()].concat();
    let mut padded = with_services(&ssh);
    padded.push(1);
    let both = [&[1, 1, 1, 0, 0, 0, 0, 0x10, 0][..], &[0], &ssh, &[0]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (plaintext(2, 1, 0, &[0, 0, 0]), "unknown_version"),
        (plaintext(1, 9, 0, &[0, 0, 0]), "unknown_action"),
        (plaintext(1, 1, 4, &[0, 0, 0]), "unknown_flag"),
        (both, "once_with_source_port"),
        (with_addresses(&[3]), "too_many_addresses"),
        (with_services(&[17]), "too_many_services"),
        (with_addresses(&[1, 5, 0, 0, 0, 0]), "unknown_family"),
        (
            with_addresses(&[&[2][..], &six, &four].concat()),
            "unordered_family",
        ),
        (
            with_addresses(&[&[2][..], &four, &four].concat()),
            "duplicate_family",
        ),
        (with_addresses(&[1, 4, 127, 0, 0, 1]), "unusable_address"),
        (with_addresses(&[1, 4, 224, 0, 0, 1]), "unusable_address"),
        (with_services(&[1, 99, 0, 22]), "unknown_protocol"),
        (with_services(&[1, 6, 0, 0]), "zero_port"),
        (
            with_services(&[2, 17, 0, 22, 6, 0, 22]),
            "unordered_service",
        ),
        (with_services(&[2, 6, 0, 22, 6, 0, 22]), "duplicate_service"),
        (
            plaintext(1, 3, 0, &[0, 0, 2, b'-', b'a']),
            "malformed_command",
        ),
        (plaintext(1, 3, 0, &[0, 0, 0]), "missing_command"),
        (
            plaintext(1, 1, 0, &[0, 1, 6, 0, 22, 2, b'a', b'b']),
            "unused_field",
        ),
        (padded, "nonzero_padding"),
    ];
    for (bytes, reason) in cases {
        refused(
            &world,
            &world.laptop.seal_plaintext(&bytes),
            "laptop",
            reason,
        );
    }
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.open(&["tcp/8080"]);
}

#[test]
fn every_audit_line_is_whole_json_with_time_and_number() {
    let world = World::new();
    world.open(&["tcp/8080"]);
    let desk = Identity::new(&world.server_public);
    world.send_counted(&desk.open(&["tcp/8080"]), "unknown_key");
    refused(
        &world,
        &world.laptop.open(&["tcp/23"]),
        "laptop",
        "service_not_allowed",
    );
    let text = std::fs::read_to_string(world.spad.audit_file()).expect("the audit");
    let mut last = None;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(line.get("v"), Some(&1.into()), "{line}");
        assert!(
            line.get("ts").is_some_and(serde_json::Value::is_string),
            "{line}"
        );
        let number = line.get("seq").and_then(serde_json::Value::as_u64);
        assert!(number.is_some() && number > last, "{line} after {last:?}");
        last = number;
    }
    assert!(
        !text.contains("unknown_key"),
        "what is not authentic has no line of its own"
    );
}
