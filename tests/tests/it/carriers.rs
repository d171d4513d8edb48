//! A packet in an echo request or a TCP segment opens where the server looks there, and
//! nowhere else; nothing but the kernel answers it.

use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::Reachability;
use spa_tests::settings::{EXPOSED, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::{binaries, tap};

const ALL: &[&str] = &["udp", "icmp", "tcp:8081"];
/// Without UDP, so that no other way can be the one that opens.
const OTHERS: &[&str] = &["icmp", "tcp:8081"];

fn with_carriers(carriers: &'static [&'static str]) -> Settings {
    Settings {
        carriers: Some(carriers),
        ..Settings::ttl("30s")
    }
}

/// Runs `spa` once and waits for the verdict.
fn opens_by(bed: &TestBed, carrier: &str) {
    let before = bed.spad.verdict_count("opened");
    let output = bed.spa(&["open", "gw:tcp/8080", "--no-wait", "--via", carrier]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    bed.spad.wait_verdict_count("opened", before + 1);
}

#[test]
fn a_packet_in_an_echo_request_opens_over_both_families() {
    for (server, v6) in [(SERVER4.into(), false), (SERVER6.into(), true)] {
        let bed = TestBed::with(&with_carriers(OTHERS));
        bed.enrol_spa(server);
        opens_by(&bed, "icmp");
        let reached = if v6 { bed.tcp6(WEB) } else { bed.tcp(WEB) };
        assert_eq!(reached, Reachability::Open);
    }
}

#[test]
fn a_packet_as_the_first_data_of_a_connection_opens_over_both_families() {
    for (server, v6) in [(SERVER4.into(), false), (SERVER6.into(), true)] {
        let bed = TestBed::with(&with_carriers(OTHERS));
        bed.enrol_spa(server);
        opens_by(&bed, &format!("tcp:{EXPOSED}"));
        let reached = if v6 { bed.tcp6(WEB) } else { bed.tcp(WEB) };
        assert_eq!(reached, Reachability::Open);
    }
}

#[test]
fn a_lone_segment_with_a_packet_opens_without_a_connection() {
    let bed = TestBed::with(&with_carriers(OTHERS));
    for (source, server) in [
        ((CLIENT4, 4000).into(), (SERVER4, EXPOSED).into()),
        ((CLIENT6, 4000).into(), (SERVER6, EXPOSED).into()),
    ] {
        let (source, server): (std::net::SocketAddr, std::net::SocketAddr) = (source, server);
        let before = bed.spad.verdict_count("opened");
        let packet = bed.laptop.open(&["tcp/8080"]);
        let mut segment = frame::tcp(Endpoints::new(source, server), 0x18);
        segment.extend_from_slice(&packet);
        let sent = frame::ip_frame(Endpoints::new(source, server), 6, &segment);
        tap::inject(&bed.lab.client, &[sent]);
        bed.spad.wait_verdict_count("opened", before + 1);
    }
    assert_eq!(
        (bed.tcp(WEB), bed.tcp6(WEB)),
        (Reachability::Open, Reachability::Open)
    );
}

#[test]
fn a_server_opens_nothing_for_a_carrier_that_it_is_not_told_to_look_at() {
    for (carriers, right, wrong) in [
        (None, "udp", &["icmp", "tcp:8081"][..]),
        (Some(&["icmp"][..]), "icmp", &["udp", "tcp:8081"]),
        (Some(&["tcp:8081"][..]), "tcp:8081", &["udp", "icmp"]),
        (Some(&["icmp", "tcp:1"][..]), "icmp", &["udp", "tcp:8081"]),
    ] {
        let bed = TestBed::with(&Settings {
            carriers,
            ..Settings::ttl("30s")
        });
        bed.enrol_spa(SERVER4.into());
        for carrier in wrong {
            let output = bed.spa(&["open", "gw:tcp/8080", "--no-wait", "--via", carrier]);
            assert_eq!(output.code, Some(0), "{}", output.stderr);
        }
        assert_eq!(bed.tcp(WEB), Reachability::Refused, "{carriers:?}");
        // Sent last: were another one looked at, it would have its verdict by now.
        opens_by(&bed, right);
        assert_eq!(bed.spad.verdicts().values().sum::<u64>(), 1, "{carriers:?}");
    }
}

#[test]
fn a_packet_opens_once_whichever_carriers_bring_it() {
    let bed = TestBed::with(&with_carriers(ALL));
    let packet = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&packet, "opened");
    let endpoints = Endpoints::new((CLIENT4, 4000), (SERVER4, EXPOSED));
    let mut segment = frame::tcp(endpoints, 0x18);
    segment.extend_from_slice(&packet);
    let echo = [&[8, 0, 0, 0, 0, 0, 0, 1][..], &packet].concat();
    let again = [
        frame::ip_frame(endpoints, 6, &segment),
        frame::ip_frame(endpoints, 1, &echo),
    ];
    tap::inject(&bed.lab.client, &again);
    bed.spad.wait_verdict_count("duplicate", 2);
    assert_eq!(bed.spad.verdict_count("opened"), 1);
}

#[test]
fn echo_requests_need_no_privilege_where_the_system_allows_them_and_otherwise_say_how() {
    let bed = TestBed::with(&with_carriers(ALL));
    bed.enrol_spa(SERVER4.into());
    let directory = bed.lab.path().join("spa");
    let _ = bed
        .lab
        .client
        .run_ok("chown", &["-R", "nobody", &directory.display().to_string()]);
    let nobody = || {
        let mut command = bed.lab.client.command("setpriv");
        command
            .args([
                "--reuid",
                "nobody",
                "--clear-groups",
                "--inh-caps=-all",
                "--",
            ])
            .arg(binaries::spa())
            .args([
                "open",
                "gw:tcp/8080",
                "--no-wait",
                "--via",
                "icmp",
                "--config",
            ])
            .arg(&directory);
        spa_tests::process::run(&mut command)
    };
    let set = |range: &str| {
        let range = format!("net.ipv4.ping_group_range={range}");
        let _ = bed.lab.client.run_ok("sysctl", &["-qw", &range]);
    };
    set("1 0");
    let output = nobody();
    assert_eq!(output.code, Some(7), "{}", output.stderr);
    for word in ["ping_group_range", "CAP_NET_RAW"] {
        assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
    }
    set("0 2147483647");
    let output = nobody();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    bed.spad.wait_verdict_count("opened", 1);
}

#[test]
fn the_hosts_configuration_names_the_carrier_where_the_command_line_does_not() {
    let bed = TestBed::with(&with_carriers(OTHERS));
    bed.enrol_spa(SERVER4.into());
    let file = bed.lab.path().join("spa/config.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let via = text.replacen("port = 62201\n", "port = 62201\nvia = \"icmp\"\n", 1);
    assert_ne!(via, text);
    assert!(std::fs::write(&file, via).is_ok());
    let output = bed.spa(&["open", "gw:tcp/8080", "--no-wait", "-v"]);
    assert!(
        output.stderr.contains("in an echo request"),
        "{}",
        output.stderr
    );
    bed.spad.wait_verdict_count("opened", 1);
}
