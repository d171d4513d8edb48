//! One server, a few clients, an attacker who records every packet, and time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::{BootTime, Now, OnStateError};

use super::sim_disk::{Faults, SimDisk};
use crate::cache::{Bounds, Sighting};
use crate::disk::FileName;
use crate::screen::{ScreenContext, check_head};
use crate::startup::{OpenedState, create_on, start};

/// Seconds since the epoch at which every schedule begins.
const BEGIN: i64 = 1_800_000_000;

/// The client whose clock is always right.
pub(super) const HONEST_CLIENT: u8 = 0;

/// One step of a schedule.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A client sends; the attacker may delay the packet.
    Send {
        client: u8,
        clock: Clock,
        delayed: bool,
    },
    /// The attacker replays the packet that was sent this many packets ago.
    Replay {
        back: u8,
    },
    /// The attacker replays all recorded packets.
    ReplayAll,
    Wait {
        tenths: u16,
    },
    Kill,
    CleanStop,
    PowerCut {
        off: u8,
        seed: u64,
    },
    /// The process, or the machine, dies after this many calls to the disk.
    DieAfter {
        calls: u8,
        power: Option<u64>,
    },
    /// The server's clock becomes wrong by this many seconds, or right.
    SetClock {
        wrong_by: i32,
    },
    Skew {
        seconds: u8,
    },
    Fault(Faults),
    FlipBit {
        file: FileName,
        at: u32,
    },
    /// The process exits, and one block of a file is lost or replaced by another.
    Damage {
        file: FileName,
        cleanly: bool,
        from: Option<u32>,
        to: u32,
    },
    Sweep,
}

/// The error of a client's clock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    Right,
    Off(i8),
    /// As wrong as the server's clock, plus this.
    LikeServer(i8),
    Future(u16),
}

struct Packet {
    client: u8,
    timestamp: Timestamp,
    acted: u32,
    /// Whether it may act again, because the machine lost power while its disk failed.
    excused: bool,
}

pub(super) struct Simulation {
    disk: SimDisk,
    server: Option<OpenedState<SimDisk>>,
    policy: OnStateError,
    bounds: Bounds,
    skew: Duration,
    largest_skew: Duration,
    /// Microseconds since [`BEGIN`].
    time: i64,
    booted: i64,
    boot: u8,
    wrong_by: i64,
    clock_was_wrong: bool,
    disk_failed: bool,
    ever_in_memory: bool,
    crashed: i64,
    started: i64,
    power: Option<u64>,
    packets: Vec<Packet>,
    /// How often an honest packet had to pass, and did.
    pub(super) honest_passed: u64,
}

impl Simulation {
    pub(super) fn new(policy: OnStateError, bounds: Bounds) -> Self {
        let disk = SimDisk::default();
        let mut simulation = Self {
            disk,
            server: None,
            policy,
            bounds,
            skew: Duration::from_secs(60),
            largest_skew: Duration::from_secs(60),
            time: 0,
            booted: -1_000_000,
            boot: 1,
            wrong_by: 0,
            clock_was_wrong: false,
            disk_failed: false,
            ever_in_memory: false,
            crashed: -1_000_000_000_000,
            started: -1_000_000_000,
            power: None,
            packets: Vec::new(),
            honest_passed: 0,
        };
        let floor = Timestamp::default();
        create_on(
            simulation.disk.clone(),
            None,
            [1; 16],
            simulation.now(),
            simulation.skew,
            floor,
        )
        .unwrap();
        simulation.ensure_running();
        simulation
    }

    /// Number of packets that acted.
    pub(super) fn acted(&self) -> u64 {
        self.packets
            .iter()
            .map(|packet| u64::from(packet.acted))
            .sum()
    }

