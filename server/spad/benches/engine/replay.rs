//! The replay cache by the number of used packets in it, ten of each client.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::Criterion;
use criterion::measurement::Measurement;
use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::BootTime;
use spad_replay::{Bounds, JournalRecord, ReplayCache, Seen, Sighting};

use crate::cpu_time::CpuTime;
use crate::fixture::{Random, SENDERS};

const PACKETS_PER_CLIENT: usize = 10;
/// Look-ups in a row before they repeat: more than any cache holds the entries of.
const SCATTERED: usize = 100_000;
const SIGHTING: Sighting = Sighting {
    source: IpAddr::V4(Ipv4Addr::LOCALHOST),
    boot: BootTime::from_micros(1),
};

#[derive(Clone, Copy)]
struct Packet {
    id: KeyId,
    nonce: [u8; 24],
    timestamp: Timestamp,
}

struct Filled {
    cache: ReplayCache,
    random: Random,
    ids: Vec<KeyId>,
    packets: Vec<Packet>,
    newest: u64,
    out: Vec<JournalRecord>,
}

pub(crate) fn measure(criterion: &mut Criterion<CpuTime>, entries: usize) {
    let mut filled = Filled::with(entries);
    let captured = |filled: &mut Filled, count| {
        let all = &filled.packets;
        let some = (0..count).map(|_| all[filled.random.below(all.len())]);
        some.collect::<Vec<_>>()
    };
    let some = captured(&mut filled, SENDERS);
    bench_lookup(criterion, "look-up, captured", &filled, &some, false);
    let all = captured(&mut filled, SCATTERED);
    bench_lookup(criterion, "look-up, any used", &filled, &all, false);
    let new: Vec<_> = (0..SCATTERED).map(|_| filled.packet()).collect();
    bench_lookup(criterion, "look-up, any new", &filled, &new, true);

    let id = format!("record, full, {entries} entries");
    criterion.bench_function(&id, |bencher| {
        bencher.iter_custom(|count| {
            let packets: Vec<_> = (0..count).map(|_| filled.packet()).collect();
            let start = CpuTime.start();
            packets.iter().for_each(|packet| filled.record(packet));
            CpuTime.end(start)
        });
        assert_eq!(filled.cache.len(), entries);
    });
}

fn bench_lookup(
    criterion: &mut Criterion<CpuTime>,
    name: &str,
    filled: &Filled,
    packets: &[Packet],
    are_new: bool,
) {
    let entries = filled.cache.len();
    let id = format!("{name}, {entries} entries");
    criterion.bench_function(&id, |bencher| {
        let mut next = packets.iter().cycle();
        bencher.iter(|| {
            let found = next.next().map(|packet| screen_one(&filled.cache, packet));
            assert_eq!(found, Some(are_new));
        });
    });
}

/// What is measured, a function of its own so that a profile finds it: is it new?
#[inline(never)]
fn screen_one(cache: &ReplayCache, packet: &Packet) -> bool {
    let Packet {
        id,
        nonce,
        timestamp,
    } = packet;
    match cache.screen(*id, nonce, *timestamp, SIGHTING) {
        Ok(()) => true,
        Err(seen) => {
            assert_ne!(seen, Seen::BelowFloor);
            false
        }
    }
}

impl Filled {
    fn with(entries: usize) -> Self {
        let bounds = Bounds {
            total: entries,
            ..Bounds::default()
        };
        let mut random = Random(2);
        let ids = (0..entries / PACKETS_PER_CLIENT).map(|_| KeyId::from_bytes(random.bytes()));
        let ids = ids.collect();
        let mut filled = Self {
            cache: ReplayCache::new(bounds),
            random,
            ids,
            packets: Vec::new(),
            newest: 1_000_000,
            out: Vec::new(),
        };
        for _ in 0..entries {
            let packet = filled.packet();
            filled.packets.push(packet);
            filled.record(&packet);
        }
        filled
    }

    /// A new one, of any client.
    fn packet(&mut self) -> Packet {
        self.newest += 1;
        Packet {
            id: self.ids[self.random.below(self.ids.len())],
            nonce: self.random.bytes(),
            timestamp: Timestamp::from_micros(self.newest),
        }
    }

    #[inline(never)]
    fn record(&mut self, packet: &Packet) {
        self.out.clear();
        let Packet {
            id,
            nonce,
            timestamp,
        } = *packet;
        let start = Timestamp::default();
        let recorded = self
            .cache
            .record(id, &nonce, timestamp, SIGHTING, start, &mut self.out);
        assert_eq!(recorded, Ok(()));
        black_box(&self.out);
    }
}

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}
