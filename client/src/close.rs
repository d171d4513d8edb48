//! [IO] The way of one request to close: send, wait until nothing answers.
//!
//! Each look uses fresh sockets. A refusal proves that the port is closed; where
//! the server drops instead, silence until the end of the wait has to do.

use std::time::Duration;

use crate::open::service_states;
use crate::outcome::{Outcome, RequestResult};
use crate::packet::{PacketBuilder, RequestKind};
use crate::probe::{ProbeResult, Prober};
use crate::request::{PendingRequest, ProgressFn, SendOptions};
use crate::schedule::{Step, steps};
use crate::target::Target;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks one host to close. `want` says what.
pub fn close(
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
    let watched = target.watched.iter().copied();
    let probed: Vec<_> = watched.filter(|s| Target::can_be_probed(*s)).collect();
    let new_prober = || Prober::new(probed.iter().copied());
    let mut prober = new_prober();
    if prober.is_done() {
        request.outcome.services = service_states(&target.watched, &prober);
        request.outcome.result = RequestResult::NotProbed;
        return request.outcome;
    }
    let timeout = request.timeout;
    let mut has_probed = false;
    for (at, step) in steps() {
        loop {
            let now = request.elapsed();
            if all_refused(&prober) || now >= at.min(timeout) {
                break;
            }
            let max_wait = at.min(timeout).saturating_sub(now);
            prober.wait(max_wait, || request.elapsed());
        }
        if all_refused(&prober) || request.elapsed() >= timeout {
            break;
        }
        match step {
            Step::Packet => request.send(),
            // The last look is given time for an answer to come.
            Step::Probe if has_probed && at.saturating_add(ANSWER_TIMEOUT) > timeout => {}
            Step::Probe => {
                has_probed = true;
                prober = new_prober();
                prober.probe(&request.reached_servers(), request.elapsed());
            }
        }
    }
    request.outcome.elapsed = request.elapsed();
    request.outcome.services = service_states(&target.watched, &prober);
    request.outcome.result = if prober.reachable().is_empty() {
        RequestResult::Withdrawn
    } else {
        RequestResult::StillOpen
    };
    request.outcome
}

/// Whether every port said that it is closed.
fn all_refused(prober: &Prober) -> bool {
    let mut result = prober.results().values().peekable();
    result.peek().is_some()
        && prober.reachable().is_empty()
        && result.all(|result| *result == ProbeResult::Refused)
}
