//! `[[knock]]`: doors that a sequence of knocks opens.
//!
//! Pure. A door is no way in to count on: that a hidden service can be opened by knocks
//! alone does not hush the finding that no client may open it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_proto::{CommandName, Protocol, usable_address};

use super::across;
use super::checked::{CommandDefinition, GrantLimits, KnockDoor, Listen, ServiceDefinition};
use super::knock_shadows::{self, Placed};
use super::names::ServiceName;
use super::one_time::{self, Reader};
use super::programs;
use super::server_file::TTL;
use super::values::{self, in_words};
use super::written::{Spotted, Table, Value};
use crate::knock::{
    DEFAULT_WINDOW, Knock, KnockPattern, OneTime, ParseTcpFlagsError, Sequence, Sequences, TcpFlags,
};

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
    pub(super) command_names: &'a BTreeMap<String, Range<usize>>,
    pub(super) commands: &'a BTreeMap<CommandName, CommandDefinition>,
    /// Reads files of sequences.
    pub(super) read: Reader<'a>,
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
    let mut doors: Vec<Placed<'_>> = Vec::new();
    for item in items {
        let Some(table) = item.table("`[[knock]]`".to_owned()) else {
            continue;
        };
        let door = door(item, &table, beside, &doors);
        table.finish();
        doors.extend(door);
    }
    for finding in knock_shadows::findings(&doors) {
        value.found(finding);
    }
    doors.into_iter().map(|placed| placed.door).collect()
}

/// One door; `others` stand before it.
fn door<'a>(
    value: Value<'a>,
    table: &Table<'a>,
    beside: &Beside<'_>,
    others: &[Placed<'_>],
) -> Option<Placed<'a>> {
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
    if let Some(other) = others
        .iter()
        .find(|other| Some(&other.door.name) == name.as_ref())
        && let Some(value) = table.get("name")
    {
        let finding = value.error(format!("two doors are called `{}`", other.door.name));
        let line = line_of(other.table);
        value.found(
            finding
                .help("give each a name of its own")
                .note(format!("the other is in line {line}")),
        );
    }
    let (sequence, file) = (table.get("sequence"), table.get("one_time"));
    let opened_by = sequence.or(file);
    let sequences = match (sequence, file) {
        (None, None) => {
            let help = format!("write sequence = \"{SEQUENCE}\", or one_time = \"FILE\"");
            missing("sequence", &help);
            None
        }
        (Some(_), Some(file)) => {
            let finding = file.error("a door has either one `sequence` or a file `one_time`");
            file.found(finding.help("take one of the two out"));
            None
        }
        (Some(value), None) => sequence_of(value, beside).map(Sequences::Always),
        (None, Some(file)) => listed(file, beside, others).map(Sequences::OneTime),
    };
    let within = match table.get("within") {
        Some(value) => values::time(value, TIME).map(|time| time.value),
        None => Some(DEFAULT_WINDOW),
    };
    let flags = match table.get("tcp_flags") {
        Some(value) => flags(value),
        None => Some(TcpFlags::default()),
    };
    let target = match table.get("target") {
        Some(value) => target(value).map(Some),
        None => Some(None),
    };
    let (open, run) = (table.get("open"), table.get("run"));
    if open.is_none() && run.is_none() {
        missing(
            "services",
            "write open = [\"ssh\"], or run = \"NAME\" of [commands]",
        );
        return None;
    }
    let ttl_value = table.get("ttl");
    if let (None, Some(ttl)) = (open, ttl_value) {
        let finding = ttl.error("this door opens nothing that could end");
        ttl.found(finding.help("take `ttl` out, or write what it opens: open = [\"ssh\"]"));
    }
    let open = match open {
        Some(value) => services(value, beside),
        None => Some(Vec::new()),
    };
    let run = match run {
        Some(value) => command(value, beside).map(Some),
        None => Some(None),
    };
    let ttl = match ttl_value {
        Some(value) => ttl(value, open.as_deref().unwrap_or_default(), beside).map(Some),
        None => Some(None),
    };
    let strict = match table.get("strict") {
        Some(value) => strict(value, sequences.as_ref()),
        None => Some(true),
    };
    let door = KnockDoor {
        name: name?,
        door: KnockPattern {
            sequences: sequences?,
            window: within?,
            flags: flags?,
            target: target?,
            strict: strict?,
        },
        open: open?,
        ttl: ttl?,
        run: run?,
    };
    Some(Placed {
        door,
        table: value,
        sequences: opened_by?,
    })
}