    fn now(&self) -> Now {
        Now {
            wall: stamp(self.time + self.wrong_by),
            boot: BootTime::from_micros(u64::try_from(self.time - self.booted).unwrap()),
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Send {
                client,
                clock,
                delayed: held,
            } => self.send(*client, *clock, *held),
            Step::Replay { back } => {
                if let Some(index) = self.packets.len().checked_sub(1 + usize::from(*back)) {
                    self.deliver(index);
                }
            }
            Step::ReplayAll => (0..self.packets.len()).for_each(|index| {
                self.deliver(index);
            }),
            Step::Wait { tenths } => self.wait(i64::from(*tenths) * 100_000),
            Step::Kill => self.kill(),
            Step::CleanStop => self.stop(),
            Step::PowerCut { off, seed } => self.cut_power(*off, *seed),
            Step::DieAfter { calls, power } => {
                self.disk.die_after(u32::from(*calls) + 1);
                self.power = *power;
            }
            Step::SetClock { wrong_by } => {
                self.wrong_by = i64::from(*wrong_by) * 1_000_000;
                self.clock_was_wrong |= self.wrong_by != 0;
            }
            Step::Skew { seconds } => {
                self.skew = Duration::from_secs(u64::from(*seconds).max(1));
                self.largest_skew = self.largest_skew.max(self.skew);
            }
            Step::Fault(faults) => {
                self.disk_failed |= *faults != Faults::default();
                self.disk.set_faults(*faults);
            }
            Step::FlipBit { file, at } => {
                // While the server runs or after a crash, a flipped bit would be a second fault; after
                // a clean stop it is the only one.
                self.stop();
                self.disk.flip_bit(*file, *at);
                self.crashed = self.time;
            }
            Step::Damage {
                file,
                cleanly,
                from,
                to,
            } => {
                // One fault between two starts.
                self.ensure_running();
                match cleanly {
                    true => self.stop(),
                    false => self.kill(),
                }
                match from {
                    Some(from) => self.disk.copy_block(*file, *from, *to),
                    None => self.disk.lose_block(*file, *to),
                }
                self.crashed = self.time;
                self.ensure_running();
            }
            Step::Sweep => self.sweep(),
        }
    }

    fn send(&mut self, client: u8, clock: Clock, delayed: bool) {
        let second = 1_000_000;
        let clock = if client == HONEST_CLIENT {
            Clock::Right
        } else {
            clock
        };
        let off = match clock {
            Clock::Right => 0,
            Clock::Off(seconds) => i64::from(seconds) * second,
            Clock::LikeServer(seconds) => self.wrong_by + i64::from(seconds) * second,
            Clock::Future(seconds) => i64::from(seconds) * 60 * second,
        };
        self.time += 1;
        let timestamp = stamp(self.time + off);
        self.packets.push(Packet {
            client,
            timestamp,
            acted: 0,
            excused: false,
        });
        if delayed {
            return;
        }
        let died_before = self.power.is_some() || self.disk.is_dead();
        let acted = self.deliver(self.packets.len() - 1);
        if client == HONEST_CLIENT {
            let margin = self.largest_skew + Duration::from_secs(40);
            let healthy =
                !self.clock_was_wrong && !self.disk_failed && !died_before && self.server.is_some();
            let long_after = self.time - self.crashed >= i64::try_from(margin.as_micros()).unwrap();
            assert!(
                acted || !healthy || !long_after,
                "an honest, fresh packet was refused"
            );
            self.honest_passed += u64::from(healthy && long_after);
        }
    }

    /// Delivers the packet to the server and returns whether it acts.
    fn deliver(&mut self, index: usize) -> bool {
        self.ensure_running();
        let now = self.now();
        let Some(server) = &mut self.server else {
            return false;
        };
        let packet = &mut self.packets[index];
        let acts = process(server, index, packet, now, self.skew);
        if self.disk.is_dead() {
            self.die();
            return false;
        }
        self.ever_in_memory |= self
            .server
            .as_ref()
            .is_some_and(|server| server.state.is_in_memory());
        if acts {
            let packet = &mut self.packets[index];
            packet.acted += 1;
            assert!(
                packet.acted == 1 || packet.excused,
                "packet {index} acted twice"
            );
        }
        if let Some(server) = &mut self.server {
            let cache = &server.cache;
            server.state.compact_if_needed(|| cache.records());
        }
        if self.disk.is_dead() {
            self.die();
        }
        acts
    }

