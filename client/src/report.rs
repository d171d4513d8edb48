//! Facts → one plain line, and the same facts as JSON. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use spa_proto::Addresses;

use crate::carrier::Carrier;
use crate::outcome::{Delivery, Outcome, RequestResult, State};
use crate::probe::ProbeResult;
use crate::send::Sent;

/// `12 ms`, `1.3 s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// One packet, for `-v`.
#[must_use]
pub fn packet(host: &str, via: Carrier, sent: &Sent) -> String {
    let destination = destination(via, sent.server);
    let stated = stated(sent.stated);
    match &sent.result {
        Ok(bytes) => format!("{host}: {bytes} bytes to {destination}, {stated}"),
        Err(error) => format!("{host}: nothing to {destination}: {error}"),
    }
}

/// Let in by a packet that asked for the address, after one that asked for a source port.
#[must_use]
pub fn only_by_address(host: &str, stated: Addresses) -> String {
    let each: Vec<_> = stated
        .iter()
        .map(|address| format!("--for {address}"))
        .collect();
    format!(
        "{host}: let in by this machine's address, not by its source port alone: the first packet was lost, or a router on the way changes TCP source ports; then `{}` saves 0.3 s",
        each.join(" ")
    )
}

fn stated(stated: Addresses) -> String {
    if stated.is_empty() {
        return "for the address it comes from".into();
    }
    let addresses: Vec<_> = stated.iter().map(|address| address.to_string()).collect();
    format!("for {}", addresses.join(" and "))
}

/// Why no address was reached.
#[must_use]
pub fn no_route(deliveries: &[Delivery]) -> String {
    let each: Vec<_> = deliveries
        .iter()
        .map(|to| format!("{}: {}", to.server.ip(), to.error.as_deref().unwrap_or("?")))
        .collect();
    format!(
        "nothing could be sent ({}); check this machine's network",
        each.join(", ")
    )
}

/// What a person is told. The first line says what is, the others what to check.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let host = &outcome.host;
    match &outcome.result {
        RequestResult::NoRoute(why) => format!("{host}: {why}"),
        RequestResult::DryRun => {
            let each: Vec<_> = reached(outcome)
                .map(|to| delivery(outcome.via, to))
                .collect();
            format!("{host}: would send a packet {}", each.join(", "))
        }
        RequestResult::Sent => format!("{host}: sent to {}, did not wait", addresses(outcome)),
        RequestResult::NotProbed => format!(
            "{host}: sent to {}; {}, so nobody can tell from here whether it is open",
            addresses(outcome),
            unprobed(outcome),
        ),
        RequestResult::Open => format!("{host}: {}", services(outcome, OPENING)),
        RequestResult::Closed => format!(
            "{host}: {}\n{}",
            services(outcome, OPENING),
            advice(outcome)
        ),
        RequestResult::Unanswered => format!(
            "{host}: sent to {}; nothing answers, the audit file on the server says what became of it",
            addresses(outcome)
        ),
        RequestResult::Withdrawn => format!("{host}: {}", services(outcome, CLOSING)),
        RequestResult::StillOpen => format!("{host}: {}\n{STILL_OPEN}", services(outcome, CLOSING)),
    }
}

/// Why a service may answer after a close.
const STILL_OPEN: &str = "  another client at this address may hold it open, or nothing hides it; `spad grants` on the server says who\n  or the server did not take the packet: its audit file (/var/log/spad/audit.jsonl) says why";

fn reached(outcome: &Outcome) -> impl Iterator<Item = &Delivery> {
    outcome.deliveries.iter().filter(|to| to.error.is_none())
}

fn delivery(via: Carrier, to: &Delivery) -> String {
    format!("to {}, {}", destination(via, to.server), stated(to.stated))
}

/// Where a packet goes, and by what unless that is UDP.
fn destination(via: Carrier, server: SocketAddr) -> String {
    let address = server.ip();
    match via {
        Carrier::Udp => format!("{address} port {}", server.port()),
        Carrier::Icmp => format!("{address} in an echo request"),
        Carrier::Tcp(port) => format!("{address} TCP port {port}"),
    }
}

fn addresses(outcome: &Outcome) -> String {
    let addresses: Vec<_> = reached(outcome)
        .map(|to| to.server.ip().to_string())
        .collect();
    addresses.join(", ")
}

fn unprobed(outcome: &Outcome) -> String {
    let ports: Vec<_> = outcome
        .services
        .iter()
        .map(|(s, _)| s.to_string())
        .collect();
    if ports.is_empty() {
        "the configuration names no port of this host".into()
    } else {
        format!("{} does not answer probes", ports.join(", "))
    }
}

