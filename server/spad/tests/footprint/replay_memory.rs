//! The size of a full cache. Alone in its process, so that the process's memory
//! is the cache's.

use std::net::{IpAddr, Ipv4Addr};

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::BootTime;
use spad_replay::{ReplayCache, Sighting};

const MIB: usize = 1024 * 1024;

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

fn fill(clients: u64, each: u64) -> usize {
    let before = resident();
    let mut cache = ReplayCache::default();
    let mut out = Vec::new();
    let sighting = Sighting {
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        boot: BootTime::from_micros(1),
    };
    for round in 0..each {
        for client in 0..clients {
            let mut nonce = [0; 24];
            nonce[..8].copy_from_slice(&round.to_ne_bytes());
            let time = Timestamp::from_micros(1_000_000 + round * clients + client);
            let id = KeyId::from_bytes(client.to_ne_bytes());
            out.clear();
            cache
                .record(id, &nonce, time, sighting, Timestamp::default(), &mut out)
                .unwrap();
        }
    }
    assert_eq!(u64::try_from(cache.len()).unwrap(), clients * each);
    let used = resident() - before;
    println!(
        "{clients} clients with {each} entries each: {} MiB",
        used / MIB
    );
    used
}

#[test]
fn a_million_entries_take_less_than_a_hundred_mebibytes() {
    assert!(fill(100_000, 10) < 100 * MIB);
}
