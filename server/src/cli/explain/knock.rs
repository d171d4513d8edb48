//! A knock of a recording, told.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};
use spa_proto::Timestamp;

use super::{element_json, element_text, time, would_end};
use crate::explain::knock::{AtDoor, KnockEnding};
use crate::explain::recording::Recorded;
use crate::knock::{AttemptEnd, ObservedKnock};

/// For people.
pub(super) fn text(
    recorded: &Recorded<'_>,
    hit: &ObservedKnock,
    at: Timestamp,
    ending: &KnockEnding,
    new: Option<&KnockEnding>,
) -> String {
    let (source, destination) = places(hit);
    let mut text = format!(
        "#{}  {}  {source} → {destination} {}, a knock\n    {}",
        recorded.number,
        time(at),
        hit.knock.protocol.as_str(),
        end(ending)
    );
    if let Some(new) = new {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n    as new: {}", end(new));
    }
    text
}

fn end(ending: &KnockEnding) -> String {
    let mut text = would_end(ending.reason);
    if ending.is_nothing() {
        text.push_str("\n    part of no attempt, and begins none");
    }
    for (door, at) in &ending.doors {
        let _ = write!(text, "\n    door {door}: {}", words(*at));
    }
    if let Some(command) = &ending.command {
        let _ = write!(text, "\n    runs {command}");
    }
    for (element, ttl) in &ending.elements {
        text.push_str(&element_text(element, *ttl));
    }
    text
}

fn words(at: AtDoor) -> String {
    let fixed = match at {
        AtDoor::Further(made, of) => return format!("knock {made} of {of}"),
        AtDoor::Over(AttemptEnd::TimedOut) => "an attempt is over: its time was over",
        AtDoor::Over(AttemptEnd::WrongKnock) => "an attempt is over: a wrong knock",
        AtDoor::Over(AttemptEnd::Restarted) => "an attempt is over: its first knock came anew",
        AtDoor::Begun => "the first knock",
        AtDoor::Repeated => "a knock that was made already",
        AtDoor::Whole { used_up: false } => "the last knock",
        AtDoor::Whole { used_up: true } => "the last knock, and its sequence is used with it",
    };
    fixed.to_owned()
}

/// The same as data.
pub(super) fn object(
    recorded: &Recorded<'_>,
    hit: &ObservedKnock,
    at: Timestamp,
    ending: &KnockEnding,
    new: Option<&KnockEnding>,
) -> Value {
    let (source, destination) = places(hit);
    let mut object = end_object(ending);
    if let Value::Object(object) = &mut object {
        object.insert("number".to_owned(), recorded.number.into());
        object.insert("at".to_owned(), time(at).into());
        object.insert("carrier".to_owned(), hit.knock.protocol.as_str().into());
        object.insert("source".to_owned(), source.to_string().into());
        object.insert("destination".to_owned(), destination.to_string().into());
        object.insert("as_new".to_owned(), new.map_or(Value::Null, end_object));
    }
    object
}

fn end_object(ending: &KnockEnding) -> Value {
    let doors = ending.doors.iter();
    let doors = doors.map(|(door, at)| json!({ "door": door.as_str(), "knock": words(*at) }));
    let elements = ending.elements.iter();
    let elements = elements.map(|(element, ttl)| element_json(element, *ttl));
    json!({
        "reason": ending.reason.as_str(),
        "explanation": ending.reason.explanation(),
        "doors": doors.collect::<Vec<_>>(),
        "elements": elements.collect::<Vec<_>>(),
        "command": ending.command,
    })
}

fn places(hit: &ObservedKnock) -> (SocketAddr, SocketAddr) {
    let to = hit.knock.port.get();
    (
        SocketAddr::new(hit.source, hit.source_port),
        SocketAddr::new(hit.destination, to),
    )
}
