//! [IO] The way of one request to run a command: send it, once. There is nothing
//! to wait for, and a second packet would run the command a second time.

use crate::outcome::{Outcome, RequestResult};
use crate::packet::{PacketBuilder, RequestKind};
use crate::request::{PendingRequest, ProgressFn, SendOptions};
use crate::target::Target;

/// Asks one host to run a command. `want` says which.
pub fn run(
    target: &Target<'_>,
    builder: &PacketBuilder,
    kind: &RequestKind,
    send_options: &SendOptions,
    progress: ProgressFn<'_>,
) -> Outcome {
    let mut outcome = match PendingRequest::start(target, builder, kind, send_options, progress) {
        Ok(asking) => asking.outcome,
        Err(ended) => *ended,
    };
    if outcome.result == RequestResult::Sent {
        outcome.result = RequestResult::Unanswered;
    }
    outcome
}
