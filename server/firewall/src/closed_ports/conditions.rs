//! Whether a condition of a rule holds for the packet that is followed.
//!
//! A stranger's packet to a closed port comes from an address and goes to a port that no
//! rule names, unless it names nearly all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::packet::{Packet, parse_flag};
use crate::table::answers::Family;

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matches {
    Yes,
    No,
    Unknown,
}

impl Matches {
    const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Matches {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field<'a> {
    /// It is one of these words.
    Symbols(&'a [&'a str]),
    Number(u64),
    Interface,
    /// A port; none for one that no rule names.
    Port(Option<u64>),
    /// An address, a header of another protocol, and what else a rule must name to match.
    Other,
    /// Of another family or protocol: no condition about it holds.
    Absent,
    Unknown,
}

/// Whether the packet matches.
pub(super) fn matches(condition: &Value, packet: Packet<'_>) -> Matches {
    let (Some(left), Some(right)) = (condition.get("left"), condition.get("right")) else {
        return Matches::Unknown;
    };
    let op = condition.get("op").and_then(Value::as_str).unwrap_or("==");
    let words = symbols(left, packet);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let field = match words.is_empty() {
        true => field(left, packet),
        false => Field::Symbols(&words),
    };
    if field == Field::Absent {
        return Matches::No;
    }
    let equal = match (op, field, number(right)) {
        // Any of these bits.
        ("in", Field::Number(value), Some(bits)) => (value & bits != 0).into(),
        _ => equals(field, right, packet),
    };
    match op {
        "==" | "in" => equal,
        "!=" => equal.not(),
        _ => Matches::Unknown,
    }
}

/// The words that the packet has for what is asked of it; none where it is no such thing.
fn symbols(left: &Value, packet: Packet<'_>) -> Vec<String> {
    let (ip, nf, ether) = match packet.kind.family {
        Family::Four => ("ip", "ipv4", "ip"),
        Family::Six => ("ip6", "ipv6", "ip6"),
    };
    let protocol = packet.kind.protocol;
    let found: Vec<&str> = match (key(left, "meta"), key(left, "ct")) {
        (Some("l4proto"), _) => return vec![protocol.to_string(), protocol.number().to_string()],
        (Some("nfproto"), _) => vec![nf],
        (Some("protocol"), _) => vec![ether],
        (Some("pkttype"), _) => vec!["host", "unicast"],
        (_, Some("state")) => vec![packet.state()],
        (_, Some("direction")) => vec![packet.direction()],
        _ => vec![],
    };
    let next = left.get("payload").filter(|payload| {
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        text("protocol") == Some(ip) && matches!(text("field"), Some("protocol" | "nexthdr"))
    });
    if next.is_some() {
        return vec![protocol.to_string(), protocol.number().to_string()];
    }
    if let Some(fib) = left.get("fib") {
        let is_type = fib.get("result").and_then(Value::as_str) == Some("type");
        // It comes by an interface that leads back, and is for this host.
        let word = if is_type { "local" } else { "true" };
        return vec![word.to_owned()];
    }
    found.into_iter().map(str::to_owned).collect()
}

fn key<'a>(left: &'a Value, name: &str) -> Option<&'a str> {
    left.get(name)?.get("key")?.as_str()
}

fn field<'a>(left: &Value, packet: Packet<'_>) -> Field<'a> {
    if let Some(parts) = left.get("&").and_then(Value::as_array) {
        return match parts.as_slice() {
            [inner, mask] => match (field(inner, packet), number(mask)) {
                (Field::Number(value), Some(mask)) => Field::Number(value & mask),
                (Field::Absent, _) => Field::Absent,
                (Field::Other, _) => Field::Other,
                _ => Field::Unknown,
            },
            _ => Field::Unknown,
        };
    }
    if left.get("concat").is_some() {
        return Field::Other;
    }
    match (key(left, "meta"), key(left, "ct")) {
        (Some("iifname" | "iif"), _) if packet.reset.is_none() => return Field::Interface,
        (Some("oifname" | "oif"), _) if packet.reset.is_some() => return Field::Interface,
        (Some("iifname" | "iif"), _) => return Field::Absent,
        // The connection of a reset may have any.
        (_, Some("status")) if packet.reset.is_some() => return Field::Unknown,
        (Some("mark"), _) | (_, Some("mark" | "status" | "label")) => return Field::Number(0),
        (Some(_), _) | (_, Some(_)) => return Field::Unknown,
        (None, None) => {}
    }
    let text = |name: &str| left.get("payload")?.get(name)?.as_str();
    match (text("protocol"), text("field")) {
        (Some(protocol), Some(field)) => payload(protocol, field, packet),
        _ => Field::Unknown,
    }
}

fn payload<'a>(protocol: &str, field: &str, packet: Packet<'_>) -> Field<'a> {
    let own = packet.kind.protocol.to_string();
    let network = match packet.kind.family {
        Family::Four => "ip",
        Family::Six => "ip6",
    };
    match (protocol, field) {
        (protocol, "dport") if protocol == own || protocol == "th" => Field::Port(packet.port),
        (protocol, "sport") if protocol == own || protocol == "th" => Field::Port(None),
        ("tcp", "flags") if packet.is_tcp() => Field::Number(packet.flags()),
        (protocol, "saddr" | "daddr") if protocol == network => Field::Other,
        (protocol, _) if protocol == own || protocol == network || protocol == "ether" => {
            Field::Unknown
        }
        _ => Field::Absent,
    }
}

/// A number, also as a flag's word or several.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(word) => parse_flag(word),
        Value::Array(all) => all.iter().try_fold(0, |sum, one| Some(sum | number(one)?)),
        Value::Object(object) => {
            let all = object.get("|")?.as_array()?;
            all.iter().try_fold(0, |sum, one| Some(sum | number(one)?))
        }
        _ => None,
    }
}

