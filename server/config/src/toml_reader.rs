//! A file as written: TOML with the place of each key and value.
//!
//! Pure. serde would stop at the first unknown key; this walks the whole tree
//! and collects every finding. A table knows which keys it was asked for, and
//! whatever else stands in it is a finding, so a key cannot be forgotten.

use std::cell::RefCell;
use std::ops::Range;

use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, Source, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reference::Section;

/// A value and where it stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WithSpan<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One file being read, and what was found in it so far.
#[derive(Debug)]
pub(super) struct FileReader<'s> {
    pub(super) source: &'s Source,
    findings: RefCell<Vec<Finding>>,
}

/// A table of the file, and which keys were asked for.
pub(super) struct Table<'a> {
    reader: &'a FileReader<'a>,
    table: &'a DeTable<'a>,
    /// How messages call it: `[grants]`, or the file.
    name: String,
    /// Describes every key that may be asked for.
    section: Section,
    known: RefCell<Vec<&'static str>>,
}

/// A value of a table.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) reader: &'a FileReader<'a>,
    pub(super) key: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

/// The file's syntax tree; `None` if the syntax is so broken that more findings would mislead.
pub(super) fn parse<'s>(reader: &FileReader<'s>) -> Option<Spanned<DeTable<'s>>> {
    let (tree, mut errors) = DeTable::parse_recoverable(reader.source.text());
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut lines = Vec::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let (message, help, local) = syntax(error.message());
        let location = reader.source.location(span.clone());
        // Of several errors in one line the later ones mostly follow from the first.
        if !lines.contains(&location.line) {
            lines.push(location.line);
            reader.report(reader.source.error(span, message).help(help));
        }
        if !local {
            // What comes after it would be read as something that it is not.
            return None;
        }
    }
    Some(tree)
}

/// The parser's words in ours, the mend, and whether the rest of the file can be read all the same.
fn syntax(message: &str) -> (String, &'static str, bool) {
    let starts = |start: &str| message.starts_with(start);
    if starts("duplicate key") {
        (
            "this key stands here a second time".to_owned(),
            "take one of the two out",
            true,
        )
    } else if starts("string values must be quoted") {
        let help = "put a text or a time into double quotes: \"30s\"";
        ("this is not a value".to_owned(), help, true)
    } else if starts("invalid basic string") {
        (
            "this text has no end".to_owned(),
            "put a double quote behind it",
            false,
        )
    } else if starts("missing comma between array") || starts("unclosed array") {
        let help = "put commas between the items, and ] behind the last";
        (
            "the list has no end, or lacks a comma".to_owned(),
            help,
            false,
        )
    } else if starts("unclosed table") {
        (
            "the table's name has no end".to_owned(),
            "put ] behind it",
            false,
        )
    } else if starts("key with no value") {
        (
            "this key has no value".to_owned(),
            "write key = value",
            false,
        )
    } else {
        (
            quote(message),
            "this is TOML: a line is key = value, or [table]",
            false,
        )
    }
}

impl<'s> FileReader<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self {
            source,
            findings: RefCell::default(),
        }
    }

    pub(super) fn report(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    pub(super) fn root<'a>(
        &'a self,
        tree: &'a Spanned<DeTable<'a>>,
        section: Section,
    ) -> Table<'a> {
        Table {
            reader: self,
            table: tree.get_ref(),
            name: "this file".to_owned(),
            section,
            known: RefCell::default(),
        }
    }
}

impl<'a> Table<'a> {
    /// The value of this key.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(
            self.section.has_key(key),
            "{} does not describe `{key}`: add it to server/config/src/reference.rs",
            self.section.title()
        );
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        let (key, value) = self.table.get_key_value(key)?;
        Some(Value {
            reader: self.reader,
            key: key.get_ref(),
            value,
        })
    }

    /// The table of this key. The section is its own, or that of its entries if its keys are names.
    pub(super) fn table(&self, key: &'static str, section: Section) -> Option<Table<'a>> {
        let value = self.get(key)?;
        value.table(format!("`[{key}]`"), section)
    }

    /// Everything in it, the keys being names: nothing of it is unknown.
    pub(super) fn named_entries(
        &self,
    ) -> impl Iterator<Item = (WithSpan<&'a str>, Value<'a>)> + use<'a> {
        let reader = self.reader;
        self.table.iter().map(move |(key, value)| {
            let name: &'a str = key.get_ref();
            (
                WithSpan {
                    value: name,
                    span: key.span(),
                },
                Value {
                    reader,
                    key: name,
                    value,
                },
            )
        })
    }

    /// Reports every key that nobody asked for. To be called last.
    pub(super) fn report_unknown_keys(self) {
        let known = self.known.borrow();
        for key in self.table.keys() {
            if known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let message = format!("{} has no key `{}`", self.name, quote(key.get_ref()));
            let help = match nearest(
                key.get_ref(),
                known.iter().copied(),
                EditDistance::OptimalStringAlignment,
            ) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there is: {}", known.join(", ")),
            };
            self.reader.report(
                self.reader
                    .source
                    .error(key.span(), message)
                    .help(help)
                    .note(IGNORED),
            );
        }
    }
}

