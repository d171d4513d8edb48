//! spad, in guard mode, one client; its packets are sealed before the clock starts.

use std::net::UdpSocket;
use std::time::Duration;

use spa_proto::Timestamp;
use spa_tests::attacker;
use spa_tests::identity::{Identity, open};
use spa_tests::lab::{CLIENT4, Lab, SERVER4};
use spa_tests::settings::{KNOCK, Settings};
use spa_tests::spad::Spad as Daemon;
use spa_tests::wait;

use crate::flood::{BATCH, Flood};
use crate::knocking::Server;
use crate::pin::{SERVER, pin};

/// Different packets in a flood.
const PACKETS: usize = BATCH * 32;

/// A server that hides the measured port, and its client.
pub(crate) struct Spad {
    pub(crate) daemon: Daemon,
    identity: Identity,
}

impl Spad {
    pub(crate) fn start(lab: &Lab) -> Self {
        Self::start_with(lab, 1)
    }

    /// One client that knocks, and others.
    pub(crate) fn start_with(lab: &Lab, clients: usize) -> Self {
        Self::start_beside(lab, clients, None)
    }

    /// One client that knocks by packets, beside a strict door with this sequence.
    pub(crate) fn start_with_door(lab: &Lab, sequence: Option<&str>) -> Self {
        Self::start_beside(lab, 1, sequence)
    }

    fn start_beside(lab: &Lab, clients: usize, sequence: Option<&str>) -> Self {
        let settings = Settings {
            ttl: "60s",
            max_per_client: 1000,
            rate: "1000/s",
            answer: "drop",
            trial: "0s",
            hide: &["chat"],
            ..Settings::default()
        };
        let mut daemon = Daemon::init(&lab.server, lab.path(), &settings);
        let server = daemon.public();
        let identity = Identity::new(&server);
        let key = identity.public().to_string();
        let _ = daemon
            .cli(&["client", "add", "laptop", "--key", &key, "--allow", "chat"])
            .ok();
        if let Some(sequence) = sequence {
            let file = daemon.config().join("spad.toml");
            let text = std::fs::read_to_string(&file).expect("spad.toml");
            let door = format!(
                "[[knock]]\nname = \"side\"\nsequence = \"{sequence}\"\nopen = [\"chat\"]\n"
            );
            std::fs::write(&file, format!("{text}\n{door}")).expect("spad.toml");
        }
        for other in 1..clients {
            let public = *Identity::new(&server).public();
            let text = format!("key = \"{public}\"\nallow = [\"chat\"]\n");
            let file = daemon
                .config()
                .join(format!("clients.d/other-{other}.toml"));
            std::fs::write(file, text).expect("a client's file");
        }
        // On a thread of its own, so that only the server's processes stay there.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(SERVER);
                daemon.start();
            });
        });
        Self { daemon, identity }
    }

    /// Frames that the ring had no room for, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.daemon.status()["capture_dropped"]
            .as_u64()
            .unwrap_or(0)
    }

    fn packet(&self) -> Vec<u8> {
        self.identity.seal(&open(&["udp/9999"]))
    }

    fn flood_of(payloads: Vec<Vec<u8>>) -> Flood {
        Flood {
            ports: vec![KNOCK],
            payloads,
            rate: None,
        }
    }

    /// Random bytes of genuine lengths.
    pub(crate) fn forged() -> Flood {
        Self::flood_of(
            (0..PACKETS)
                .map(|one| attacker::forge(160 + one % 256))
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
                    .send_to(payload, (SERVER4, KNOCK))
                    .expect("a way to the server");
                // Slowly, that none is lost.
                wait::until_after(wait::now(), Duration::from_micros(500));
            }
        });
        self.daemon.wait_counted("opened", PACKETS as u64);
        Self::flood_of(payloads)
    }

    /// Genuine packets of two minutes ago.
    pub(crate) fn expired(&self) -> Flood {
        let then = wait::wall().as_micros().saturating_sub(120_000_000);
        let request = open(&["udp/9999"]);
        let packet = |one: usize| {
            let when = Timestamp::from_micros(then.saturating_add(one as u64));
            self.identity.seal_at(&request, when)
        };
        Self::flood_of((0..PACKETS).map(packet).collect())
    }

    /// The heads of used packets before other bodies.
    pub(crate) fn copied_heads(&self, lab: &Lab) -> Flood {
        let replayed = self.replayed(lab);
        let copy = |packet: &Vec<u8>| attacker::copy_head(packet);
        Self::flood_of(replayed.payloads.iter().map(copy).collect())
    }

    /// The heads of packets that never came before other bodies: each is judged by its HMAC.
    pub(crate) fn held_back_heads(&self) -> Flood {
        Self::flood_of(
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
    fn knock(&mut self, _: usize, _: &UdpSocket) -> (u16, Vec<u8>) {
        (KNOCK, self.packet())
    }
}
