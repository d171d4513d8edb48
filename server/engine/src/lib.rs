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
#![forbid(unsafe_code)]

mod firewall;

mod admin;

mod effect;

mod hooks;

mod knock;

mod run;

pub mod audit;

mod maintenance;

mod pending;

use std::time::Duration;

pub use admin::Revocation;
pub use effect::{Disposition, Effect, GrantListing, GrantRow, UsedSequence};
pub use firewall::EvictionCounts;
use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};
use spad_config::Rate;
use spad_model::{BootTime, Counters, Datagram, Element, FrameFault, Now, Reason, Verdict};
use spad_replay::screen::{LateReason, LateReportLimiter, Screening, screen};
use spad_replay::{Horizon, JournalRecord, ReplayCache, Seen, screen};

use crate::clients::Clients;
use crate::grants::{Grants, Owner};
use crate::policy::{Age, ClientHoldings, Permit, Rates, check_future, permit};

/// Lines that the refusals of one client make at most; more are summed up with the
/// noise, or one client could fill the disk.
const AUDIT_LINE_RATE: Rate = Rate {
    count: 20,
    per: Duration::from_secs(1),
    burst: None,
};

/// All that judges packets.
pub struct Engine {
    clients: Clients,
    replay: ReplayCache,
    horizon: Horizon,
    late: LateReportLimiter,
    rates: Rates,
    grants: Grants,
    pending: pending::Pending,
    hooks: hooks::HookScheduler,
    admin_grants: admin::AdminGrants,
    knock_service: knock::KnockService,
    counters: Counters,
    evictions: firewall::EvictionCounts,
    /// What the noise was when it was last told.
    reported: Counters,
    /// Lines that each client's refusals may still make.
    audit_budget: Rates,
    /// Refusals without a line of their own, not told yet.
    unreported: Counters,
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
struct Rejection {
    reason: Reason,
    sender: Option<Sender>,
    /// What it asked for in vain.
    service: Option<Service>,
}

impl<R: Into<Reason>> From<R> for Rejection {
    fn from(reason: R) -> Self {
        Self {
            reason: reason.into(),
            sender: None,
            service: None,
        }
    }
}

impl Sender {
    fn reject(self, reason: impl Into<Reason>) -> Rejection {
        Rejection {
            sender: Some(self),
            ..Rejection::from(reason)
        }
    }
}

impl Engine {
    /// An engine that has seen nothing but what `replay` remembers.
    #[must_use]
    pub fn new(clients: Clients, replay: ReplayCache, horizon: Horizon) -> Self {
        let clients_count = clients.len();
        Self {
            knock_service: knock::KnockService::new(clients.config(), None),
            late: LateReportLimiter::for_clients(clients_count),
            rates: Rates::for_clients(clients_count),
            clients,
            replay,
            horizon,
            grants: Grants::default(),
            pending: pending::Pending::default(),
            hooks: hooks::HookScheduler::default(),
            admin_grants: admin::AdminGrants::default(),
            counters: Counters::default(),
            evictions: firewall::EvictionCounts::default(),
            reported: Counters::default(),
            audit_budget: Rates::for_clients(clients_count),
            unreported: Counters::default(),
            last_minute: None,
            records: Vec::new(),
        }
    }

