//! One packet opens the hidden port for its sender, and nothing else.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Open, Request};
use spa_tests::identity::{close, open, open_stating};
use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4, STRANGER6};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{CHAT, SHOWN, SSH, Settings, WEB};
use spa_tests::sshd::Sshd;
use spa_tests::world::World;
use spa_tests::{frame, process, tap, wait};

#[test]
fn a_packet_opens_tcp_over_ipv4_for_its_sender_alone() {
    let world = World::new();
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.udp(CHAT), Reach::Refused, "another service");
    assert_eq!(
        world.tcp6(WEB),
        Reach::Refused,
        "another address of the client"
    );
}

#[test]
fn a_packet_opens_tcp_over_ipv6() {
    let world = World::new();
    assert_eq!(world.tcp6(WEB), Reach::Refused);
    world.send6(&world.laptop.open(&["tcp/8080"]));
    world.spad.wait_counted("opened", 1);
    assert_eq!(world.tcp6(WEB), Reach::Open);
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn a_packet_opens_udp_over_both_families() {
    let world = World::new();
    assert_eq!(
        (world.udp(CHAT), world.udp6(CHAT)),
        (Reach::Refused, Reach::Refused)
    );
    world.open(&["udp/9999"]);
    world.send6(&world.laptop.open(&["udp/9999"]));
    world.spad.wait_counted("opened", 2);
    assert_eq!(
        (world.udp(CHAT), world.udp6(CHAT)),
        (Reach::Open, Reach::Open)
    );
}

#[test]
fn a_packet_that_names_no_service_opens_the_clients_own() {
    let world = World::new();
    world.open(&[]);
    assert_eq!(
        (world.tcp(WEB), world.udp(CHAT)),
        (Reach::Open, Reach::Open)
    );
}

#[test]
fn stated_addresses_alone_get_the_grant_wherever_the_packet_came_from() {
    let world = World::new();
    let stated = Addresses::new(Some(CLIENT4), Some(CLIENT6)).expect("usable addresses");
    world.send_as_stranger(&world.laptop.seal(&open_stating(&["udp/9999"], stated)));
    world.spad.wait_counted("opened", 1);
    let seen = world.lab.client.enter(|| {
        [CLIENT4.into(), STRANGER4.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER4.into(), CHAT))
    });
    assert_eq!(seen, [Reach::Open, Reach::Refused]);
    let seen = world.lab.client.enter(|| {
        [CLIENT6.into(), STRANGER6.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER6.into(), CHAT))
    });
    assert_eq!(seen, [Reach::Open, Reach::Refused]);
}

#[test]
fn a_grant_for_one_connection_admits_one_and_a_stray_segment_does_not_use_it_up() {
    let world = World::with(&Settings::ttl("20s"));
    let once = match open(&["tcp/8080"]) {
        Request::Open(open) => Request::Open(Open { once: true, ..open }),
        other => other,
    };
    world.send_counted(&world.laptop.seal(&once), "opened");
    let ends = frame::Ends::of((CLIENT4, 40_001), (SERVER4, WEB));
    let stray = frame::tcp(ends, pnet::packet::tcp::TcpFlags::ACK);
    tap::inject(&world.lab.client, &[frame::carry(ends, 6, &stray)]);
    let mut first = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    assert!(reach::echoes(&mut first));
    assert_ne!(world.tcp(WEB), Reach::Open, "a second connection");
    assert!(reach::echoes(&mut first), "the first goes on");
}

#[test]
fn a_grant_for_one_connection_that_was_used_leaves_no_hole_when_it_is_withdrawn() {
    for withdraw in [&["client", "disable", "laptop"][..], &["revoke", "laptop"]] {
        let world = World::with(&Settings::ttl("20s"));
        let once = match open(&["tcp/8080"]) {
            Request::Open(open) => Request::Open(Open { once: true, ..open }),
            other => other,
        };
        world.send_counted(&world.laptop.seal(&once), "opened");
        let _used = reach::connection(&world.lab.client, SERVER4.into(), WEB);
        let flows = || {
            world
                .lab
                .server
                .must("nft", &["list", "set", "inet", "spad", "flow4"])
        };
        assert!(
            flows().contains("elements"),
            "its source port may come again"
        );
        world.spad.cli(withdraw).ok();
        assert!(!flows().contains("elements"), "{withdraw:?}: {}", flows());
    }
}

