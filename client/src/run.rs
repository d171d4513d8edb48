//! [IO] The way of one request to run a command: send it, once. There is nothing
//! to wait for, and a second packet would run the command a second time.

use crate::ask::{Asking, Tell, Wish};
use crate::knock::{Knocker, Want};
use crate::outcome::{End, Outcome};
use crate::target::Ask;

/// Asks one host to run a command. `want` says which.
pub fn run(ask: &Ask<'_>, knocker: &Knocker, want: &Want, wish: &Wish, tell: Tell<'_>) -> Outcome {
    let mut outcome = match Asking::start(ask, knocker, want, wish, tell) {
        Ok(asking) => asking.outcome,
        Err(ended) => *ended,
    };
    if outcome.end == End::Sent {
        outcome.end = End::Unanswered;
    }
    outcome
}
