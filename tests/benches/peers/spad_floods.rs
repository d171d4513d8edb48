//! spad as the measured server: what floods it; packets are sealed before the clock starts.

use std::net::UdpSocket;
use std::time::Duration;

use spa_proto::Timestamp;
use spa_tests::attacker;
use spa_tests::identity::open;
use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::settings::SPA_PORT;
use spa_tests::wait;

use crate::flood::{BATCH, Flood};
use crate::measure::Server;
use crate::spad::Spad;

/// Different packets in a flood.
const PACKETS: usize = BATCH * 32;

impl Spad {
    /// One client that knocks, and others.
    pub(crate) fn start_with(lab: &Lab, clients: usize) -> Self {
        Self::start_configured(lab, clients, None)
    }

    /// One client that knocks by packets, beside a strict door with this sequence.
    pub(crate) fn start_with_door(lab: &Lab, sequence: Option<&str>) -> Self {
        Self::start_configured(lab, 1, sequence)
    }

    /// Frames that the ring had no room for, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.daemon.status()["capture_dropped"]
            .as_u64()
            .unwrap_or(0)
    }

    fn build_flood(payloads: Vec<Vec<u8>>) -> Flood {
        Flood {
            ports: vec![SPA_PORT],
            payloads,
            rate: None,
        }
    }

    /// Random bytes of genuine lengths.
    pub(crate) fn forged() -> Flood {
        Self::build_flood(
            (0..PACKETS)
                .map(|one| attacker::random_packet(160 + one % 256))
                .collect(),
        )
    }

    /// Genuine packets that opened the port before.
    pub(crate) fn replayed(&self, lab: &Lab) -> Flood {
        let payloads: Vec<_> = (0..PACKETS).map(|_| self.packet()).collect();
        lab.client.enter(|| {
            let socket = UdpSocket::bind((CLIENT4, 0)).expect("a socket");
            for payload in &payloads {
                socket
                    .send_to(payload, (SERVER4, SPA_PORT))
                    .expect("a way to the server");
                // Slowly, that none is lost.
                wait::until_after(wait::now(), Duration::from_micros(500));
            }
        });
        self.daemon.wait_verdict_count("opened", PACKETS as u64);
        Self::build_flood(payloads)
    }

    /// Genuine packets of two minutes ago.
    pub(crate) fn expired(&self) -> Flood {
        let then = wait::wall().as_micros().saturating_sub(120_000_000);
        let request = open(&["udp/9999"]);
        let packet = |one: usize| {
            let when = Timestamp::from_micros(then.saturating_add(one as u64));
            self.identity.seal_at(&request, when)
        };
        Self::build_flood((0..PACKETS).map(packet).collect())
    }

    /// The heads of used packets before other bodies.
    pub(crate) fn copied_heads(&self, lab: &Lab) -> Flood {
        let replayed = self.replayed(lab);
        let copy = |packet: &Vec<u8>| attacker::copy_head(packet);
        Self::build_flood(replayed.payloads.iter().map(copy).collect())
    }

    /// The heads of packets that never came before other bodies: each is judged by its HMAC.
    pub(crate) fn delayed_heads(&self) -> Flood {
        Self::build_flood(
            (0..PACKETS)
                .map(|_| attacker::copy_head(&self.packet()))
                .collect(),
        )
    }

    /// Random bytes to ports where nothing is.
    pub(crate) fn unrelated() -> Flood {
        Flood {
            ports: (0..64).map(|one| 20_000 + one * 511).collect(),
            ..Self::forged()
        }
    }
}

impl Server for Spad {
    fn prepare(&mut self, _: usize, _: &UdpSocket) -> (u16, Vec<u8>) {
        (SPA_PORT, self.packet())
    }
}
