//! knockd.conf as lines: sections, and directives with their places.
//!
//! Pure. What knockd 0.8 refuses is an error here too, and so is what it would silently
//! make something else of.

use std::ops::Range;

use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, Source, nearest};

/// The longest line that knockd reads as one, in bytes.
const MAX_LINE: usize = 4096;
/// The most faults that are told of: whoever has more gives another kind of file.
const MAX_FAULTS: usize = 100;

/// What a directive is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    UseSyslog,
    LogFile,
    PidFile,
    Interface,
    Sequence,
    OneTimeSequences,
    SeqTimeout,
    TcpFlags,
    Target,
    StartCommand,
    StartCommand6,
    StopCommand,
    StopCommand6,
    CmdTimeout,
}

/// Those of `[options]`.
const GLOBAL_KEYS: [(&str, Key); 4] = [
    ("usesyslog", Key::UseSyslog),
    ("logfile", Key::LogFile),
    ("pidfile", Key::PidFile),
    ("interface", Key::Interface),
];

/// Those of a door.
const DOOR_KEYS: [(&str, Key); 13] = [
    ("sequence", Key::Sequence),
    ("one_time_sequences", Key::OneTimeSequences),
    ("seq_timeout", Key::SeqTimeout),
    ("timeout", Key::SeqTimeout),
    ("tcpflags", Key::TcpFlags),
    ("target", Key::Target),
    ("start_command", Key::StartCommand),
    ("command", Key::StartCommand),
    ("start_command_6", Key::StartCommand6),
    ("command_6", Key::StartCommand6),
    ("stop_command", Key::StopCommand),
    ("stop_command_6", Key::StopCommand6),
    ("cmd_timeout", Key::CmdTimeout),
];

/// One directive.
#[derive(Clone, Debug)]
pub(super) struct Directive<'s> {
    pub(super) key: Key,
    pub(super) key_span: Range<usize>,
    pub(super) value: &'s str,
    /// Of the value.
    pub(super) span: Range<usize>,
}

/// A section.
#[derive(Clone, Debug)]
pub(super) struct Section<'s> {
    pub(super) name: &'s str,
    /// Of its header.
    pub(super) span: Range<usize>,
    pub(super) directives: Vec<Directive<'s>>,
}

impl<'s> Section<'s> {
    pub(super) fn get(&self, key: Key) -> Option<&Directive<'s>> {
        self.directives.iter().find(|entry| entry.key == key)
    }

    fn is_global(&self) -> bool {
        self.name == "options"
    }
}

/// The file.
#[derive(Debug, Default)]
pub(super) struct KnockdFile<'s> {
    /// Of every `[options]`.
    pub(super) options: Vec<Directive<'s>>,
    pub(super) doors: Vec<Section<'s>>,
}

/// A line without the blanks around it.
#[derive(Clone, Copy)]
struct Line<'s> {
    text: &'s str,
    start: usize,
}

impl<'s> Line<'s> {
    fn new(text: &'s str, start: usize) -> Self {
        let indent = text.len().saturating_sub(text.trim_start().len());
        Self {
            text: text.trim(),
            start: start.saturating_add(indent),
        }
    }

    fn span(&self) -> Range<usize> {
        self.start..self.start.saturating_add(self.text.len())
    }
}

/// Reads the lines; what is wrong goes to `found`.
pub(super) fn read<'s>(source: &'s Source, found: &mut Vec<Finding>) -> KnockdFile<'s> {
    let mut sections: Vec<Section<'s>> = Vec::new();
    let mut start = 0_usize;
    for whole in source.text().split_inclusive('\n') {
        let text = if start == 0 {
            whole.trim_start_matches('\u{feff}')
        } else {
            whole
        };
        let skipped = whole.len().saturating_sub(text.len());
        let line = Line::new(text, start.saturating_add(skipped));
        start = start.saturating_add(whole.len());
        if line.text.is_empty() || line.text.starts_with('#') {
            continue;
        }
        if found.len() >= MAX_FAULTS {
            let finding = source.error(line.span(), "the faults from here on are not listed");
            found.push(finding.help("is this a knockd.conf?"));
            break;
        }
        if let Err(finding) = parse_line(source, line, whole.len(), &mut sections) {
            found.push(finding);
        }
    }
    let (global, doors) = sections.into_iter().partition(Section::is_global);
    let global: Vec<Section<'s>> = global;
    let options = global.into_iter().flat_map(|section| section.directives);
    KnockdFile {
        options: options.collect(),
        doors,
    }
}

