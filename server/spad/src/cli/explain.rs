//! `spad explain FILE`: how each packet of a recording would end here.
//!
//! Reads the configuration, the keys and the record of used packets; changes nothing,
//! asks no daemon, shows no secret.

mod knock;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spa_findings::redact;
use spa_keys::file::{AllowedOwner, FileProblem};
use spa_proto::Timestamp;
use spad_config::Config;
use spad_engine::clients::Clients;
use spad_model::knock::{ObservedKnock, Sequence};
use spad_model::{Class, Datagram, Element, Paths, Reason, Received};
use spad_replay::{ReplayCache, read_only_snapshot, read_used};

use super::output::{note, print, print_json, warn};
use super::ownership::Owners;
use super::{CliResult, Failure, Options};
use crate::daemon::{LoadKeysError, load_keys};
use crate::explain::capture_file::{CapturedFrame, for_each_frame};
use crate::explain::simulate::{NotAPacket, PacketResult, Simulator, classify};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The recording, pcap or pcapng: what `tcpdump -w` or Wireshark writes
    file: PathBuf,
    /// As if no packet, and no sequence for one use, had been used before this recording
    #[arg(long)]
    as_new: bool,
    /// Also the packets that are not looked at at all, each with the reason, and knocks that are
    /// part of no attempt
    #[arg(long)]
    all: bool,
}

/// Runs it.
pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let paths = options.paths();
    let name = redact::line(&arguments.file.display().to_string(), false);
    let opened =
        File::open(&arguments.file).map_err(|error| Failure::new(format!("{name}: {error}")))?;
    let loaded = spad_config::load(&paths.config, spad_sys::clock::now().wall);
    let config = match loaded {
        Ok(loaded) => Arc::new(loaded.config),
        Err(findings) => {
            note(&findings);
            return Err(Failure::AlreadyReported);
        }
    };
    let none = Some(HashSet::new());
    let new = Simulator::new(clients(&paths, &config)?, ReplayCache::default(), none);
    let used = if arguments.as_new {
        None
    } else {
        let sequences = used_sequences(&paths, &config);
        used_packets(&paths)
            .map(|used| {
                Ok::<_, Failure>(Simulator::new(clients(&paths, &config)?, used, sequences))
            })
            .transpose()?
    };
    let mut report = Report {
        json: options.json,
        all: arguments.all,
        config,
        used,
        new,
        skipped: BTreeMap::new(),
        packets: 0,
        result: Ok(()),
    };
    let end = for_each_frame(opened, |recorded| report.report_frame(&recorded));
    report.result?;
    if !options.json {
        note(summary(report.packets, &report.skipped));
    }
    end.map_err(|error| {
        let help = "what was read before it is told above";
        Failure::with_help(format_args!("{name}: {error}"), help)
    })
}

/// The record of used packets, if it can be read; says so if not.
fn used_packets(paths: &Paths) -> Option<ReplayCache> {
    read_only_snapshot(&paths.state)
        .map_err(|error| {
            warn(format_args!(
                "the record of used packets cannot be read, so none counts as used: {}: {error}",
                paths.state.display()
            ));
        })
        .ok()
}

/// The record of used sequences, if it can be read; says so if not.
fn used_sequences(paths: &Paths, config: &Config) -> Option<HashSet<Sequence>> {
    let mut doors = config.knock.iter();
    if !doors.any(|door| door.pattern.sequences.one_time().is_some()) {
        return Some(HashSet::new());
    }
    read_used(&paths.state)
        .map_err(|error| warn(format_args!("no sequence for one use opens: {error}")))
        .ok()
}

fn clients(paths: &Paths, config: &Arc<Config>) -> Result<Clients, Failure> {
    let owner = Owners::find()
        .engine
        .map_or(AllowedOwner::CurrentUser, |(uid, _)| {
            AllowedOwner::CurrentUserOr(uid)
        });
    load_keys(paths, Arc::clone(config), owner).map_err(|error| match &error {
        LoadKeysError::File(file) if is_forbidden(&file.problem) => Failure::with_help(
            format_args!("{error}"),
            "run this as root: only the keys tell whose packets these are",
        ),
        _ => error.into(),
    })
}

