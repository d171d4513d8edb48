//! One file's text and places in it.
//!
//! Pure. Byte ranges in, lines and columns out; what it shows went through
//! `redact`. Any range of any text gives a place inside the text.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Finding, redact};

/// Longest part of a line that is shown, in characters.
const MAX_SHOWN: usize = 140;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: String,
    visibility: KeyVisibility,
    /// Where lines end, once somebody asks for a place: many may.
    line_ends: OnceLock<Vec<usize>>,
}

/// What its lines may show.
#[derive(Clone, Copy, Debug)]
enum KeyVisibility {
    /// Public keys.
    PublicKeys,
    /// Public keys; a secret key stands somewhere in the file, so hide more.
    Strict,
    /// No key at all.
    Hidden,
}

/// A place in a file, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, or the part of it around the place.
    pub excerpt: String,
    /// Characters of `shown` before the first caret.
    pub indent: usize,
    /// How many carets; at least one.
    pub carets: usize,
}

impl Source {
    /// The file `path`, which holds `text`.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        let visibility = if redact::contains_secret(&text) {
            KeyVisibility::Strict
        } else {
            KeyVisibility::PublicKeys
        };
        Self {
            path: path.to_owned(),
            text,
            visibility,
            line_ends: OnceLock::new(),
        }
    }

    /// The same, but no key is shown of it, public ones included.
    #[must_use]
    pub fn without_keys(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
            visibility: KeyVisibility::Hidden,
            line_ends: OnceLock::new(),
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
        Finding::error(&self.path, message).at(self.location(span))
    }

    /// A warning about these bytes.
    #[must_use]
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::warning(&self.path, message).at(self.location(span))
    }

    /// Where these bytes stand; of more than one line, their first.
    #[must_use]
    pub fn location(&self, span: Range<usize>) -> Location {
        let (before, rest) = split(&self.text, span.start);
        let marked = span.end.saturating_sub(before.len());
        let (marked, _) = split(rest, marked);
        let Line {
            number,
            text: whole,
            column: indent,
        } = self.line_at(before);
        let length = whole.chars().count();
        let marked = marked
            .split(['\n', '\r'])
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let carets = marked.min(length.saturating_sub(indent)).max(1);
        let place = Location {
            line: number,
            column: indent.saturating_add(1),
            excerpt: String::new(),
            indent,
            carets,
        };
        if length <= MAX_SHOWN {
            let shown = self.redacted(whole);
            return Location {
                excerpt: shown,
                ..place
            };
        }
        let skipped = indent.saturating_sub(MAX_SHOWN / 3);
        clip(place, skipped, &self.excerpt(whole, skipped), length)
    }

    /// This line of the text, fit to be shown.
    fn redacted(&self, line: &str) -> String {
        match self.visibility {
            KeyVisibility::PublicKeys => redact::line(line, false),
            KeyVisibility::Strict => redact::line(line, true),
            KeyVisibility::Hidden => redact::message(line),
        }
    }

    /// [`MAX_SHOWN`] characters of this line behind the first `skipped`, fit to be shown.
    fn excerpt(&self, line: &str, skipped: usize) -> String {
        let part = |text: String, skipped| text.chars().skip(skipped).take(MAX_SHOWN).collect();
        if !matches!(self.visibility, KeyVisibility::PublicKeys) {
            // What stands before may tell what must not be shown.
            return part(self.redacted(line), skipped);
        }
        // A run of key characters is judged whole, and each by itself.
        let byte = |text: &str, characters| {
            let mut indices = text.char_indices();
            indices.nth(characters).map_or(text.len(), |(at, _)| at)
        };
        let (before, rest) = split(line, byte(line, skipped));
        let (_, behind) = split(rest, byte(rest, MAX_SHOWN));
        let run_before = before.trim_end_matches(redact::is_key_character);
        let run_behind = behind.trim_start_matches(redact::is_key_character);
        let end = line.len().saturating_sub(run_behind.len());
        let (until_end, _) = split(line, end);
        let (_, runs) = split(until_end, run_before.len());
        let (_, run) = split(before, run_before.len());
        part(self.redacted(runs), run.chars().count())
    }

    /// Line and column of this offset, from 1, as [`Self::location`] counts them.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let (before, _) = split(&self.text, offset);
        let line = self.line_at(before);
        (line.number, line.column.saturating_add(1))
    }

    /// The line that this beginning of the text ends in.
    fn line_at(&self, before: &str) -> Line<'_> {
        let ends = self.line_ends.get_or_init(|| {
            let ends = self.text.match_indices('\n');
            ends.map(|(end, _)| end).collect()
        });
        let number = ends.partition_point(|end| *end < before.len());
        let last = number.checked_sub(1).and_then(|last| ends.get(last));
        let start = last.map_or(0, |end| end.saturating_add(1));
        let (until_end, _) = split(&self.text, ends.get(number).copied().unwrap_or(usize::MAX));
        let (_, whole) = split(until_end, start);
        let whole = whole.trim_end_matches('\r');
        let (_, ahead) = split(before, start);
        Line {
            number: number.saturating_add(1),
            text: whole,
            column: ahead.chars().count().min(whole.chars().count()),
        }
    }
}

/// One line of the text.
struct Line<'a> {
    /// From 1.
    number: usize,
    text: &'a str,
    /// Characters of it ahead of the place asked for.
    column: usize,
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

/// The place in `window`, which is what is shown of a long line of `length` characters behind
/// the first `skipped`.
fn clip(location: Location, skipped: usize, window: &str, length: usize) -> Location {
    let mark = usize::from(skipped > 0);
    let more = length > skipped.saturating_add(MAX_SHOWN);
    let indent = location.indent.saturating_sub(skipped);
    let carets = location.carets.min(MAX_SHOWN.saturating_sub(indent)).max(1);
    let shown = format!(
        "{}{window}{}",
        if mark == 1 { "…" } else { "" },
        if more { "…" } else { "" }
    );
    Location {
        excerpt: shown,
        indent: indent.saturating_add(mark),
        carets,
        ..location
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let source = Source::new(Path::new("spad.toml"), "a = 1\n\tü = \"x\"\r\n".to_owned());
        let place = source.location(12..15);
        assert_eq!((place.line, place.column, place.carets), (2, 6, 3));
        assert_eq!(place.excerpt, " ü = \"x\"");
    }

    proptest! {
        #[test]
        fn what_is_shown_of_a_long_line_is_what_the_whole_line_would_show(
            text in "([ \",ü]|[a-zA-Z0-9_-]{1,60}){100,200}", start in 0_usize..4000,
        ) {
            let source = Source::new(Path::new("x"), text);
            let skipped = start.min(source.text.chars().count());
            let whole = source.redacted(&source.text);
            let of_whole: String = whole.chars().skip(skipped).take(MAX_SHOWN).collect();
            prop_assert_eq!(source.excerpt(&source.text, skipped), of_whole);
        }

        #[test]
        fn a_caret_points_inside_its_line(text in "[\\PC\n\r\t]{0,300}", start in 0_usize..1000, length in 0_usize..1000) {
            let source = Source::new(Path::new("x"), text);
            let place = source.location(start..start.saturating_add(length));
            let width = place.excerpt.chars().count();
            prop_assert!(place.indent <= width);
            prop_assert!(place.carets == 1 || place.indent + place.carets <= width);
            prop_assert!(place.line <= source.text().matches('\n').count() + 1);
        }
    }
}
