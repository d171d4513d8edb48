//! What `open`, `close`, `run` and the rest have in common: everything local is
//! checked first, for every host; then all hosts are asked at once.

use std::path::Path;
use std::thread;

use serde_json::json;

use super::say::{Failure, Say};
use crate::config::Config;
use crate::exit::Exit;
use crate::identity;
use crate::knock::Knocker;
use crate::outcome::{End, Outcome};
use crate::report;
use crate::target::{Ask, asks};

/// What is asked of whom.
pub(super) fn checked<'c>(config: &'c Config, targets: &[String]) -> Result<Vec<Ask<'c>>, Failure> {
    asks(config, targets).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::local(lines.join("\nspa: "))
    })
}

/// The keys for each: where one is missing, nothing is sent to any.
pub(super) fn with_keys<'c>(
    directory: &Path,
    asks: Vec<Ask<'c>>,
) -> Result<Vec<(Ask<'c>, Knocker)>, Failure> {
    asks.into_iter()
        .map(|ask| {
            let knocker = identity::knocker(directory, ask.host);
            let knocker =
                knocker.map_err(|error| Failure::local(format!("{}: {error}", ask.name)))?;
            Ok((ask, knocker))
        })
        .collect()
}

/// Asks every host at once, and tells what became of each.
pub(super) fn all(
    asks: &[(Ask<'_>, Knocker)],
    say: &Say,
    one: impl Fn(&Ask<'_>, &Knocker) -> Outcome + Sync,
) -> Result<Exit, Failure> {
    let told = |(ask, knocker): &(Ask<'_>, Knocker)| {
        let outcome = one(ask, knocker);
        announce(&outcome, say);
        outcome
    };
    let outcomes: Vec<Outcome> = match asks {
        [alone] => vec![told(alone)],
        several => thread::scope(|scope| {
            let running: Vec<_> = several
                .iter()
                .map(|ask| scope.spawn(|| told(ask)))
                .collect();
            let ended = running.into_iter().filter_map(|thread| thread.join().ok());
            ended.collect()
        }),
    };
    // A thread that ended without an outcome must not look like success.
    if outcomes.len() != asks.len() {
        return Err(Failure::local(
            "a part of this program failed; please report it",
        ));
    }
    let exit = Exit::worst(outcomes.iter().map(Outcome::exit));
    say.object(|| {
        let hosts: Vec<_> = outcomes.iter().map(report::json).collect();
        json!({ "exit": exit.code(), "hosts": hosts })
    });
    Ok(exit)
}

/// What a person is told of one host: a rehearsal is a result, the rest are news.
fn announce(outcome: &Outcome, say: &Say) {
    let text = report::text(outcome);
    match outcome.end {
        End::Rehearsed => say.text(&text),
        _ => say.note(&text),
    }
}
