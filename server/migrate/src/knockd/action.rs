//! What a door of knockd did, as what a door of ours does: open services, or run a command.
//!
//! Pure. Nothing is guessed: what is not understood to the last word is left out, and said.

use std::collections::BTreeSet;
use std::ops::Range;

use spa_findings::redact::quote;
use spa_findings::{Finding, Source};
use spa_proto::Service;

use super::grant::{self, OpenRule, Rule};
use super::parser::{Directive, Key, Section};
use super::section;
use super::shell_words::{self, NeedsShell, Words};

/// Where knockd says nothing, in seconds.
const CMD_TIMEOUT: u64 = 10;
/// What puts the address into the arguments.
const ENV: &str = "/usr/bin/env";

/// What a door does; neither, where it only closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DoorAction {
    pub(super) open: Option<Opening>,
    /// The arguments of the command that it runs.
    pub(super) run: Option<Vec<String>>,
    /// Of what starts it.
    pub(super) span: Range<usize>,
    /// Where its program knew addresses of one family alone, and a door does not.
    pub(super) single_family: Vec<SingleFamily>,
}

/// What opened over one IP alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SingleFamily {
    pub(super) ip: &'static str,
    /// The one that it did not open over.
    pub(super) other: &'static str,
    pub(super) span: Range<usize>,
}

/// What it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) ports: BTreeSet<Service>,
    /// In seconds, where knockd closed again.
    pub(super) ttl: Option<u64>,
    /// Where the time stands, or what opens.
    pub(super) span: Range<usize>,
}

/// What one line of commands does; neither, where it only closes.
struct LineAction {
    open: Option<OpenRule>,
    run: Option<Vec<String>>,
}

/// Reads the commands; none where the door is left out, which was said then.
pub(super) fn read(
    source: &Source,
    section: &Section<'_>,
    found: &mut Vec<Finding>,
) -> Option<DoorAction> {
    let timeout = match section.get(Key::CmdTimeout) {
        Some(entry) => section::seconds(source, entry, found),
        None => Some(CMD_TIMEOUT),
    };
    let start = [Key::StartCommand, Key::StartCommand6].map(|key| section.get(key));
    let commands = start.map(|entry| entry.filter(|entry| !entry.value.is_empty()));
    let mut did = Vec::new();
    for entry in commands.into_iter().flatten() {
        did.push(command(source, entry, found).map(|did| (did, entry)));
    }
    if did.is_empty() {
        let finding = source.warning(
            section.span.clone(),
            "this door does nothing and is left out",
        );
        found.push(finding.help("write its Start_Command, or take it out"));
        return None;
    }
    let mut did = did.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    let (first, entry) = did.next()?;
    let second = did.next();
    if let Some((other, entry)) = &second
        && !same_action(&first, other)
    {
        let finding = source.warning(
            entry.span.clone(),
            "this door is left out: it does one thing for IPv4 and another for IPv6",
        );
        found.push(finding.help("a door does the same for both: let the commands open the same ports, or make one script of them"));
        return None;
    }
    check_families(source, start, entry, found);
    // knockd has the one run for both families where the other is not there.
    let six = second
        .as_ref()
        .map_or((&first, entry), |(did, entry)| (did, *entry));
    let single_family = match section.get(Key::Target) {
        Some(_) => Vec::new(),
        None => single_family(start, [(&first, entry), six]),
    };
    let stops = [Key::StopCommand, Key::StopCommand6].map(|key| section.get(key));
    let stops: Vec<&Directive<'_>> = stops
        .into_iter()
        .flatten()
        .filter(|entry| !entry.value.is_empty())
        .collect();
    check_stop_commands(source, &first, &stops, found);
    let timeout = timeout?;
    let open = first.open.map(|opened| {
        for remark in &opened.remarks {
            let finding = source.warning(entry.span.clone(), *remark);
            found.push(finding.help("look whether that is meant"));
        }
        let ttl = (!stops.is_empty()).then_some(timeout);
        let time = section.get(Key::CmdTimeout).filter(|_| ttl.is_some());
        Opening {
            ports: opened.ports,
            ttl,
            span: time.unwrap_or(entry).span.clone(),
        }
    });
    Some(DoorAction {
        open,
        run: first.run,
        span: entry.span.clone(),
        single_family,
    })
}

fn same_action(one: &LineAction, other: &LineAction) -> bool {
    let ports = |did: &LineAction| did.open.as_ref().map(|open| open.ports.clone());
    ports(one) == ports(other) && one.run == other.run
}