    fn wait(&mut self, micros: i64) {
        let end = self.time + micros;
        while self.time < end {
            self.time = end.min(self.time + 10_000_000);
            let now = self.now();
            if let Some(server) = &mut self.server {
                let _ = server
                    .state
                    .advance_horizon(now, self.skew, &mut server.horizon);
                let cache = &server.cache;
                server.state.compact_if_needed(|| cache.records());
                self.ever_in_memory |= server.state.is_in_memory();
                if self.disk.is_dead() {
                    self.die();
                }
            }
        }
    }

    fn sweep(&mut self) {
        let window_start = self.now().wall.saturating_sub(self.skew);
        let Some(server) = &mut self.server else {
            return;
        };
        let mut out = Vec::new();
        server.cache.sweep(window_start, 2, &mut out);
        for record in &out {
            let _ = server.state.append(record);
        }
        if self.disk.is_dead() {
            self.die();
        }
    }

    fn ensure_running(&mut self) {
        if self.server.is_some() {
            return;
        }
        // Packets sent until the start after a crash are refused; the next start is a clean one.
        let recovers = self.crashed >= self.started;
        if recovers {
            self.crashed = self.time - 1;
        }
        self.started = self.time;
        let disk = self.disk.clone();
        let started = start(
            disk,
            None,
            [self.boot; 16],
            self.now(),
            self.skew,
            self.policy,
            self.bounds,
        );
        // Without a horizon no packet passes until an administrator resets it.
        self.disk_failed |= !started.horizon.is_known();
        self.server = Some(started);
        self.ever_in_memory |= self
            .server
            .as_ref()
            .is_some_and(|server| server.state.is_in_memory());
        if self.disk.is_dead() {
            if recovers {
                self.crashed = self.time;
            }
            self.die();
        }
    }

    fn die(&mut self) {
        match self.power.take() {
            Some(seed) => self.cut_power(1, seed),
            None => self.kill(),
        }
    }

    fn kill(&mut self) {
        self.server = None;
        self.disk.revive();
        self.power = None;
        if self.ever_in_memory {
            self.crashed = self.time;
        }
    }

    fn stop(&mut self) {
        self.ensure_running();
        if let Some(server) = self.server.take()
            && !matches!(server.state.clean_stop(), Ok(true))
        {
            self.crashed = self.time;
        }
        if self.disk.is_dead() {
            self.die();
        }
    }

    fn cut_power(&mut self, off: u8, seed: u64) {
        if self.ever_in_memory {
            self.packets
                .iter_mut()
                .for_each(|packet| packet.excused = true);
        }
        self.server = None;
        self.power = None;
        let mut random = seed | 1;
        self.disk.cut_power(&mut |below| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(random >> 40).unwrap() % below
        });
        self.crashed = self.time;
        self.time += i64::from(off) * 1_000_000 + 1;
        self.booted = self.time;
        self.boot = self.boot.wrapping_add(1);
    }
}

/// The steps of the engine that matter here, in order.
fn process(
    server: &mut OpenedState<SimDisk>,
    index: usize,
    packet: &Packet,
    now: Now,
    skew: Duration,
) -> bool {
    let mut nonce = [7; 24];
    nonce[..8].copy_from_slice(&index.to_be_bytes());
    let id = KeyId::from_bytes([packet.client; 8]);
    let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, packet.client));
    let _ = server.state.advance_horizon(now, skew, &mut server.horizon);
    let context = ScreenContext {
        cache: &server.cache,
        now,
        source,
        max_skew: skew,
    };
    if check_head(id, &nonce, packet.timestamp, &context).is_err() {
        return false;
    }
    let (sighting, window) = (
        Sighting {
            source,
            boot: now.boot,
        },
        context.window_start(),
    );
    let mut out = Vec::new();
    if server
        .cache
        .record(id, &nonce, packet.timestamp, sighting, window, &mut out)
        .is_err()
    {
        return false;
    }
    if out
        .iter()
        .any(|record| server.state.append(record).is_err())
    {
        return false;
    }
    packet.timestamp <= now.wall.saturating_add(skew)
        && server.horizon.accept(packet.timestamp).is_ok()
}

fn stamp(time: i64) -> Timestamp {
    Timestamp::from_micros(u64::try_from((BEGIN * 1_000_000 + time).max(0)).unwrap())
}
