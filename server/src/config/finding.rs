//! What is wrong in which file, where, and how to mend it; and how that is printed.
//!
//! Plain text in the manner of rustc: `file:line:column`, the line, a caret,
//! `help:` and `note:`. Nothing in here decides what is wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use super::redact;
use super::source::Place;

/// Whether the configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether this keeps the configuration from being used.
    pub severity: Severity,
    /// The file or directory.
    pub file: PathBuf,
    /// Where in it, if it is about a part of it.
    pub place: Option<Box<Place>>,
    /// What is wrong, in one line.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Why it is wrong, where that is not obvious.
    pub notes: Vec<String>,
}

impl Finding {
    /// An error about a whole file.
    #[must_use]
    pub fn error(file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            message: message.into(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// A warning about a whole file.
    #[must_use]
    pub fn warning(file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, message)
        }
    }

    /// With the mend.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a reason.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With its place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// With that severity.
    #[must_use]
    pub fn with(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// `file:line:column`, or the file alone.
    #[must_use]
    pub fn location(&self) -> String {
        let file = redact::line(&self.file.display().to_string(), false);
        match &self.place {
            Some(place) => format!("{file}:{}:{}", place.line, place.column),
            None => file,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.message)?;
        let margin = match &self.place {
            Some(place) => place.line.to_string().len(),
            None => 1,
        };
        writeln!(f, "{:margin$}--> {}", "", self.location())?;
        if let Some(place) = &self.place {
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{} | {}", place.line, place.shown.trim_end())?;
            writeln!(
                f,
                "{:margin$} | {:indent$}{}",
                "",
                "",
                "^".repeat(place.carets),
                indent = place.indent
            )?;
        }
        let more = self
            .help
            .iter()
            .map(|help| ("help", help))
            .chain(self.notes.iter().map(|note| ("note", note)));
        for (position, (word, text)) in more.enumerate() {
            if position == 0 && self.place.is_some() {
                writeln!(f, "{:margin$} |", "")?;
            }
            writeln!(f, "{:margin$} = {word}: {text}", "")?;
        }
        Ok(())
    }
}

/// All that was found in one run, in the order of files and places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Takes one more.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Takes all of the other's.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Nothing found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them keeps the configuration from being used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Puts them in the order of their files and places, whoever found them first:
    /// `spad.toml` first, for that is where a reader begins.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_cached_key(|finding| {
            let first = finding
                .file
                .file_name()
                .is_some_and(|name| name == "spad.toml");
            let place = finding
                .place
                .as_ref()
                .map_or((0, 0), |place| (place.line, place.column));
            (!first, finding.file.clone(), place, finding.message.clone())
        });
        self.0.dedup();
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        self.0.extend(findings);
    }
}
