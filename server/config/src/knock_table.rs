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
use spad_model::ServiceName;
use spad_model::knock::{
    DEFAULT_WINDOW, Knock, KnockPattern, OneTime, ParseTcpFlagsError, Sequence, Sequences, TcpFlags,
};

use super::one_time::{self, SequenceReader};
use super::reference::Section;
use super::server_file::TTL;
use super::toml_reader::{Table, Value, WithSpan};
use super::types::{CommandDefinition, Door, GrantLimits, Listen, ServiceDefinition};
use super::values::{self, humanise};
use super::{programs, service_table};

/// The most doors: each is asked about each knock.
const MAX_DOORS: usize = 32;
/// The most ports that one door opens.
const MAX_PORTS: usize = 16;
/// How long a sequence may take, in seconds.
const WINDOW_RANGE: std::ops::RangeInclusive<u64> = 1..=600;

const EXAMPLE_SEQUENCE: &str = "8881,7777:udp,9991";

/// What the rest of the file says, as far as doors must fit it.
pub(super) struct KnockContext<'a> {
    pub(super) names: &'a BTreeMap<String, Range<usize>>,
    pub(super) services: &'a BTreeMap<ServiceName, ServiceDefinition>,
    pub(super) hide: &'a [WithSpan<String>],
    pub(super) grants: &'a GrantLimits,
    pub(super) listen: &'a Listen,
    pub(super) command_names: &'a BTreeMap<String, Range<usize>>,
    pub(super) commands: &'a BTreeMap<CommandName, CommandDefinition>,
    /// Reads files of sequences.
    pub(super) read_sequences: SequenceReader<'a>,
}

/// A door, and where its table and what opens it stand.
pub(super) struct LocatedDoor {
    pub(super) door: Door,
    /// The line of its table.
    pub(super) line: usize,
    /// The value of `sequence` or `one_time`.
    pub(super) sequences: Range<usize>,
}

/// The doors without a fault; what is wrong with the others is found.
pub(super) fn read(value: Option<Value<'_>>, context: &KnockContext<'_>) -> Vec<LocatedDoor> {
    let Some(value) = value else {
        return Vec::new();
    };
    if value.is_table() {
        let finding = value.error("doors stand in a list");
        value.report(finding.help("write [[knock]], with two brackets, above each door"));
        return Vec::new();
    }
    let Some(items) = value.list("[[knock]]") else {
        return Vec::new();
    };
    if let Some(first) = items.first() {
        let finding = first.warning("a sequence of knocks is no secret from whoever sees it go by");
        first.report(
            finding
                .help("keep it for whoever cannot send a packet of `spa` yet, and take it out then")
                .note("who is on the path can knock the same, from anywhere, at any time"),
        );
    }
    if items.len() > MAX_DOORS {
        value.report(
            value
                .error(format!("there are at most {MAX_DOORS} doors"))
                .help("open several services by one door"),
        );
    }
    if let Some(first) = items.first()
        && context.listen.threads > 1
    {
        let finding = first.error("several threads cannot hear in which order knocks come");
        first.report(finding.help("take `threads` out of [listen]"));
    }
    let mut doors: Vec<LocatedDoor> = Vec::new();
    for item in items {
        let Some(table) = item.table("`[[knock]]`".to_owned(), Section::Door) else {
            continue;
        };
        let door = door(item, &table, context, &doors);
        table.report_unknown_keys();
        doors.extend(door);
    }
    doors
}

