//! `spad firewall`: the firewall's table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;
use spa_proto::Service;
use spad_firewall::writer;
use spad_firewall::writer::{Dialect, FirewallView, KernelState, WriterError};
use spad_model::{PortState, TrialChange, TrialEvent, TrialRow};

use super::output::{note, print, print_json};
use super::{CliResult, Failure, Options};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the table as it is declared
    #[command(after_help = "Example:\n  spad firewall show")]
    Show,
    /// Load the table now, as the boot does
    #[command(after_help = "Example:\n  spad firewall load")]
    Load,
    /// Print what to paste into your own ruleset
    #[command(
        after_help = "Example:\n  spad firewall snippet\n  spad firewall snippet --iptables | sh\n\nFor nftables with [guard] mode = \"set\": our sets, and a chain that accepts who has a grant.\nFor iptables beside our own table (mode = \"guard\"): rules that allow what that table hides.\nFor iptables with ipset: its sets, rules that accept who is in them, and the lines of spad.toml\nthat let spad fill them (mode = \"command\")."
    )]
    Snippet {
        /// For iptables and ip6tables beside our own table
        #[arg(long, conflicts_with = "ipset")]
        iptables: bool,
        /// For iptables and ip6tables with sets of ipset, without our own table
        #[arg(long)]
        ipset: bool,
    },
    /// Take the table away: everything hidden can be reached again
    #[command(after_help = "Example:\n  spad firewall remove")]
    Remove,
}

/// Runs it.
pub(crate) fn run(options: &Options, command: &Command) -> CliResult {
    match command {
        Command::Show => {
            let shown = writer::show(&options.paths()).map_err(failure)?;
            if options.json {
                return print_json(&as_json(&shown));
            }
            print(describe(&shown))
        }
        Command::Load => {
            let Some((place, events)) = writer::load(&options.paths()).map_err(failure)? else {
                note(
                    "no table is loaded in the mode \"command\"; spad run runs the programs of [firewall]",
                );
                return Ok(());
            };
            if options.json {
                let events: Vec<_> = events.iter().map(event_as_json).collect();
                return print_json(&json!({ "loaded": true, "trials": events }));
            }
            for event in &events {
                note(describe_event(event));
            }
            if place.is_own() {
                return print("the table inet spad stands");
            }
            print(format_args!(
                "the sets stand in your table inet {}",
                place.table()
            ))
        }
        Command::Snippet { iptables, ipset } => {
            let dialect = match (iptables, ipset) {
                (_, true) => Dialect::Ipset,
                (true, false) => Dialect::Iptables,
                (false, false) => Dialect::Nftables,
            };
            match writer::snippet(&options.paths(), dialect).map_err(failure)? {
                Some(text) if options.json => print_json(&json!({ "snippet": text })),
                Some(text) => print(text.trim_end()),
                None if *iptables => Err(Failure::with_help(
                    "iptables cannot refer to sets of nftables, where the mode \"set\" keeps them",
                    "write [guard] mode = \"guard\", and name the services in `hide`: our table then hides them before iptables sees a packet",
                )),
                None => Err(Failure::with_help(
                    "nothing is to be pasted in the mode \"guard\": our own table hides the services, whatever your rules are",
                    "for iptables: spad firewall snippet --iptables; to have your own ruleset hide them, write [guard] mode = \"set\" and table = \"inet filter\"",
                )),
            }
        }
        Command::Remove => {
            let (place, ports) = writer::remove(&options.paths())?;
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let runs = UnixStream::connect(options.paths().control_socket()).is_ok();
            if options.json {
                return print_json(
                    &json!({ "removed": true, "shown": ports, "daemon_runs": runs }),
                );
            }
            if !place.is_own() {
                if runs {
                    note(
                        "the running daemon makes them again within a second: systemctl stop spad",
                    );
                }
                return print(format_args!(
                    "our sets are gone from your table inet {}, and nobody has a grant",
                    place.table()
                ));
            }
            if runs {
                note("stop the daemon first, then say this again: systemctl stop spad");
                return print(
                    "the table inet spad was taken away; the running daemon puts it back within a second",
                );
            }
            if ports.is_empty() {
                return print("the table inet spad is gone; it hid nothing");
            }
            print(format_args!(
                "the table inet spad is gone; anybody can reach {} now",
                ports.join(", ")
            ))
        }
    }
}

/// Findings say of themselves that they are errors.
fn failure(error: WriterError) -> Failure {
    match error {
        WriterError::Configuration(findings) => {
            note(findings);
            Failure::AlreadyReported
        }
        other => other.into(),
    }
}

