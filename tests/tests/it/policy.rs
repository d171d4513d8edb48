//! What a client may, and how a refusal is named in the audit.

use std::time::Duration;

use spa_proto::{Addresses, CommandName, Request};
use spa_tests::identity::{Identity, close, open, open_for, open_with_addresses};
use spa_tests::lab::{CLIENT4, CLIENT6, STRANGER4};
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Sends it; it must be refused for this reason, in the counter and in the audit.
#[track_caller]
fn refused(bed: &TestBed, packet: &[u8], client: &str, reason: &str) {
    bed.send_counted(packet, reason);
    bed.spad
        .wait_audited(&[("event", "refuse"), ("client", client), ("reason", reason)]);
}

#[test]
fn a_service_that_is_not_the_clients_refuses_the_whole_packet() {
    let bed = TestBed::new();
    let desk = bed.new_client("desk", "web", "");
    refused(
        &bed,
        &desk.open(&["tcp/8080", "udp/9999"]),
        "desk",
        "service_not_allowed",
    );
    refused(&bed, &desk.open(&["tcp/23"]), "desk", "service_not_allowed");
    assert_eq!(
        (bed.tcp(WEB), bed.udp(CHAT)),
        (Reachability::Refused, Reachability::Refused)
    );
}

#[test]
fn a_disabled_client_is_refused_at_once_and_its_grants_are_closed() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let desk = bed.new_client("desk", "web,ssh,chat", "");
    bed.open(&["tcp/8080"]);
    let _ = bed.spad.cli(&["client", "disable", "laptop"]).ok();
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
    refused(&bed, &bed.laptop.open(&["tcp/8080"]), "laptop", "disabled");
    let _ = bed.spad.cli(&["client", "enable", "laptop"]).ok();
    bed.spad.reload();
    bed.open(&["tcp/8080"]);
    drop(desk);
}

#[test]
fn an_expired_client_is_refused() {
    let bed = TestBed::new();
    let desk = bed.new_client("desk", "web", "expires = \"2020-01-01T00:00:00Z\"");
    refused(&bed, &desk.open(&["tcp/8080"]), "desk", "expired");
}

#[test]
fn an_address_outside_the_clients_sources_is_refused() {
    let bed = TestBed::new();
    let desk = bed.new_client(
        "desk",
        "web",
        "sources = [\"198.51.100.0/24\", \"192.0.2.66/32\"]",
    );
    refused(
        &bed,
        &desk.open(&["tcp/8080"]),
        "desk",
        "source_not_allowed",
    );
    let stated = Addresses::new(Some(STRANGER4), Some(CLIENT6)).expect("usable addresses");
    refused(
        &bed,
        &desk.seal(&open_with_addresses(&["tcp/8080"], stated)),
        "desk",
        "source_not_allowed",
    );
    let stated = Addresses::new(Some(STRANGER4), None).expect("usable addresses");
    bed.send_counted(
        &desk.seal(&open_with_addresses(&["tcp/8080"], stated)),
        "opened",
    );
}

#[test]
fn a_client_that_must_state_its_address_is_refused_without() {
    let bed = TestBed::with(&Settings {
        require_address: true,
        ..Settings::default()
    });
    refused(
        &bed,
        &bed.laptop.open(&["tcp/8080"]),
        "laptop",
        "address_required",
    );
    let stated = Addresses::new(Some(CLIENT4), None).expect("usable addresses");
    bed.send_counted(
        &bed.laptop.seal(&open_with_addresses(&["tcp/8080"], stated)),
        "opened",
    );
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_client_holds_no_more_than_it_may_and_its_oldest_gives_way() {
    let bed = TestBed::with(&Settings {
        max_per_client: 2,
        ttl: "30s",
        ..Settings::default()
    });
    refused(
        &bed,
        &bed.laptop.open(&["tcp/22", "tcp/8080", "udp/9999"]),
        "laptop",
        "too_many_grants",
    );
    bed.open(&["tcp/22", "udp/9999"]);
    bed.open(&["tcp/22"]);
    bed.open(&["tcp/8080"]);
    let gone = bed
        .spad
        .wait_audited(&[("event", "expire"), ("detail", "gave_way")]);
    assert_eq!(gone["port"], CHAT);
    assert_eq!(
        (bed.tcp(WEB), bed.udp(CHAT)),
        (Reachability::Open, Reachability::Refused)
    );
    let status = bed.spad.status();
    assert_eq!(status["open_grants"], 2);
    assert_eq!(status["windows_gave_way"], 1);
}

#[test]
fn a_client_that_sends_too_often_is_refused_and_another_is_not() {
    let bed = TestBed::with(&Settings {
        rate: "3/s",
        ..Settings::default()
    });
    let desk = bed.new_client("desk", "web", "");
    let packets: Vec<_> = (0..20).map(|_| bed.laptop.open(&["udp/9999"])).collect();
    bed.send_all(&packets);
    bed.send(&desk.open(&["tcp/8080"]));
    bed.spad.wait_verdict_count("rate", 10);
    bed.spad.wait_audited(&[
        ("event", "refuse"),
        ("client", "laptop"),
        ("reason", "rate"),
    ]);
    bed.spad
        .wait_audited(&[("event", "grant"), ("client", "desk")]);
}

#[test]
fn an_open_older_than_the_clients_last_close_is_refused() {
    let bed = TestBed::new();
    let now = wait::wall();
    let earlier = bed.laptop.seal_at(
        &open(&["tcp/8080"]),
        now.saturating_sub(Duration::from_secs(2)),
    );
    bed.open(&["tcp/8080"]);
    bed.send_counted(&bed.laptop.seal(&close(&["tcp/8080"])), "closed");
    refused(&bed, &earlier, "laptop", "older_than_close");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn an_open_older_than_the_last_close_is_refused_after_a_restart_too() {
    let mut bed = TestBed::new();
    let now = wait::wall();
    let earlier = bed.laptop.seal_at(
        &open(&["tcp/8080"]),
        now.saturating_sub(Duration::from_secs(2)),
    );
    bed.open(&["tcp/8080"]);
    bed.send_counted(&bed.laptop.seal(&close(&["tcp/8080"])), "closed");
    bed.spad.kill();
    bed.spad.start();
    refused(&bed, &earlier, "laptop", "older_than_close");
}

#[test]
fn who_holds_nothing_can_close_nothing() {
    let bed = TestBed::new();
    refused(&bed, &bed.laptop.seal(&close(&[])), "laptop", "no_services");
}

#[test]
fn only_invitations_join_and_only_declared_commands_run() {
    let bed = TestBed::new();
    refused(
        &bed,
        &bed.laptop.seal(&Request::Join { join_key: [9; 32] }),
        "laptop",
        "not_invited",
    );
    let command: CommandName = "backup".parse().expect("a name");
    refused(
        &bed,
        &bed.laptop.seal(&Request::Run { command }),
        "laptop",
        "command_unknown",
    );
}

#[test]
fn one_client_cannot_close_or_shorten_anothers_grant_at_the_same_address() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    let desk = bed.new_client("desk", "web", "");
    bed.open(&["tcp/8080"]);
    bed.send_counted(&desk.seal(&open_for(&["tcp/8080"], 1)), "opened");
    bed.spad
        .wait_audited(&[("event", "expire"), ("client", "desk")]);
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "a shorter grant of another ended"
    );
    bed.send_counted(&desk.open(&["tcp/8080"]), "opened");
    bed.send_counted(&desk.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(bed.tcp(WEB), Reachability::Open, "another closed its own");
    bed.send_counted(&bed.laptop.seal(&close(&["tcp/8080"])), "closed");
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "nobody holds it now");
}

