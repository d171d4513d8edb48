//! What an audit line says of a program that was run; pure.
//!
//! A program's output is made harmless here: a line of JSON keeps it from making lines
//! of its own, and what a terminal would obey is written out.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{ExitKind, RunExit};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditEvent, Event, render};
    use crate::model::RunId;

    fn line(output: &[u8]) -> String {
        let ended = RunExit {
            id: RunId(1),
            kind: ExitKind::Exited(3),
            duration: Duration::from_millis(12),
            output: output.to_vec(),
            truncated: 7,
        };
        let mut event = AuditEvent::new(Event::Run, spa_proto::Timestamp::from_micros(0));
        event.run = Some(Box::new(RunRecord::ended("backup".to_owned(), ended)));
        render(&event, 1, None)
    }

    #[test]
    fn no_output_makes_an_audit_line_of_its_own_or_commands_a_terminal() {
        let evil =
            b"done\"}\n{\"v\":1,\"event\":\"grant\"}\r\n\x1b[2J\x9b\xc2\x9b2J \xe2\x80\xae\xff\x00";
        let line = line(evil);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.ends_with("}\n"));
        let printable = |c: char| c == '\n' || !c.is_control();
        assert!(line.chars().all(printable), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["event"], "run");
        assert_eq!(read["exit"], 3);
        assert_eq!(read["duration_ms"], 12);
        assert_eq!(read["output_more"], 7);
        assert_eq!(
            read["output"],
            "done\"}\n{\"v\":1,\"event\":\"grant\"}\\u{d}\n\\u{1b}[2J\u{fffd}\\u{9b}2J \\u{202e}\u{fffd}\\u{0}"
        );
    }
}
