//! A knock of a recording, told.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use spa_proto::Timestamp;
use spad_model::knock::{AttemptEnd, ObservedKnock};

use super::{element_json, element_text, reason_text, time};
use crate::explain::capture_file::CapturedFrame;
use crate::explain::knock::{DoorProgress, KnockResult};

/// For people.
pub(super) fn as_text(
    recorded: &CapturedFrame<'_>,
    hit: &ObservedKnock,
    at: Timestamp,
    result: &KnockResult,
    new: Option<&KnockResult>,
) -> String {
    let (source, destination) = endpoints(hit);
    let mut text = format!(
        "#{}  {}  {source} → {destination} {}, a knock\n    {}",
        recorded.number,
        time(at),
        hit.knock.protocol.as_str(),
        knock_text(result)
    );
    if let Some(new) = new {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    as new: {}", knock_text(new));
    }
    text
}

fn knock_text(result: &KnockResult) -> String {
    let mut text = reason_text(result.reason);
    if result.is_ignored() {
        text.push_str("\n    part of no attempt, and begins none");
    }
    for (door, at) in &result.doors {
        let _ = write!(text, "\n    door {door}: {}", progress_text(*at));
    }
    if let Some(command) = &result.command {
        let _ = write!(text, "\n    runs {command}");
    }
    for (element, ttl) in &result.elements {
        text.push_str(&element_text(element, *ttl));
    }
    text
}

fn progress_text(at: DoorProgress) -> String {
    let fixed = match at {
        DoorProgress::Advanced(made, of) => return format!("knock {made} of {of}"),
        DoorProgress::AttemptEnded(AttemptEnd::TimedOut) => "an attempt is over: its time was over",
        DoorProgress::AttemptEnded(AttemptEnd::WrongKnock) => "an attempt is over: a wrong knock",
        DoorProgress::AttemptEnded(AttemptEnd::Restarted) => {
            "an attempt is over: its first knock came anew"
        }
        DoorProgress::Started => "the first knock",
        DoorProgress::Duplicate => "a knock that was made already",
        DoorProgress::Completed { used_up: false } => "the last knock",
        DoorProgress::Completed { used_up: true } => {
            "the last knock, and its sequence is used with it"
        }
    };
    fixed.to_owned()
}

/// The same as data.
pub(super) fn as_json(
    recorded: &CapturedFrame<'_>,
    hit: &ObservedKnock,
    at: Timestamp,
    result: &KnockResult,
    new: Option<&KnockResult>,
) -> Value {
    let (source, destination) = endpoints(hit);
    let mut object = knock_json(result);
    if let Value::Object(object) = &mut object {
        object.insert("number".to_owned(), recorded.number.into());
        object.insert("at".to_owned(), time(at).into());
        object.insert("carrier".to_owned(), hit.knock.protocol.as_str().into());
        object.insert("source".to_owned(), source.to_string().into());
        object.insert("destination".to_owned(), destination.to_string().into());
        object.insert("as_new".to_owned(), new.map_or(Value::Null, knock_json));
    }
    object
}

fn knock_json(result: &KnockResult) -> Value {
    let doors = result.doors.iter();
    let doors =
        doors.map(|(door, at)| json!({ "door": door.as_str(), "knock": progress_text(*at) }));
    let elements = result.elements.iter();
    let elements = elements.map(|(element, ttl)| element_json(element, *ttl));
    json!({
        "reason": result.reason.as_str(),
        "explanation": result.reason.explanation(),
        "doors": doors.collect::<Vec<_>>(),
        "elements": elements.collect::<Vec<_>>(),
        "command": result.command,
    })
}

fn endpoints(hit: &ObservedKnock) -> (SocketAddr, SocketAddr) {
    let to = hit.knock.port.get();
    (
        SocketAddr::new(hit.source, hit.source_port),
        SocketAddr::new(hit.destination, to),
    )
}
