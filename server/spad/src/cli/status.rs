//! `spad status`: what the daemon sees and does.

use std::fmt::Write as _;

use super::daemon_client::ask_daemon;
use super::output::{counted, print, print_json, table_row};
use super::{CliResult, Failure, Options};
use crate::control::message::Status;
use crate::control::{Request, Response};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> CliResult {
    match ask_daemon(options, &Request::Status)? {
        Response::Status(status) if options.json => {
            let report = serde_json::to_value(&status)?;
            print_json(&report)
        }
        Response::Status(status) => print(text(&status).trim_end()),
        other => Err(Failure::unexpected(other)),
    }
}

/// The longest name of a line.
const NAME_WIDTH: usize = "remembered".len();

/// For people.
fn text(status: &Status) -> String {
    let mut text = String::new();
    let none_or = |list: &[String]| {
        if list.is_empty() {
            "nothing".to_owned()
        } else {
            list.join(", ")
        }
    };
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}",
            table_row(&[NAME_WIDTH], &[name, &value.to_string()])
        );
    };
    line(
        "running",
        &format_args!(
            "version {}, process {}, for {} s",
            status.version, status.pid, status.uptime_s
        ),
    );
    line("knock port", &status.port);
    if status.carriers != "udp" {
        line("carriers", &status.carriers);
    }
    let shown = match status.shown.as_slice() {
        [] => String::new(),
        shown => format!(" (everybody can see {})", shown.join(", ")),
    };
    line(
        "hidden",
        &format_args!("{}{shown}", none_or(&status.hidden)),
    );
    if !status.on_trial.is_empty() {
        line(
            "on trial",
            &format_args!(
                "{} (how long: spad firewall show; to end it: spad confirm)",
                status.on_trial.join(", ")
            ),
        );
    }
    if !status.strangers_get.is_empty() {
        line("strangers", &format_args!("get {}", status.strangers_get));
    }
    line("clients", &status.clients);
    line(
        "open",
        &format_args!("{} (spad grants)", counted(status.open_grants, "grant")),
    );
    if status.windows_gave_way > 0 || status.connections_gave_way > 0 {
        line(
            "gave way",
            &format_args!(
                "{} and {}, each to a newer grant of the same client",
                counted(status.windows_gave_way, "window"),
                counted(status.connections_gave_way, "connection")
            ),
        );
    }
    for (door, left) in &status.sequences_left {
        let left = counted(*left, "sequence");
        line(
            "door",
            &format_args!("{door}: {left} left, each for one use"),
        );
    }
    line("remembered", &counted(status.replay_entries, "used packet"));
    line(
        "captured",
        &format_args!(
            "{}, {} lost in the ring{}",
            counted(status.captured, "packet"),
            status.capture_dropped,
            match status.capture_threads {
                0 | 1 => String::new(),
                threads => format!(", by {threads} threads"),
            }
        ),
    );
    for (reason, count) in &status.verdicts {
        line(&format!("  {reason}"), &format_args!(" {count}"));
    }
    if status.audit_dropped > 0 {
        line(
            "audit",
            &format_args!("{} lines could not be written", status.audit_dropped),
        );
    }
    for warning in &status.warnings {
        line("warning", warning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_and_every_verdict_is_shown() {
        let status = Status {
            warnings: vec!["mend the disk".to_owned()],
            verdicts: [("opened".to_owned(), 3), ("head_tag".to_owned(), 7)].into(),
            sequences_left: [("side".to_owned(), 1)].into(),
            windows_gave_way: 1,
            captured: 1,
            connections_gave_way: 12,
            ..Status::default()
        };
        let text = text(&status);
        for part in [
            "mend the disk",
            "opened",
            "3",
            "head_tag",
            "7",
            "hidden      nothing",
            "captured    1 packet, 0 lost",
            "door        side: 1 sequence left",
            "gave way    1 window and 12 connections",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