/// One door; `others` stand before it.
fn door(
    value: Value<'_>,
    table: &Table<'_>,
    context: &KnockContext<'_>,
    others: &[LocatedDoor],
) -> Option<LocatedDoor> {
    let missing = |what: &str, help: &str| {
        value.report(value.error(format!("a door needs its {what}")).help(help));
    };
    let name_value = table.get("name");
    if name_value.is_none() {
        missing("name", "write name = \"ssh\"");
    }
    let name = name_value.and_then(|value| {
        let text = value.text("ssh")?;
        let named = values::parse_name(text, |message| value.error(message));
        named.map_err(|finding| value.report(finding)).ok()
    });
    if let Some(other) = others
        .iter()
        .find(|other| Some(&other.door.name) == name.as_ref())
        && let Some(value) = name_value
    {
        let finding = value.error(format!("two doors are called `{}`", other.door.name));
        let line = other.line;
        value.report(
            finding
                .help("give each a name of its own")
                .note(format!("the other is in line {line}")),
        );
    }
    let (sequence, file) = (table.get("sequence"), table.get("one_time"));
    let opened_by = sequence.or(file);
    let sequences = match (sequence, file) {
        (None, None) => {
            let help = format!("write sequence = \"{EXAMPLE_SEQUENCE}\", or one_time = \"FILE\"");
            missing("sequence", &help);
            None
        }
        (Some(_), Some(file)) => {
            let finding = file.error("a door has either one `sequence` or a file `one_time`");
            file.report(finding.help("take one of the two out"));
            None
        }
        (Some(value), None) => read_sequence(value, context).map(Sequences::Always),
        (None, Some(file)) => read_one_time(file, context, others).map(Sequences::OneTime),
    };
    let within = match table.get("within") {
        Some(value) => values::time(value, WINDOW_RANGE).map(|time| time.value),
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
        ttl.report(finding.help("take `ttl` out, or write what it opens: open = [\"ssh\"]"));
    }
    let open = match open {
        Some(value) => services(value, context),
        None => Some(Vec::new()),
    };
    let run = match run {
        Some(value) => command(value, context).map(Some),
        None => Some(None),
    };
    let ttl = match ttl_value {
        Some(value) => ttl(value, open.as_deref().unwrap_or_default(), context).map(Some),
        None => Some(None),
    };
    let strict = match table.get("strict") {
        Some(value) => strict(value, sequences.as_ref()),
        None => Some(true),
    };
    let door = Door {
        name: name?,
        pattern: KnockPattern {
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
    Some(LocatedDoor {
        door,
        line: line_number(value),
        sequences: opened_by?.span(),
    })
}

fn line_number(value: Value<'_>) -> usize {
    value.reader.source.location(value.span()).line
}

fn read_sequence(value: Value<'_>, context: &KnockContext<'_>) -> Option<Sequence> {
    let sequence: Sequence = match value.text(EXAMPLE_SEQUENCE)?.parse() {
        Ok(sequence) => sequence,
        Err(error) => {
            let text = format!("{error}");
            let (wrong, help) = text.rsplit_once("; ").unwrap_or((&text, "take some out"));
            value.report(value.error(wrong).help(help));
            return None;
        }
    };
    let mut right = true;
    for knock in sequence.knocks() {
        if let Some((place, help)) = misplaced(knock, context) {
            right = false;
            let finding = value.error(format!("the knock {knock} is {place}"));
            value.report(finding.help(help));
        }
    }
    right.then_some(sequence)
}

/// Where a knock cannot be and this one is, and the mend.
fn misplaced(knock: &Knock, context: &KnockContext<'_>) -> Option<(String, &'static str)> {
    let hidden = context.hide.iter().find(|name| {
        let service = context.services.get(name.value.as_str());
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
    let ports = &context.listen.ports;
    let is_ours = knock.protocol == Protocol::Udp && ports.contains(knock.port.get());
    (is_ours && !ports.is_any()).then(|| {
        (
            "at the port of [listen]".to_owned(),
            "knock at another port: here packets of `spa` are looked for",
        )
    })
}

/// The sequences of a file, each for one use.
fn read_one_time(
    value: Value<'_>,
    context: &KnockContext<'_>,
    others: &[LocatedDoor],
) -> Option<OneTime> {
    const EXAMPLE: &str = "/etc/spad/one-time/side";
    let text = value.text(EXAMPLE)?;
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        let finding = value.error("this is not the path of a file");
        value.report(finding.help(format!("write, for example, \"{EXAMPLE}\"")));
        return None;
    }
    let directory = value.reader.source.path().parent().unwrap_or(Path::new(""));
    let file = one_time::path(directory, text);
    let same = others.iter().find(|other| {
        let list = other.door.pattern.sequences.one_time();
        list.is_some_and(|list| list.file == file)
    });
    if let Some(other) = same {
        let finding = value.error("another door has the same file");
        let line = other.line;
        value.report(
            finding
                .help("give each door a file of its own: each sequence opens once")
                .note(format!("the other is in line {line}")),
        );
        return None;
    }
    let (list, findings) = match (context.read_sequences)(&file) {
        Ok(text) => one_time::read(&file, &text, |knock| {
            // Its port stays untold, as all of the file does.
            let (place, help) = misplaced(knock, context)?;
            Some((format!("one of these knocks is {place}"), help))
        }),
        Err(finding) => {
            let line = line_number(value);
            let note = format!("`one_time` in line {line} of spad.toml names it");
            (empty_list(file), vec![finding.note(note)])
        }
    };
    for finding in findings {
        value.report(finding);
    }
    Some(list)
}

fn empty_list(file: PathBuf) -> OneTime {
    OneTime {
        file,
        sequences: Arc::default(),
    }
}

/// The command that it runs.
fn command(value: Value<'_>, context: &KnockContext<'_>) -> Option<CommandName> {
    let name = value.with_span(value.text("backup")?.to_owned());
    if let Some(finding) = programs::unknown(value.reader.source, context.command_names, &name) {
        value.report(finding);
        return None;
    }
    let parsed = name.value.parse().ok()?;
    let (name, command) = context.commands.get_key_value(&parsed)?;
    if command.program.as_root {
        let finding = value.warning("whoever knows the knocks has this run as root");
        value.report(finding.help(format!(
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
        value.report(finding.help("take `strict = false` out, or mix the ports of the sequence"));
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
        value.reader.source.error(span, message)
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
    value.report(finding);
    None
}

fn target(value: Value<'_>) -> Option<IpAddr> {
    let text = value.text("192.0.2.1")?;
    let parsed = text.parse::<IpAddr>().ok();
    let address = parsed.filter(|address| usable_address(*address));
    if address.is_none() {
        let finding = value.error(format!("`{}` is no address of this host", quote(text)));
        value.report(finding.help("write the one address to knock at, or take `target` out"));
    }
    address
}

/// What it opens; none where something is wrong with it.
fn services(value: Value<'_>, context: &KnockContext<'_>) -> Option<Vec<ServiceName>> {
    let names = value.texts("ssh")?;
    if names.is_empty() {
        let finding = value.error("this door opens nothing");
        value.report(finding.help("name a service: open = [\"ssh\"]"));
        return None;
    }
    let mut open: Vec<ServiceName> = Vec::new();
    for name in &names {
        let name = WithSpan {
            value: name.value.to_owned(),
            span: name.span.clone(),
        };
        if let Some(finding) = service_table::unknown(value.reader.source, context.names, &name) {
            value.report(finding);
        } else if let Some((name, _)) = context.services.get_key_value(name.value.as_str())
            && !open.contains(name)
        {
            open.push(name.clone());
        }
    }
    let services = open.iter().filter_map(|name| context.services.get(name));
    let ports: usize = services.map(|service| service.ports.len()).sum();
    if ports > MAX_PORTS {
        let finding = value.error(format!("this door opens {ports} ports"));
        value.report(finding.help(format!("open at most {MAX_PORTS} by one door")));
        return None;
    }
    (!open.is_empty()).then_some(open)
}

fn ttl(value: Value<'_>, open: &[ServiceName], context: &KnockContext<'_>) -> Option<Duration> {
    let ttl = values::time(value, TTL)?.value;
    let longest = open.iter().filter_map(|name| {
        let service = context.services.get(name)?;
        Some((name, service.max_ttl.unwrap_or(context.grants.max_ttl)))
    });
    let tightest = longest.min_by_key(|(_, longest)| *longest);
    if let Some((service, longest)) = tightest
        && ttl > longest
    {
        let longest = humanise(longest.as_secs());
        let finding = value.error(format!(
            "the service `{service}` is open for at most {longest}"
        ));
        value.report(finding.help(format!("lower `ttl` to \"{longest}\"")));
        return None;
    }
    Some(ttl)
}
