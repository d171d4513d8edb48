//! `[[knock]]`: doors that a sequence of knocks opens.
//!
//! Pure. A door is no way in to count on: that a hidden service can be opened by knocks
//! alone does not hush the finding that no client may open it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_proto::{Protocol, usable_address};

use super::across;
use super::checked::{GrantLimits, KnockDoor, Listen, ServiceDefinition};
use super::names::ServiceName;
use super::server_file::TTL;
use super::values::{self, in_words};
use super::written::{Spotted, Table, Value};
use crate::knocking::{Door, NotFlags, Sequence, TcpFlags, WITHIN, opens_too};

/// The most doors: each is asked about each knock.
const MOST: usize = 32;
/// The most ports that one door opens.
const MAX_PORTS: usize = 16;
/// How long a sequence may take, in seconds.
const TIME: std::ops::RangeInclusive<u64> = 1..=600;

const SEQUENCE: &str = "8881,7777:udp,9991";

/// What the rest of the file says, as far as doors must fit it.
pub(super) struct Beside<'a> {
    pub(super) names: &'a BTreeMap<String, Range<usize>>,
    pub(super) services: &'a BTreeMap<ServiceName, ServiceDefinition>,
    pub(super) hide: &'a [Spotted<String>],
    pub(super) grants: &'a GrantLimits,
    pub(super) listen: &'a Listen,
}

