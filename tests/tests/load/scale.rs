//! Many at once: what a thousand clients ask for in one second is open, and listed.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use spa_tests::identity::{Identity, open_for};
use spa_tests::lab::SERVER4;
use spa_tests::process::memory;
use spa_tests::settings::{SPA_PORT, Settings};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Clients, each with a key and an address of its own.
const CLIENTS: u32 = 1000;
/// The most that may be left of what a reload needed, in KiB; reading needs twice as much.
const LEFT: u64 = 512;
/// Between two knocks: a thousand in one second.
const PAUSE: Duration = Duration::from_millis(1);

/// An address for each client, on the client's machine.
fn address(client: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a07_0000 + client)
}

/// Writes their files at once: a thousand `spad client add` would read a thousand each.
fn enrol(bed: &TestBed) -> Vec<Identity> {
    let enrolled = (0..CLIENTS).map(|number| {
        let identity = Identity::new(&bed.server_public);
        let text = format!("key = \"{}\"\nallow = [\"web\"]\n", identity.public());
        let file = format!("clients.d/client-{number}.toml");
        std::fs::write(bed.spad.config().join(file), text).expect("a client's file");
        identity
    });
    enrolled.collect()
}

/// The grants that the kernel holds in the set of IPv4 addresses.
fn in_kernel(bed: &TestBed) -> usize {
    let set = bed
        .lab
        .server
        .run_ok("nft", &["-j", "list", "set", "inet", "spad", "grants4"]);
    let set: Value = serde_json::from_str(&set).expect("a set");
    let set = set["nftables"][1]["set"]["elem"].as_array();
    set.map_or(0, Vec::len)
}

#[test]
fn a_thousand_knocks_of_a_thousand_clients_in_a_second_all_open() {
    let mut bed = TestBed::stopped(&Settings {
        ttl: "60s",
        ..Settings::default()
    });
    let identities = enrol(&bed);
    bed.spad.start();
    let local = ["route", "add", "local", "10.7.0.0/16", "dev", "lo"];
    let _ = bed.lab.client.run_ok("ip", &local);
    let request = open_for(&["tcp/8080"], 60);
    let packets: Vec<_> = (0..CLIENTS)
        .zip(&identities)
        .map(|(number, identity)| (address(number), identity.seal(&request)))
        .collect();
    bed.lab.client.enter(|| {
        for (source, packet) in &packets {
            let sent = wait::now();
            let socket = UdpSocket::bind((*source, 0)).expect("a socket");
            let _ = socket
                .send_to(packet, (SERVER4, SPA_PORT))
                .expect("a way to the server");
            wait::until_after(sent, PAUSE);
        }
    });
    bed.spad.wait_verdict_count("opened", u64::from(CLIENTS));

    let status = bed.spad.status();
    assert_eq!(status["capture_dropped"], 0);
    assert_eq!(status["audit_dropped"], 0);
    assert_eq!(status["open_grants"], CLIENTS);
    assert_eq!(in_kernel(&bed), CLIENTS as usize);
    // Each with its client and its address, in the order of addresses.
    let grants = bed.spad.cli(&["grants", "--json"]).ok().json();
    let grants = grants.as_array().expect("a list");
    assert_eq!(grants.len(), CLIENTS as usize);
    for (number, grant) in (0..CLIENTS).zip(grants) {
        assert_eq!(grant["client"], format!("client-{number}"));
        assert_eq!(grant["address"], address(number).to_string());
    }

    // Another life takes over all of them.
    bed.spad.stop();
    bed.spad.start();
    assert_eq!(bed.spad.status()["open_grants"], CLIENTS);
    let adopted = bed.spad.cli(&["grants", "--json"]).ok().json();
    let named = |list: &Value| -> Vec<(Value, Value)> {
        let rows = list.as_array().expect("a list").iter();
        rows.map(|row| (row["client"].clone(), row["address"].clone()))
            .collect()
    };
    assert_eq!(named(&adopted), named(&Value::Array(grants.clone())));
}

/// What the engine has of memory that is no file's, in KiB.
fn private_memory(bed: &mut TestBed) -> u64 {
    memory(bed.spad.process().id(), "RssAnon")
}

#[test]
fn a_reload_leaves_no_memory_behind() {
    let mut bed = TestBed::new();
    let before = private_memory(&mut bed);
    for _ in 0..2 {
        bed.spad.reload();
    }
    let mut output = 0;
    // It is given back beside the work.
    wait::eventually("what a reload needed is given back", || {
        let after = private_memory(&mut bed);
        if after != std::mem::replace(&mut output, after) {
            println!("{before} KiB before, {after} KiB after");
        }
        (after < before + LEFT).then_some(())
    });
}
