//! Each door into spad.toml, one after the other, as far as the loader takes it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use spa_findings::Finding;
use spa_findings::redact::quote;
use spad_config::humanise;

use super::action::{self, DoorAction, SingleFamily};
use super::parser::{self, Directive, Key, Section};
use super::section::{self, KnockdDoor, Knocks};
use super::{ImportInput, Imported, names, one_time};
use crate::toml_append::TomlAppender;

/// The most sections that are looked at.
const MAX_SECTIONS: usize = 256;

/// All of it.
pub(super) fn run(input: ImportInput<'_>) -> Imported {
    let mut addition = match TomlAppender::new(input.spad, input.existing_sequences, input.now) {
        Ok(addition) => addition,
        Err(findings) => {
            return Imported {
                findings,
                ..Imported::default()
            };
        }
    };
    let mut found = Vec::new();
    let file = parser::read(input.knockd, &mut found);
    let mut importer = Importer {
        input,
        appender: &mut addition,
        found,
        imported: Imported::default(),
        names: BTreeSet::new(),
        used_files: BTreeMap::new(),
        single_family: Vec::new(),
    };
    for entry in &file.options {
        importer.option(entry);
    }
    for section in file.doors.iter().take(MAX_SECTIONS) {
        if importer.import_door(section).is_none() {
            importer.imported.left_out = importer.imported.left_out.saturating_add(1);
        }
    }
    if let Some(section) = file.doors.get(MAX_SECTIONS) {
        let finding = input.knockd.error(
            section.span.clone(),
            format!("there are more than {MAX_SECTIONS} doors"),
        );
        importer
            .found
            .push(finding.help("take those out that nobody uses"));
    }
    importer.report_single_family();
    let (mut imported, found) = (importer.imported, importer.found);
    imported.findings.extend(found);
    imported.findings.sort_by_key(|finding| {
        (
            finding.file != input.knockd.path(),
            finding.file.clone(),
            finding.position(),
        )
    });
    imported.spad = addition.text().to_owned();
    imported.added = addition.added;
    imported
}

/// What is being carried over.
pub(super) struct Importer<'a> {
    pub(super) input: ImportInput<'a>,
    pub(super) appender: &'a mut TomlAppender,
    found: Vec<Finding>,
    imported: Imported,
    /// Of doors.
    names: BTreeSet<String>,
    /// Files of sequences, and the line that names each.
    used_files: BTreeMap<&'a str, usize>,
    /// Of doors that were carried over.
    single_family: Vec<SingleFamily>,
}

