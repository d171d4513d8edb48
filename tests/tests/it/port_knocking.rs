//! Doors of `[[knock]]`, with the tools that people have, over both families.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, SERVER4, SERVER6, STRANGER4};
use spa_tests::process::{run, run_with_input};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{SHOWN, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];

/// A door that opens `web`.
fn door(sequence: &str, more: &str) -> String {
    format!("\n[[knock]]\nname = \"side\"\nsequence = \"{sequence}\"\nopen = [\"web\"]\n{more}\n")
}

fn with(doors: &str) -> World {
    let mut world = World::stopped(&Settings::default());
    world.append("spad.toml", doors);
    world.spad.start();
    world
}

fn is_open(world: &World, server: IpAddr) -> bool {
    reach::tcp(&world.lab.client, server, WEB) == Reach::Open
}

/// The first segment of a connection to each port.
fn knock(world: &World, server: IpAddr, ports: &[u16]) {
    world.lab.client.enter(|| {
        for port in ports {
            let to = SocketAddr::new(server, *port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
}

/// Whether the stranger's connection is let in.
fn from_stranger(world: &World, port: &str) -> bool {
    let (stranger, server) = (STRANGER4.to_string(), SERVER4.to_string());
    let words = ["-z", "-w", "1", "-s", &stranger, &server, port];
    world.lab.client.run("nc", &words).success
}

/// Nothing was opened by what was sent so far.
#[track_caller]
fn opened_nothing(world: &World, server: IpAddr, what: &str) {
    let packets = world.spad.counted("opened");
    world.send(&world.laptop.open(&["tcp/22"]));
    // What was sent before this packet was heard before it.
    world.spad.wait_counted("opened", packets + 1);
    assert_eq!(world.spad.counted("knock_opened"), 0, "{what}");
    assert!(!is_open(world, server), "{what}");
}

#[test]
fn the_sequence_opens_for_its_sender_and_family_and_closes_by_itself() {
    for server in SERVERS {
        let world = with(&door("8881,7777,9991", ""));
        assert!(!is_open(&world, server));
        knock(&world, server, &[8881, 7777, 9991]);
        world.spad.wait_counted("knock_opened", 1);
        assert!(is_open(&world, server));
        let other = SERVERS.into_iter().find(|other| *other != server).unwrap();
        assert!(!is_open(&world, other), "the other family");
        if server.is_ipv4() {
            assert!(!from_stranger(&world, "8080"), "somebody else");
        }
        let line = world
            .spad
            .wait_audited(&[("event", "grant"), ("door", "side")]);
        assert!(line.get("client").is_none(), "{line}");
        let shown = world.spad.cli(&["grants"]).ok().stdout;
        assert!(shown.contains("(door side)"), "{shown}");
        world
            .spad
            .wait_audited(&[("event", "expire"), ("door", "side")]);
        assert!(!is_open(&world, server), "after its 2 s");
    }
}

#[test]
fn debians_knock_and_nmap_and_nc_and_spa_knock_open_it() {
    for server in SERVERS {
        let world = with(&door("7000,8000:udp,9000", "ttl = \"1m\""));
        let address = server.to_string();
        let client = &world.lab.client;
        let family = if server.is_ipv4() { "-4" } else { "-6" };
        let revoke = |how: &str, count: u64| {
            wait::soon(how, || {
                (world.spad.counted("knock_opened") == count).then_some(())
            });
            assert!(is_open(&world, server), "{how} {server}");
            let said = world.spad.cli(&["revoke", "side"]).ok().stdout;
            assert!(said.contains("1 grant closed"), "{said}");
            assert!(!is_open(&world, server), "{how}: revoked");
        };
        let knocks = ["7000", "8000:udp", "9000"];
        let words = [&["-d", "20", &address][..], &knocks].concat();
        client.must("knock", &words);
        revoke("knock", 1);

        let words = [&["knock", family, "-d", "20", &address][..], &knocks].concat();
        run(client.command(binaries::spa()).args(words)).ok();
        revoke("spa knock", 2);

        for (port, kind) in [("7000", "-sS"), ("8000", "-sU"), ("9000", "-sS")] {
            let words = [
                "-Pn",
                "-n",
                family,
                kind,
                "--max-retries",
                "0",
                "-p",
                port,
                &address,
            ];
            let _ = client.must("nmap", &words);
        }
        revoke("nmap", 3);

        let _ = client.run("nc", &["-z", "-w", "1", &address, "7000"]);
        // With -z it would send no datagram.
        let mut datagram = client.command("nc");
        datagram.args(["-u", "-w", "1", &address, "8000"]);
        let _ = run_with_input(&mut datagram, "x");
        let _ = client.run("nc", &["-z", "-w", "1", &address, "9000"]);
        revoke("nc", 4);
    }
}

#[test]
fn a_scan_upwards_opens_nothing_nor_does_a_wrong_knock_in_between() {
    for server in SERVERS {
        let world = with(&door("7000,8000,9000", ""));
        knock(&world, server, &[7000, 8000, 8500, 9000]);
        opened_nothing(&world, server, "a wrong port");
        knock(&world, server, &[7000, 8000, SHOWN, 9000]);
        opened_nothing(&world, server, "a port at which somebody answers");
        let family = if server.is_ipv4() { "-4" } else { "-6" };
        let address = server.to_string();
        let scan = "-Pn -n -r --max-retries 0 --min-rate 2000 -p 6990-9010".split(' ');
        let words: Vec<&str> = scan.chain([family, &address]).collect();
        let _ = world.lab.client.must("nmap", &words);
        opened_nothing(&world, server, "a scan upwards");
        assert!(world.spad.counted("knock") > 2000, "each was heard");
        knock(&world, server, &[7000, 8000, 9000]);
        world.spad.wait_counted("knock_opened", 1);
        assert!(is_open(&world, server));
    }
}

#[test]
fn repeated_knocks_and_anothers_wrong_ones_break_nothing() {
    let world = with(&door("7000,8000,9000", ""));
    knock(&world, SERVERS[0], &[7000, 7000, 8000, 8000]);
    for port in ["7000", "9000", "1234"] {
        assert!(!from_stranger(&world, port));
    }
    knock(&world, SERVERS[0], &[9000]);
    world.spad.wait_counted("knock_opened", 1);
    assert!(is_open(&world, SERVERS[0]));
    let line = world.spad.wait_audited(&[("event", "grant")]);
    let source = line.get("src").and_then(serde_json::Value::as_str);
    assert_eq!(source, Some(CLIENT4.to_string().as_str()));
}

#[test]
fn a_doors_grant_survives_kill_9_with_its_door_and_goes_with_it_at_a_reload() {
    let mut world = with(&door("7000,8000,9000", "ttl = \"1m\""));
    knock(&world, SERVERS[0], &[7000, 8000, 9000]);
    world.spad.wait_counted("knock_opened", 1);
    world
        .spad
        .wait_audited(&[("event", "grant"), ("door", "side")]);
    world.spad.kill();
    assert!(is_open(&world, SERVERS[0]), "while nobody runs");
    world.spad.start();
    assert!(is_open(&world, SERVERS[0]));
    let shown = world.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains("(door side)"), "{shown}");
    world.spad.configure(&Settings::default());
    world.spad.reload();
    assert!(!is_open(&world, SERVERS[0]));
    world
        .spad
        .wait_audited(&[("event", "revoke"), ("door", "side")]);
}

#[test]
fn a_new_door_is_heard_after_the_restart_that_the_reload_calls_for() {
    let mut world = World::new();
    knock(&world, SERVERS[0], &[7000]);
    world.append("spad.toml", &door("7000,8000,9000", ""));
    let said = world.spad.cli(&["reload"]).ok().stdout;
    assert!(said.contains("needs a restart"), "{said}");
    knock(&world, SERVERS[0], &[7000, 8000, 9000]);
    opened_nothing(&world, SERVERS[0], "before the restart");
    assert_eq!(world.spad.counted("knock"), 0, "nor is anything heard");
    world.spad.stop();
    world.spad.start();
    knock(&world, SERVERS[0], &[7000, 8000, 9000]);
    world.spad.wait_counted("knock_opened", 1);
    assert!(is_open(&world, SERVERS[0]));
}

#[test]
fn packets_open_beside_a_door_and_the_warning_is_everywhere() {
    let world = with(&door("7000,8000:udp,9000", ""));
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    assert_eq!(world.spad.counted("knock_opened"), 0);
    let status = world.spad.status().to_string();
    let check = world.spad.cli(&["check"]);
    let check = format!("{}{}", check.stdout, check.stderr);
    for said in [status, check, world.spad.said()] {
        assert!(said.contains("no secret from whoever sees"), "{said}");
    }
}
