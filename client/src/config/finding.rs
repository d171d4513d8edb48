//! What is wrong in `config.toml`, where, and how to mend it; and how that is
//! printed: `file:line:column`, the line, a caret, `help:`. Pure. What it shows
//! went through `redact`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::redact;

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 120;

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it begins, in bytes.
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Finding {
    /// Something wrong at these bytes.
    #[must_use]
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    /// With the mend.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong in a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    path: PathBuf,
    rendered: Vec<String>,
}

impl Findings {
    /// The findings of the file `path`, which holds `text`.
    #[must_use]
    pub fn new(path: &Path, text: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.span.start);
        findings.dedup();
        let rendered = findings
            .iter()
            .map(|finding| render(path, text, finding))
            .collect();
        Self {
            path: path.to_owned(),
            rendered,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rendered.len()
    }

    /// Nothing wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rendered.is_empty()
    }

    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.join("\n\n"))
    }
}

impl std::error::Error for Findings {}

fn render(path: &Path, text: &str, finding: &Finding) -> String {
    let (before, rest) = split(text, finding.span.start);
    let (marked, _) = split(rest, finding.span.len());
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let (_, line) = split(text, line_start);
    let line = line.lines().next().unwrap_or_default();
    let (_, ahead) = split(before, line_start);

    let indent = ahead.chars().count().min(line.chars().count());
    let number = before.matches('\n').count().saturating_add(1).to_string();
    let margin = number.len();
    let skipped = indent.saturating_sub(SHOWN / 2);
    let shown: String = redact::text(line)
        .chars()
        .skip(skipped)
        .take(SHOWN)
        .collect();
    let indent = indent.saturating_sub(skipped);
    let room = shown.chars().count().saturating_sub(indent).max(1);
    let carets = marked.lines().next().unwrap_or_default().chars().count();
    let carets = "^".repeat(carets.clamp(1, room));

    let column = ahead.chars().count().saturating_add(1);
    let mut out = format!(
        "error: {message}\n{:margin$}--> {path}:{number}:{column}\n{:margin$} |\n{number} | {shown}\n{:margin$} | {:indent$}{carets}",
        "",
        "",
        "",
        "",
        message = finding.message,
        path = path.display(),
    );
    if let Some(help) = &finding.help {
        out.push_str(&format!("\n{:margin$} = help: {help}", ""));
    }
    out
}

/// Splits at the offset, or at the nearest boundary of a character below it.
fn split(text: &str, offset: usize) -> (&str, &str) {
    let mut offset = offset.min(text.len());
    loop {
        match text.split_at_checked(offset) {
            Some(halves) => return halves,
            None => offset = offset.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finding_points_at_the_character() {
        let text = "a = 1\n[hosts.gw]\npört = 22\n";
        let finding = Finding::new(17..22, "unknown key `pört`").help("did you mean `port`?");
        let findings = Findings::new(Path::new("config.toml"), text, vec![finding]);
        assert_eq!(
            findings.to_string(),
            "error: unknown key `pört`\n --> config.toml:3:1\n  |\n3 | pört = 22\n  | ^^^^\n  = help: did you mean `port`?"
        );
    }

    proptest! {
        #[test]
        fn any_range_of_any_text_is_rendered(text in ".{0,200}(\n.{0,50}){0,3}", start in 0_usize..400, length in 0_usize..400) {
            let finding = Finding::new(start..start + length, "x");
            prop_assert!(Findings::new(Path::new("f"), &text, vec![finding]).to_string().contains('^'));
        }
    }
}