#[test]
fn a_grant_for_one_source_port_admits_that_port_alone() {
    let world = World::with(&Settings::ttl("20s"));
    let port = 40_777;
    let bound = match open(&["udp/9999"]) {
        Request::Open(open) => Request::Open(Open {
            source_port: NonZeroU16::new(port),
            ..open
        }),
        other => other,
    };
    world.send_counted(&world.laptop.seal(&bound), "opened");
    assert_eq!(world.udp(CHAT), Reach::Refused);
    let heard = world.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind((CLIENT4, port)).expect("the port");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a time limit");
        socket.send_to(b"there?", (SERVER4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(heard);
}

#[test]
fn spa_opens_and_ssh_gets_in() {
    let world = World::with(&Settings::ttl("10s"));
    let sshd = Sshd::start(&world.lab.server, world.lab.path(), SSH);
    world.enrol_spa(SERVER4.into());
    assert!(
        !sshd.ssh(&world.lab.client, SERVER4.into(), "true").success,
        "before"
    );
    let opened = world.spa(&["open", "gw:ssh"]);
    assert_eq!(
        opened.code,
        Some(0),
        "{}{}\n{}",
        opened.stdout,
        opened.stderr,
        world.spad.said()
    );
    let done = sshd.ssh(&world.lab.client, SERVER4.into(), "echo inside");
    assert_eq!(done.stdout.trim(), "inside", "{}", done.stderr);
    world.send_counted(&world.laptop.seal(&close(&["tcp/22"])), "closed");
    assert!(
        !sshd.ssh(&world.lab.client, SERVER4.into(), "true").success,
        "after"
    );
}

#[test]
fn spa_opens_over_ipv6_and_for_named_services() {
    let world = World::with(&Settings::ttl("10s"));
    world.enrol_spa(SERVER6.into());
    let opened = world.spa(&["open", "gw:tcp/8080", "--json"]);
    assert_eq!(opened.code, Some(0), "{}{}", opened.stdout, opened.stderr);
    assert!(opened.json().is_object() || opened.json().is_array());
    assert_eq!(world.tcp6(WEB), Reach::Open);
}

#[test]
fn spa_knocks_every_family_the_name_resolves_to() {
    let world = World::with(&Settings::ttl("10s"));
    world.enrol_spa(SERVER4.into());
    let hosts = world.lab.path().join("hosts");
    std::fs::write(
        &hosts,
        format!("{SERVER4} gateway.example\n{SERVER6} gateway.example\n"),
    )
    .expect("a hosts file");
    let config = world.lab.path().join("spa");
    let text = std::fs::read_to_string(config.join("config.toml")).expect("spa's configuration");
    let named = text.replace(&format!("\"{SERVER4}\""), "\"gateway.example\"");
    assert_ne!(text, named, "{text}");
    std::fs::write(config.join("config.toml"), named).expect("spa's configuration");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let mut command = world.lab.client.command("sh");
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
        wait::soon("both families open", || {
            (reach::tcp(&world.lab.client, server, WEB) == Reach::Open).then_some(())
        });
    }
}

#[test]
fn the_packet_that_spa_writes_is_the_packet_that_opens() {
    let world = World::new();
    world.enrol_spa(SERVER4.into());
    let hex = world.spa(&["packet", "gw:tcp/8080", "--hex"]).ok().stdout;
    let digits: Vec<u8> = hex.trim().bytes().collect();
    let packet: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect();
    assert!((160..=512).contains(&packet.len()));
    assert_eq!(world.tcp(WEB), Reach::Refused);
    world.send_counted(&packet, "opened");
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn capture_goes_on_when_the_link_went_away_and_came_back() {
    let world = World::new();
    world.lab.unplug();
    world.lab.plug();
    wait::soon("the way is back", || {
        (world.tcp(SHOWN) == Reach::Open).then_some(())
    });
    assert_ne!(world.tcp(WEB), Reach::Open, "hidden on the new link too");
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn always_allowed_networks_never_need_a_packet() {
    let world = World::with(&Settings {
        always_allow: &["lo", "192.0.2.66/32"],
        ..Settings::default()
    });
    let seen = world.lab.client.enter(|| {
        [CLIENT4.into(), STRANGER4.into()]
            .map(|source: IpAddr| reach::udp_from(source, SERVER4.into(), CHAT))
    });
    assert_eq!(seen, [Reach::Refused, Reach::Open]);
    let home = SocketAddr::from(([127, 0, 0, 1], WEB));
    assert!(
        world.lab.server.enter(|| TcpStream::connect(home)).is_ok(),
        "the host itself"
    );
}
