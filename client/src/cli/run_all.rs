//! What `open`, `close`, `run` and the rest have in common: everything local is
//! checked first, for every host; then all hosts are asked at once.

use std::path::Path;
use std::thread;

use serde_json::json;

use super::output::{Failure, Output};
use crate::config::Config;
use crate::exit::Exit;
use crate::identity;
use crate::outcome::{Outcome, RequestResult};
use crate::packet::PacketBuilder;
use crate::report;
use crate::target::{Target, lookup_targets};

/// What is asked of whom.
pub(super) fn checked_targets<'c>(
    config: &'c Config,
    targets: &[String],
) -> Result<Vec<Target<'c>>, Failure> {
    lookup_targets(config, targets).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::local(lines.join("\nspa: "))
    })
}

/// The keys for each: where one is missing, nothing is sent to any.
pub(super) fn with_keys<'c>(
    directory: &Path,
    targets: Vec<Target<'c>>,
) -> Result<Vec<(Target<'c>, PacketBuilder)>, Failure> {
    targets
        .into_iter()
        .map(|target| {
            let builder = identity::packet_builder(directory, target.host);
            let builder =
                builder.map_err(|error| Failure::local(format!("{}: {error}", target.name)))?;
            Ok((target, builder))
        })
        .collect()
}

/// Asks every host at once, and tells what became of each.
pub(super) fn run_all(
    targets: &[(Target<'_>, PacketBuilder)],
    output: &Output,
    one: impl Fn(&Target<'_>, &PacketBuilder) -> Outcome + Sync,
) -> Result<Exit, Failure> {
    let run_one = |(target, builder): &(Target<'_>, PacketBuilder)| {
        let outcome = one(target, builder);
        print_outcome(&outcome, output);
        outcome
    };
    let outcomes: Vec<Outcome> = match targets {
        [alone] => vec![run_one(alone)],
        several => thread::scope(|scope| {
            let running: Vec<_> = several
                .iter()
                .map(|target| scope.spawn(|| run_one(target)))
                .collect();
            let ended = running.into_iter().filter_map(|thread| thread.join().ok());
            ended.collect()
        }),
    };
    // A thread that ended without an outcome must not look like success.
    if outcomes.len() != targets.len() {
        return Err(Failure::local(
            "a part of this program failed; please report it",
        ));
    }
    let exit = Exit::worst(outcomes.iter().map(Outcome::exit));
    output.object(|| {
        let hosts: Vec<_> = outcomes.iter().map(report::json).collect();
        json!({ "exit": exit.code(), "hosts": hosts })
    });
    Ok(exit)
}

/// What a person is told of one host: a rehearsal is a result, the rest are news.
fn print_outcome(outcome: &Outcome, output: &Output) {
    let text = report::text(outcome);
    match outcome.result {
        RequestResult::DryRun => output.text(&text),
        _ => output.note(&text),
    }
}