#[test]
fn the_longer_of_two_grants_counts_whichever_came_last() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    let desk = bed.new_client("desk", "web", "");
    bed.send_counted(&bed.laptop.seal(&open_for(&["tcp/8080"], 3)), "opened");
    let first = wait::now();
    bed.send_counted(&desk.open(&["tcp/8080"]), "opened");
    wait::until_after(first, Duration::from_millis(2200));
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.wait_closed(WEB);
    assert!(
        first.elapsed() < Duration::from_millis(3700),
        "{:?}",
        first.elapsed()
    );
}

#[test]
fn removing_a_client_works_at_once_even_the_last_one() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.open(&["tcp/8080"]);
    let removed = bed.spad.cli(&["client", "remove", "laptop"]).ok();
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
    assert!(
        !removed.stderr.is_empty(),
        "a lock-out is said, with its mend"
    );
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    wait::eventually("the packet is refused", || {
        let verdicts = bed.spad.verdicts();
        let refused = verdicts.get("unknown_key").copied().unwrap_or(0)
            + verdicts.get("disabled").copied().unwrap_or(0);
        (refused == 1).then_some(())
    });
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_removed_client_is_nobody_to_the_running_server() {
    let bed = TestBed::new();
    let desk = bed.new_client("desk", "web", "");
    let _ = bed.spad.cli(&["client", "remove", "desk"]).ok();
    let status = bed.spad.status();
    assert_eq!(status.get("clients"), Some(&1.into()), "{status}");
    bed.send(&desk.open(&["tcp/8080"]));
    bed.spad.wait_verdict_count("unknown_key", 1);
}

#[test]
fn removing_a_client_works_at_once_when_the_configuration_is_broken() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.open(&["tcp/8080"]);
    std::fs::write(bed.spad.config().join("spad.toml"), "hide = [\"ssh\"\n").expect("spad.toml");
    let _ = bed.spad.cli(&["client", "remove", "laptop"]).ok();
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
}

#[test]
fn a_removed_client_stays_removed_after_a_restart_with_a_broken_configuration() {
    let mut bed = TestBed::with(&Settings::ttl("1s"));
    bed.open(&["tcp/8080"]);
    std::fs::write(bed.spad.config().join("spad.toml"), "hide = [\"ssh\"\n").expect("spad.toml");
    let _ = bed.spad.cli(&["client", "remove", "laptop"]).ok();
    bed.spad.stop();
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "hidden as before");
    let opened = bed.spad.verdict_count("opened");
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    wait::eventually("the packet gets its verdict", || {
        (bed.spad.verdicts().values().sum::<u64>() > opened).then_some(())
    });
    assert_eq!(bed.spad.verdict_count("opened"), opened);
}

/// A request's bytes: version, action, flags, duration, source port, then this.
fn plaintext(version: u8, action: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    [&[version, action, flags, 0, 0, 0, 0, 0, 0][..], rest].concat()
}

#[test]
fn each_fault_of_a_request_is_refused_by_its_name() {
    let bed = TestBed::new();
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
        refused(&bed, &bed.laptop.seal_plaintext(&bytes), "laptop", reason);
    }
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["tcp/8080"]);
}

#[test]
fn every_audit_line_is_whole_json_with_time_and_number() {
    let bed = TestBed::new();
    bed.open(&["tcp/8080"]);
    let desk = Identity::new(&bed.server_public);
    bed.send_counted(&desk.open(&["tcp/8080"]), "unknown_key");
    refused(
        &bed,
        &bed.laptop.open(&["tcp/23"]),
        "laptop",
        "service_not_allowed",
    );
    let text = std::fs::read_to_string(bed.spad.audit_file()).expect("the audit");
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
