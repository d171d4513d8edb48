//! One section of knockd.conf: what is knocked, and within which time.
//!
//! Pure. What knockd refuses, or could never complete, is an error; what is right there and
//! has no counterpart here is a warning, and the door is left out.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::Range;

use spa_findings::redact::quote;
use spa_findings::{Finding, Source};
use spa_proto::Protocol;
use spad_config::humanise;
use spad_model::knock::sequence::MAX_KNOCKS;
use spad_model::knock::{Knock, ParseSequenceError, ParseTcpFlagsError, Sequence, TcpFlags};

use super::parser::{Directive, Key, Section};

/// What knockd waits from the first knock to the last where nothing is said, in seconds.
const DEFAULT_WINDOW: u64 = 25;
/// The longest of ours.
const MAX_WINDOW: u64 = 600;

/// A door's knocks.
#[derive(Clone, Debug)]
pub(super) enum Knocks<'s> {
    Sequence(Sequence),
    /// A file of sequences for one use each.
    OneTime(&'s str),
}

/// What is knocked.
#[derive(Clone, Debug)]
pub(super) struct KnockdDoor<'s> {
    pub(super) knocks: Knocks<'s>,
    /// Where they stand.
    pub(super) span: Range<usize>,
    /// In seconds.
    pub(super) window: u64,
    /// As ours are written; none: those of our default.
    pub(super) flags: Vec<String>,
    pub(super) target: Option<IpAddr>,
}

/// Reads the section; none where it cannot be carried over, which was said then.
pub(super) fn read<'s>(
    source: &Source,
    section: &Section<'s>,
    found: &mut Vec<Finding>,
) -> Option<KnockdDoor<'s>> {
    let knocks = knocks(source, section, found);
    let window = window(source, section, found);
    let udp_only = matches!(&knocks, Some((Knocks::Sequence(sequence), _))
        if sequence.knocks().iter().all(|knock| knock.protocol == Protocol::Udp));
    let flags = match section.get(Key::TcpFlags) {
        Some(entry) => flags(source, entry, udp_only, found),
        None => Some(Vec::new()),
    };
    let target = match section.get(Key::Target) {
        Some(entry) => target(source, entry, found).map(Some),
        None => Some(None),
    };
    let (knocks, span) = knocks?;
    Some(KnockdDoor {
        knocks,
        span,
        window: window?,
        flags: flags?,
        target: target?,
    })
}

fn knocks<'s>(
    source: &Source,
    section: &Section<'s>,
    found: &mut Vec<Finding>,
) -> Option<(Knocks<'s>, Range<usize>)> {
    match (
        section.get(Key::Sequence),
        section.get(Key::OneTimeSequences),
    ) {
        (Some(entry), None) => {
            let sequence = sequence(source, entry.value, entry.span.start, found)?;
            Some((Knocks::Sequence(sequence), entry.span.clone()))
        }
        (None, Some(entry)) if entry.value.starts_with('/') => {
            Some((Knocks::OneTime(entry.value), entry.span.clone()))
        }
        (None, Some(entry)) => {
            let finding = source.error(entry.span.clone(), "this is not the whole path of a file");
            found.push(finding.help("write it from the root on: /etc/knockd/sequences"));
            None
        }
        (Some(_), Some(entry)) => {
            let finding = source.error(
                entry.key_span.clone(),
                "a door has one sequence, or a file of them",
            );
            found.push(finding.help("take Sequence or One_Time_Sequences out"));
            None
        }
        (None, None) => {
            let finding = source.error(section.span.clone(), "this door has no sequence");
            found.push(finding.help("write Sequence = 7000,8000,9000 below it"));
            None
        }
    }
}

/// A sequence as knockd writes it, which begins at `start`.
pub(super) fn sequence(
    source: &Source,
    text: &str,
    start: usize,
    found: &mut Vec<Finding>,
) -> Option<Sequence> {
    let whole = start..start.saturating_add(text.len());
    let mut knocks = Vec::new();
    let mut right = true;
    let mut place = start;
    for part in text.split(',') {
        let ahead = part.len().saturating_sub(part.trim_start().len());
        let begin = place.saturating_add(ahead);
        let end = begin.saturating_add(part.trim().len());
        place = place.saturating_add(part.len()).saturating_add(1);
        match knock(part.trim()) {
            Ok(knock) => knocks.push(knock),
            Err(why) => {
                right = false;
                let finding = source.error(
                    begin..end,
                    format!("`{}` is no knock: {why}", quote(part.trim())),
                );
                found.push(finding.help("write ports from 1 to 65535, with :udp behind those that are UDP: 7000,8000:udp"));
            }
        }
        if knocks.len() > MAX_KNOCKS {
            break;
        }
    }
    if !right {
        return None;
    }
    let finding = match Sequence::new(knocks) {
        Ok(sequence) => return Some(sequence),
        Err(error @ ParseSequenceError::TooLong) => {
            source.error(whole, error.to_string()).help("take some out")
        }
        Err(ParseSequenceError::RepeatedKnock(knock)) => source
            .warning(
                whole,
                format!("this is not carried over: the knock {knock} stands twice in a row"),
            )
            .help("put another knock between the two, here and at who knocks")
            .note("networks repeat packets: one knock would count for both"),
        Err(error) => {
            let said = error.to_string();
            let (what, help) = said
                .split_once("; ")
                .unwrap_or((&said, "write at least two"));
            source
                .warning(whole, format!("this is not carried over: {what}"))
                .help(help)
        }
    };
    found.push(finding);
    None
}

