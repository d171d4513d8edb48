//! An engine with so many clients, and what is captured on its doorstep.

use std::sync::Arc;
use std::time::Duration;

use spa_keys::{ServerSecret, SharedKey};
use spa_proto::{Randomness, Timestamp, seal};
use spad_capture::frame;
use spad_config::{ClientKey, Rate};
use spad_engine::clients::{ClientSecrets, Clients};
use spad_engine::{Disposition, Effect, Engine};
use spad_model::{BootTime, ChangeResult, Now, Reason};
use spad_replay::{Horizon, JournalRecord, ReplayCache};

use crate::craft;
use crate::world::{self, SERVER, START, TestClient, open_for};

/// Clients, spread over all, whose packets come.
pub(crate) const SENDERS: usize = 256;
/// Bytes of a packet without random length.
const LENGTH: usize = 160;

pub(crate) struct EngineFixture {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    /// What the last packets had done; the daemon empties it after each.
    pub(crate) effects: Vec<Effect>,
    peers: Vec<TestClient>,
    random: Random,
}

/// Whose packet.
pub(crate) enum Sender {
    Known(usize),
    Unknown,
}

pub(crate) struct Frame {
    ethertype: u16,
    bytes: Vec<u8>,
}

/// Numbers that look random and are the same in each run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
        bytes
    }
}

fn shared_key(number: usize) -> [u8; 32] {
    Random(number as u64).bytes()
}

impl EngineFixture {
    /// Shared keys: a hundred thousand pairs would take a while and, once computed,
    /// cost the same. All keys are warm, and each client has sent a packet before.
    pub(crate) fn with_clients(count: usize) -> Self {
        let mut config = world::config();
        config.grants.rate = Rate {
            count: 1_000_000,
            per: Duration::from_secs(1),
            burst: None,
        };
        let name = |number: usize| format!("client-{number:06}");
        let clients = (0..count)
            .map(|number| world::client(&name(number), ClientKey::Shared, &["ssh", "web"]));
        config.clients = clients.collect();
        let keys = (0..count).map(|number| {
            let key = SharedKey::from_bytes(shared_key(number));
            (name(number).parse().unwrap(), key)
        });
        let secrets = ClientSecrets {
            shared: keys.collect(),
            ..ClientSecrets::default()
        };
        let server = Arc::new(ServerSecret::from_bytes(SERVER));
        let public = server.public();
        let mut clients = Clients::build(Arc::new(config), vec![server], secrets, [7; 8]).unwrap();
        while clients.precompute_keys(1000) {}

        let mut random = Random(1);
        let mut used = ReplayCache::default();
        for number in 0..count {
            used.restore(&JournalRecord::Nonce {
                id: SharedKey::from_bytes(shared_key(number)).key_id(&public),
                nonce: random.bytes(),
                timestamp: Timestamp::from_micros(START - 1_000_000),
            });
        }
        let now = Now {
            wall: Timestamp::from_micros(START),
            boot: BootTime::from_micros(1_000_000_000),
        };
        let skew = clients.config().packets.max_skew;
        let mut horizon = Horizon::at_start(Timestamp::default());
        horizon.commit(now.wall.saturating_add(Duration::from_secs(1_000_000)));
        horizon.mark_done(now, skew);
        let senders = SENDERS.min(count);
        let peers =
            (0..senders).map(|place| TestClient::shared(shared_key(place * count / senders)));
        Self {
            engine: Engine::new(clients, used, horizon),
            now,
            effects: Vec::new(),
            peers: peers.collect(),
            random,
        }
    }

    /// How many different ones [`Sender::Known`] has.
    pub(crate) fn senders(&self) -> usize {
        self.peers.len()
    }

    /// Of the length that genuine packets have.
    pub(crate) fn noise(&mut self) -> Vec<u8> {
        self.random.bytes::<LENGTH>().to_vec()
    }

    /// Opens tcp/22; from each sender in turn, or with a key that nobody knows.
    pub(crate) fn sealed(&mut self, from: Sender, at: Timestamp) -> Vec<u8> {
        let stranger;
        let peer = match from {
            Sender::Known(number) => &self.peers[number % self.peers.len()],
            Sender::Unknown => {
                stranger = TestClient::shared(self.random.bytes());
                &stranger
            }
        };
        let randomness = Randomness {
            nonce: self.random.bytes(),
            length: 0,
        };
        let request = open_for(&["tcp/22"], 0);
        let packet = seal(&peer.head, peer.id, &peer.keys, &request, at, &randomness).unwrap();
        assert_eq!(packet.len(), LENGTH);
        packet
    }

    /// From the frame's bytes to the verdict: what is measured. A function of its
    /// own, so that a profile finds it.
    #[inline(never)]
    pub(crate) fn process(&mut self, frame: &Frame) -> Disposition {
        let datagram = frame::parse(frame.ethertype, 2, &frame.bytes).unwrap();
        self.engine
            .on_datagram(&datagram, self.now, &mut self.effects)
    }

    /// The kernel takes whatever was asked of it; nobody else is told.
    pub(crate) fn execute(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Firewall(change) = effect {
                let answer = ChangeResult {
                    id: change.id,
                    result: Ok(()),
                };
                let verdict = self
                    .engine
                    .on_firewall_answer(answer, self.now, &mut self.effects);
                assert_eq!(verdict.unwrap().reason, Reason::Opened);
            }
        }
        self.effects.clear();
    }
}

impl Frame {
    pub(crate) fn new(source: &str, payload: &[u8]) -> Self {
        let destination = "203.0.113.1:62201".parse().unwrap();
        let (ethertype, bytes) = craft::packet(source.parse().unwrap(), destination, &[], payload);
        Self { ethertype, bytes }
    }
}