fn parse_line<'s>(
    source: &Source,
    line: Line<'s>,
    length: usize,
    sections: &mut Vec<Section<'s>>,
) -> Result<(), Finding> {
    let error = |message: &str| source.error(line.span(), message);
    if length > MAX_LINE {
        return Err(error(&format!(
            "a line of knockd.conf has at most {MAX_LINE} bytes"
        ))
        .help("put the command into a script"));
    }
    if line.text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(error("there is a control character in this line").help("take it out"));
    }
    let header = line.text.strip_prefix('[');
    if let Some(name) = header.and_then(|rest| rest.strip_suffix(']')) {
        if name.is_empty() || name.len() > 127 {
            return Err(error("this is not the name of a section")
                .help("write 1 to 127 characters between the brackets"));
        }
        if name != "options" && name.eq_ignore_ascii_case("options") {
            return Err(error("knockd takes this for a door").help("write [options]"));
        }
        sections.push(Section {
            name,
            span: line.span(),
            directives: Vec::new(),
        });
        return Ok(());
    }
    if header.is_some() {
        return Err(error("the section's name has no end")
            .help("put ] at the end of the line; knockd knows no comments there"));
    }
    let Some(section) = sections.last_mut() else {
        return Err(error("this stands before any section")
            .help("write [options] or a door's [name] above it"));
    };
    let entry = parse_directive(source, line, section.is_global())?;
    if let Some(first) = section.get(entry.key) {
        let there = source.location(first.key_span.clone()).line;
        let finding = source.error(entry.key_span, "this stands here a second time");
        return Err(finding
            .help("take one of the two out")
            .note(format!("the other is in line {there}")));
    }
    section.directives.push(entry);
    Ok(())
}

fn parse_directive<'s>(
    source: &Source,
    line: Line<'s>,
    global: bool,
) -> Result<Directive<'s>, Finding> {
    let (key_text, rest) = match line.text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (line.text, None),
    };
    let key_part = Line::new(key_text, line.start);
    let (here, elsewhere): (&[_], &[_]) = if global {
        (&GLOBAL_KEYS, &DOOR_KEYS)
    } else {
        (&DOOR_KEYS, &GLOBAL_KEYS)
    };
    let find = |keys: &[(&str, Key)]| {
        let found = keys
            .iter()
            .find(|(name, _)| key_part.text.eq_ignore_ascii_case(name));
        found.map(|(_, key)| *key)
    };
    let error = |message: String| source.error(key_part.span(), message);
    let shown = quote(key_part.text);
    let Some(key) = find(here) else {
        let finding = error(format!("knockd has no directive `{shown}` here"));
        if find(elsewhere).is_some() {
            let place = if global {
                "in a door's section"
            } else {
                "in [options]"
            };
            return Err(finding.help(format!("it stands {place}")));
        }
        let names = here.iter().map(|(name, _)| *name);
        return Err(
            match nearest(key_part.text, names, EditDistance::OptimalStringAlignment) {
                Some(meant) => finding.help(format!("did you mean `{meant}`?")),
                None => finding.help("take it out; `man knockd` lists the directives"),
            },
        );
    };
    match (key, rest) {
        (Key::UseSyslog, Some(_)) => {
            Err(error(format!("`{shown}` takes no value")).help(format!("write {shown} alone")))
        }
        (Key::UseSyslog, None) => Ok(Directive {
            key,
            key_span: key_part.span(),
            value: "",
            span: key_part.span(),
        }),
        (_, None) => {
            Err(error(format!("`{shown}` has no value")).help(format!("write {shown} = …")))
        }
        (_, Some(value)) => {
            let ahead = key_text.len().saturating_add(1);
            let value = Line::new(value, line.start.saturating_add(ahead));
            Ok(Directive {
                key,
                key_span: key_part.span(),
                value: value.text,
                span: if value.text.is_empty() {
                    key_part.span()
                } else {
                    value.span()
                },
            })
        }
    }
}
