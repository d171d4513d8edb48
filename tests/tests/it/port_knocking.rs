//! Doors of `[[knock]]`, with the tools that people have, over both families.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, SERVER4, SERVER6, STRANGER4};
use spa_tests::process::{run, run_with_input};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{EXPOSED, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];

/// A door that opens `web`.
fn door(sequence: &str, more: &str) -> String {
    format!("\n[[knock]]\nname = \"side\"\nsequence = \"{sequence}\"\nopen = [\"web\"]\n{more}\n")
}

fn with(doors: &str) -> TestBed {
    let mut bed = TestBed::stopped(&Settings::default());
    bed.append_config("spad.toml", doors);
    bed.spad.start();
    bed
}

fn is_open(bed: &TestBed, server: IpAddr) -> bool {
    reach::tcp(&bed.lab.client, server, WEB) == Reachability::Open
}

/// The first segment of a connection to each port.
fn knock(bed: &TestBed, server: IpAddr, ports: &[u16]) {
    bed.lab.client.enter(|| {
        for port in ports {
            let to = SocketAddr::new(server, *port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
}

/// Whether the stranger's connection is let in.
fn from_stranger(bed: &TestBed, port: &str) -> bool {
    let (stranger, server) = (STRANGER4.to_string(), SERVER4.to_string());
    let words = ["-z", "-w", "1", "-s", &stranger, &server, port];
    bed.lab.client.run("nc", &words).success
}

/// Nothing was opened by what was sent so far.
#[track_caller]
fn opened_nothing(bed: &TestBed, server: IpAddr, what: &str) {
    let packets = bed.spad.verdict_count("opened");
    bed.send(&bed.laptop.open(&["tcp/22"]));
    // What was sent before this packet was heard before it.
    bed.spad.wait_verdict_count("opened", packets + 1);
    assert_eq!(bed.spad.verdict_count("knock_opened"), 0, "{what}");
    assert!(!is_open(bed, server), "{what}");
}

#[test]
fn the_sequence_opens_for_its_sender_and_family_and_closes_by_itself() {
    for server in SERVERS {
        let bed = with(&door("8881,7777,9991", ""));
        assert!(!is_open(&bed, server));
        knock(&bed, server, &[8881, 7777, 9991]);
        bed.spad.wait_verdict_count("knock_opened", 1);
        assert!(is_open(&bed, server));
        let other = SERVERS.into_iter().find(|other| *other != server).unwrap();
        assert!(!is_open(&bed, other), "the other family");
        if server.is_ipv4() {
            assert!(!from_stranger(&bed, "8080"), "somebody else");
        }
        let line = bed
            .spad
            .wait_audited(&[("event", "grant"), ("door", "side")]);
        assert!(line.get("client").is_none(), "{line}");
        let shown = bed.spad.cli(&["grants"]).ok().stdout;
        assert!(shown.contains("(door side)"), "{shown}");
        bed.spad
            .wait_audited(&[("event", "expire"), ("door", "side")]);
        assert!(!is_open(&bed, server), "after its 2 s");
    }
}

#[test]
fn debians_knock_and_nmap_and_nc_and_spa_knock_open_it() {
    for server in SERVERS {
        let bed = with(&door("7000,8000:udp,9000", "ttl = \"1m\""));
        let address = server.to_string();
        let client = &bed.lab.client;
        let family = if server.is_ipv4() { "-4" } else { "-6" };
        let revoke = |how: &str, count: u64| {
            wait::eventually(how, || {
                (bed.spad.verdict_count("knock_opened") == count).then_some(())
            });
            assert!(is_open(&bed, server), "{how} {server}");
            let output = bed.spad.cli(&["revoke", "side"]).ok().stdout;
            assert!(output.contains("1 grant closed"), "{output}");
            assert!(!is_open(&bed, server), "{how}: revoked");
        };
        let knocks = ["7000", "8000:udp", "9000"];
        let words = [&["-d", "20", &address][..], &knocks].concat();
        client.run_ok("knock", &words);
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
            let _ = client.run_ok("nmap", &words);
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
        let bed = with(&door("7000,8000,9000", ""));
        knock(&bed, server, &[7000, 8000, 8500, 9000]);
        opened_nothing(&bed, server, "a wrong port");
        knock(&bed, server, &[7000, 8000, EXPOSED, 9000]);
        opened_nothing(&bed, server, "a port at which somebody answers");
        let family = if server.is_ipv4() { "-4" } else { "-6" };
        let address = server.to_string();
        let scan = "-Pn -n -r --max-retries 0 --min-rate 2000 -p 6990-9010".split(' ');
        let words: Vec<&str> = scan.chain([family, &address]).collect();
        let _ = bed.lab.client.run_ok("nmap", &words);
        opened_nothing(&bed, server, "a scan upwards");
        assert!(bed.spad.verdict_count("knock") > 2000, "each was heard");
        knock(&bed, server, &[7000, 8000, 9000]);
        bed.spad.wait_verdict_count("knock_opened", 1);
        assert!(is_open(&bed, server));
    }
}

#[test]
fn repeated_knocks_and_anothers_wrong_ones_break_nothing() {
    let bed = with(&door("7000,8000,9000", ""));
    knock(&bed, SERVERS[0], &[7000, 7000, 8000, 8000]);
    for port in ["7000", "9000", "1234"] {
        assert!(!from_stranger(&bed, port));
    }
    knock(&bed, SERVERS[0], &[9000]);
    bed.spad.wait_verdict_count("knock_opened", 1);
    assert!(is_open(&bed, SERVERS[0]));
    let line = bed.spad.wait_audited(&[("event", "grant")]);
    let source = line.get("src").and_then(serde_json::Value::as_str);
    assert_eq!(source, Some(CLIENT4.to_string().as_str()));
}

#[test]
fn a_doors_grant_survives_kill_9_with_its_door_and_goes_with_it_at_a_reload() {
    let mut bed = with(&door("7000,8000,9000", "ttl = \"1m\""));
    knock(&bed, SERVERS[0], &[7000, 8000, 9000]);
    bed.spad.wait_verdict_count("knock_opened", 1);
    bed.spad
        .wait_audited(&[("event", "grant"), ("door", "side")]);
    bed.spad.kill();
    assert!(is_open(&bed, SERVERS[0]), "while nobody runs");
    bed.spad.start();
    assert!(is_open(&bed, SERVERS[0]));
    let shown = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(shown.contains("(door side)"), "{shown}");
    bed.spad.configure(&Settings::default());
    bed.spad.reload();
    assert!(!is_open(&bed, SERVERS[0]));
    bed.spad
        .wait_audited(&[("event", "revoke"), ("door", "side")]);
}

#[test]
fn a_new_door_is_heard_after_the_restart_that_the_reload_calls_for() {
    let mut bed = TestBed::new();
    knock(&bed, SERVERS[0], &[7000]);
    bed.append_config("spad.toml", &door("7000,8000,9000", ""));
    let output = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(output.contains("needs a restart"), "{output}");
    knock(&bed, SERVERS[0], &[7000, 8000, 9000]);
    opened_nothing(&bed, SERVERS[0], "before the restart");
    assert_eq!(bed.spad.verdict_count("knock"), 0, "nor is anything heard");
    bed.spad.stop();
    bed.spad.start();
    knock(&bed, SERVERS[0], &[7000, 8000, 9000]);
    bed.spad.wait_verdict_count("knock_opened", 1);
    assert!(is_open(&bed, SERVERS[0]));
}

#[test]
fn packets_open_beside_a_door_and_the_warning_is_everywhere() {
    let bed = with(&door("7000,8000:udp,9000", ""));
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.spad.verdict_count("knock_opened"), 0);
    let status = bed.spad.status().to_string();
    let check = bed.spad.cli(&["check"]);
    let check = format!("{}{}", check.stdout, check.stderr);
    for output in [status, check, bed.spad.output()] {
        assert!(output.contains("no secret from whoever sees"), "{output}");
    }
}
