//! Sequences for one use: each opens once, whatever becomes of daemon and machine.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];
const FIRST: [u16; 3] = [7000, 8000, 9000];
const SECOND: [u16; 2] = [7100, 8100];

/// A door with this file, not started.
fn test_bed(lines: &str) -> TestBed {
    let bed = TestBed::stopped(&Settings::default());
    bed.append_config(
        "spad.toml",
        "[[knock]]\nname = \"side\"\none_time = \"side\"\nopen = [\"web\"]\n",
    );
    bed.write_sequences("side", lines);
    bed
}

/// Knocks, waits until all of it was heard, and looks.
#[track_caller]
fn opens(bed: &TestBed, server: IpAddr, ports: &[u16]) -> bool {
    let received = |bed: &TestBed| {
        let all = bed.spad.verdicts();
        let all = all.iter().filter(|(reason, _)| reason.starts_with("knock"));
        all.map(|(_, count)| count).sum::<u64>()
    };
    let before = received(bed);
    bed.lab.client.enter(|| {
        for port in ports {
            let to = SocketAddr::new(server, *port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
    spa_tests::wait::eventually("each knock is heard", || {
        (received(bed) >= before + ports.len() as u64).then_some(())
    });
    reach::tcp(&bed.lab.client, server, WEB) == Reachability::Open
}

fn sequences_left(bed: &TestBed) -> u64 {
    let status = bed.spad.status();
    status["sequences_left"]["side"].as_u64().expect("a number")
}

#[test]
fn each_sequence_opens_once_and_status_says_how_many_are_left() {
    for server in SERVERS {
        let mut bed = test_bed("# anna\n7000,8000,9000\n7100,8100\n");
        bed.spad.start();
        assert_eq!(sequences_left(&bed), 2);
        assert!(opens(&bed, server, &FIRST));
        spa_tests::wait::eventually("it closes", || {
            let now = reach::tcp(&bed.lab.client, server, WEB);
            (now != Reachability::Open).then_some(())
        });
        assert!(!opens(&bed, server, &FIRST));
        assert_eq!(sequences_left(&bed), 1);
        assert!(opens(&bed, server, &SECOND));
        bed.spad
            .wait_audited(&[("event", "grant"), ("door", "side")]);
        assert_eq!(sequences_left(&bed), 0);
        let output = bed.spad.output();
        assert!(
            output.contains("the last sequence of the door side"),
            "{output}"
        );
        let check = bed.spad.cli(&["check"]).ok().stderr;
        assert!(check.contains("the door `side` opens nothing"), "{check}");
        for secret in ["7000", "8100"] {
            assert!(!output.contains(secret), "{output}");
        }
    }
}

#[test]
fn a_used_one_time_sequence_opens_nothing_after_kill_minus_nine() {
    let mut bed = test_bed("7000,8000,9000\n7100,8100\n");
    bed.spad.start();
    assert!(opens(&bed, SERVERS[0], &FIRST));
    bed.spad.kill();
    bed.wait_closed(WEB);
    bed.spad.start();
    assert!(!opens(&bed, SERVERS[0], &FIRST));
    assert!(opens(&bed, SERVERS[0], &SECOND));
}

#[test]
fn a_used_one_time_sequence_opens_nothing_after_a_reboot_nor_under_another_door() {
    let mut bed = test_bed("7000,8000,9000\n7100,8100\n");
    bed.spad.start();
    assert!(opens(&bed, SERVERS[0], &FIRST));
    bed.spad.kill();
    bed.spad.fake_new_boot();
    let _ = bed.spad.cli(&["firewall", "remove"]).ok();
    bed.replace_in_config("spad.toml", "name = \"side\"", "name = \"back\"");
    bed.spad.start();
    assert!(!opens(&bed, SERVERS[0], &FIRST));
    assert!(opens(&bed, SERVERS[0], &SECOND));
}

#[test]
fn a_reload_takes_new_lines_and_tells_of_used_ones_behind_unused_ones() {
    let mut bed = test_bed("7000,8000,9000\n");
    bed.spad.start();
    assert!(opens(&bed, SERVERS[0], &FIRST));
    bed.wait_closed(WEB);
    bed.write_sequences("side", "7100,8100\n7000,8000,9000\n");
    let output = bed.spad.cli(&["reload"]).ok().stdout;
    assert!(output.contains("side:2:1"), "{output}");
    assert!(output.contains("is used already"), "{output}");
    assert!(!output.contains("7000"), "{output}");
    assert!(!opens(&bed, SERVERS[0], &FIRST));
    assert!(opens(&bed, SERVERS[0], &SECOND));
    // What is wrong changes nothing.
    bed.write_sequences("side", "7100,8100\n7100\n");
    let refused = bed.spad.cli(&["reload"]);
    assert!(!refused.success, "{refused:?}");
    assert!(refused.stderr.contains("side:2:1"), "{refused:?}");
}

#[test]
fn a_damaged_record_of_what_is_used_keeps_the_door_shut_and_says_so() {
    let mut bed = test_bed("7000,8000,9000\n7100,8100\n");
    bed.spad.start();
    assert!(opens(&bed, SERVERS[0], &FIRST));
    bed.spad.stop();
    bed.wait_closed(WEB);
    let file = bed.spad.state().join("one-time");
    let mut bytes = std::fs::read(&file).expect("the record");
    bytes[2] ^= 1;
    std::fs::write(&file, bytes).expect("the record");
    bed.spad.start();
    for ports in [&FIRST[..], &SECOND] {
        assert!(!opens(&bed, SERVERS[0], ports));
    }
    let status = bed.spad.status()["warnings"].to_string();
    for output in [status, bed.spad.output()] {
        assert!(output.contains("the record 1 is damaged"), "{output}");
    }
    // Packets go on.
    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn a_record_that_lost_what_is_used_keeps_the_door_shut_and_says_so() {
    let mut bed = test_bed("7000,8000,9000\n7100,8100\n");
    bed.spad.start();
    assert!(opens(&bed, SERVERS[0], &FIRST));
    bed.spad.stop();
    // What the journal knows of it is still known after it was written anew.
    bed.spad.start();
    bed.spad.stop();
    bed.wait_closed(WEB);
    let file = bed.spad.state().join("one-time");
    std::fs::write(&file, "").expect("the record of an older backup");
    bed.spad.start();
    for ports in [&FIRST[..], &SECOND] {
        assert!(!opens(&bed, SERVERS[0], ports));
    }
    let status = bed.spad.status()["warnings"].to_string();
    for output in [status, bed.spad.output()] {
        let lost = "does not hold every sequence that was used";
        assert!(output.contains(lost), "{output}");
    }
}

#[test]
fn where_the_disk_takes_nothing_the_door_stays_shut_and_status_says_so() {
    let mut bed = test_bed("7000,8000,9000\n7100,8100\n");
    // A full file system of its own, for the record alone.
    let full = bed.lab.path().join("full");
    let (full, used) = (full.display(), bed.spad.state().join("one-time"));
    let script = format!(
        "mkdir {full} && mount -t tmpfs -o size=4k none {full} && touch {full}/used {used} && head -c 4096 /dev/zero > {full}/fill && mount --bind {full}/used {used} && exec \"$@\"",
        used = used.display()
    );
    bed.spad.set_wrapper(&["sh", "-c", &script, "full"]);
    bed.spad.start();
    let engine = bed.spad.process().id().to_string();
    bed.lab.client.enter(|| {
        for port in FIRST {
            let to = SocketAddr::new(SERVERS[0], port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
    bed.spad.wait_verdict_count("state_unwritable", 1);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    let status = bed.spad.status()["warnings"].to_string();
    assert!(status.contains("no sequence for one use opens"), "{status}");
    let fill = format!("{full}/fill");
    let _ = bed
        .lab
        .server
        .run_ok("nsenter", &["-t", &engine, "-m", "rm", &fill]);
    spa_tests::wait::eventually("it is written once there is room", || {
        let output = bed.spad.output();
        output
            .contains("are used is written down now")
            .then_some(())
    });
    assert!(!opens(&bed, SERVERS[0], &FIRST), "it was seen");
    assert!(opens(&bed, SERVERS[0], &SECOND));
    let status = bed.spad.status()["warnings"].to_string();
    assert!(!status.contains("for one use"), "{status}");
    // A later start knows both.
    let record = format!("{full}/used");
    let size = ["-t", &engine, "-m", "stat", "-c", "%s", &record];
    let size = bed.lab.server.run_ok("nsenter", &size);
    assert_eq!(size.trim(), "256");
}