/// What an open and a closed service are called, by what was asked for.
type Labels = (&'static str, &'static str);
const OPENING: Labels = ("open", "still closed");
const CLOSING: Labels = ("still open", "closed");

fn services(outcome: &Outcome, (open, closed): Labels) -> String {
    let mut parts = Vec::new();
    for (service, state) in &outcome.services {
        parts.push(match state {
            State::Open(answered) => {
                let after = format_duration(answered.after);
                format!("{service} {open} after {after} ({})", answered.address)
            }
            State::Closed(result) => {
                let result: Vec<_> = result
                    .iter()
                    .map(|(address, met)| format!("{address}: {}", probe_text(*met)))
                    .collect();
                let after = format_duration(outcome.elapsed);
                format!("{service} {closed} after {after} ({})", result.join(", "))
            }
            State::NotProbed => format!("{service} asked for, cannot be probed"),
        });
    }
    parts.join("; ")
}

const fn probe_text(result: ProbeResult) -> &'static str {
    match result {
        ProbeResult::NoAnswer => "no answer",
        ProbeResult::Refused => "connection refused",
        ProbeResult::NoRoute => "no route",
    }
}

/// What to check next, in the order in which it is most often the cause.
fn advice(outcome: &Outcome) -> String {
    let port = outcome.port;
    let mut out =
        String::from("  check: is this machine's clock right (compare `date -u` here and there)?");
    let _ = match outcome.via {
        Carrier::Udp => write!(
            out,
            "\n  check: does UDP port {port} reach the server, and is it the server's `[listen] port`?"
        ),
        via => write!(
            out,
            "\n  check: has the server's `[listen] carriers` \"{via}\", and does it reach the server?"
        ),
    };
    out.push_str("\n  check: does the server know this machine's key (`spa key show`), allow this service, and have the key given here (`spad key show`)?");
    let stated = reached(outcome).any(|to| !to.stated.is_empty());
    if stated {
        out.push_str("\n  check: does the server see this machine under the address the packet was for (`spa -v`)? Behind NAT, say `--for ADDR`");
    }
    if let Some(own) = outcome.requested_port {
        let _ = write!(
            out,
            "\n  check: does a router on the way change TCP source ports? The packet asked for port {own} alone; with a longer --timeout the next one asks for the address"
        );
    }
    let refused = |(_, state): &(_, State)| matches!(state, State::Closed(result) if result.iter().any(|(_, met)| *met == ProbeResult::Refused));
    if outcome.services.iter().any(refused) {
        out.push_str("\n  check: does the service run? A connection was refused, which closed ports and missing services both do");
    }
    out.push_str("\n  on the server, the audit file (/var/log/spad/audit.jsonl) and `spad status` say what became of the packet");
    out
}

/// The same facts as JSON.
#[must_use]
pub fn json(outcome: &Outcome) -> Value {
    let (result, error) = match &outcome.result {
        RequestResult::NoRoute(why) => ("no_route", Some(why)),
        RequestResult::DryRun => ("dry_run", None),
        RequestResult::Sent | RequestResult::Unanswered => ("sent", None),
        RequestResult::NotProbed => ("not_probed", None),
        RequestResult::Open => ("open", None),
        RequestResult::Closed => ("closed", None),
        RequestResult::Withdrawn => ("withdrawn", None),
        RequestResult::StillOpen => ("still_open", None),
    };
    let deliveries: Vec<_> = outcome.deliveries.iter().map(delivery_json).collect();
    let services: Vec<_> = outcome
        .services
        .iter()
        .map(|(service, state)| match state {
            State::Open(answered) => json!({
                "service": service.to_string(),
                "state": "open",
                "address": answered.address,
                "after_us": micros(answered.after),
            }),
            State::Closed(probe) => json!({
                "service": service.to_string(),
                "state": "closed",
                "met": probe.iter().map(|(address, met)| json!({ "address": address, "met": probe_text(*met) })).collect::<Vec<_>>(),
            }),
            State::NotProbed => json!({ "service": service.to_string(), "state": "not_probed" }),
        })
        .collect();
    json!({
        "host": outcome.host,
        "via": outcome.via.to_string(),
        "result": result,
        "exit": outcome.exit().code(),
        "error": error,
        "sent": deliveries,
        "services": services,
        "elapsed_us": micros(outcome.elapsed),
    })
}

fn delivery_json(to: &Delivery) -> Value {
    json!({
        "address": to.server.ip(),
        "port": to.server.port(),
        "for": to.stated.iter().collect::<Vec<_>>(),
        "packets": to.packets,
        "error": to.error,
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
