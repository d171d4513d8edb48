//! The processes of a real server are confined: what they hold and what they may not do.

use std::collections::BTreeSet;
use std::path::Path;

use spa_tests::binaries;
use spa_tests::process::run;
use spa_tests::test_bed::TestBed;

/// The kernel's numbers of the sockets that a process has open.
fn sockets(process: u32) -> BTreeSet<String> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors");
    let links = open.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
    let names = links.map(|link| link.display().to_string());
    names
        .filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// The sockets of a kind in the network of this process: a word of each line.
fn descriptors_of_kind(process: u32, kind: &str, word: usize) -> BTreeSet<String> {
    let file = format!("/proc/{process}/net/{kind}");
    let Ok(text) = std::fs::read_to_string(Path::new(&file)) else {
        return BTreeSet::new();
    };
    let words = text.lines().skip(1);
    words
        .filter_map(|line| line.split_whitespace().nth(word).map(str::to_owned))
        .collect()
}

/// Those of its threads that may make every call.
fn unfiltered(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let statuses = tasks.map(|task| {
        let file = task.expect("a thread").path().join("status");
        std::fs::read_to_string(file).expect("its status")
    });
    statuses
        .filter(|status| !status.contains("\nSeccomp:\t2\n"))
        .collect()
}

#[test]
fn the_engine_holds_no_socket_that_leads_anywhere_but_its_packet_socket() {
    let mut bed = TestBed::new();
    let engine = bed.spad.process().id();
    let held = sockets(engine);
    let packet = descriptors_of_kind(engine, "packet", 8);
    assert_eq!(held.intersection(&packet).count(), 1, "{held:?}");
    let local = descriptors_of_kind(engine, "unix", 6);
    let others: BTreeSet<_> = held
        .iter()
        .filter(|socket| !packet.contains(*socket) && !local.contains(*socket))
        .collect();
    assert!(others.is_empty(), "{others:?} of {held:?}");
    for (kind, word) in [
        ("udp", 9),
        ("udp6", 9),
        ("tcp", 9),
        ("raw", 9),
        ("netlink", 9),
    ] {
        let found = descriptors_of_kind(engine, kind, word);
        assert_eq!(held.intersection(&found).next(), None, "{kind}");
    }
}

#[test]
fn every_process_of_a_server_has_calls_that_it_may_not_make() {
    let bed = TestBed::new();
    let binary = binaries::spad();
    let mut own = 0;
    for process in bed.lab.server.processes() {
        let exe = std::fs::read_link(format!("/proc/{process}/exe"));
        if exe.is_ok_and(|exe| exe == binary) {
            own += 1;
            let free = unfiltered(process.try_into().expect("a number"));
            assert!(free.is_empty(), "{free:#?}");
        }
    }
    assert_eq!(own, 2, "engine and firewall writer");
    // With its filter the writer still restores the table by `nft`.
    let flush = [
        "netns",
        "exec",
        bed.lab.server.name(),
        "nft",
        "flush",
        "ruleset",
    ];
    assert!(run(std::process::Command::new("ip").args(flush)).success);
    bed.spad.wait_audited(&[("event", "firewall_restored")]);
}

#[test]
fn an_audit_line_names_the_interface_that_a_packet_came_by() {
    let bed = TestBed::new();
    bed.open(&["tcp/8080"]);
    let line = bed.spad.wait_audited(&[("event", "grant")]);
    let name = line.get("iface").and_then(serde_json::Value::as_str);
    let name = name.expect("an interface");
    let there = bed
        .lab
        .server
        .command("ip")
        .args(["link", "show", name])
        .status();
    assert!(there.expect("ip runs").success(), "{line}");
}