/// What stands in the kernel as comments, then the table.
fn describe(shown: &FirewallView) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match &shown.kernel {
        KernelState::Missing if !shown.location.is_own() => writeln!(
            text,
            "# not loaded: nobody has a grant in your table inet {}",
            shown.location.table()
        ),
        KernelState::Missing => writeln!(text, "# not loaded: nothing is hidden now"),
        KernelState::Unreadable(error) => {
            writeln!(
                text,
                "# what the kernel holds cannot be seen ({error}): be root"
            )
        }
        KernelState::Emergency { hidden } => writeln!(
            text,
            "# loaded: an emergency table, for nft could not be used; nobody has a grant; hidden: {}\n# once nft works again: systemctl restart spad-guard, or spad firewall load",
            describe_hidden(hidden).join(", ")
        ),
        KernelState::Present { grants, hidden } => {
            let ports = describe_hidden(hidden);
            let grants: Vec<String> = grants
                .iter()
                .map(|(set, count)| format!("{set} {count}"))
                .collect();
            let ports = if !shown.location.is_own() {
                "what your own rules drop".to_owned()
            } else if ports.is_empty() {
                "nothing".to_owned()
            } else {
                ports.join(", ")
            };
            writeln!(
                text,
                "# loaded; hidden: {ports}\n# elements: {}",
                grants.join(", ")
            )
        }
    };
    for TrialRow {
        service,
        state: standing,
    } in &shown.trials
    {
        if *standing == PortState::Exposed {
            let _ = writeln!(
                text,
                "# {service} is shown: nobody reached it while it was on trial; `spad confirm` hides it"
            );
        }
    }
    for (number, line) in shown
        .stranger_reply
        .iter()
        .flat_map(|text| text.lines().enumerate())
    {
        let prefix = if number == 0 {
            "strangers get"
        } else {
            "at hidden ports:"
        };
        let _ = writeln!(text, "# {prefix} {line}");
    }
    text.push_str("# what `spad firewall load` loads:\n");
    text.push_str(shown.text.trim_end());
    text
}

fn describe_hidden(hidden: &BTreeMap<Service, Option<Duration>>) -> Vec<String> {
    let ports = hidden.iter().map(|(port, rest)| match rest {
        Some(rest) => format!("{port} (on trial, {} s left)", rest.as_secs()),
        None => port.to_string(),
    });
    ports.collect()
}

fn hidden_as_json(hidden: &BTreeMap<Service, Option<Duration>>) -> serde_json::Value {
    let ports = hidden.iter().map(|(port, rest)| {
        let rest = json!({ "trial_s": rest.map(|rest| rest.as_secs()) });
        (port.to_string(), rest)
    });
    serde_json::Value::Object(ports.collect())
}

fn as_json(shown: &FirewallView) -> serde_json::Value {
    let kernel = match &shown.kernel {
        KernelState::Missing => json!({ "loaded": false }),
        KernelState::Unreadable(error) => json!({ "error": error.to_string() }),
        KernelState::Emergency { hidden } => {
            json!({ "loaded": true, "emergency": true, "hidden": hidden_as_json(hidden) })
        }
        KernelState::Present { grants, hidden } => {
            json!({ "loaded": true, "elements": grants, "hidden": hidden_as_json(hidden) })
        }
    };
    let standings: serde_json::Map<_, _> = shown
        .trials
        .iter()
        .map(|row| {
            let word = match row.state {
                PortState::Hidden => "hidden",
                PortState::OnTrial(_) => "on_trial",
                PortState::Exposed => "shown",
            };
            (row.service.to_string(), json!(word))
        })
        .collect();
    json!({ "kernel": kernel, "standings": standings, "strangers_get": shown.stranger_reply, "table": shown.text })
}

fn describe_event(event: &TrialEvent) -> String {
    let port = event.service;
    match event.change {
        TrialChange::Began(length) => format!(
            "{port} is hidden on trial: it is shown again in {}, unless it is reached by a grant or `spad confirm` is said",
            minutes(length)
        ),
        TrialChange::Reached => format!("{port} was reached by a grant: it stays hidden"),
        TrialChange::Confirmed => format!("{port} is confirmed: it stays hidden"),
        TrialChange::TimedOut => format!(
            "{port} is shown again: nobody reached it while it was on trial; `spad confirm` hides it"
        ),
    }
}

fn event_as_json(event: &TrialEvent) -> serde_json::Value {
    let word = match event.change {
        TrialChange::Began(_) => "began",
        TrialChange::Reached => "reached",
        TrialChange::Confirmed => "confirmed",
        TrialChange::TimedOut => "over",
    };
    json!({ "port": event.service.to_string(), "trial": word })
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 && seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}