    /// Judges one datagram. Exactly one verdict comes of it, now or with the
    /// firewall writer's answer, or the command runner's.
    pub fn on_datagram(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Disposition {
        let outcome = self.run_pipeline(datagram, now);
        effects.extend(self.records.drain(..).map(Effect::Record));
        match outcome {
            Ok((permit, sender)) => self.apply_permit(permit, sender, datagram, now, effects),
            Err(stopped) => {
                Disposition::Verdict(self.conclude_rejected(stopped, datagram, now, effects))
            }
        }
    }

    fn run_pipeline(
        &mut self,
        datagram: &Datagram<'_>,
        now: Now,
    ) -> Result<(Permit, Sender), Rejection> {
        let max_skew = self.clients.config().packets.max_skew;
        let source = datagram.source().ip();

        // identify: two SipHashes and a look-up.
        let identified = self.clients.head_keys().identify(datagram.payload())?;
        let key = self
            .clients
            .lookup(identified.key_id())
            .ok_or(Reason::UnknownKey)?;
        let client = self.clients.client_index(key).ok_or(Reason::UnknownKey)?;
        let (id, timestamp) = (identified.key_id(), identified.timestamp());
        let sender = Sender {
            client,
            id,
            timestamp,
        };

        // screen: window, floor, nonce.
        let cache = &self.replay;
        let against = screen::ScreenContext {
            cache,
            now,
            source,
            max_skew,
        };
        let (sighting, window_start) = (against.sighting(), against.window_start());
        let screened = match screen(identified, client, &against, &mut self.late) {
            Screening::Passed(screened) => screened,
            Screening::AlreadySeen {
                within_second_from_same_source,
            } => {
                let reason = if within_second_from_same_source {
                    Reason::Duplicate
                } else {
                    Reason::Replay
                };
                return Err(reason.into());
            }
            Screening::Late(LateReason::Stale) => return Err(Reason::StaleUnnamed.into()),
            Screening::Late(LateReason::BelowFloor) => return Err(Reason::BelowFloorUnnamed.into()),
            Screening::LateReportable(late) => {
                let why = if late.reason() == LateReason::Stale {
                    Reason::Stale
                } else {
                    Reason::BelowFloor
                };
                let keys = self.clients.keys(key).ok_or(Reason::Hmac)?;
                let authentic = late.is_authentic(keys);
                return Err(if authentic {
                    sender.reject(why)
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
                sender.reject(Reason::BelowFloor)
            } else {
                Reason::Replay.into()
            }
        })?;

        // open: decrypt, decode.
        let opened = recorded.open(keys).map_err(|fault| sender.reject(fault))?;

        // policy: the future, the rate, the client's own limits.
        let timely = check_future(opened, now.wall, max_skew, &mut self.horizon);
        let timely = timely.map_err(|reason| sender.reject(reason))?;
        let (clients, rates) = (&self.clients, &mut self.rates);
        let against = policy::PolicyContext {
            clients,
            client,
            source,
            now,
        };
        let ids = clients.key_ids(client);
        let holdings = HoldingsView {
            grants: &self.grants,
            replay: &self.replay,
            ids: &ids,
        };
        let disallowed = policy::first_disallowed(&timely, &against);
        let permit = permit(timely, &against, rates, &holdings);
        permit
            .map(|permit| (permit, sender))
            .map_err(|reason| Rejection {
                service: disallowed.filter(|_| reason == Reason::ServiceNotAllowed),
                ..sender.reject(reason)
            })
    }

    /// Counts a frame that held no datagram for us: its verdict.
    pub fn count_frame_fault(&mut self, fault: FrameFault) {
        self.counters.count_frame(fault);
    }

    /// Counts frames whose verdict was given before they came here.
    pub fn add_counters(&mut self, counters: &Counters) {
        self.counters.add(counters);
    }

    /// Counts the verdict on a packet that ended early; the audit names its sender,
    /// unless that has filled enough of it already.
    fn conclude_rejected(
        &mut self,
        rejection: Rejection,
        datagram: &Datagram<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        self.counters.count(rejection.reason);
        let Some(sender) = rejection.sender else {
            return Verdict::unauthenticated(rejection.reason);
        };
        let origin = firewall::PacketOrigin::new(&self.clients, datagram, now, sender);
        if self
            .audit_budget
            .admit(sender.client, AUDIT_LINE_RATE, now.boot)
        {
            let mut line = self.refusal_event(&origin, rejection.reason, now);
            line.port = rejection.service;
            line.service = rejection
                .service
                .and_then(|asked| self.clients.service_at(asked).cloned());
            effects.push(Effect::Audit(Box::new(line)));
        } else {
            self.unreported.count(rejection.reason);
        }
        Verdict {
            reason: rejection.reason,
            client: origin.client,
            elements: Vec::new(),
        }
    }
}

/// What policy asks of one client.
struct HoldingsView<'a> {
    grants: &'a Grants,
    replay: &'a ReplayCache,
    ids: &'a [KeyId],
}

impl ClientHoldings for HoldingsView<'_> {
    fn elements(&self) -> impl Iterator<Item = Element> {
        self.grants.elements_for_keys(self.ids)
    }

    fn count(&self) -> usize {
        match self.ids {
            [id] => self.grants.count_for_owner(Owner::Client(*id)),
            // Two keys may hold the same element.
            _ => self.elements().count(),
        }
    }

    fn elements_with_age(&self) -> impl Iterator<Item = (Element, Age)> {
        self.grants.elements_with_age(self.ids)
    }

    fn last_close(&self, service: Service) -> Option<Timestamp> {
        let closes = self
            .ids
            .iter()
            .filter_map(|id| self.replay.last_close(*id, service));
        closes.max()
    }
}

pub mod clients;

pub mod grants;

pub mod policy;
