//! What an audit line says of a program that was run; pure.
//!
//! A program's output is made harmless here: a line of JSON keeps it from making lines
//! of its own, and what a terminal would obey is written out.

use std::fmt::Write as _;
use std::time::Duration;

use spad_model::{ExitKind, RunExit};

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The command's name, or the hook's.
    pub name: String,
    /// How it ended, and how long it took; none while it runs.
    pub end: Option<(ExitKind, Duration)>,
    /// What it wrote, made harmless.
    pub output: String,
    /// How many more bytes it wrote.
    pub truncated: u64,
}

impl RunRecord {
    /// One that began, or did not.
    #[must_use]
    pub const fn started(what: String) -> Self {
        Self {
            name: what,
            end: None,
            output: String::new(),
            truncated: 0,
        }
    }

    /// One that is over.
    #[must_use]
    pub fn ended(what: String, ended: RunExit) -> Self {
        Self {
            end: Some((ended.kind, ended.duration)),
            output: escape(&String::from_utf8_lossy(&ended.output)),
            truncated: ended.truncated,
            ..Self::started(what)
        }
    }
}

/// Line ends and tabs stay (JSON writes them out); every other control character, and
/// what turns the direction of writing or hides itself, is written as `\u{9b}`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if (c.is_control() && c != '\n' && c != '\t') || hidden {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
