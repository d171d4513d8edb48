//! Lists of sequences for one use, beside what is used already.
//!
//! Pure. Nothing is written into the files, so that used lines stand at their beginning is
//! how it should be.

use std::collections::HashSet;

use spa_findings::{Finding, Findings};
use spad_model::knock::Sequence;

use super::types::Config;

/// What to tell of lists: used sequences behind unused ones, and doors with nothing left.
#[must_use]
pub fn check_used_sequences(config: &Config, used: &HashSet<Sequence>) -> Findings {
    let mut findings = Findings::default();
    for door in &config.knock {
        let Some(list) = door.pattern.sequences.one_time() else {
            continue;
        };
        let mut rest = list.sequences.iter();
        let has_unused = rest.any(|one| !used.contains(&one.sequence));
        if !has_unused {
            let message = format!(
                "none of its sequences is left: the door `{}` opens nothing",
                door.name
            );
            let finding = Finding::warning(&list.file, message);
            findings.push(finding.help("write new ones at its end, then: spad reload"));
            continue;
        }
        let mut behind = rest.filter(|one| used.contains(&one.sequence));
        if let Some(first) = behind.next() {
            let message = match behind.count() {
                0 => "this sequence is used already, and opens nothing".to_owned(),
                more => format!("this sequence, and {more} behind it, are used already"),
            };
            let finding = Finding::warning(&list.file, message).at(first.location.clone());
            findings.push(
                finding
                    .help("take it out: each opens once")
                    .note("used ones before the first that is not need not be taken out"),
            );
        }
    }
    findings
}
