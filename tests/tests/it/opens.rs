//! One packet opens the hidden port for its sender, and nothing else.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Open, Request};
use spa_tests::identity::{close, open, open_with_addresses};
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4, STRANGER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, EXPOSED, SSH, Settings, WEB};
use spa_tests::sshd::Sshd;
use spa_tests::test_bed::TestBed;
use spa_tests::{frame, process, tap, wait};

#[test]
fn a_packet_opens_tcp_over_ipv4_for_its_sender_alone() {
    let bed = TestBed::new();
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.udp(CHAT), Reachability::Refused, "another service");
    assert_eq!(
        bed.tcp6(WEB),
        Reachability::Refused,
        "another address of the client"
    );
}

#[test]
fn a_packet_opens_tcp_over_ipv6() {
    let bed = TestBed::new();
    assert_eq!(bed.tcp6(WEB), Reachability::Refused);
    bed.send6(&bed.laptop.open(&["tcp/8080"]));
    bed.spad.wait_verdict_count("opened", 1);
    assert_eq!(bed.tcp6(WEB), Reachability::Open);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_packet_opens_udp_over_both_families() {
    let bed = TestBed::new();
    assert_eq!(
        (bed.udp(CHAT), bed.udp6(CHAT)),
        (Reachability::Refused, Reachability::Refused)
    );
    bed.open(&["udp/9999"]);
    bed.send6(&bed.laptop.open(&["udp/9999"]));
    bed.spad.wait_verdict_count("opened", 2);
    assert_eq!(
        (bed.udp(CHAT), bed.udp6(CHAT)),
        (Reachability::Open, Reachability::Open)
    );
}

#[test]
fn a_packet_that_names_no_service_opens_the_clients_own() {
    let bed = TestBed::new();
    bed.open(&[]);
    assert_eq!(
        (bed.tcp(WEB), bed.udp(CHAT)),
        (Reachability::Open, Reachability::Open)
    );
}

#[test]
fn stated_addresses_alone_get_the_grant_wherever_the_packet_came_from() {
    let bed = TestBed::new();
    let stated = Addresses::new(Some(CLIENT4), Some(CLIENT6)).expect("usable addresses");
    bed.send_as_stranger(&bed.laptop.seal(&open_with_addresses(&["udp/9999"], stated)));
    bed.spad.wait_verdict_count("opened", 1);
    let seen = bed.lab.client.enter(|| {
        [CLIENT4.into(), STRANGER4.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER4.into(), CHAT))
    });
    assert_eq!(seen, [Reachability::Open, Reachability::Refused]);
    let seen = bed.lab.client.enter(|| {
        [CLIENT6.into(), STRANGER6.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER6.into(), CHAT))
    });
    assert_eq!(seen, [Reachability::Open, Reachability::Refused]);
}

#[test]
fn a_grant_for_one_connection_admits_one_and_a_stray_segment_does_not_use_it_up() {
    let bed = TestBed::with(&Settings::ttl("20s"));
    let once = match open(&["tcp/8080"]) {
        Request::Open(open) => Request::Open(Open { once: true, ..open }),
        other => other,
    };
    bed.send_counted(&bed.laptop.seal(&once), "opened");
    let endpoints = frame::Endpoints::new((CLIENT4, 40_001), (SERVER4, WEB));
    let stray = frame::tcp(endpoints, pnet::packet::tcp::TcpFlags::ACK);
    tap::inject(&bed.lab.client, &[frame::ip_frame(endpoints, 6, &stray)]);
    let mut first = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    assert!(reach::echoes(&mut first));
    assert_ne!(bed.tcp(WEB), Reachability::Open, "a second connection");
    assert!(reach::echoes(&mut first), "the first goes on");
}

#[test]
fn a_grant_for_one_connection_that_was_used_leaves_no_hole_when_it_is_withdrawn() {
    for withdraw in [&["client", "disable", "laptop"][..], &["revoke", "laptop"]] {
        let bed = TestBed::with(&Settings::ttl("20s"));
        let once = match open(&["tcp/8080"]) {
            Request::Open(open) => Request::Open(Open { once: true, ..open }),
            other => other,
        };
        bed.send_counted(&bed.laptop.seal(&once), "opened");
        let _used = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
        let flows = || {
            bed.lab
                .server
                .run_ok("nft", &["list", "set", "inet", "spad", "grants_port4"])
        };
        assert!(
            flows().contains("elements"),
            "its source port may come again"
        );
        bed.spad.cli(withdraw).ok();
        assert!(!flows().contains("elements"), "{withdraw:?}: {}", flows());
    }
}