/// One knock. knockd makes port 0 of whatever is no number.
fn knock(text: &str) -> Result<Knock, &'static str> {
    let (port, protocol) = text.split_once(':').unwrap_or((text, "tcp"));
    let protocol = match protocol.trim().to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err("the protocols are tcp and udp"),
    };
    let port = port.trim();
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("this is not a number");
    }
    match port.parse().ok().map(NonZeroU16::new) {
        Some(Some(port)) => Ok(Knock { protocol, port }),
        Some(None) => Err("port 0 is not a port"),
        None => Err("the highest port is 65535"),
    }
}

/// A number of seconds. knockd makes 0 of whatever is no number.
pub(super) fn seconds(
    source: &Source,
    entry: &Directive<'_>,
    found: &mut Vec<Finding>,
) -> Option<u64> {
    let digits = entry.value.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = entry.value.parse::<u64>().ok().filter(|_| digits);
    let finding = match seconds {
        Some(0) => source.error(entry.span.clone(), "this time is over at once"),
        Some(seconds) => return Some(seconds),
        None => source.error(
            entry.span.clone(),
            format!("`{}` is not a number of seconds", quote(entry.value)),
        ),
    };
    found.push(finding.help("write a whole number of seconds, at least 1, without a unit"));
    None
}

fn window(source: &Source, section: &Section<'_>, found: &mut Vec<Finding>) -> Option<u64> {
    let Some(entry) = section.get(Key::SeqTimeout) else {
        return Some(DEFAULT_WINDOW);
    };
    let seconds = seconds(source, entry, found)?;
    if seconds > MAX_WINDOW {
        let longest = humanise(MAX_WINDOW);
        let finding = source.warning(
            entry.span.clone(),
            format!("a sequence takes at most {longest} here, and so it is written"),
        );
        found.push(finding.help("knock faster, or write the shorter time here"));
    }
    Some(seconds.min(MAX_WINDOW))
}

fn flags(
    source: &Source,
    entry: &Directive<'_>,
    udp_only: bool,
    found: &mut Vec<Finding>,
) -> Option<Vec<String>> {
    let written = entry.value.to_ascii_lowercase();
    let words: Vec<&str> = written.split(',').collect();
    let about = |finding: Finding, help: &str| Some(finding.help(help));
    let finding = match TcpFlags::parse(words.iter().copied()) {
        Ok(_) => {
            if words.contains(&"ack") && !udp_only {
                let finding = source.warning(entry.span.clone(), "no connection begins with SYN and ACK: `knock`, nmap and nc send no such knock");
                found.push(finding.help("write TCPFlags = syn, if ordinary knocks are meant; it is carried over as it stands"));
            }
            None
        }
        Err(ParseTcpFlagsError::UnknownFlag(place)) => {
            let word = words.get(place).copied().unwrap_or_default();
            about(
                source.error(
                    entry.span.clone(),
                    format!("`{}` is not a TCP flag", quote(word)),
                ),
                "write fin, syn, rst, psh, ack or urg, with ! before one that must not be set, and no blanks",
            )
        }
        Err(ParseTcpFlagsError::Contradiction(_)) => about(
            source.error(entry.span.clone(), "no segment has these flags"),
            "take one of the two that contradict each other out",
        ),
        // They say nothing of datagrams.
        Err(ParseTcpFlagsError::MissingSyn) if udp_only => return Some(Vec::new()),
        Err(ParseTcpFlagsError::MissingSyn) => about(
            source.warning(
                entry.span.clone(),
                "this is not carried over: here a knock is the first segment of a connection",
            ),
            "write TCPFlags = syn, and knock with `knock` or `spa knock`",
        ),
    };
    if let Some(finding) = finding {
        found.push(finding);
        return None;
    }
    if udp_only {
        return Some(Vec::new());
    }
    Some(words.into_iter().map(str::to_owned).collect())
}

fn target(source: &Source, entry: &Directive<'_>, found: &mut Vec<Finding>) -> Option<IpAddr> {
    let address = entry.value.parse().ok();
    if address.is_none() {
        let finding = source.error(
            entry.span.clone(),
            format!("`{}` is not an address", quote(entry.value)),
        );
        found.push(finding.help("write the one address to knock at, or take Target out"));
    }
    address
}