/// The doors without a fault; what is wrong with the others is found.
pub(super) fn read(value: Option<Value<'_>>, beside: &Beside<'_>) -> Vec<KnockDoor> {
    let Some(value) = value else {
        return Vec::new();
    };
    if value.is_table() {
        let finding = value.error("doors stand in a list");
        value.found(finding.help("write [[knock]], with two brackets, above each door"));
        return Vec::new();
    }
    let Some(items) = value.list("[[knock]]") else {
        return Vec::new();
    };
    if let Some(first) = items.first() {
        let finding = first.warning("a sequence of knocks is no secret from whoever sees it go by");
        first.found(
            finding
                .help("keep it for whoever cannot send a packet of `spa` yet, and take it out then")
                .note("who is on the path can knock the same, from anywhere, at any time"),
        );
    }
    if items.len() > MOST {
        value.found(
            value
                .error(format!("there are at most {MOST} doors"))
                .help("open several services by one door"),
        );
    }
    if let Some(first) = items.first()
        && beside.listen.threads > 1
    {
        let finding = first.error("several threads cannot hear in which order knocks come");
        first.found(finding.help("take `threads` out of [listen]"));
    }
    let mut doors: Vec<(Value<'_>, KnockDoor)> = Vec::new();
    for item in items {
        let Some(table) = item.table("`[[knock]]`".to_owned()) else {
            continue;
        };
        let door = door(item, &table, beside);
        if let Some(door) = &door {
            beside_others(&table, door, &doors);
        }
        table.finish();
        doors.extend(door.map(|door| (item, door)));
    }
    doors.into_iter().map(|(_, door)| door).collect()
}

/// One door by itself.
fn door(value: Value<'_>, table: &Table<'_>, beside: &Beside<'_>) -> Option<KnockDoor> {
    let missing = |what: &str, help: &str| {
        value.found(value.error(format!("a door needs its {what}")).help(help));
    };
    let name = table.get("name");
    if name.is_none() {
        missing("name", "write name = \"ssh\"");
    }
    let name = name.and_then(|value| {
        let text = value.text("ssh")?;
        let named = values::named(text, |message| value.error(message));
        named.map_err(|finding| value.found(finding)).ok()
    });
    let sequence = table.get("sequence");
    if sequence.is_none() {
        missing("sequence", &format!("write sequence = \"{SEQUENCE}\""));
    }
    let sequence = sequence.and_then(|value| sequence_of(value, beside));
    let within = match table.get("within") {
        Some(value) => values::time(value, TIME).map(|time| time.value),
        None => Some(WITHIN),
    };
    let flags = match table.get("tcp_flags") {
        Some(value) => flags(value),
        None => Some(TcpFlags::default()),
    };
    let target = match table.get("target") {
        Some(value) => target(value).map(Some),
        None => Some(None),
    };
    let open = table.get("open");
    if open.is_none() {
        missing("services", "write open = [\"ssh\"]");
    }
    let open = open.and_then(|value| services(value, beside));
    let ttl = match table.get("ttl") {
        Some(value) => ttl(value, open.as_deref().unwrap_or_default(), beside).map(Some),
        None => Some(None),
    };
    let strict = match table.get("strict") {
        Some(value) => strict(value, sequence.as_ref()),
        None => Some(true),
    };
    Some(KnockDoor {
        name: name?,
        door: Door {
            sequence: sequence?,
            within: within?,
            flags: flags?,
            target: target?,
            strict: strict?,
        },
        open: open?,
        ttl: ttl?,
    })
}

fn sequence_of(value: Value<'_>, beside: &Beside<'_>) -> Option<Sequence> {
    let sequence: Sequence = match value.text(SEQUENCE)?.parse() {
        Ok(sequence) => sequence,
        Err(error) => {
            let said = format!("{error}");
            let (wrong, help) = said.rsplit_once("; ").unwrap_or((&said, "take some out"));
            value.found(value.error(wrong).help(help));
            return None;
        }
    };
    let mut right = true;
    let mut wrong = |message: String, help: &str| {
        right = false;
        value.found(value.error(message).help(help));
    };
    for knock in sequence.knocks() {
        let hidden = beside.hide.iter().find(|name| {
            let service = beside.services.get(name.value.as_str());
            let mut ports = service.into_iter().flat_map(|service| &service.ports);
            ports.any(|port| port.protocol == knock.protocol && port.port == knock.port)
        });
        if let Some(service) = hidden {
            wrong(
                format!(
                    "the knock {knock} is at a port of the hidden service `{}`",
                    quote(&service.value)
                ),
                "knock at a port that nothing else uses: whoever tries the service would knock",
            );
        }
        let ports = &beside.listen.ports;
        let is_ours = knock.protocol == Protocol::Udp && ports.contains(knock.port.get());
        if is_ours && !ports.is_any() {
            wrong(
                format!("the knock {knock} is at the port of [listen]"),
                "knock at another port: here packets of `spa` are looked for",
            );
        }
    }
    right.then_some(sequence)
}

fn strict(value: Value<'_>, sequence: Option<&Sequence>) -> Option<bool> {
    let strict = value.boolean()?;
    if !strict && sequence.is_some_and(Sequence::lies_on_a_scans_way) {
        let finding = value.warning("a scan of ports in order opens this door");
        value.found(finding.help("take `strict = false` out, or mix the ports of the sequence"));
    }
    Some(strict)
}

fn flags(value: Value<'_>) -> Option<TcpFlags> {
    let words = value.texts("syn")?;
    let at = |place: usize, message: &str| {
        let word = words.get(place);
        let span = word.map_or_else(|| value.span(), |word| word.span.clone());
        let shown = word.map(|word| quote(word.value)).unwrap_or_default();
        let message = format!("`{shown}` {message}");
        value.page.source.error(span, message)
    };
    let finding = match TcpFlags::of(words.iter().map(|word| word.value)) {
        Ok(flags) => return Some(flags),
        Err(NotFlags::Word(place)) => at(place, "is not a TCP flag")
            .help("write fin, syn, rst, psh, ack or urg, with ! before one that must not be set"),
        Err(NotFlags::Contrary(place)) => {
            at(place, "says the contrary of what stands before it").help("take one of the two out")
        }
        Err(NotFlags::WithoutSyn) => value
            .error("a knock is the first segment of a connection")
            .help("add \"syn\", or take `tcp_flags` out"),
    };
    value.found(finding);
    None
}

fn target(value: Value<'_>) -> Option<IpAddr> {
    let text = value.text("192.0.2.1")?;
    let address = text.parse::<IpAddr>().ok();
    let address = address.filter(|address| usable_address(*address));
    if address.is_none() {
        let finding = value.error(format!("`{}` is no address of this host", quote(text)));
        value.found(finding.help("write the one address to knock at, or take `target` out"));
    }
    address
}

/// What it opens; none where something is wrong with it.
fn services(value: Value<'_>, beside: &Beside<'_>) -> Option<Vec<ServiceName>> {
    let names = value.texts("ssh")?;
    if names.is_empty() {
        let finding = value.error("this door opens nothing");
        value.found(finding.help("name a service: open = [\"ssh\"]"));
        return None;
    }
    let mut open: Vec<ServiceName> = Vec::new();
    for name in &names {
        let name = Spotted {
            value: name.value.to_owned(),
            span: name.span.clone(),
        };
        if let Some(finding) = across::unknown(value.page.source, beside.names, &name) {
            value.found(finding);
        } else if let Some((name, _)) = beside.services.get_key_value(name.value.as_str())
            && !open.contains(name)
        {
            open.push(name.clone());
        }
    }
    let services = open.iter().filter_map(|name| beside.services.get(name));
    let ports: usize = services.map(|service| service.ports.len()).sum();
    if ports > MAX_PORTS {
        let finding = value.error(format!("this door opens {ports} ports"));
        value.found(finding.help(format!("open at most {MAX_PORTS} by one door")));
        return None;
    }
    (!open.is_empty()).then_some(open)
}

fn ttl(value: Value<'_>, open: &[ServiceName], beside: &Beside<'_>) -> Option<Duration> {
    let ttl = values::time(value, TTL)?.value;
    let longest = open.iter().filter_map(|name| {
        let service = beside.services.get(name)?;
        Some((name, service.max_ttl.unwrap_or(beside.grants.max_ttl)))
    });
    let least = longest.min_by_key(|(_, longest)| *longest);
    if let Some((service, longest)) = least
        && ttl > longest
    {
        let longest = in_words(longest.as_secs());
        let finding = value.error(format!(
            "the service `{service}` is open for at most {longest}"
        ));
        value.found(finding.help(format!("lower `ttl` to \"{longest}\"")));
        return None;
    }
    Some(ttl)
}

/// Two doors with one name, and sequences of which one opens the other's door.
fn beside_others(table: &Table<'_>, door: &KnockDoor, others: &[(Value<'_>, KnockDoor)]) {
    for (place, other) in others {
        let line = place.page.source.place(place.span()).line;
        if other.name == door.name
            && let Some(value) = table.get("name")
        {
            let finding = value.error(format!("two doors are called `{}`", door.name));
            value.found(
                finding
                    .help("give each a name of its own")
                    .note(format!("the other is in line {line}")),
            );
        }
        let both = [&door.door, &other.door];
        let apart = matches!(both.map(|door| door.target), [Some(a), Some(b)] if a != b);
        let [one, two] = both;
        if !apart
            && (opens_too(one, &two.sequence) || opens_too(two, &one.sequence))
            && let Some(value) = table.get("sequence")
        {
            let finding = value.error(format!(
                "who knocks at one of the doors `{}` and `{}` opens both",
                other.name, door.name
            ));
            value.found(
                finding
                    .help("choose sequences of which neither has the other's knocks in their order, or make one door of the two")
                    .note(format!("the other is in line {line}")),
            );
        }
    }
}