#[test]
fn a_grant_for_one_source_port_admits_that_port_alone() {
    let bed = TestBed::with(&Settings::ttl("20s"));
    let port = 40_777;
    let bound = match open(&["udp/9999"]) {
        Request::Open(open) => Request::Open(Open {
            source_port: NonZeroU16::new(port),
            ..open
        }),
        other => other,
    };
    bed.send_counted(&bed.laptop.seal(&bound), "opened");
    assert_eq!(bed.udp(CHAT), Reachability::Refused);
    let received = bed.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind((CLIENT4, port)).expect("the port");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a time limit");
        socket.send_to(b"there?", (SERVER4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(received);
}

#[test]
fn spa_opens_and_ssh_gets_in() {
    let bed = TestBed::with(&Settings::ttl("10s"));
    let sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    bed.enrol_spa(SERVER4.into());
    assert!(
        !sshd.ssh(&bed.lab.client, SERVER4.into(), "true").success,
        "before"
    );
    let opened = bed.spa(&["open", "gw:ssh"]);
    assert_eq!(
        opened.code,
        Some(0),
        "{}{}\n{}",
        opened.stdout,
        opened.stderr,
        bed.spad.output()
    );
    let done = sshd.ssh(&bed.lab.client, SERVER4.into(), "echo inside");
    assert_eq!(done.stdout.trim(), "inside", "{}", done.stderr);
    bed.send_counted(&bed.laptop.seal(&close(&["tcp/22"])), "closed");
    assert!(
        !sshd.ssh(&bed.lab.client, SERVER4.into(), "true").success,
        "after"
    );
}

#[test]
fn spa_opens_over_ipv6_and_for_named_services() {
    let bed = TestBed::with(&Settings::ttl("10s"));
    bed.enrol_spa(SERVER6.into());
    let opened = bed.spa(&["open", "gw:tcp/8080", "--json"]);
    assert_eq!(opened.code, Some(0), "{}{}", opened.stdout, opened.stderr);
    assert!(opened.json().is_object() || opened.json().is_array());
    assert_eq!(bed.tcp6(WEB), Reachability::Open);
}

#[test]
fn spa_knocks_every_family_the_name_resolves_to() {
    let bed = TestBed::with(&Settings::ttl("10s"));
    bed.enrol_spa(SERVER4.into());
    let hosts = bed.lab.path().join("hosts");
    std::fs::write(
        &hosts,
        format!("{SERVER4} gateway.example\n{SERVER6} gateway.example\n"),
    )
    .expect("a hosts file");
    let config = bed.lab.path().join("spa");
    let text = std::fs::read_to_string(config.join("config.toml")).expect("spa's configuration");
    let named = text.replace(&format!("\"{SERVER4}\""), "\"gateway.example\"");
    assert_ne!(text, named, "{text}");
    std::fs::write(config.join("config.toml"), named).expect("spa's configuration");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let mut command = bed.lab.client.command("sh");
    command
        .args(["-c", script])
        .arg(&hosts)
        .arg(spa_tests::binaries::spa());
    command
        .args(["open", "gw:tcp/8080", "--config"])
        .arg(&config);
    let done = process::run(&mut command);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    for server in [IpAddr::from(SERVER4), SERVER6.into()] {
        wait::eventually("both families open", || {
            (reach::tcp(&bed.lab.client, server, WEB) == Reachability::Open).then_some(())
        });
    }
}

#[test]
fn the_packet_that_spa_writes_is_the_packet_that_opens() {
    let bed = TestBed::new();
    bed.enrol_spa(SERVER4.into());
    let hex = bed.spa(&["packet", "gw:tcp/8080", "--hex"]).ok().stdout;
    let digits: Vec<u8> = hex.trim().bytes().collect();
    let packet: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect();
    assert!((160..=512).contains(&packet.len()));
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    bed.send_counted(&packet, "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn capture_goes_on_when_the_link_went_away_and_came_back() {
    let bed = TestBed::new();
    bed.lab.unplug();
    bed.lab.plug();
    wait::eventually("the way is back", || {
        (bed.tcp(EXPOSED) == Reachability::Open).then_some(())
    });
    assert_ne!(
        bed.tcp(WEB),
        Reachability::Open,
        "hidden on the new link too"
    );
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn always_allowed_networks_never_need_a_packet() {
    let bed = TestBed::with(&Settings {
        always_allow: &["lo", "192.0.2.66/32"],
        ..Settings::default()
    });
    let seen = bed.lab.client.enter(|| {
        [CLIENT4.into(), STRANGER4.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER4.into(), CHAT))
    });
    assert_eq!(seen, [Reachability::Refused, Reachability::Open]);
    let home = SocketAddr::from(([127, 0, 0, 1], WEB));
    assert!(
        bed.lab.server.enter(|| TcpStream::connect(home)).is_ok(),
        "the host itself"
    );
}
