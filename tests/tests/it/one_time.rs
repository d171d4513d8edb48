//! Sequences for one use: each opens once, whatever becomes of daemon and machine.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{Settings, WEB};
use spa_tests::world::World;

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];
const FIRST: [u16; 3] = [7000, 8000, 9000];
const SECOND: [u16; 2] = [7100, 8100];

/// A door with this file, not started.
fn world(lines: &str) -> World {
    let world = World::stopped(&Settings::default());
    world.append(
        "spad.toml",
        "[[knock]]\nname = \"side\"\none_time = \"side\"\nopen = [\"web\"]\n",
    );
    world.sequences("side", lines);
    world
}

/// Knocks, waits until all of it was heard, and looks.
#[track_caller]
fn opens(world: &World, server: IpAddr, ports: &[u16]) -> bool {
    let heard = |world: &World| {
        let all = world.spad.verdicts();
        let all = all.iter().filter(|(reason, _)| reason.starts_with("knock"));
        all.map(|(_, count)| count).sum::<u64>()
    };
    let before = heard(world);
    world.lab.client.enter(|| {
        for port in ports {
            let to = SocketAddr::new(server, *port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
    spa_tests::wait::soon("each knock is heard", || {
        (heard(world) >= before + ports.len() as u64).then_some(())
    });
    reach::tcp(&world.lab.client, server, WEB) == Reach::Open
}

fn left(world: &World) -> u64 {
    let status = world.spad.status();
    status["sequences_left"]["side"].as_u64().expect("a number")
}

#[test]
fn each_sequence_opens_once_and_status_says_how_many_are_left() {
    for server in SERVERS {
        let mut world = world("# anna\n7000,8000,9000\n7100,8100\n");
        world.spad.start();
        assert_eq!(left(&world), 2);
        assert!(opens(&world, server, &FIRST));
        spa_tests::wait::soon("it closes", || {
            let now = reach::tcp(&world.lab.client, server, WEB);
            (now != Reach::Open).then_some(())
        });
        assert!(!opens(&world, server, &FIRST));
        assert_eq!(left(&world), 1);
        assert!(opens(&world, server, &SECOND));
        world
            .spad
            .wait_audited(&[("event", "grant"), ("door", "side")]);
        assert_eq!(left(&world), 0);
        let said = world.spad.said();
        assert!(
            said.contains("the last sequence of the door side"),
            "{said}"
        );
        let check = world.spad.cli(&["check"]).ok().stderr;
        assert!(check.contains("the door `side` opens nothing"), "{check}");
        for secret in ["7000", "8100"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn a_used_one_time_sequence_opens_nothing_after_kill_minus_nine() {
    let mut world = world("7000,8000,9000\n7100,8100\n");
    world.spad.start();
    assert!(opens(&world, SERVERS[0], &FIRST));
    world.spad.kill();
    world.wait_closed(WEB);
    world.spad.start();
    assert!(!opens(&world, SERVERS[0], &FIRST));
    assert!(opens(&world, SERVERS[0], &SECOND));
}

#[test]
fn a_used_one_time_sequence_opens_nothing_after_a_reboot_nor_under_another_door() {
    let mut world = world("7000,8000,9000\n7100,8100\n");
    world.spad.start();
    assert!(opens(&world, SERVERS[0], &FIRST));
    world.spad.kill();
    world.spad.pretend_new_boot();
    let _ = world.spad.cli(&["firewall", "remove"]).ok();
    world.replace("spad.toml", "name = \"side\"", "name = \"back\"");
    world.spad.start();
    assert!(!opens(&world, SERVERS[0], &FIRST));
    assert!(opens(&world, SERVERS[0], &SECOND));
}

#[test]
fn a_reload_takes_new_lines_and_tells_of_used_ones_behind_unused_ones() {
    let mut world = world("7000,8000,9000\n");
    world.spad.start();
    assert!(opens(&world, SERVERS[0], &FIRST));
    world.wait_closed(WEB);
    world.sequences("side", "7100,8100\n7000,8000,9000\n");
    let said = world.spad.cli(&["reload"]).ok().stdout;
    assert!(said.contains("side:2:1"), "{said}");
    assert!(said.contains("is used already"), "{said}");
    assert!(!said.contains("7000"), "{said}");
    assert!(!opens(&world, SERVERS[0], &FIRST));
    assert!(opens(&world, SERVERS[0], &SECOND));
    // What is wrong changes nothing.
    world.sequences("side", "7100,8100\n7100\n");
    let refused = world.spad.cli(&["reload"]);
    assert!(!refused.success, "{refused:?}");
    assert!(refused.stderr.contains("side:2:1"), "{refused:?}");
}

#[test]
fn a_damaged_record_of_what_is_used_keeps_the_door_shut_and_says_so() {
    let mut world = world("7000,8000,9000\n7100,8100\n");
    world.spad.start();
    assert!(opens(&world, SERVERS[0], &FIRST));
    world.spad.stop();
    world.wait_closed(WEB);
    let file = world.spad.state().join("one-time");
    let mut bytes = std::fs::read(&file).expect("the record");
    bytes[2] ^= 1;
    std::fs::write(&file, bytes).expect("the record");
    world.spad.start();
    for ports in [&FIRST[..], &SECOND] {
        assert!(!opens(&world, SERVERS[0], ports));
    }
    let status = world.spad.status()["warnings"].to_string();
    for said in [status, world.spad.said()] {
        assert!(said.contains("the record 1 is damaged"), "{said}");
    }
    // Packets go on.
    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn a_record_that_lost_what_is_used_keeps_the_door_shut_and_says_so() {
    let mut world = world("7000,8000,9000\n7100,8100\n");
    world.spad.start();
    assert!(opens(&world, SERVERS[0], &FIRST));
    world.spad.stop();
    // What the journal knows of it is still known after it was written anew.
    world.spad.start();
    world.spad.stop();
    world.wait_closed(WEB);
    let file = world.spad.state().join("one-time");
    std::fs::write(&file, "").expect("the record of an older backup");
    world.spad.start();
    for ports in [&FIRST[..], &SECOND] {
        assert!(!opens(&world, SERVERS[0], ports));
    }
    let status = world.spad.status()["warnings"].to_string();
    for said in [status, world.spad.said()] {
        let lost = "does not hold every sequence that was used";
        assert!(said.contains(lost), "{said}");
    }
}

#[test]
fn where_the_disk_takes_nothing_the_door_stays_shut_and_status_says_so() {
    let mut world = world("7000,8000,9000\n7100,8100\n");
    // A full file system of its own, for the record alone.
    let full = world.lab.path().join("full");
    let (full, used) = (full.display(), world.spad.state().join("one-time"));
    let script = format!(
        "mkdir {full} && mount -t tmpfs -o size=4k none {full} && touch {full}/used {used} && head -c 4096 /dev/zero > {full}/fill && mount --bind {full}/used {used} && exec \"$@\"",
        used = used.display()
    );
    world.spad.start_behind(&["sh", "-c", &script, "full"]);
    world.spad.start();
    let engine = world.spad.process().id().to_string();
    world.lab.client.enter(|| {
        for port in FIRST {
            let to = SocketAddr::new(SERVERS[0], port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
    world.spad.wait_counted("state_unwritable", 1);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    let status = world.spad.status()["warnings"].to_string();
    assert!(status.contains("no sequence for one use opens"), "{status}");
    let fill = format!("{full}/fill");
    let _ = world
        .lab
        .server
        .must("nsenter", &["-t", &engine, "-m", "rm", &fill]);
    spa_tests::wait::soon("it is written once there is room", || {
        let said = world.spad.said();
        said.contains("are used is written down now").then_some(())
    });
    assert!(!opens(&world, SERVERS[0], &FIRST), "it was seen");
    assert!(opens(&world, SERVERS[0], &SECOND));
    let status = world.spad.status()["warnings"].to_string();
    assert!(!status.contains("for one use"), "{status}");
    // A later start knows both.
    let record = format!("{full}/used");
    let size = ["-t", &engine, "-m", "stat", "-c", "%s", &record];
    let size = world.lab.server.must("nsenter", &size);
    assert_eq!(size.trim(), "256");
}
