//! [IO] What every request begins with: look up, send to every address, note
//! what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use spa_proto::Addresses;

use crate::carrier::Carrier;
use crate::clock;
use crate::knock::{Knocker, Want};
use crate::outcome::{Delivery, End, Outcome};
use crate::report;
use crate::resolve::{Family, resolve};
use crate::send::{Round, Sent};
use crate::target::Ask;

/// What the command line says about every host.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The addresses to state; none: this machine's own.
    pub given: Addresses,
    /// What carries the packets; none: as the host's configuration says.
    pub via: Option<Carrier>,
    /// The families to use.
    pub family: Family,
    /// What to do after the first packet.
    pub patience: Patience,
}

/// What to do after the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Send nothing at all, say what would be sent.
    Rehearse,
    /// Do not wait.
    None,
    /// Wait for the services, at most so long.
    Wait(Duration),
}

/// Is given a line about every packet.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// A request on its way to one host.
pub struct Asking<'a> {
    knocker: &'a Knocker,
    want: &'a Want,
    /// What the packets after the first ask for, if that is something else.
    later: Option<&'a Want>,
    must_state: bool,
    given: Addresses,
    servers: Vec<SocketAddr>,
    tell: Tell<'a>,
    start: Duration,
    /// How long to wait.
    pub timeout: Duration,
    /// What is known so far.
    pub outcome: Outcome,
}

impl<'a> Asking<'a> {
    /// Looks the host up and sends the first packet to each of its addresses.
    ///
    /// # Errors
    /// How it ended, where nothing was sent or nobody waits.
    pub fn start(
        ask: &Ask<'_>,
        knocker: &'a Knocker,
        want: &'a Want,
        wish: &Wish,
        tell: Tell<'a>,
    ) -> Result<Self, Box<Outcome>> {
        let mut outcome = Outcome {
            host: ask.name.to_string(),
            port: ask.host.port.get(),
            via: wish.via.unwrap_or(ask.host.via),
            end: End::Sent,
            deliveries: Vec::new(),
            services: Vec::new(),
            asked_port: want.source_port(),
            elapsed: Duration::ZERO,
        };
        let servers = match resolve(&ask.host.address, ask.host.port, wish.family) {
            Ok(servers) => servers,
            Err(error) => {
                outcome.end = End::NoRoute(error.to_string());
                return Err(Box::new(outcome));
            }
        };
        let mut asking = Self {
            knocker,
            want,
            later: None,
            must_state: ask.host.require_address && matches!(want, Want::Open { .. }),
            given: wish.given,
            servers,
            tell,
            start: clock::monotonic(),
            timeout: Duration::ZERO,
            outcome,
        };
        match wish.patience {
            Patience::Rehearse => asking.each(|round| round.rehearse(), &|_| ()),
            Patience::None | Patience::Wait(_) => asking.send(),
        }
        asking.outcome.end = if asking.reached().is_empty() {
            End::NoRoute(report::no_route(&asking.outcome.deliveries))
        } else {
            match wish.patience {
                Patience::Rehearse => End::Rehearsed,
                Patience::None => End::Sent,
                Patience::Wait(timeout) => {
                    asking.timeout = timeout;
                    return Ok(asking);
                }
            }
        };
        Err(Box::new(asking.outcome))
    }

    /// The time since the first packet.
    #[must_use]
    pub fn since(&self) -> Duration {
        clock::monotonic().saturating_sub(self.start)
    }

    /// What was asked for did not help, where it did not: the next packets ask for this.
    pub const fn later(&mut self, want: &'a Want) {
        self.later = Some(want);
    }

    /// Sends a fresh packet to every address; where packets count, to one, and to
    /// the next one the next time.
    pub fn send(&mut self) {
        if let Some(later) = self.later.take() {
            self.want = later;
            self.outcome.asked_port = self.want.source_port();
        }
        self.each(|round| round.send(), self.tell);
    }

    /// Whether each packet counts by itself.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.want.is_counted()
    }

    fn each(&mut self, send: impl Fn(&Round<'_>) -> Vec<Sent>, tell: Tell<'_>) {
        if !self.want.is_counted() {
            let sent = send(&self.round(&self.servers));
            return note(&mut self.outcome, sent, tell);
        }
        for _ in 0..self.servers.len() {
            let sent = send(&self.round(self.servers.get(..1).unwrap_or_default()));
            let done = sent.iter().any(|sent| sent.result.is_ok());
            note(&mut self.outcome, sent, tell);
            self.servers.rotate_left(1);
            if done {
                break;
            }
        }
    }

    fn round<'s>(&'s self, servers: &'s [SocketAddr]) -> Round<'s> {
        Round {
            knocker: self.knocker,
            servers,
            want: self.want,
            must_state: self.must_state,
            given: self.given,
            via: self.outcome.via,
        }
    }

    /// The addresses that could be sent to.
    #[must_use]
    pub fn reached(&self) -> Vec<SocketAddr> {
        let deliveries = self.outcome.deliveries.iter();
        let reached = deliveries.filter(|to| to.error.is_none());
        reached.map(|to| to.server).collect()
    }
}

/// Adds a round of packets to what is known of each address. An address that
/// was reached once stays so: a later failure may be the way changing.
fn note(outcome: &mut Outcome, sent: Vec<Sent>, tell: Tell<'_>) {
    for sent in sent {
        tell(&report::packet(&outcome.host, outcome.via, &sent));
        let known = outcome
            .deliveries
            .iter_mut()
            .find(|to| to.server == sent.server);
        let error = sent.result.as_ref().err().map(ToString::to_string);
        let packet = u32::from(error.is_none());
        match known {
            Some(known) => {
                known.packets = known.packets.saturating_add(packet);
                if error.is_none() {
                    known.stated = sent.stated;
                    known.error = None;
                }
            }
            None => outcome.deliveries.push(Delivery {
                server: sent.server,
                stated: sent.stated,
                packets: packet,
                error,
            }),
        }
    }
}
