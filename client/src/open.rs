//! [IO] The way of one request to open: send, wait until it is open.

use std::net::SocketAddr;
use std::time::Duration;

use spa_proto::Service;

use crate::ask::{Asking, Tell, Wish};
use crate::knock::{Knocker, Want};
use crate::outcome::{End, Outcome, State};
use crate::probe::Watch;
use crate::schedule::{Step, steps};
use crate::target::Ask;

/// Where packets count, the second one comes no sooner: the first may only be slow.
const PATIENT: Duration = Duration::from_secs(1);

/// Asks one host to open. `want` says what.
pub fn open(ask: &Ask<'_>, knocker: &Knocker, want: &Want, wish: &Wish, tell: Tell<'_>) -> Outcome {
    let mut asking = match Asking::start(ask, knocker, want, wish, tell) {
        Ok(asking) => asking,
        Err(ended) => return *ended,
    };
    let probed = ask
        .watched
        .iter()
        .copied()
        .filter(|s| Ask::can_be_probed(*s));
    let mut watch = Watch::new(probed);
    if watch.is_done() {
        asking.outcome.services = states(&ask.watched, &watch);
        asking.outcome.end = End::NotProbed;
        return asking.outcome;
    }
    until_open(&mut asking, &mut watch, &ask.watched, None);
    asking.outcome
}

/// Connects and sends again until every service answers or the time is over.
/// Where there are no `servers`, those are tried that were sent to.
pub(crate) fn until_open(
    asking: &mut Asking<'_>,
    watch: &mut Watch,
    watched: &[Service],
    servers: Option<&[SocketAddr]>,
) {
    let timeout = asking.timeout;
    for (at, step) in steps() {
        while !watch.is_done() {
            let now = asking.since();
            if now >= at.min(timeout) {
                break;
            }
            let most = at.min(timeout).saturating_sub(now);
            watch.wait(most, || asking.since());
        }
        if watch.is_done() || asking.since() >= timeout {
            break;
        }
        match (step, servers) {
            (Step::Packet, _) if asking.is_counted() && at < PATIENT => {}
            (Step::Packet, _) => asking.send(),
            (Step::Probe, Some(servers)) => watch.probe(servers, asking.since()),
            (Step::Probe, None) => watch.probe(&asking.reached(), asking.since()),
        }
    }
    asking.outcome.elapsed = asking.since();
    asking.outcome.services = states(watched, watch);
    asking.outcome.end = if watch.is_done() {
        End::Open
    } else {
        End::Closed
    };
}

pub(crate) fn states(watched: &[Service], watch: &Watch) -> Vec<(Service, State)> {
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