fn line_of(value: Value<'_>) -> usize {
    value.page.source.place(value.span()).line
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
    for knock in sequence.knocks() {
        if let Some((place, help)) = misplaced(knock, beside) {
            right = false;
            let finding = value.error(format!("the knock {knock} is {place}"));
            value.found(finding.help(help));
        }
    }
    right.then_some(sequence)
}

/// Where a knock cannot be and this one is, and the mend.
fn misplaced(knock: &Knock, beside: &Beside<'_>) -> Option<(String, &'static str)> {
    let hidden = beside.hide.iter().find(|name| {
        let service = beside.services.get(name.value.as_str());
        let mut ports = service.into_iter().flat_map(|service| &service.ports);
        ports.any(|port| port.protocol == knock.protocol && port.port == knock.port)
    });
    if let Some(service) = hidden {
        let service = quote(&service.value);
        return Some((
            format!("at a port of the hidden service `{service}`"),
            "knock at a port that nothing else uses: whoever tries the service would knock",
        ));
    }
    let ports = &beside.listen.ports;
    let is_ours = knock.protocol == Protocol::Udp && ports.contains(knock.port.get());
    (is_ours && !ports.is_any()).then(|| {
        (
            "at the port of [listen]".to_owned(),
            "knock at another port: here packets of `spa` are looked for",
        )
    })
}

/// The sequences of a file, each for one use.
fn listed(value: Value<'_>, beside: &Beside<'_>, others: &[Placed<'_>]) -> Option<OneTime> {
    const EXAMPLE: &str = "/etc/spad/one-time/side";
    let text = value.text(EXAMPLE)?;
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        let finding = value.error("this is not the path of a file");
        value.found(finding.help(format!("write, for example, \"{EXAMPLE}\"")));
        return None;
    }
    let directory = value.page.source.path().parent().unwrap_or(Path::new(""));
    let file = one_time::path(directory, text);
    let same = others.iter().find(|other| {
        let list = other.door.door.sequences.one_time();
        list.is_some_and(|list| list.file == file)
    });
    if let Some(other) = same {
        let finding = value.error("another door has the same file");
        let line = line_of(other.table);
        value.found(
            finding
                .help("give each door a file of its own: each sequence opens once")
                .note(format!("the other is in line {line}")),
        );
        return None;
    }
    let (list, findings) = match (beside.read)(&file) {
        Ok(text) => one_time::read(&file, &text, |knock| {
            // Its port stays untold, as all of the file does.
            let (place, help) = misplaced(knock, beside)?;
            Some((format!("one of these knocks is {place}"), help))
        }),
        Err(finding) => {
            let line = line_of(value);
            let note = format!("`one_time` in line {line} of spad.toml names it");
            (empty(file), vec![finding.note(note)])
        }
    };
    for finding in findings {
        value.found(finding);
    }
    Some(list)
}

fn empty(file: PathBuf) -> OneTime {
    OneTime {
        file,
        sequences: Arc::default(),
    }
}

/// The command that it runs.
fn command(value: Value<'_>, beside: &Beside<'_>) -> Option<CommandName> {
    let name = value.spot(value.text("backup")?.to_owned());
    if let Some(finding) = programs::unknown(value.page.source, beside.command_names, &name) {
        value.found(finding);
        return None;
    }
    let name = name.value.parse().ok()?;
    let (name, command) = beside.commands.get_key_value(&name)?;
    if command.program.as_root {
        let finding = value.warning("whoever knows the knocks has this run as root");
        value.found(finding.help(format!(
            "name an ordinary user for `{name}` under [commands]"
        )));
    }
    Some(name.clone())
}

fn strict(value: Value<'_>, sequences: Option<&Sequences>) -> Option<bool> {
    let strict = value.boolean()?;
    let mut all = sequences.into_iter().flat_map(Sequences::iter);
    if !strict && all.any(Sequence::is_scan_order) {
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
    let finding = match TcpFlags::parse(words.iter().map(|word| word.value)) {
        Ok(flags) => return Some(flags),
        Err(ParseTcpFlagsError::UnknownFlag(place)) => at(place, "is not a TCP flag")
            .help("write fin, syn, rst, psh, ack or urg, with ! before one that must not be set"),
        Err(ParseTcpFlagsError::Contradiction(place)) => {
            at(place, "says the contrary of what stands before it").help("take one of the two out")
        }
        Err(ParseTcpFlagsError::MissingSyn) => value
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
