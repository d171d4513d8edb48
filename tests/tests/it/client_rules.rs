//! What a client may by its groups, its hours and the time of its keys, on a real server.

use std::time::Duration;

use spa_proto::Timestamp;
use spa_tests::identity::{Identity, close};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Pacific/Kiritimati is so far ahead of UTC all year, in seconds.
const KIRITIMATI_OFFSET: u64 = 14 * 3600;

/// The two hours around now, as clocks show them there.
fn around_now_in_kiritimati() -> String {
    let minute = |offset: u64| {
        let minutes =
            (wait::wall().as_micros() / 1_000_000 + KIRITIMATI_OFFSET + offset) / 60 % 1440;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    format!("{}-{}", minute(23 * 3600), minute(3600))
}

/// RFC 3339 of a time to come, as the configuration wants it.
fn format_time(at: Timestamp) -> String {
    let seconds = at.as_micros() / 1_000_000;
    let out = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("date");
    String::from_utf8(out.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[test]
fn a_reload_reads_a_time_zone_from_within_the_sandbox() {
    // With a command, so that all three processes have to read it.
    let mut bed = TestBed::stopped(&Settings::default());
    let who = bed.script("who", "exit 0");
    let command = format!("[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}");
    bed.append_config("spad.toml", &command);
    bed.spad.start();
    let hours = around_now_in_kiritimati();
    let desk = bed.new_client("desk", "web", &format!("hours = [\"{hours}\"]"));
    bed.send_counted(&desk.open(&["tcp/8080"]), "outside_hours");

    bed.append_config("spad.toml", "[policy]\ntime_zone = \"Pacific/Kiritimati\"");
    bed.spad.reload();
    bed.send_counted(&desk.open(&["tcp/8080"]), "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);

    // The names of the zones are found from there too.
    bed.replace_in_config("spad.toml", "Kiritimati", "Kiritimatti");
    let refused = bed.spad.cli(&["reload"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let output = refused.stderr;
    assert!(
        output.contains("did you mean \"Pacific/Kiritimati\"?"),
        "{output}"
    );
    bed.send_counted(&desk.open(&["tcp/8080"]), "opened");

    // The same wall clock elsewhere is outside; a close is not.
    bed.replace_in_config("spad.toml", "Pacific/Kiritimatti", "UTC");
    bed.spad.reload();
    bed.send_counted(&desk.open(&["tcp/8080"]), "outside_hours");
    bed.send_counted(&desk.seal(&close(&[])), "closed");
}

#[test]
fn a_group_gives_services_and_its_limits_bind_whatever_the_client_says() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.append_config(
        "spad.toml",
        r#"[groups.staff]
allow = ["web"]
max_ttl = "5s"
[groups.away]
allow = ["ssh"]
sources = ["198.51.100.0/24"]"#,
    );
    let desk = bed.new_client("desk", "chat", "groups = [\"staff\"]\nmax_ttl = \"50s\"");
    bed.send_counted(&desk.open(&["tcp/22"]), "service_not_allowed");
    bed.send_counted(&desk.open(&["tcp/8080", "udp/9999"]), "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let grant =
        bed.spad
            .wait_audited(&[("event", "grant"), ("client", "desk"), ("service", "web")]);
    assert_eq!(grant["ttl_s"], 5, "{grant}");

    // A second group gives ssh, and its sources bind all that the client may.
    let file = "clients.d/desk.toml";
    bed.replace_in_config(file, "[\"staff\"]", "[\"staff\", \"away\"]");
    bed.spad.reload();
    bed.send_counted(&desk.open(&["udp/9999"]), "source_not_allowed");
    assert_ne!(bed.wait_closed(WEB), Reachability::Open);

    // Out of its groups: what they gave is gone, what it has itself is not.
    bed.replace_in_config(file, "[\"staff\", \"away\"]", "[]");
    bed.spad.reload();
    bed.send_counted(&desk.open(&["tcp/8080"]), "service_not_allowed");
    bed.send_counted(&desk.open(&["udp/9999"]), "opened");
}

#[test]
fn what_only_a_group_allowed_is_closed_when_a_reload_takes_the_client_out_of_it() {
    let bed = TestBed::with(&Settings::ttl("60s"));
    bed.append_config("spad.toml", "[groups.staff]\nallow = [\"web\"]");
    let desk = bed.new_client("desk", "chat", "groups = [\"staff\"]");
    bed.send_counted(&desk.open(&["tcp/8080"]), "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    bed.replace_in_config("clients.d/desk.toml", "groups = [\"staff\"]\n", "");
    bed.spad.reload();
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
}

#[test]
fn an_old_key_is_good_until_its_time_and_the_new_one_beyond() {
    let bed = TestBed::with(&Settings::ttl("60s"));
    let old = bed.new_client("desk", "web", "");
    let new = Identity::new(&bed.server_public);
    let end = wait::wall().saturating_add(Duration::from_secs(6));
    let keys = format!(
        "[\"{}\", {{ key = \"{}\", until = {} }}]",
        new.public(),
        old.public(),
        format_time(end)
    );
    let alone = format!("\"{}\"", old.public());
    bed.replace_in_config("clients.d/desk.toml", &alone, &keys);
    bed.spad.reload();

    bed.send_counted(&old.open(&["tcp/8080"]), "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let grant = bed
        .spad
        .wait_audited(&[("event", "grant"), ("client", "desk")]);
    assert!(
        grant["ttl_s"].as_u64().is_some_and(|ttl| ttl <= 6),
        "{grant}"
    );
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
    bed.send_counted(&old.open(&["tcp/8080"]), "key_expired");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    // A new grant is not cut by what ended.
    bed.send_counted(&new.open(&["tcp/8080"]), "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}