impl<'a> Importer<'a> {
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>, help: &str) {
        self.found
            .push(self.input.knockd.warning(span, message).help(help));
    }

    /// What `[options]` says.
    fn option(&mut self, entry: &Directive<'_>) {
        match entry.key {
            Key::LogFile => self.warn(
                entry.key_span.clone(),
                "this is not carried over: the daemon logs to the journal, and each grant to [log] audit",
                "read it with journalctl -u spad, and /var/log/spad/audit.jsonl",
            ),
            Key::PidFile => self.warn(
                entry.key_span.clone(),
                "this is not carried over: spad runs in the foreground and writes no such file",
                "let systemd run it: systemctl status spad shows the process",
            ),
            Key::Interface => self.interface(entry),
            _ => {}
        }
    }

    /// Left to the administrator: a name that is old, or that `knockd -i` overruled, would
    /// keep every client's packets out.
    fn interface(&mut self, entry: &Directive<'_>) {
        let name = entry.value;
        let listened = &self.appender.config.listen.interfaces;
        let known = listened
            .as_ref()
            .is_some_and(|names| names.iter().any(|one| one == name));
        if !known {
            self.warn(
                entry.span.clone(),
                "this is not carried over: where knocks are heard, packets of `spa` are looked for as well",
                &format!("write interfaces = [\"{}\"] into [listen], if neither comes in elsewhere", quote(name)),
            );
        }
    }

    /// What the loader says against what would be written because of this place.
    fn report_refused(&mut self, place: impl Fn(&Finding) -> Range<usize>, errors: Vec<Finding>) {
        for error in errors {
            let place = place(&error);
            let mut finding = self.input.knockd.error(place, error.message);
            finding.help = error.help;
            finding.notes = error.notes;
            self.found.push(finding.note(
                "so spad.toml would not load; a line named here is one that it would have then",
            ));
        }
    }

    /// Carries one door over; none where it is left out.
    fn import_door(&mut self, section: &Section<'a>) -> Option<()> {
        let source = self.input.knockd;
        let door = section::read(source, section, &mut self.found);
        let effect = action::read(source, section, &mut self.found)?;
        if effect.open.is_none() && effect.run.is_none() {
            self.warn(
                section.span.clone(),
                "this door is not needed: it only closes, and what a door opens closes by itself",
                "to close before the time: spad revoke, with the name of the door that opened",
            );
            return Some(());
        }
        let door = door?;
        let name = names::unique_name(&names::sanitise(section.name), |name| {
            self.names.contains(name)
        });
        self.names.insert(name.clone());
        let mut table = toml::Table::new();
        table.insert("name".to_owned(), name.clone().into());
        let file = self.knocks(&door, &name, &mut table)?;
        let mut tables = String::new();
        self.apply_action(&effect, &name, &mut table, &mut tables)?;
        table.insert("within".to_owned(), humanise(door.window).into());
        if !door.flags.is_empty() {
            table.insert("tcp_flags".to_owned(), door.flags.clone().into());
        }
        if let Some(target) = door.target {
            table.insert("target".to_owned(), target.to_string().into());
        }
        match self.existing_door(&name) {
            Some(there) if there == table => {
                self.imported.already.push(name);
                return Some(());
            }
            Some(_) => {
                self.warn(
                    section.span.clone(),
                    format!("spad.toml has a door `{name}` that says something else, and it was left as it is"),
                    "if both are meant, give one of them another name",
                );
                return None;
            }
            None => {}
        }
        let line = source.location(section.span.clone()).line;
        let _ = writeln!(
            tables,
            "# [{}], line {line} of knockd's file",
            quote(section.name)
        );
        let _ = writeln!(tables, "[[knock]]");
        for key in [
            "name",
            "sequence",
            "one_time",
            "open",
            "run",
            "ttl",
            "within",
            "tcp_flags",
            "target",
        ] {
            if let Some(value) = table.get(key) {
                let _ = writeln!(tables, "{key} = {value}");
            }
        }
        if let Err(errors) = self.appender.append(
            &tables,
            file.as_ref()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        ) {
            let in_command = |error: &Finding| {
                let line = error.location.as_ref().map(|place| place.excerpt.as_str());
                line.is_some_and(|line| line.starts_with("argv") || line.starts_with("user"))
            };
            let place = |error: &Finding| match in_command(error) {
                true => effect.span.clone(),
                false => door.span.clone(),
            };
            self.report_refused(place, errors);
            return None;
        }
        self.imported.files.extend(file);
        self.imported.doors.push(name);
        self.single_family.extend(effect.single_family);
        Some(())
    }

    /// Of each IP the first door whose command opened over that one alone: in most files
    /// it is all of them.
    fn report_single_family(&mut self) {
        let all = std::mem::take(&mut self.single_family);
        for ip in ["IPv4", "IPv6"] {
            let mut doors = all.iter().filter(|one| one.ip == ip);
            let Some(first) = doors.next() else {
                continue;
            };
            let message = format!(
                "this opened over {ip} alone; the door opens over {} as well, for whoever knocks over it",
                first.other
            );
            let warning = self.input.knockd.warning(first.span.clone(), message);
            let finding = warning.help(action::TARGET_HELP);
            self.found.push(match doors.count() {
                0 => finding,
                more => finding.note(format!("so it is with {more} more of these doors")),
            });
        }
    }

    /// The door of this name in spad.toml.
    fn existing_door(&self, name: &str) -> Option<toml::Table> {
        let root = self.appender.table();
        let doors = root.get("knock")?.as_array()?;
        let mut tables = doors.iter().filter_map(toml::Value::as_table);
        tables
            .find(|table| table.get("name").and_then(toml::Value::as_str) == Some(name))
            .cloned()
    }

    /// The sequence, or the file of sequences that is to be made.
    fn knocks(
        &mut self,
        door: &KnockdDoor<'a>,
        name: &str,
        table: &mut toml::Table,
    ) -> Option<Option<(String, String)>> {
        let path = match &door.knocks {
            Knocks::Sequence(sequence) => {
                table.insert("sequence".to_owned(), sequence.to_string().into());
                return Some(None);
            }
            Knocks::OneTime(path) => *path,
        };
        let source = self.input.knockd;
        let line = source.location(door.span.clone()).line;
        if let Some(other) = self.used_files.insert(path, line) {
            let finding = source.error(door.span.clone(), "two doors use up one file of sequences");
            self.found.push(
                finding
                    .help("give each door a file of its own")
                    .note(format!("the other is in line {other}")),
            );
            return None;
        }
        let text = match self.input.one_time.get(path) {
            Some(Ok(file)) => one_time::unused(file, &mut self.found)?,
            Some(Err(finding)) => {
                self.found.push(finding.clone());
                return None;
            }
            None => return None,
        };
        let copy = format!("one-time/{name}");
        table.insert("one_time".to_owned(), copy.clone().into());
        Some(Some((copy, text)))
    }

    /// What it opens and runs, and the tables that are needed for that.
    fn apply_action(
        &mut self,
        action: &DoorAction,
        name: &str,
        table: &mut toml::Table,
        tables: &mut String,
    ) -> Option<()> {
        if let Some(opening) = &action.open {
            let open = self.services(opening, tables)?;
            if let Some(ttl) = self.ttl(&open, opening) {
                table.insert("ttl".to_owned(), humanise(ttl).into());
            }
            let names = open.iter().map(|(name, _)| name.as_str().into());
            table.insert("open".to_owned(), toml::Value::Array(names.collect()));
            for (name, _) in open {
                if !self.imported.services.contains(&name) {
                    self.imported.services.push(name);
                }
            }
        }
        if let Some(argv) = &action.run {
            let command = self.command(name, argv, tables);
            let user = quote(self.input.run_as);
            let warning = self.input.knockd.warning(
                action.span.clone(),
                format!("this runs as the user `{user}`, without any capability and without a shell; with knockd it was root's"),
            );
            let finding = warning.help(format!(
                "where it needs another user, name him in [commands.{command}], or say --run-as USER"
            ));
            self.found.push(if argv.iter().any(|word| word.contains("${SPA_SOURCE}")) {
                finding.note("the address that knocked stands in its environment, as SPA_SOURCE; env puts it in for %IP%")
            } else {
                finding
            });
            table.insert("run".to_owned(), command.into());
        }
        Some(())
    }
}
