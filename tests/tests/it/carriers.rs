//! A packet in an echo request or a TCP segment opens where the server looks there, and
//! nowhere else; nothing but the kernel answers it.

use spa_tests::frame::{self, Ends};
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::Reach;
use spa_tests::settings::{SHOWN, Settings, WEB};
use spa_tests::world::World;
use spa_tests::{binaries, tap};

const ALL: &[&str] = &["udp", "icmp", "tcp:8081"];
/// Without UDP, so that no other way can be the one that opens.
const OTHERS: &[&str] = &["icmp", "tcp:8081"];

fn looking_at(carriers: &'static [&'static str]) -> Settings {
    Settings {
        carriers: Some(carriers),
        ..Settings::ttl("30s")
    }
}

/// Runs `spa` once and waits for the verdict.
fn opens_by(world: &World, carrier: &str) {
    let before = world.spad.counted("opened");
    let said = world.spa(&["open", "gw:tcp/8080", "--no-wait", "--via", carrier]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    world.spad.wait_counted("opened", before + 1);
}

#[test]
fn a_packet_in_an_echo_request_opens_over_both_families() {
    for (server, v6) in [(SERVER4.into(), false), (SERVER6.into(), true)] {
        let world = World::with(&looking_at(OTHERS));
        world.enrol_spa(server);
        opens_by(&world, "icmp");
        let reached = if v6 { world.tcp6(WEB) } else { world.tcp(WEB) };
        assert_eq!(reached, Reach::Open);
    }
}

#[test]
fn a_packet_as_the_first_data_of_a_connection_opens_over_both_families() {
    for (server, v6) in [(SERVER4.into(), false), (SERVER6.into(), true)] {
        let world = World::with(&looking_at(OTHERS));
        world.enrol_spa(server);
        opens_by(&world, &format!("tcp:{SHOWN}"));
        let reached = if v6 { world.tcp6(WEB) } else { world.tcp(WEB) };
        assert_eq!(reached, Reach::Open);
    }
}

#[test]
fn a_lone_segment_with_a_packet_opens_without_a_connection() {
    let world = World::with(&looking_at(OTHERS));
    for (source, server) in [
        ((CLIENT4, 4000).into(), (SERVER4, SHOWN).into()),
        ((CLIENT6, 4000).into(), (SERVER6, SHOWN).into()),
    ] {
        let (source, server): (std::net::SocketAddr, std::net::SocketAddr) = (source, server);
        let before = world.spad.counted("opened");
        let packet = world.laptop.open(&["tcp/8080"]);
        let mut segment = frame::tcp(Ends::of(source, server), 0x18);
        segment.extend_from_slice(&packet);
        let sent = frame::carry(Ends::of(source, server), 6, &segment);
        tap::inject(&world.lab.client, &[sent]);
        world.spad.wait_counted("opened", before + 1);
    }
    assert_eq!(
        (world.tcp(WEB), world.tcp6(WEB)),
        (Reach::Open, Reach::Open)
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
        let world = World::with(&Settings {
            carriers,
            ..Settings::ttl("30s")
        });
        world.enrol_spa(SERVER4.into());
        for carrier in wrong {
            let said = world.spa(&["open", "gw:tcp/8080", "--no-wait", "--via", carrier]);
            assert_eq!(said.code, Some(0), "{}", said.stderr);
        }
        assert_eq!(world.tcp(WEB), Reach::Refused, "{carriers:?}");
        // Sent last: were another one looked at, it would have its verdict by now.
        opens_by(&world, right);
        assert_eq!(
            world.spad.verdicts().values().sum::<u64>(),
            1,
            "{carriers:?}"
        );
    }
}

#[test]
fn a_packet_opens_once_whichever_carriers_bring_it() {
    let world = World::with(&looking_at(ALL));
    let packet = world.laptop.open(&["tcp/8080"]);
    world.send_counted(&packet, "opened");
    let ends = Ends::of((CLIENT4, 4000), (SERVER4, SHOWN));
    let mut segment = frame::tcp(ends, 0x18);
    segment.extend_from_slice(&packet);
    let echo = [&[8, 0, 0, 0, 0, 0, 0, 1][..], &packet].concat();
    let again = [
        frame::carry(ends, 6, &segment),
        frame::carry(ends, 1, &echo),
    ];
    tap::inject(&world.lab.client, &again);
    world.spad.wait_counted("duplicate", 2);
    assert_eq!(world.spad.counted("opened"), 1);
}

#[test]
fn echo_requests_need_no_privilege_where_the_system_allows_them_and_otherwise_say_how() {
    let world = World::with(&looking_at(ALL));
    world.enrol_spa(SERVER4.into());
    let directory = world.lab.path().join("spa");
    let _ = world
        .lab
        .client
        .must("chown", &["-R", "nobody", &directory.display().to_string()]);
    let nobody = || {
        let mut command = world.lab.client.command("setpriv");
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
        let _ = world.lab.client.must("sysctl", &["-qw", &range]);
    };
    set("1 0");
    let said = nobody();
    assert_eq!(said.code, Some(7), "{}", said.stderr);
    for word in ["ping_group_range", "CAP_NET_RAW"] {
        assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
    }
    set("0 2147483647");
    let said = nobody();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    world.spad.wait_counted("opened", 1);
}

#[test]
fn the_hosts_configuration_names_the_carrier_where_the_command_line_does_not() {
    let world = World::with(&looking_at(OTHERS));
    world.enrol_spa(SERVER4.into());
    let file = world.lab.path().join("spa/config.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let via = text.replacen("port = 62201\n", "port = 62201\nvia = \"icmp\"\n", 1);
    assert_ne!(via, text);
    assert!(std::fs::write(&file, via).is_ok());
    let said = world.spa(&["open", "gw:tcp/8080", "--no-wait", "-v"]);
    assert!(
        said.stderr.contains("in an echo request"),
        "{}",
        said.stderr
    );
    world.spad.wait_counted("opened", 1);
}
