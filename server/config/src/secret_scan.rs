//! Finds secret keys in files that everybody who may read the configuration reads.
//!
//! Pure. Comments are looked through as well. What it finds it never shows.

use spa_findings::{Finding, Source, redact};

/// Fewer characters than this after a prefix are talk about keys, not a key.
const MIN_SECRET_LEN: usize = 8;

/// The findings, and one more for each line that holds a secret key and
/// does not say so yet.
pub(super) fn with_secrets(source: &Source, mut findings: Vec<Finding>) -> Vec<Finding> {
    if !redact::contains_secret(source.text()) {
        return findings;
    }
    let mut offset = 0_usize;
    for line in source.text().split_inclusive('\n') {
        let start = offset;
        offset = offset.saturating_add(line.len());
        let Some(span) = redact::find_secret(line, MIN_SECRET_LEN) else {
            continue;
        };
        let span = start.saturating_add(span.start)..start.saturating_add(span.end);
        let place = source.location(span.clone());
        let already_reported = |finding: &Finding| {
            let here = finding
                .location
                .as_ref()
                .is_some_and(|other| other.line == place.line);
            here && finding.message.contains("secret key")
        };
        if !findings.iter().any(already_reported) {
            findings.push(
                source
                    .error(span, "a secret key stands in this file")
                    .help("take it out, and make a new one")
                    .note("whoever could read this file may know it now"),
            );
        }
    }
    findings
}
