//! A file of sequences for one use each. Pure.
//!
//! Until they were made they are secrets, so no finding shows a digit of them.

use std::fmt::Write as _;

use spa_findings::{Finding, Severity, Source};

use super::section::sequence;

/// The sequences that were not used yet, a line each, as ours are written.
pub(super) fn unused(source: &Source, found: &mut Vec<Finding>) -> Option<String> {
    // As long, so that places stay what they are.
    let shown = Source::new(
        source.path(),
        source.text().replace(|c: char| c.is_ascii_digit(), "*"),
    );
    let mut lines = String::new();
    let mut wrong = Vec::new();
    let mut start = 0_usize;
    for whole in source.text().split_inclusive('\n') {
        let begin = start.saturating_add(whole.len().saturating_sub(whole.trim_start().len()));
        start = start.saturating_add(whole.len());
        // knockd writes # over the first byte of what was used.
        if whole.starts_with('#') || whole.trim().is_empty() {
            continue;
        }
        if let Some(sequence) = sequence(&shown, whole.trim(), begin, &mut wrong) {
            let _ = writeln!(lines, "{sequence}");
        }
        if wrong.len() > 20 {
            break;
        }
    }
    if !wrong.is_empty() {
        // In a list for one use each no line may be missing: who knocks has the same list.
        found.extend(wrong.into_iter().map(|finding| Finding {
            severity: Severity::Error,
            message: "in this line stands no sequence that can be carried over".to_owned(),
            ..finding
        }));
        return None;
    }
    if lines.is_empty() {
        let finding = Finding::error(source.path(), "no sequence is left in this file");
        found.push(finding.help("write new ones into it, one a line, for knockd as well"));
        return None;
    }
    Some(lines)
}
