//! A recorded frame → how it would have ended (pure).
//!
//! The stages are those of the daemon: `frame`, then an [`Engine`], whose effects are
//! looked at and dropped. What others do is assumed: the kernel takes every change, the
//! command runner runs every command.

use std::collections::HashSet;
use std::time::Duration;

use spa_proto::Timestamp;
use spad_engine::clients::Clients;
use spad_engine::{Disposition, Effect, Engine};
use spad_model::knock::Sequence;
use spad_model::{
    BootTime, CarrierSet, ChangeResult, ClientName, Datagram, Element, ExitKind, FrameFault, Now,
    Reason, Received, RunExit, RunId, RunRequest, Verdict,
};
use spad_replay::horizon::HorizonMove;
use spad_replay::{Horizon, ReplayCache};

use super::link::{LinkFault, network};

/// Why a frame holds no datagram for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAPacket {
    /// Its link layer.
    Link(LinkFault),
    /// The stage `frame`.
    Frame(FrameFault),
}

/// How a packet would have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketResult {
    /// The stage at which it ended.
    pub reason: Reason,
    /// Whose it was; none for a packet that is not authentic.
    pub client: Option<ClientName>,
    /// The client's clock minus the recording machine's, in milliseconds; where known.
    pub skew_ms: Option<i64>,
    /// What it would have opened or closed.
    pub elements: Vec<(Element, Duration)>,
    /// The command that it would have run.
    pub command: Option<String>,
}

/// The stage `frame` for a recorded frame.
///
/// # Errors
/// Why there is neither a datagram nor a knock for this server in it.
pub fn classify<'a>(
    carriers: &CarrierSet,
    link: i32,
    bytes: &'a [u8],
) -> Result<Received<'a>, NotAPacket> {
    let (ethertype, bytes) = network(link, bytes).map_err(NotAPacket::Link)?;
    // Which interface it came in by is not recorded.
    spad_capture::classify(carriers, ethertype, 0, bytes).map_err(NotAPacket::Frame)
}

/// An engine that nobody obeys.
pub struct Simulator(Engine);

impl Simulator {
    /// One that knows these clients and what these records of used packets and sequences say;
    /// without the latter no sequence for one use opens.
    #[must_use]
    pub fn new(
        clients: Clients,
        used: ReplayCache,
        used_sequences: Option<HashSet<Sequence>>,
    ) -> Self {
        let horizon = Horizon::at_start(Timestamp::default());
        let mut engine = Engine::new(clients, used, horizon);
        if let Some(used) = used_sequences {
            engine.load_used_sequences(used);
        }
        Self(engine)
    }

    pub(super) fn engine(&mut self) -> &mut Engine {
        &mut self.0
    }

    /// Does what is due until this time.
    pub(super) fn advance_to(&mut self, at: Timestamp) -> Now {
        let Self(engine) = self;
        let now = Now {
            wall: at,
            boot: BootTime::from_micros(at.as_micros()),
        };
        let skew = engine.clients().config().packets.max_skew;
        let (_, horizon) = engine.replay_state_mut();
        // Nobody knows where it was then: it is put where a running server has it.
        if let Some(HorizonMove::Raise(to) | HorizonMove::Lower(to)) = horizon.plan(now, skew) {
            horizon.commit(to);
            horizon.mark_done(now, skew);
        }
        let mut effects = Vec::new();
        engine.tick(now, &mut effects);
        acknowledge(engine, &mut effects, now);
        now
    }

    /// Judges a datagram at the time of its recording. It is used up for those after it.
    pub fn packet(&mut self, datagram: &Datagram<'_>, at: Timestamp) -> PacketResult {
        let now = self.advance_to(at);
        let Self(engine) = self;
        let mut effects = Vec::new();
        let disposition = engine.on_datagram(datagram, now, &mut effects);
        let answered = acknowledge(engine, &mut effects, now);
        let verdict = match disposition {
            Disposition::Verdict(verdict) => Some(verdict),
            Disposition::AwaitingFirewall(_) | Disposition::AwaitingRunner(_) => answered,
        };
        let skew_ms = effects.iter().find_map(|effect| match effect {
            Effect::Audit(line) => line.skew_ms,
            _ => None,
        });
        let command = effects.iter().find_map(|effect| match effect {
            Effect::Run(RunRequest::Command(run)) => Some(run.command.to_string()),
            _ => None,
        });
        match verdict {
            Some(verdict) => PacketResult {
                reason: verdict.reason,
                client: verdict.client,
                skew_ms,
                elements: verdict.elements,
                command,
            },
            None => PacketResult {
                reason: Reason::FirewallUnresponsive,
                client: None,
                skew_ms,
                elements: Vec::new(),
                command,
            },
        }
    }
}

/// Says to the engine that the kernel took each change, and the command runner ran what it was
/// asked for; gives the verdict that waited for one.
pub(super) fn acknowledge(
    engine: &mut Engine,
    effects: &mut Vec<Effect>,
    now: Now,
) -> Option<Verdict> {
    let mut verdict = None;
    let mut next = 0;
    // What the engine wants because of an answer comes behind what it wanted before.
    while let Some(effect) = effects.get(next) {
        next = next.saturating_add(1);
        match effect {
            Effect::Firewall(change) => {
                let answer = ChangeResult {
                    id: change.id,
                    result: Ok(()),
                };
                verdict = engine.on_firewall_answer(answer, now, effects).or(verdict);
            }
            Effect::Run(RunRequest::Command(run)) => {
                let id = run.id;
                verdict = engine.run_started(id, now, effects).or(verdict);
                engine.run_ended(successful_exit(id), now, effects);
            }
            Effect::Run(RunRequest::Hook(hook)) => {
                engine.run_ended(successful_exit(hook.id), now, effects);
            }
            Effect::Record(_) | Effect::MarkSequenceUsed(_) | Effect::Audit(_) => {}
        }
    }
    verdict
}

const fn successful_exit(id: RunId) -> RunExit {
    RunExit {
        id,
        kind: ExitKind::Exited(0),
        duration: Duration::ZERO,
        output: Vec::new(),
        truncated: 0,
    }
}
