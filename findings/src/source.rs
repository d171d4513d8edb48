//! One file's text and places in it.
//!
//! Pure. Byte ranges in, lines and columns out; what it shows went through
//! `redact`. Any range of any text gives a place inside the text.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::{Finding, redact};

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 140;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    shown: Shown,
}

/// What its lines may show.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// Public keys.
    PublicKeys,
    /// Public keys; a secret key stands somewhere in the file, so hide more.
    LessNearASecret,
    /// No key at all.
    NoKey,
}

/// A place in a file, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, or the part of it around the place.
    pub shown: String,
    /// Characters of `shown` before the first caret.
    pub indent: usize,
    /// How many carets; at least one.
    pub carets: usize,
}

impl Source {
    /// The file `path`, which holds `text`.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        let shown = if redact::names_a_secret(&text) {
            Shown::LessNearASecret
        } else {
            Shown::PublicKeys
        };
        Self {
            path: path.to_owned(),
            text,
            shown,
        }
    }

    /// The same, but no key is shown of it, public ones included.
    #[must_use]
    pub fn without_keys(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
            shown: Shown::NoKey,
        }
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error about these bytes.
    #[must_use]
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::error(&self.path, message).at(self.place(span))
    }

    /// A warning about these bytes.
    #[must_use]
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::warning(&self.path, message).at(self.place(span))
    }

    /// Where these bytes stand; of more than one line, their first.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let (before, rest) = split(&self.text, span.start);
        let marked = span.end.saturating_sub(before.len());
        let (marked, _) = split(rest, marked);
        let Line {
            number,
            whole,
            ahead: indent,
        } = self.line_of(before);
        let length = whole.chars().count();
        let marked = marked
            .split(['\n', '\r'])
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let carets = marked.min(length.saturating_sub(indent)).max(1);
        let safe = match self.shown {
            Shown::PublicKeys => redact::line(whole, false),
            Shown::LessNearASecret => redact::line(whole, true),
            Shown::NoKey => redact::message(whole),
        };
        let place = Place {
            line: number,
            column: indent.saturating_add(1),
            shown: safe,
            indent,
            carets,
        };
        if length > SHOWN { cut(place) } else { place }
    }

    /// Line and column of this offset, from 1, as [`Self::place`] counts them.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let (before, _) = split(&self.text, offset);
        let line = self.line_of(before);
        (line.number, line.ahead.saturating_add(1))
    }

    /// The line that this beginning of the text ends in.
    fn line_of(&self, before: &str) -> Line<'_> {
        let start = before
            .rfind('\n')
            .map_or(0, |newline| newline.saturating_add(1));
        let (_, whole) = split(&self.text, start);
        let whole = whole
            .split('\n')
            .next()
            .unwrap_or_default()
            .trim_end_matches('\r');
        let (_, ahead) = split(before, start);
        Line {
            number: before.matches('\n').count().saturating_add(1),
            whole,
            ahead: ahead.chars().count().min(whole.chars().count()),
        }
    }
}

/// One line of the text.
struct Line<'a> {
    /// From 1.
    number: usize,
    whole: &'a str,
    /// Characters of it ahead of the place asked for.
    ahead: usize,
}

/// Splits at the offset, or at the next one below it that a character begins at.
fn split(text: &str, mut offset: usize) -> (&str, &str) {
    loop {
        match text.split_at_checked(offset) {
            Some(halves) => return halves,
            None if offset > text.len() => offset = text.len(),
            None => offset = offset.saturating_sub(1),
        }
    }
}

/// Leaves of a long line what stands around the place.
fn cut(place: Place) -> Place {
    let skipped = place.indent.saturating_sub(SHOWN / 3);
    let mark = usize::from(skipped > 0);
    let window: String = place.shown.chars().skip(skipped).take(SHOWN).collect();
    let more = place.shown.chars().count() > skipped.saturating_add(SHOWN);
    let indent = place.indent.saturating_sub(skipped);
    let carets = place.carets.min(SHOWN.saturating_sub(indent)).max(1);
    let shown = format!(
        "{}{window}{}",
        if mark == 1 { "…" } else { "" },
        if more { "…" } else { "" }
    );
    Place {
        shown,
        indent: indent.saturating_add(mark),
        carets,
        ..place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let source = Source::new(Path::new("spad.toml"), "a = 1\n\tü = \"x\"\r\n".to_owned());
        let place = source.place(12..15);
        assert_eq!((place.line, place.column, place.carets), (2, 6, 3));
        assert_eq!(place.shown, " ü = \"x\"");
    }

    proptest! {
        #[test]
        fn a_caret_points_inside_its_line(text in "[\\PC\n\r\t]{0,300}", start in 0_usize..1000, length in 0_usize..1000) {
            let source = Source::new(Path::new("x"), text);
            let place = source.place(start..start.saturating_add(length));
            let width = place.shown.chars().count();
            prop_assert!(place.indent <= width);
            prop_assert!(place.carets == 1 || place.indent + place.carets <= width);
            prop_assert!(place.line <= source.text().matches('\n').count() + 1);
        }
    }
}
