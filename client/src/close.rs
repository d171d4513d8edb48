//! [IO] The way of one request to close: send, wait until nothing answers.
//!
//! Each look uses fresh sockets. A refusal proves that the port is closed; where
//! the server drops instead, silence until the end of the wait has to do.

use std::time::Duration;

use crate::ask::{Asking, Tell, Wish};
use crate::knock::{Knocker, Want};
use crate::open::states;
use crate::outcome::{End, Outcome};
use crate::probe::{Met, Watch};
use crate::schedule::{Step, steps};
use crate::target::Ask;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// Asks one host to close. `want` says what.
pub fn close(
    ask: &Ask<'_>,
    knocker: &Knocker,
    want: &Want,
    wish: &Wish,
    tell: Tell<'_>,
) -> Outcome {
    let mut asking = match Asking::start(ask, knocker, want, wish, tell) {
        Ok(asking) => asking,
        Err(ended) => return *ended,
    };
    let watched = ask.watched.iter().copied();
    let looked_at: Vec<_> = watched.filter(|s| Ask::can_be_probed(*s)).collect();
    let look = || Watch::new(looked_at.iter().copied());
    let mut watch = look();
    if watch.is_done() {
        asking.outcome.services = states(&ask.watched, &watch);
        asking.outcome.end = End::NotProbed;
        return asking.outcome;
    }
    let timeout = asking.timeout;
    let mut looked = false;
    for (at, step) in steps() {
        loop {
            let now = asking.since();
            if refused(&watch) || now >= at.min(timeout) {
                break;
            }
            let most = at.min(timeout).saturating_sub(now);
            watch.wait(most, || asking.since());
        }
        if refused(&watch) || asking.since() >= timeout {
            break;
        }
        match step {
            Step::Packet => asking.send(),
            // The last look is given time for an answer to come.
            Step::Probe if looked && at.saturating_add(ANSWER) > timeout => {}
            Step::Probe => {
                looked = true;
                watch = look();
                watch.probe(&asking.reached(), asking.since());
            }
        }
    }
    asking.outcome.elapsed = asking.since();
    asking.outcome.services = states(&ask.watched, &watch);
    asking.outcome.end = if watch.answered().is_empty() {
        End::Withdrawn
    } else {
        End::StillOpen
    };
    asking.outcome
}

/// Whether every port said that it is closed.
fn refused(watch: &Watch) -> bool {
    let mut met = watch.met().values().peekable();
    met.peek().is_some() && watch.answered().is_empty() && met.all(|met| *met == Met::Refusal)
}
