//! `spad explain` judges recorded packets as the daemon did, and changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use spa_tests::attacker::{copy_head, random_packet};
use spa_tests::identity::Identity;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::tap::Tap;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// A pcap file of these Ethernet frames, recorded now.
fn record(directory: &Path, frames: &[Vec<u8>]) -> PathBuf {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    for number in [0x0004_0002, 0, 0, 65_535, 1_u32] {
        bytes.extend(number.to_le_bytes());
    }
    let now = wait::wall().as_micros();
    for frame in frames {
        let length = u64::try_from(frame.len()).expect("a length");
        for number in [now / 1_000_000, now % 1_000_000, length, length] {
            bytes.extend(u32::try_from(number).expect("32 bits").to_le_bytes());
        }
        bytes.extend(frame);
    }
    let file = directory.join("knocks.pcap");
    std::fs::write(&file, bytes).expect("the recording");
    file
}

/// What `spad explain` says, one object a packet.
fn explain(bed: &TestBed, file: &Path, more: &[&str]) -> Vec<Value> {
    let file = file.display().to_string();
    let output = bed
        .spad
        .cli(&[&["explain", &file, "--json"], more].concat())
        .ok();
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

fn reasons(objects: &[Value]) -> Vec<&str> {
    let reason = |object: &'_ Value| object.get("reason").and_then(Value::as_str).map(str::len);
    assert!(objects.iter().all(|object| reason(object).is_some()));
    objects
        .iter()
        .filter_map(|object| object.get("reason")?.as_str())
        .collect()
}

/// Every file of the state, by name.
fn state(bed: &TestBed) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(bed.spad.state()).expect("the state");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).expect("its bytes")))
        .collect()
}

/// A world in which one packet of each kind was sent and recorded; they ended in `ends`.
fn recorded() -> (TestBed, PathBuf, Vec<&'static str>) {
    let mut bed = TestBed::with(&Settings::ttl("30s"));
    let tap = Tap::start(&bed.lab.server);
    let genuine = bed.laptop.open(&["tcp/8080"]);
    let refused = bed.laptop.open(&["tcp/443"]);
    let unknown = Identity::new(&bed.server_public).open(&["tcp/8080"]);
    let sent = [
        (genuine.clone(), "opened"),
        (random_packet(200), "head_tag"),
        (copy_head(&bed.laptop.open(&["tcp/8080"])), "hmac"),
        (unknown, "unknown_key"),
        (refused, "service_not_allowed"),
    ];
    let mut ends = Vec::new();
    for (packet, reason) in &sent {
        bed.send_counted(packet, reason);
        ends.push(*reason);
    }
    // Not by the recording's clock: the frames are all of one moment there.
    wait::until_after(wait::now(), Duration::from_millis(1100));
    bed.send_counted(&genuine, "replay");
    ends.push("duplicate");
    let frames = tap.frames();
    let file = record(bed.lab.path(), &frames);
    drop(tap);
    bed.spad.stop();
    (bed, file, ends)
}

#[test]
fn a_recording_is_judged_as_the_daemon_did_and_nothing_is_changed() {
    let (mut bed, file, ends) = recorded();
    let before = state(&bed);
    let audited = bed.spad.audit().len();
    let as_new = explain(&bed, &file, &["--as-new"]);
    assert_eq!(reasons(&as_new), ends);

    let opened = as_new.first().expect("the first");
    let field = |name: &str| opened.get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!((field("client"), field("carrier")), ("laptop", "udp"));
    assert!(field("destination").ends_with(":62201"), "{opened}");
    let element = opened.pointer("/elements/0").expect("an element");
    assert_eq!(
        element.get("service").and_then(Value::as_str),
        Some("tcp/8080")
    );
    assert_eq!(element.get("ttl_s").and_then(Value::as_u64), Some(30));
    assert!(opened.get("skew_ms").is_some_and(Value::is_i64), "{opened}");
    assert!(
        as_new
            .get(1)
            .is_some_and(|forged| forged.get("client") == Some(&Value::Null))
    );

    // As it is: used up. And what it would have been.
    let used = explain(&bed, &file, &[]);
    let first = used.first().expect("the first");
    assert_eq!(first.get("reason").and_then(Value::as_str), Some("replay"));
    let without = first.pointer("/as_new/reason").and_then(Value::as_str);
    assert_eq!(without, Some("opened"));

    assert!(state(&bed) == before, "the state was changed");
    assert_eq!(bed.spad.audit().len(), audited);
    bed.spad.start();
    let fresh = bed.laptop.open(&["tcp/8080"]);
    bed.send_counted(&fresh, "opened");
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn people_read_each_packets_end_and_no_secret() {
    let (bed, file, _) = recorded();
    let file = file.display().to_string();
    let output = bed.spad.cli(&["explain", &file, "--as-new"]).ok();
    for part in [
        "would end as opened: The kernel lets the sender in.",
        "client laptop, its clock ",
        "tcp/8080 for 192.0.2.2, 30 s",
        "head_tag: The head's tag is wrong",
        "→ 192.0.2.1:62201 udp, ",
    ] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
    assert!(
        output.stderr.contains("nothing was changed"),
        "{}",
        output.stderr
    );
    let secret = std::fs::read_to_string(bed.spad.state().join("server.key"));
    let secret = secret.expect("the server's key");
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(secret.trim()) && !text.contains("spad-secret"));
    }
    // Each frame that is none of ours, where that is asked for.
    let all = bed.spad.cli(&["explain", &file, "--as-new", "--all"]).ok();
    assert!(all.stdout.lines().count() >= output.stdout.lines().count());
}