/// What was run afterwards is run no more.
fn check_stop_commands(
    source: &Source,
    did: &LineAction,
    stops: &[&Directive<'_>],
    found: &mut Vec<Finding>,
) {
    for stop in stops {
        let closes = shell_words::split(stop.value).is_ok_and(|words| {
            let closes =
                |command: &Vec<String>| matches!(grant::recognise(command), Some(Ok(Rule::Close)));
            words.commands.iter().all(closes)
        });
        let (what, help) = match (&did.open, &did.run) {
            (None, None) => continue,
            (Some(_), _) if closes => continue,
            (Some(_), _) => (
                "this is not run any more: the grant ends by itself",
                "what it did besides closing, a program in [hooks] can do: close = { argv = […], user = \"…\" }",
            ),
            (None, Some(_)) => (
                "this is not carried over: no command is run afterwards",
                "let the command of the start undo what it did, or put both into one script",
            ),
        };
        found.push(source.warning(stop.span.clone(), what).help(help));
    }
}

/// A door of ours opens for either family: for the one of the knocks.
fn check_families(
    source: &Source,
    start: [Option<&Directive<'_>>; 2],
    entry: &Directive<'_>,
    found: &mut Vec<Finding>,
) {
    let [four, six] = start;
    let nothing = |entry: Option<&Directive<'_>>| entry.is_none_or(|entry| entry.value.is_empty());
    let message = if nothing(four) {
        "knocks over IPv4 did nothing; here they do the same as those over IPv6"
    } else if six.is_some() && nothing(six) {
        "knocks over IPv6 did nothing; here they do the same as those over IPv4"
    } else {
        return;
    };
    let place = if nothing(four) {
        entry.key_span.clone()
    } else {
        six.unwrap_or(entry).key_span.clone()
    };
    let finding = source.warning(place, message);
    found.push(finding.help(TARGET_HELP));
}

/// The program of a command may know addresses of one family alone.
fn single_family(
    start: [Option<&Directive<'_>>; 2],
    did: [(&LineAction, &Directive<'_>); 2],
) -> Vec<SingleFamily> {
    let [four, six] = start;
    let [(did_four, at_four), (did_six, at_six)] = did;
    let over = |did: &LineAction| did.open.as_ref().map(|open| open.families);
    // Of a command that is left empty is told elsewhere.
    let has_four = four.is_some_and(|entry| !entry.value.is_empty());
    let has_six = six.is_none_or(|entry| !entry.value.is_empty());
    let no_four = has_four && over(did_four).is_some_and(|over| !over.ipv4);
    let no_six = has_six && over(did_six).is_some_and(|over| !over.ipv6);
    let one = |ip, other, at: &Directive<'_>| SingleFamily {
        ip,
        other,
        span: at.span.clone(),
    };
    let six_alone = no_four.then(|| one("IPv6", "IPv4", at_four));
    let four_alone = no_six.then(|| one("IPv4", "IPv6", at_six));
    six_alone.into_iter().chain(four_alone).collect()
}

/// What the command does; none where that was found.
fn command(source: &Source, entry: &Directive<'_>, found: &mut Vec<Finding>) -> Option<LineAction> {
    let left_out = |span: Range<usize>, why: String, help: &str| {
        source
            .warning(span, format!("this door is left out: {why}"))
            .help(help)
    };
    let finding = match shell_words::split(entry.value) {
        Ok(words) => match interpret(&words) {
            Ok(did) => return Some(did),
            Err(Unsupported::FirewallRule(why)) => left_out(entry.span.clone(), why, EDIT_HELP),
            Err(Unsupported::Quoting) => {
                let span = words
                    .quoted
                    .clone()
                    .map_or_else(|| entry.span.clone(), |at| value_span(entry, &at));
                left_out(span, NEEDS_SHELL.to_owned(), SCRIPT_HELP)
            }
            Err(Unsupported::SeveralCommands) => left_out(
                entry.span.clone(),
                "several commands in one line are a shell's".to_owned(),
                SCRIPT_HELP,
            ),
            Err(Unsupported::Conditional) => left_out(
                entry.span.clone(),
                "what stands behind && is done only where the command before it succeeded"
                    .to_owned(),
                "put the test and what it guards into a script, or take the test out: a door knows no conditions",
            ),
            Err(Unsupported::OpensAndCloses) => left_out(
                entry.span.clone(),
                "it opens, and takes a rule away again".to_owned(),
                "write what closes as Stop_Command, and the time until then as Cmd_Timeout",
            ),
            Err(Unsupported::RelativePath(program)) => left_out(
                entry.span.clone(),
                format!("`{}` is not the whole path of a program", quote(&program)),
                "write it from the root on, as `command -v` shows it: no PATH is searched",
            ),
            Err(Unsupported::Unrepresentable) => left_out(
                entry.span.clone(),
                "its words do not fit into a list of arguments".to_owned(),
                SCRIPT_HELP,
            ),
        },
        Err(NeedsShell(at)) => {
            let names_a_firewall = ["iptables", "ip6tables", "nft ", "ufw ", "firewall-cmd"];
            let firewall = names_a_firewall
                .iter()
                .any(|name| entry.value.contains(name));
            let help = if firewall { EDIT_HELP } else { SCRIPT_HELP };
            left_out(value_span(entry, &at), NEEDS_SHELL.to_owned(), help)
        }
    };
    found.push(finding);
    None
}

const NEEDS_SHELL: &str = "only a shell understands this, and no shell reads commands here";
const SCRIPT_HELP: &str = "put it into a script, and write the script's whole path here; the address that knocked stands in its SPA_SOURCE";
const EDIT_HELP: &str = "write the door into spad.toml by hand, with open = [\"…\"]; no command of spad has the right to change the firewall";

pub(super) const TARGET_HELP: &str =
    "to keep to one family write Target, the address of this host that is knocked at";

/// A place in a value, in the file.
fn value_span(entry: &Directive<'_>, at: &Range<usize>) -> Range<usize> {
    entry.span.start.saturating_add(at.start)..entry.span.start.saturating_add(at.end)
}

/// Why a command is not carried over.
enum Unsupported {
    /// It is a firewall's, and no plain grant.
    FirewallRule(String),
    Quoting,
    SeveralCommands,
    /// It is done only where another one succeeded.
    Conditional,
    /// It opens, and closes again.
    OpensAndCloses,
    RelativePath(String),
    Unrepresentable,
}

fn interpret(words: &Words) -> Result<LineAction, Unsupported> {
    let mut open = OpenRule::default();
    let mut run = None;
    let mut firewall = false;
    let mut before = None;
    for (index, command) in words.commands.iter().enumerate() {
        let rule = grant::recognise(command);
        let opened_before = matches!(before, Some(Some(Ok(Rule::Open(_)))));
        if words.after_success.contains(&index) && !opened_before {
            return Err(Unsupported::Conditional);
        }
        before = Some(rule.clone());
        match rule {
            Some(Ok(Rule::Open(mut opened))) => {
                firewall = true;
                open.ports.append(&mut opened.ports);
                open.families = open.families.union(opened.families);
                open.remarks.append(&mut opened.remarks);
            }
            Some(Ok(Rule::Close)) if !open.ports.is_empty() => {
                return Err(Unsupported::OpensAndCloses);
            }
            // As good as done: each grant has an end.
            Some(Ok(Rule::Close)) => firewall = true,
            Some(Err(why)) => return Err(Unsupported::FirewallRule(why.0)),
            None if run.is_some() => return Err(Unsupported::SeveralCommands),
            None => run = Some(command),
        }
    }
    let run = match run {
        Some(_) if words.quoted.is_some() => return Err(Unsupported::Quoting),
        Some(command) => Some(argv(command)?),
        None if !firewall => return Err(Unsupported::Unrepresentable),
        None => None,
    };
    Ok(LineAction {
        open: (!open.ports.is_empty()).then_some(open),
        run,
    })
}

/// The list of arguments. Where the address stands in them, env puts it in: no shell, and no
/// word is split after that.
fn argv(command: &[String]) -> Result<Vec<String>, Unsupported> {
    let program = command.first().ok_or(Unsupported::Unrepresentable)?;
    if !program.starts_with('/') || program.ends_with('/') {
        return Err(Unsupported::RelativePath(program.clone()));
    }
    let argv = if command.iter().any(|word| word.contains("%IP%")) {
        // env would take it for a variable, or for another program at each knock.
        if program.contains('=') || program.contains("%IP%") {
            return Err(Unsupported::Unrepresentable);
        }
        let line = command.join(" ").replace("%IP%", "${SPA_SOURCE}");
        vec![ENV.to_owned(), "-S".to_owned(), line]
    } else {
        command.to_vec()
    };
    Ok(argv)
}