fn is_forbidden(problem: &FileProblem) -> bool {
    matches!(problem, FileProblem::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

/// What is told, and by whom it is judged.
struct Report {
    json: bool,
    all: bool,
    config: Arc<Config>,
    /// Who knows which packets were used; none where nobody is to.
    used: Option<Simulator>,
    /// Who knows of none before this recording.
    new: Simulator,
    /// How many were not looked at, by reason.
    skipped: BTreeMap<&'static str, u64>,
    packets: u64,
    result: CliResult,
}

impl Report {
    fn report_frame(&mut self, recorded: &CapturedFrame<'_>) {
        self.packets = self.packets.saturating_add(1);
        if self.result.is_err() {
            return;
        }
        let carriers = &self.config.listen.carriers;
        let looked_at = classify(carriers, recorded.link, recorded.bytes);
        let (datagram, at) = match (looked_at, recorded.at) {
            (Ok(Received::Datagram(datagram)), Some(at)) => (datagram, at),
            (Ok(Received::Knock(hit)), Some(at)) => return self.report_knock(recorded, &hit, at),
            (looked_at, _) => {
                let (word, why) = looked_at.map_or_else(describe_skipped, |_| {
                    (
                        "no_time",
                        "the recording does not say when it came".to_owned(),
                    )
                });
                self.count_skipped(word);
                if self.all {
                    self.result = self.report_skipped(recorded, word, &why);
                }
                return;
            }
        };
        let new = self.new.packet(&datagram, at);
        let result = match &mut self.used {
            Some(used) => used.packet(&datagram, at),
            None => new.clone(),
        };
        // Where only the record of used packets stands between them.
        let new = Some(new).filter(|new| new.reason != result.reason);
        self.result = self.report_packet(recorded, &datagram, at, &result, new.as_ref());
    }

    fn count_skipped(&mut self, word: &'static str) {
        let count = self.skipped.entry(word).or_default();
        *count = count.saturating_add(1);
    }

    fn report_knock(&mut self, recorded: &CapturedFrame<'_>, hit: &ObservedKnock, at: Timestamp) {
        let new = self.new.knock(hit, at);
        let result = match &mut self.used {
            Some(used) => used.knock(hit, at),
            None => new.clone(),
        };
        let new = Some(new).filter(|new| *new != result);
        if result.is_ignored() && new.is_none() {
            self.count_skipped(result.reason.as_str());
            if !self.all {
                return;
            }
        }
        let new = new.as_ref();
        self.result = if self.json {
            print_json(&knock::as_json(recorded, hit, at, &result, new))
        } else {
            print(knock::as_text(recorded, hit, at, &result, new))
        };
    }

    fn report_skipped(&self, recorded: &CapturedFrame<'_>, word: &str, why: &str) -> CliResult {
        let length = recorded.bytes.len();
        if self.json {
            return print_json(&json!({
                "number": recorded.number,
                "at": recorded.at.map(time),
                "frame_bytes": length,
                "reason": Reason::Frame.as_str(),
                "fault": word,
            }));
        }
        let at = recorded.at.map_or_else(|| "no time".to_owned(), time);
        print(format_args!(
            "#{}  {at}  a frame of {length} bytes\n    {}: {why}",
            recorded.number,
            Reason::Frame.as_str(),
        ))
    }

    fn report_packet(
        &self,
        recorded: &CapturedFrame<'_>,
        datagram: &Datagram<'_>,
        at: Timestamp,
        result: &PacketResult,
        new: Option<&PacketResult>,
    ) -> CliResult {
        let (source, destination) = (datagram.source(), datagram.destination());
        let length = datagram.payload().len();
        if self.json {
            let mut object = result_json(result);
            if let Value::Object(object) = &mut object {
                object.insert("number".to_owned(), recorded.number.into());
                object.insert("at".to_owned(), time(at).into());
                object.insert("carrier".to_owned(), datagram.carrier().to_string().into());
                object.insert("source".to_owned(), source.to_string().into());
                object.insert("destination".to_owned(), destination.to_string().into());
                object.insert("bytes".to_owned(), length.into());
                object.insert("as_new".to_owned(), new.map_or(Value::Null, result_json));
            }
            return print_json(&object);
        }
        let mut text = format!(
            "#{}  {}  {source} → {destination} {}, {length} bytes\n    {}",
            recorded.number,
            time(at),
            datagram.carrier(),
            result_text(result)
        );
        if let Some(new) = new {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n    as new: {}", result_text(new));
        }
        print(text)
    }
}

fn describe_skipped(reason: NotAPacket) -> (&'static str, String) {
    match reason {
        NotAPacket::Frame(fault) => (fault.reason(), fault.reason().to_owned()),
        NotAPacket::Link(fault) => ("link", fault.to_string()),
    }
}

/// RFC 3339.
fn time(at: Timestamp) -> String {
    let micros = i64::try_from(at.as_micros()).ok();
    let instant = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    instant.map_or_else(|| "a time that cannot be".to_owned(), |at| at.to_string())
}

fn result_text(result: &PacketResult) -> String {
    let mut text = reason_text(result.reason);
    let Some(client) = &result.client else {
        return text;
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "\n    client {client}");
    if let Some(skew) = result.skew_ms {
        let direction = if skew < 0 { "behind" } else { "ahead" };
        let _ = write!(text, ", its clock {} ms {direction}", skew.unsigned_abs());
    }
    if let Some(command) = &result.command {
        let _ = write!(text, "\n    runs {command}");
    }
    for (element, ttl) in &result.elements {
        text.push_str(&element_text(element, *ttl));
    }
    text
}

fn reason_text(reason: Reason) -> String {
    let would = match reason.class() {
        Class::Opened | Class::Closed | Class::Started => "would end as ",
        Class::Refused | Class::Counted => "",
    };
    format!("{would}{}: {}", reason.as_str(), reason.explanation())
}

fn element_text(element: &Element, ttl: Duration) -> String {
    let mut text = format!("\n    {} for {}", element.service, element.peer());
    if let Some(port) = element.source_port {
        let _ = write!(text, ", from port {port} alone");
    }
    if element.once {
        text.push_str(", once");
    }
    if !ttl.is_zero() {
        let _ = write!(text, ", {} s", ttl.as_secs());
    }
    text
}

fn element_json(element: &Element, ttl: Duration) -> Value {
    json!({
        "address": element.peer().to_string(),
        "service": element.service.to_string(),
        "source_port": element.source_port,
        "once": element.once,
        "ttl_s": ttl.as_secs(),
    })
}

fn result_json(result: &PacketResult) -> Value {
    let elements: Vec<Value> = result
        .elements
        .iter()
        .map(|(element, ttl)| element_json(element, *ttl))
        .collect();
    json!({
        "reason": result.reason.as_str(),
        "explanation": result.reason.explanation(),
        "client": result.client.as_ref().map(ToString::to_string),
        "skew_ms": result.skew_ms,
        "elements": elements,
        "command": result.command,
    })
}

fn summary(packets: u64, skipped: &BTreeMap<&'static str, u64>) -> String {
    let skipped_count: u64 = skipped
        .values()
        .fold(0, |sum, count| sum.saturating_add(*count));
    let mut text = format!("{packets} recorded; {skipped_count} of them not looked at");
    let each: Vec<String> = skipped
        .iter()
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    if !each.is_empty() {
        let _ = write!(text, " ({}; each with --all)", each.join(", "));
    }
    text.push_str("; nothing was changed");
    text
}
