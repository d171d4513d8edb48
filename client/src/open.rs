//! [IO] The way of one request to open: send, wait until it is open.

use std::net::SocketAddr;
use std::time::Duration;

use spa_proto::Service;

use crate::outcome::{Outcome, RequestResult, State};
use crate::packet::{PacketBuilder, RequestKind};
use crate::probe::Prober;
use crate::request::{PendingRequest, ProgressFn, SendOptions};
use crate::schedule::{Step, steps};
use crate::target::Target;

/// Where packets count, the second one comes no sooner: the first may only be slow.
const SINGLE_USE_RESEND_DELAY: Duration = Duration::from_secs(1);

/// Asks one host to open. `want` says what.
pub fn open(
    target: &Target<'_>,
    builder: &PacketBuilder,
    kind: &RequestKind,
    send_options: &SendOptions,
    progress: ProgressFn<'_>,
) -> Outcome {
    let mut request = match PendingRequest::start(target, builder, kind, send_options, progress) {
        Ok(asking) => asking,
        Err(ended) => return *ended,
    };
    let probed = target
        .watched
        .iter()
        .copied()
        .filter(|s| Target::can_be_probed(*s));
    let mut prober = Prober::new(probed);
    if prober.is_done() {
        request.outcome.services = service_states(&target.watched, &prober);
        request.outcome.result = RequestResult::NotProbed;
        return request.outcome;
    }
    poll_until_open(&mut request, &mut prober, &target.watched, None);
    request.outcome
}

/// Connects and sends again until every service answers or the time is over.
/// Where there are no `servers`, those are tried that were sent to.
pub(crate) fn poll_until_open(
    request: &mut PendingRequest<'_>,
    prober: &mut Prober,
    watched: &[Service],
    servers: Option<&[SocketAddr]>,
) {
    let timeout = request.timeout;
    for (at, step) in steps() {
        while !prober.is_done() {
            let now = request.elapsed();
            if now >= at.min(timeout) {
                break;
            }
            let max_wait = at.min(timeout).saturating_sub(now);
            prober.wait(max_wait, || request.elapsed());
        }
        if prober.is_done() || request.elapsed() >= timeout {
            break;
        }
        match (step, servers) {
            (Step::Packet, _) if request.is_single_use() && at < SINGLE_USE_RESEND_DELAY => {}
            (Step::Packet, _) => request.send(),
            (Step::Probe, Some(servers)) => prober.probe(servers, request.elapsed()),
            (Step::Probe, None) => prober.probe(&request.reached_servers(), request.elapsed()),
        }
    }
    request.outcome.elapsed = request.elapsed();
    request.outcome.services = service_states(watched, prober);
    request.outcome.result = if prober.is_done() {
        RequestResult::Open
    } else {
        RequestResult::Closed
    };
}

pub(crate) fn service_states(watched: &[Service], prober: &Prober) -> Vec<(Service, State)> {
    let state = |service: &Service| match prober.reachable().get(service) {
        Some(answered) => State::Open(*answered),
        None if Target::can_be_probed(*service) => State::Closed(
            prober
                .results()
                .iter()
                .filter(|((other, _), _)| other == service)
                .map(|((_, address), result)| (*address, *result))
                .collect(),
        ),
        None => State::NotProbed,
    };
    watched
        .iter()
        .map(|service| (*service, state(service)))
        .collect()
}
