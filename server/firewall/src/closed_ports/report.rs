//! What was found of closed ports, and its words.

use std::collections::BTreeSet;

use spad_config::Answer;

use crate::table::answers::{Answers, Reply};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedPorts {
    /// The answer to each kind of packet.
    pub answers: Answers,
    /// The chain that answers a new TCP connection over IPv4; none where the kernel does.
    pub decided_by: Option<String>,
    /// What tells hidden ports from closed ones all the same.
    pub differences: BTreeSet<String>,
    /// What cannot be told for sure, and why.
    pub doubts: BTreeSet<String>,
    /// Whether the rules could be read.
    pub is_read: bool,
}

impl ClosedPorts {
    /// Where no rules are known: what the kernel answers.
    #[must_use]
    pub fn kernel_default() -> Self {
        Self {
            answers: Answers::all(Reply::Closed),
            decided_by: None,
            differences: BTreeSet::new(),
            doubts: BTreeSet::new(),
            is_read: true,
        }
    }

    /// Where the rules cannot be read: no answer, as the emergency table gives none.
    #[must_use]
    pub fn unreadable(why: &str) -> Self {
        Self {
            answers: Answers::all(Reply::Nothing),
            decided_by: None,
            differences: BTreeSet::new(),
            doubts: BTreeSet::from([format!("the ruleset cannot be read: {why}")]),
            is_read: false,
        }
    }

    /// What was found last is taken to hold where the rules cannot be read now.
    #[must_use]
    pub fn or_last(self, last: Option<Self>) -> Self {
        match last {
            Some(last) if last.is_read && !self.is_read => Self {
                doubts: &last.doubts | &self.doubts,
                ..last
            },
            _ => self,
        }
    }

    /// What strangers get at hidden ports where this answer is configured, in words; each line
    /// behind the first says what cannot be told for sure, or that closed ports answer otherwise.
    #[must_use]
    pub fn describe(&self, answer: Answer) -> String {
        let by = self.decided_by.as_ref();
        let by = by.map_or("by the kernel".to_owned(), |chain| {
            format!("by the chain {chain}")
        });
        let theirs = self.answers.text();
        let (ours, setting) = match answer {
            Answer::Auto => (None, "auto"),
            Answer::RejectAsClosed => (Some(Answers::all(Reply::Closed)), "as_closed"),
            Answer::Prohibited => (Some(Answers::all(Reply::PROHIBITED)), "prohibited"),
            Answer::Drop => (Some(Answers::all(Reply::Nothing)), "drop"),
        };
        let mut lines = match ours {
            ours if !self.is_read => vec![ours.unwrap_or(self.answers.clone()).text()],
            None => vec![format!("what closed ports answer {by}: {theirs}")],
            Some(ours) if ours == self.answers => {
                vec![format!("{}, as closed ports answer {by}", ours.text())]
            }
            Some(ours) => vec![
                format!("{} (answer = \"{setting}\")", ours.text()),
                format!(
                    "something else than closed ports answer {by} ({theirs}): one scan tells hidden ports from closed ones; answer = \"auto\" does as they do"
                ),
            ],
        };
        if matches!(answer, Answer::Auto | Answer::RejectAsClosed) {
            lines.extend(self.differences.iter().cloned());
        }
        lines.extend(
            self.doubts
                .iter()
                .map(|doubt| format!("it cannot be told for sure: {doubt}")),
        );
        lines.join("\n")
    }
}
