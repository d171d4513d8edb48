//! The way of a packet, one page: datagram → effects; pure.
//!
//! ```text
//! identify → screen → authenticate → record → open → policy → grant
//! ```
//!
//! Each stage takes, by value, what only the stage before can make, so that no
//! check can be left out. Time and bytes are arguments, effects are values; the
//! engine reads no clock and no socket and answers nothing. A packet that is not
//! authentic costs no allocation and has no effect but its counter.
//! docs/protocol.md §7 has the order, and nothing else may be added before step 6.

mod act;

mod by_hand;

mod effect;

mod hooks;

mod knock;

mod run;

mod tell;

mod upkeep;

pub use act::GaveWay;
pub use by_hand::Revoked;
pub use effect::{Effect, GrantRow, Judged, Listing, UsedUp};

use std::collections::BTreeMap;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};

use crate::capture::{Datagram, FrameFault};
use crate::clients::Clients;
use crate::clock::{BootTime, Now};
use crate::config::Rate;
use crate::firewall::{ChangeId, Element};
use crate::grants::{Grants, Owner};
use crate::policy::{self, Age, Ledger, Permit, Rates, permit, timely};
use crate::replay::{Horizon, JournalRecord, ReplayCache, Seen};
use crate::runner::message::RunId;
use crate::screen::{self, LateNames, Outcome, WhyLate, screen};
use crate::verdict::{Counters, Reason, Verdict};

/// Lines that the refusals of one client make at most; more are summed up with the
/// noise, or one client could fill the disk.
const LINES: Rate = Rate {
    count: 20,
    per: Duration::from_secs(1),
    burst: None,
};

/// All that judges packets.
pub struct Engine {
    clients: Clients,
    replay: ReplayCache,
    horizon: Horizon,
    late: LateNames,
    rates: Rates,
    grants: Grants,
    waiting: BTreeMap<ChangeId, act::Waiting>,
    /// Commands that are asked for, or under way.
    runs: BTreeMap<RunId, run::Running>,
    last_run: u64,
    hooks: hooks::Hooks,
    hands: by_hand::Hands,
    doors: knock::Doors,
    counters: Counters,
    gave_way: act::GaveWay,
    /// What the noise was when it was last told.
    told: Counters,
    /// Lines that each client's refusals may still make.
    lines: Rates,
    /// Refusals without a line of their own, not told yet.
    untold: Counters,
    last_minute: Option<BootTime>,
    /// Emptied after each packet.
    records: Vec<JournalRecord>,
}

/// Whose packet it is, now that it is authentic.
#[derive(Clone, Copy, Debug)]
struct Sender {
    client: usize,
    id: KeyId,
    timestamp: Timestamp,
}

/// Where the way ended early, and whose packet it was if that is known.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    reason: Reason,
    sender: Option<Sender>,
    /// What it asked for in vain.
    asked: Option<Service>,
}

impl<R: Into<Reason>> From<R> for Stopped {
    fn from(reason: R) -> Self {
        Self {
            reason: reason.into(),
            sender: None,
            asked: None,
        }
    }
}

impl Sender {
    fn stopped(self, reason: impl Into<Reason>) -> Stopped {
        Stopped {
            sender: Some(self),
            ..Stopped::from(reason)
        }
    }
}

impl Engine {
    /// An engine that has seen nothing but what `replay` remembers.
    #[must_use]
    pub fn new(clients: Clients, replay: ReplayCache, horizon: Horizon) -> Self {
        let clients_count = clients.len();
        Self {
            doors: knock::Doors::of(clients.config(), None),
            late: LateNames::for_clients(clients_count),
            rates: Rates::for_clients(clients_count),
            clients,
            replay,
            horizon,
            grants: Grants::default(),
            waiting: BTreeMap::new(),
            runs: BTreeMap::new(),
            last_run: 0,
            hooks: hooks::Hooks::default(),
            hands: by_hand::Hands::default(),
            counters: Counters::default(),
            gave_way: act::GaveWay::default(),
            told: Counters::default(),
            lines: Rates::for_clients(clients_count),
            untold: Counters::default(),
            last_minute: None,
            records: Vec::new(),
        }
    }