fn equals(field: Field<'_>, right: &Value, packet: Packet<'_>) -> Matches {
    match right {
        Value::Array(all) => any_matches(field, all, packet),
        Value::Object(object) => {
            if let Some(Value::Array(all)) = object.get("set") {
                return any_matches(field, all, packet);
            }
            match (object.get("range").and_then(Value::as_array), field) {
                (Some(ends), Field::Port(port)) => range_matches(port, ends).into(),
                (_, Field::Port(_) | Field::Other) => Matches::No,
                (_, Field::Number(value)) => {
                    number(right).map_or(Matches::Unknown, |right| (value == right).into())
                }
                _ => Matches::Unknown,
            }
        }
        right => literal_matches(field, right, packet),
    }
}

fn any_matches(field: Field<'_>, all: &[Value], packet: Packet<'_>) -> Matches {
    let each = all.iter().map(|one| equals(field, one, packet));
    each.fold(Matches::No, |any, one| match (any, one) {
        (Matches::Yes, _) | (_, Matches::Yes) => Matches::Yes,
        (Matches::Unknown, _) | (_, Matches::Unknown) => Matches::Unknown,
        _ => Matches::No,
    })
}

/// Whether the port is in the range: one of nearly all ports has those that no rule names.
fn range_matches(port: Option<u64>, ends: &[Value]) -> bool {
    match (range(ends), port) {
        (Some((from, to)), Some(port)) => (from..=to).contains(&port),
        (Some(range), None) => is_nearly_all_ports(range),
        (None, _) => false,
    }
}

/// Whether nearly all ports are in it.
pub(super) const fn is_nearly_all_ports((from, to): (u64, u64)) -> bool {
    const NEARLY_ALL: u64 = 50_000;
    to.saturating_sub(from) >= NEARLY_ALL
}

fn range(ends: &[Value]) -> Option<(u64, u64)> {
    match ends {
        [from, to] => Some((from.as_u64()?, to.as_u64()?)),
        _ => None,
    }
}

fn literal_matches(field: Field<'_>, right: &Value, packet: Packet<'_>) -> Matches {
    let text = match right {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        _ => return Matches::Unknown,
    };
    match field {
        // A named set has what an administrator put in, or what misbehaved.
        _ if text.starts_with('@') => Matches::No,
        Field::Symbols(words) => words.contains(&text.as_str()).into(),
        Field::Number(value) => match number(right) {
            Some(right) => (value == right).into(),
            // A word for bits of which the packet has none.
            None => Matches::No,
        },
        Field::Interface => packet
            .interface
            .is_some_and(|name| name_matches(name, &text))
            .into(),
        Field::Port(Some(port)) => (right.as_u64() == Some(port)).into(),
        Field::Port(None) | Field::Other | Field::Absent => Matches::No,
        Field::Unknown => Matches::Unknown,
    }
}

fn name_matches(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The verdict that a map has for the packet.
pub(super) fn vmap_lookup<'a>(
    vmap: &'a Value,
    packet: Packet<'_>,
    set: impl Fn(&str) -> Option<&'a Value>,
) -> Option<&'a Value> {
    let data = vmap.get("data")?;
    let elements = match data {
        Value::String(name) => set(name.strip_prefix('@')?)?,
        data => data.get("set")?,
    };
    let left = vmap.get("key")?;
    elements.as_array()?.iter().find_map(|element| {
        let [right, verdict] = element.as_array()?.as_slice() else {
            return None;
        };
        let condition = serde_json::json!({"op": "==", "left": left, "right": right});
        (matches(&condition, packet) == Matches::Yes).then_some(verdict)
    })
}

/// The interfaces that these words name.
pub(super) fn collect_interfaces(words: &[Value], names: &mut BTreeSet<String>) {
    for word in words {
        let condition = word.get("match");
        let left = condition.and_then(|condition| condition.get("left"));
        let by_name = left.and_then(|left| key(left, "meta"));
        if !matches!(by_name, Some("iifname" | "iif")) {
            continue;
        }
        let right = condition.and_then(|condition| condition.get("right"));
        let all = match right {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Object(object)) => {
                let set = object.get("set").and_then(Value::as_array);
                set.into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect()
            }
            _ => Vec::new(),
        };
        let others = all
            .iter()
            .filter(|name| **name != "lo" && !name.contains(['*', '@']));
        names.extend(others.map(|name| (*name).to_owned()));
    }
}

/// The ranges of ports that these words name.
pub(super) fn collect_port_ranges(words: &[Value], found: &mut BTreeSet<(u64, u64)>) {
    let is_port_field = |left: &Value| {
        let field = left.get("payload").and_then(|payload| payload.get("field"));
        field.and_then(Value::as_str) == Some("dport")
    };
    for word in words {
        let condition = word.get("match");
        let side = |name: &str| condition.and_then(|condition| condition.get(name));
        if let Some(right) = side("right").filter(|_| side("left").is_some_and(is_port_field)) {
            collect_ranges(right, found);
        }
        let map = word.get("vmap");
        if map
            .and_then(|map| map.get("key"))
            .is_some_and(is_port_field)
            && let Some(data) = map.and_then(|map| map.get("data"))
        {
            collect_ranges(data, found);
        }
    }
}

fn collect_ranges(value: &Value, found: &mut BTreeSet<(u64, u64)>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| collect_ranges(one, found)),
        Value::Object(object) => {
            let ends = object.get("range").and_then(Value::as_array);
            found.extend(ends.and_then(|ends| range(ends)));
            if let Some(set) = object.get("set") {
                collect_ranges(set, found);
            }
        }
        _ => {}
    }
}
