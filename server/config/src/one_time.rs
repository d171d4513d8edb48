//! A file of sequences for one use: as written → checked.
//!
//! Pure. The sequences are secrets until they were made, and a finding may end in a log:
//! of a line is shown where what stands, and no digit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spa_findings::{Finding, Location, Source};
use spad_model::knock::{Knock, OneTime, OneTimeSequence, ParseSequenceError, Sequence};

/// The most sequences of one file.
pub(super) const MAX_SEQUENCES: usize = 1000;
/// So many findings about one file are enough to see what is wrong with it.
pub(super) const MAX_FINDINGS: usize = 10;

/// How a file of sequences is read: its text, or what is wrong with the file itself.
pub(super) type SequenceReader<'a> = &'a dyn Fn(&Path) -> Result<String, Finding>;

/// The file of this name; a relative one is meant from the configuration's directory.
pub(super) fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(name).components().collect()
}

/// Gives the sequences without a fault, and what is wrong with the others; `misplaced` says
/// of a knock why it cannot be one here.
pub(super) fn read(
    file: &Path,
    text: &str,
    misplaced: impl Fn(&Knock) -> Option<(String, &'static str)>,
) -> (OneTime, Vec<Finding>) {
    // Byte for byte as long, so what is found in the one stands at the same place in the other.
    let shown = text.replace(|c: char| c.is_ascii_digit(), "*");
    let shown = Source::new(file, shown);
    let at = |place: Location, message: &str| Finding::error(file, message).at(place);
    let (mut listed, mut found, mut more) = (Vec::new(), Vec::new(), 0_usize);
    let mut offset = 0_usize;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset = offset.saturating_add(line.len());
        let entry = line.trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let indent = line.len().saturating_sub(line.trim_start().len());
        let entry_start = start.saturating_add(indent);
        let place = || shown.location(entry_start..entry_start.saturating_add(entry.len()));
        if listed.len() == MAX_SEQUENCES {
            let finding = at(
                place(),
                &format!("a file holds at most {MAX_SEQUENCES} sequences"),
            );
            found.push(finding.help("take out those that are used"));
            break;
        }
        let sequence = entry.parse::<Sequence>();
        let misplaced = match &sequence {
            Ok(sequence) => sequence.knocks().iter().find_map(&misplaced),
            Err(_) => None,
        };
        match (sequence, misplaced) {
            (Ok(sequence), None) => listed.push(OneTimeSequence {
                sequence,
                location: place(),
            }),
            // To find a place reads the file from its beginning.
            _ if found.len() >= MAX_FINDINGS => more = more.saturating_add(1),
            (Ok(_), Some((message, help))) => found.push(at(place(), &message).help(help)),
            (Err(error), _) => found.push(sequence_finding(&error, entry, entry_start, &shown)),
        }
    }
    if more > 0 {
        let finding = Finding::error(file, format!("{more} more of its lines are wrong"));
        found.push(finding.help("mend those above first, and check it again"));
    }
    let list = OneTime {
        file: file.to_owned(),
        sequences: Arc::from(listed),
    };
    (list, found)
}

/// What is wrong with a line, without what it holds.
fn sequence_finding(
    error: &ParseSequenceError,
    entry: &str,
    start: usize,
    shown: &Source,
) -> Finding {
    let whole = start..start.saturating_add(entry.len());
    match error {
        ParseSequenceError::InvalidKnock(_) => {
            let mut offset = start;
            let mut span = whole;
            for knock in entry.split(',') {
                if knock.trim().parse::<Knock>().is_err() {
                    let indent = knock.len().saturating_sub(knock.trim_start().len());
                    let begin = offset.saturating_add(indent);
                    span = begin..begin.saturating_add(knock.trim().len());
                    break;
                }
                offset = offset.saturating_add(knock.len()).saturating_add(1);
            }
            let finding = shown.error(span, "this is no knock");
            finding.help("write a port from 1 to 65535, with :udp behind it for UDP: 7000,8000:udp")
        }
        ParseSequenceError::RepeatedKnock(_) => {
            let message = "one knock stands twice in a row: a packet that the network repeats would count for both";
            let finding = shown.error(whole, message);
            finding.help("put another between them")
        }
        ParseSequenceError::ConsecutivePorts(_) => {
            let message = "the knocks stand in a row: a scan makes them in this order";
            let finding = shown.error(whole, message);
            finding.help("choose ports that lie apart")
        }
        ParseSequenceError::TooShort | ParseSequenceError::TooLong => {
            let message = error.to_string();
            let (wrong, help) = message
                .rsplit_once("; ")
                .unwrap_or((&message, "take some out"));
            shown.error(whole, wrong).help(help)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> (usize, String) {
        let (list, found) = read(Path::new("side"), text, |_| None);
        let said: Vec<String> = found.iter().map(|finding| format!("{finding:#}")).collect();
        (list.sequences.len(), said.join("\n"))
    }

    #[test]
    fn comments_and_empty_lines_and_blanks_are_no_sequences() {
        let text = "# for anna\n\n  7000,8000:udp\r\n\t9000, 9100 \n#1,2\n3,40";
        let (list, found) = read(Path::new("side"), text, |_| None);
        let lines = list.sequences.iter();
        let lines = lines.map(|one| (one.sequence.to_string(), one.location.line));
        let right = [("7000,8000:udp", 3), ("9000,9100", 4), ("3,40", 6)];
        let right = right.map(|(text, line)| (text.to_owned(), line));
        assert_eq!((lines.collect::<Vec<_>>(), found), (right.to_vec(), vec![]));
    }

    #[test]
    fn no_finding_shows_a_digit_of_a_sequence() {
        for line in ["7351,99999", "7351", "7351,7351", "73 51,62", "7351,x62"] {
            let text = format!("12,34\n   {line}\n");
            let (right, said) = findings(&text);
            assert_eq!(right, 1, "{line}");
            for digits in ["735", "999", "62"] {
                assert!(!said.contains(digits), "{line}: {said}");
            }
            assert!(said.contains("side:2:"), "{line}: {said}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_wrong_knock() {
        let (_, said) = findings("7000, 80000,9000\n");
        assert!(said.contains("side:1:7\n"), "{said}");
        assert!(
            said.contains("\n1 | ****, *****,****\n  |       ^^^^^"),
            "{said}"
        );
    }

    #[test]
    fn a_file_with_too_many_lines_or_faults_says_so_once() {
        let many: String = (0..1001)
            .map(|one| format!("{},{}\n", one + 1, one + 3000))
            .collect();
        let (right, said) = findings(&many);
        assert_eq!(right, MAX_SEQUENCES);
        assert!(said.contains("at most 1000"), "{said}");
        let (right, said) = findings(&"x\n".repeat(32_000));
        assert_eq!(right, 0);
        assert!(said.contains("31990 more of its lines"), "{said}");
        assert!(said.len() < 10_000);
    }
}