/// Why an unknown key is an error.
const IGNORED: &str = "a key that is ignored may be a limit that does not hold";

impl<'a> Value<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// A finding about this value.
    pub(super) fn error(&self, message: impl Into<String>) -> Finding {
        self.reader.source.error(self.span(), message)
    }

    pub(super) fn warning(&self, message: impl Into<String>) -> Finding {
        self.reader.source.warning(self.span(), message)
    }

    pub(super) fn report(&self, finding: Finding) {
        self.reader.report(finding);
    }

    pub(super) fn with_span<T>(&self, value: T) -> WithSpan<T> {
        WithSpan {
            value,
            span: self.span(),
        }
    }

    fn expected(&self, what: &str) -> Finding {
        let is = self.value.get_ref().type_str();
        let article = if is.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        self.error(format!(
            "`{}` must be {what}, and this is {article} {is}",
            quote(self.key)
        ))
    }

    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    pub(super) fn is_table(&self) -> bool {
        self.raw().is_table()
    }

    pub(super) fn table(&self, name: String, section: Section) -> Option<Table<'a>> {
        match self.raw() {
            DeValue::Table(table) => Some(Table {
                reader: self.reader,
                table,
                name,
                section,
                known: RefCell::default(),
            }),
            _ => {
                self.report(self.expected("a table").help(format!(
                    "write [{}] on a line of its own, and its keys below",
                    quote(self.key)
                )));
                None
            }
        }
    }

    /// A text; `example` is a right value.
    pub(super) fn text(&self, example: &str) -> Option<&'a str> {
        let text = self.raw().as_str();
        if text.is_none() {
            self.report(
                self.expected("a text")
                    .help(format!("write, for example, \"{example}\"")),
            );
        }
        text
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.raw().as_bool();
        if value.is_none() {
            self.report(
                self.expected("true or false")
                    .help("write true or false, without quotes"),
            );
        }
        value
    }

    /// A whole number within the bounds.
    pub(super) fn number(&self, bounds: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let Some(integer) = self.raw().as_integer() else {
            self.report(
                self.expected("a whole number")
                    .help("write a number without quotes"),
            );
            return None;
        };
        let parsed = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = parsed.filter(|number| bounds.contains(number));
        if number.is_none() {
            let (min, max) = (bounds.start(), bounds.end());
            let finding = self.error(format!("`{}` must be from {min} to {max}", self.key));
            self.report(finding.help(format!("write a number from {min} to {max}")));
        }
        number
    }

    /// The values of a list; `example` is a right list.
    pub(super) fn list(&self, example: &str) -> Option<Vec<Value<'a>>> {
        match self.raw() {
            DeValue::Array(items) => {
                let (reader, key) = (self.reader, self.key);
                Some(
                    items
                        .iter()
                        .map(|value| Value { reader, key, value })
                        .collect(),
                )
            }
            _ => {
                self.report(
                    self.expected("a list")
                        .help(format!("write, for example, {example}")),
                );
                None
            }
        }
    }

    /// The texts of a list; what is no text is a finding and left out.
    pub(super) fn texts(&self, example: &str) -> Option<Vec<WithSpan<&'a str>>> {
        let items = self.list(&format!("[\"{example}\"]"))?;
        Some(
            items
                .iter()
                .filter_map(|item| Some(item.with_span(item.text(example)?)))
                .collect(),
        )
    }

    /// One of these words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(words.first()?.0)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<String> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let finding = self.error(format!("`{}` cannot be `{}`", self.key, quote(text)));
        let help = match nearest(
            text,
            words.iter().map(|(word, _)| *word),
            EditDistance::OptimalStringAlignment,
        ) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write {}", all.join(" or ")),
        };
        self.report(finding.help(help));
        None
    }
}