#[test]
fn what_is_no_recording_or_may_not_be_read_is_said_with_place_and_mend() {
    let (bed, file, _) = recorded();
    let bad = bed.lab.path().join("bad.pcap");
    let run = |file: &Path| bed.spad.cli(&["explain", &file.display().to_string()]);
    std::fs::write(&bad, b"this is no recording at all, whatever its name says").expect("a file");
    let output = run(&bad);
    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr
            .contains("bad.pcap: at byte 0: this is neither"),
        "{}",
        output.stderr
    );
    let mut cut = std::fs::read(&file).expect("the recording");
    cut.pop();
    std::fs::write(&bad, cut).expect("a file");
    let output = run(&bad);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("ends within a packet"),
        "{}",
        output.stderr
    );
    assert!(
        output.stdout.starts_with('#'),
        "what was read before is told: {}",
        output.stdout
    );
    let output = run(&bed.lab.path().join("missing.pcap"));
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("missing.pcap"), "{}", output.stderr);

    let mut nobody = bed.lab.server.command("setpriv");
    nobody.args([
        "--reuid",
        "65533",
        "--regid",
        "65533",
        "--clear-groups",
        "--",
    ]);
    nobody.arg(spa_tests::binaries::spad());
    bed.spad
        .add_options(&mut nobody, &["explain", &file.display().to_string()]);
    let output = spa_tests::process::run(&mut nobody);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("run this as root"),
        "{}",
        output.stderr
    );
}

#[test]
fn knocks_are_judged_by_door_and_stage_and_none_is_used_up_by_that() {
    let mut bed = TestBed::stopped(&Settings::default());
    let doors = "[[knock]]\nname = \"front\"\nsequence = \"7000,8000,9000\"\nopen = [\"web\"]\n[[knock]]\nname = \"side\"\none_time = \"side\"\nopen = [\"ssh\"]\n";
    bed.append_config("spad.toml", doors);
    bed.write_sequences("side", "7100,8100\n7200,8200\n");
    bed.spad.start();
    let tap = Tap::start(&bed.lab.server);
    let ports = [7000, 8000, 1, 7000, 8000, 9000, 7100, 8100, 7100, 8100];
    bed.lab.client.enter(|| {
        for port in ports {
            let to = (std::net::IpAddr::V4(spa_tests::lab::SERVER4), port).into();
            let _ = std::net::TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
    bed.spad.wait_verdict_count("knock_opened", 2);
    bed.spad.wait_verdict_count("knock", 8);
    let file = record(bed.lab.path(), &tap.frames());
    drop(tap);
    bed.spad.stop();
    let before = state(&bed);
    let told = |object: &Value, door: &str| {
        let all = object.get("doors").and_then(Value::as_array);
        let all = all.into_iter().flatten();
        let of = all.filter(|one| one.get("door").and_then(Value::as_str) == Some(door));
        let words: Vec<&str> = of
            .filter_map(|one| one.get("knock").and_then(Value::as_str))
            .collect();
        words.join("; ")
    };
    let as_new = explain(&bed, &file, &["--as-new"]);
    let front = [
        "the first knock",
        "knock 2 of 3",
        "an attempt is over: a wrong knock",
        "the first knock",
        "knock 2 of 3",
        "the last knock",
    ];
    for (object, words) in as_new.iter().zip(front) {
        assert_eq!(told(object, "front"), words, "{object}");
    }
    let opened = as_new.get(5).expect("the last knock");
    assert_eq!(reasons(std::slice::from_ref(opened)), ["knock_opened"]);
    let service = opened.pointer("/elements/0/service");
    assert_eq!(service.and_then(Value::as_str), Some("tcp/8080"));
    let used = as_new.get(7).expect("the last knock at the side");
    assert_eq!(
        told(used, "side"),
        "the last knock, and its sequence is used with it"
    );
    assert_eq!(
        reasons(&as_new).len(),
        8,
        "the second time it is no knock of a door"
    );

    // As it is: used, and the next one is due.
    let now = explain(&bed, &file, &[]);
    let opened = reasons(&now)
        .iter()
        .filter(|one| **one == "knock_opened")
        .count();
    assert_eq!(opened, 1, "the front door alone: {now:?}");
    assert!(state(&bed) == before, "the state was changed");
    let file = file.display().to_string();
    let output = bed.spad.cli(&["explain", &file, "--as-new"]).ok().stdout;
    for part in [
        "a knock\n    would end as knock_opened",
        "door front: knock 2 of 3",
        "tcp/8080 for 192.0.2.2, 2 s",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    // A door without a sequence left hears nothing, and as new it does: no word of that where
    // neither makes anything of the knock.
    bed.write_sequences("side", "7100,8100\n");
    for object in explain(&bed, std::path::Path::new(&file), &[])
        .iter()
        .take(6)
    {
        assert_eq!(object.get("as_new"), Some(&Value::Null), "{object}");
        assert_eq!(told(object, "side"), "", "{object}");
    }
    let all = bed.spad.cli(&["explain", &file, "--all"]).ok().stdout;
    assert!(all.contains("part of no attempt, and begins none"), "{all}");
}
