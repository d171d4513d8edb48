//! What is wrong in which file, where, and how to mend it; and how that is printed.
//!
//! Plain text in the manner of rustc: `file:line:column`, the line, a caret,
//! `help:` and `note:`. Nothing in here decides what is wrong.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Location, redact};

/// Whether the configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether this keeps the configuration from being used.
    pub severity: Severity,
    /// The file or directory.
    pub file: PathBuf,
    /// Where in it, if it is about a part of it.
    pub location: Option<Box<Location>>,
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
            location: None,
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
    pub fn at(mut self, location: Location) -> Self {
        self.location = Some(Box::new(location));
        self
    }

    /// With that severity.
    #[must_use]
    pub fn with(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Line and column of its place; zeros, so before all others, without one.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        self.location
            .as_ref()
            .map_or((0, 0), |place| (place.line, place.column))
    }

    /// `file:line:column`, or the file alone.
    #[must_use]
    pub fn location_text(&self) -> String {
        match &self.location {
            Some(place) => format_location(&self.file, place.line, place.column),
            None => redact::line(&self.file.display().to_string(), false),
        }
    }
}

/// `file:line:column`, made fit to be shown.
#[must_use]
pub fn format_location(file: &Path, line: usize, column: usize) -> String {
    let file = redact::line(&file.display().to_string(), false);
    format!("{file}:{line}:{column}")
}

/// Lines, each with its end. `{:#}` leaves out the empty one before help and
/// notes, and the end of the last.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let margin = match &self.location {
            Some(place) => place.line.to_string().len(),
            None => 1,
        };
        write!(f, "\n{:margin$}--> {}", "", self.location_text())?;
        if let Some(place) = &self.location {
            write!(f, "\n{:margin$} |", "")?;
            write!(f, "\n{} | {}", place.line, place.excerpt.trim_end())?;
            write!(
                f,
                "\n{:margin$} | {:indent$}{}",
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
            if position == 0 && self.location.is_some() && !f.alternate() {
                write!(f, "\n{:margin$} |", "")?;
            }
            write!(f, "\n{:margin$} = {word}: {text}", "")?;
        }
        if f.alternate() { Ok(()) } else { writeln!(f) }
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

    /// Puts them in this order, whoever found them first, and each only once.
    pub fn sort_by_key<K: Ord>(&mut self, order: impl FnMut(&Finding) -> K) {
        self.0.sort_by_cached_key(order);
        self.0.dedup();
    }
}

/// An empty line between two.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(if f.alternate() { "\n\n" } else { "\n" })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn a_finding_points_at_the_character() {
        let text = "a = 1\n[hosts.gw]\npört = 22\n";
        let source = Source::new(Path::new("config.toml"), text.to_owned());
        let finding = source
            .error(17..22, "unknown key `pört`")
            .help("did you mean `port`?");
        assert_eq!(
            format!("{finding:#}"),
            "error: unknown key `pört`\n --> config.toml:3:1\n  |\n3 | pört = 22\n  | ^^^^\n  = help: did you mean `port`?"
        );
        assert_eq!(
            finding.to_string(),
            "error: unknown key `pört`\n --> config.toml:3:1\n  |\n3 | pört = 22\n  | ^^^^\n  |\n  = help: did you mean `port`?\n"
        );
    }
}
