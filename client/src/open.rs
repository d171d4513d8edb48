//! [IO] The way of one request: look up, send, wait until it is open.

use std::net::SocketAddr;
use std::time::Duration;

use spa_proto::{Addresses, Service};

use crate::clock;
use crate::knock::Knocker;
use crate::outcome::{Delivery, End, Outcome, State};
use crate::probe::Watch;
use crate::report;
use crate::resolve::{Family, resolve};
use crate::schedule::{Step, steps};
use crate::send::{Round, Sent};
use crate::target::Ask;

/// What the command line says about every host.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// For how many seconds; 0: as the policy says.
    pub ttl: u32,
    /// The addresses to state; none: this machine's own.
    pub given: Addresses,
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
    /// Wait until the services answer, at most so long.
    Wait(Duration),
}

/// Asks one host. `tell` is given a line about every packet.
pub fn open(
    ask: &Ask<'_>,
    knocker: &Knocker,
    wish: &Wish,
    tell: &(dyn Fn(&str) + Sync),
) -> Outcome {
    let mut outcome = Outcome {
        host: ask.name.to_string(),
        port: ask.host.port.get(),
        end: End::Sent,
        deliveries: Vec::new(),
        services: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let servers = match resolve(&ask.host.address, ask.host.port, wish.family) {
        Ok(servers) => servers,
        Err(error) => {
            outcome.end = End::NoRoute(error.to_string());
            return outcome;
        }
    };
    let round = Round {
        knocker,
        servers: &servers,
        services: &ask.services,
        ttl: wish.ttl,
        given: wish.given,
    };
    let start = clock::monotonic();
    let sent = match wish.patience {
        Patience::Rehearse => round.rehearse(),
        Patience::None | Patience::Wait(_) => round.send(),
    };
    let rehearsed = wish.patience == Patience::Rehearse;
    note(&mut outcome, sent, if rehearsed { &|_| () } else { tell });
    let reached = |outcome: &Outcome| -> Vec<SocketAddr> {
        let reached = outcome.deliveries.iter().filter(|to| to.error.is_none());
        reached.map(|to| to.server).collect()
    };
    if reached(&outcome).is_empty() {
        outcome.end = End::NoRoute(report::no_route(&outcome.deliveries));
        return outcome;
    }
    let Patience::Wait(timeout) = wish.patience else {
        outcome.end = if rehearsed { End::Rehearsed } else { End::Sent };
        return outcome;
    };

    let probed = ask
        .watched
        .iter()
        .copied()
        .filter(|s| Ask::can_be_probed(*s));
    let mut watch = Watch::new(probed);
    if watch.is_done() {
        outcome.services = states(&ask.watched, &watch);
        outcome.end = End::NotProbed;
        return outcome;
    }
    let since = || clock::monotonic().saturating_sub(start);
    for (at, step) in steps() {
        while !watch.is_done() {
            let now = since();
            if now >= at.min(timeout) {
                break;
            }
            watch.wait(at.min(timeout).saturating_sub(now), since);
        }
        if watch.is_done() || since() >= timeout {
            break;
        }
        match step {
            Step::Packet => note(&mut outcome, round.send(), tell),
            Step::Probe => watch.probe(&reached(&outcome), since()),
        }
    }
    outcome.elapsed = since();
    outcome.services = states(&ask.watched, &watch);
    outcome.end = if watch.is_done() {
        End::Open
    } else {
        End::Closed
    };
    outcome
}

/// Adds a round of packets to what is known of each address. An address that
/// was reached once stays so: a later failure may be the way changing.
fn note(outcome: &mut Outcome, sent: Vec<Sent>, tell: &(dyn Fn(&str) + Sync)) {
    for sent in sent {
        tell(&report::packet(&outcome.host, &sent));
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

fn states(watched: &[Service], watch: &Watch) -> Vec<(Service, State)> {
    let state = |service: &Service| match watch.answered().get(service) {
        Some(answered) => State::Open(*answered),
        None if Ask::can_be_probed(*service) => State::Closed(
            watch
                .met()
                .iter()
                .filter(|((other, _), _)| other == service)
                .map(|((_, address), met)| (*address, *met))
                .collect(),
        ),
        None => State::NotProbed,
    };
    watched
        .iter()
        .map(|service| (*service, state(service)))
        .collect()
}