    /// Judges one datagram. Exactly one verdict comes of it, now or with the
    /// firewall writer's answer, or the command runner's.
    pub fn packet(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Judged {
        let way = self.way(datagram, now);
        effects.extend(self.records.drain(..).map(Effect::Record));
        match way {
            Ok((permit, sender)) => self.act(permit, sender, datagram, now, effects),
            Err(stopped) => Judged::Verdict(self.stop(stopped, datagram, now, effects)),
        }
    }

    fn way(&mut self, datagram: &Datagram<'_>, now: Now) -> Result<(Permit, Sender), Stopped> {
        let max_skew = self.clients.config().packets.max_skew;
        let source = datagram.source().ip();

        // identify: two SipHashes and a look-up.
        let identified = self.clients.heads().identify(datagram.payload())?;
        let key = self
            .clients
            .find(identified.key_id())
            .ok_or(Reason::UnknownKey)?;
        let client = self.clients.client_of(key).ok_or(Reason::UnknownKey)?;
        let (id, timestamp) = (identified.key_id(), identified.timestamp());
        let sender = Sender {
            client,
            id,
            timestamp,
        };

        // screen: window, floor, nonce.
        let cache = &self.replay;
        let against = screen::Against {
            cache,
            now,
            source,
            max_skew,
        };
        let (sighting, window_start) = (against.sighting(), against.window_start());
        let screened = match screen(identified, client, &against, &mut self.late) {
            Outcome::Passed(screened) => screened,
            Outcome::Recorded {
                within_second_from_same_source,
            } => {
                let twice = if within_second_from_same_source {
                    Reason::Duplicate
                } else {
                    Reason::Replay
                };
                return Err(twice.into());
            }
            Outcome::Late(WhyLate::Stale) => return Err(Reason::StaleUnnamed.into()),
            Outcome::Late(WhyLate::BelowFloor) => return Err(Reason::BelowFloorUnnamed.into()),
            Outcome::LateButMayBeNamed(late) => {
                let why = if late.why() == WhyLate::Stale {
                    Reason::Stale
                } else {
                    Reason::BelowFloor
                };
                let keys = self.clients.keys(key).ok_or(Reason::Hmac)?;
                let authentic = late.is_authentic(keys);
                return Err(if authentic {
                    sender.stopped(why)
                } else {
                    Reason::Hmac.into()
                });
            }
        };

        // authenticate: HMAC.
        let keys = self.clients.keys(key).ok_or(Reason::Hmac)?;
        let authentic = screened.authenticate(keys)?;

        // record: from here on the packet is used up.
        let mut recorder = self
            .replay
            .recorder(sighting, window_start, &mut self.records);
        let recorded = authentic.record(&mut recorder).map_err(|seen| {
            let below = matches!(seen, Seen::BelowFloor);
            if below {
                sender.stopped(Reason::BelowFloor)
            } else {
                Reason::Replay.into()
            }
        })?;

        // open: decrypt, decode.
        let opened = recorded.open(keys).map_err(|fault| sender.stopped(fault))?;

        // policy: the future, the rate, the client's own limits.
        let timely = timely(opened, now.wall, max_skew, &mut self.horizon);
        let timely = timely.map_err(|reason| sender.stopped(reason))?;
        let (clients, rates) = (&self.clients, &mut self.rates);
        let against = policy::Against {
            clients,
            client,
            source,
            now,
        };
        let ids = clients.ids_of(client);
        let ledger = Books {
            grants: &self.grants,
            replay: &self.replay,
            ids: &ids,
        };
        let asked = policy::not_allowed(&timely, &against);
        let permit = permit(timely, &against, rates, &ledger);
        permit
            .map(|permit| (permit, sender))
            .map_err(|reason| Stopped {
                asked: asked.filter(|_| reason == Reason::ServiceNotAllowed),
                ..sender.stopped(reason)
            })
    }

    /// Counts a frame that held no datagram for us: its verdict.
    pub fn frame_fault(&mut self, fault: FrameFault) {
        self.counters.count_frame(fault);
    }

    /// Counts frames whose verdict was given before they came here.
    pub fn count_noise(&mut self, noise: &Counters) {
        self.counters.add(noise);
    }

    /// Counts the verdict on a packet that ended early; the audit names its sender,
    /// unless that has filled enough of it already.
    fn stop(
        &mut self,
        stopped: Stopped,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.counters.count(stopped.reason);
        let Some(sender) = stopped.sender else {
            return Verdict::counted(stopped.reason);
        };
        let arrival = act::Arrival::of(&self.clients, datagram, now, sender);
        if self.lines.admit(sender.client, LINES, now.boot) {
            let mut line = self.refusal(&arrival, stopped.reason, now);
            line.port = stopped.asked;
            line.service = stopped
                .asked
                .and_then(|asked| self.clients.service_at(asked).cloned());
            effects.push(Effect::Audit(Box::new(line)));
        } else {
            self.untold.count(stopped.reason);
        }
        Verdict {
            reason: stopped.reason,
            client: arrival.client,
            elements: Vec::new(),
        }
    }
}

/// What policy asks of one client.
struct Books<'a> {
    grants: &'a Grants,
    replay: &'a ReplayCache,
    ids: &'a [KeyId],
}

impl Ledger for Books<'_> {
    fn held(&self) -> impl Iterator<Item = Element> {
        self.grants.held_by(self.ids)
    }

    fn count(&self) -> usize {
        match self.ids {
            [id] => self.grants.count_of(Owner::Client(*id)),
            // Two keys may hold the same element.
            _ => self.held().count(),
        }
    }

    fn held_since(&self) -> impl Iterator<Item = (Element, Age)> {
        self.grants.held_since(self.ids)
    }

    fn last_close(&self, service: Service) -> Option<Timestamp> {
        let closes = self
            .ids
            .iter()
            .filter_map(|id| self.replay.last_close(*id, service));
        closes.max()
    }
}
