//! A command line of `/bin/sh`, as far as it is plain words. Pure.
//!
//! knockd gives its commands to a shell. Nothing of ours ever does, so whatever only a
//! shell understands is told from plain words here, and refused.

use std::collections::BTreeSet;
use std::ops::Range;

/// Plain words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Several where `;` or `&&` stands between them; none of them is empty.
    pub(super) commands: Vec<Vec<String>>,
    /// The places of those that run only where the one before them succeeded.
    pub(super) after_success: BTreeSet<usize>,
    /// Where quotes or braces stand: plain in a rule of a firewall, not in another command.
    pub(super) quoted: Option<Range<usize>>,
}

/// What only a shell understands, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NeedsShell(pub(super) Range<usize>);

/// Splits the text.
pub(super) fn split(text: &str) -> Result<Words, NeedsShell> {
    let mut words = Words::default();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let here = at..at.saturating_add(letter.len_utf8());
        match letter {
            ' ' | '\t' => command.extend(word.take()),
            '\'' | '"' => {
                words.quoted.get_or_insert(here.clone());
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some((_, end)) if end == letter => break,
                        Some((_, '$' | '`' | '\\')) if letter == '"' => {
                            return Err(NeedsShell(here));
                        }
                        Some((_, inner)) => word.push(inner),
                        None => return Err(NeedsShell(here)),
                    }
                }
            }
            ';' | '&' => {
                let is_and = letter == '&';
                if is_and && letters.next_if(|(_, next)| *next == '&').is_none() {
                    return Err(NeedsShell(here));
                }
                command.extend(word.take());
                // Two of them with nothing between are no command line at all.
                if command.is_empty() {
                    return Err(NeedsShell(here));
                }
                words.commands.push(std::mem::take(&mut command));
                if is_and {
                    words.after_success.insert(words.commands.len());
                }
            }
            '|' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '[' | ']' => {
                return Err(NeedsShell(here));
            }
            '#' | '~' if word.is_none() => return Err(NeedsShell(here)),
            other => {
                if matches!(other, '{' | '}') {
                    words.quoted.get_or_insert(here);
                }
                word.get_or_insert_default().push(other);
            }
        }
    }
    command.extend(word);
    if !command.is_empty() {
        words.commands.push(command);
    } else if words.after_success.contains(&words.commands.len()) {
        let end = text.len();
        return Err(NeedsShell(end.saturating_sub(1)..end));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_split_as_the_shell_splits_them() {
        let words = split("/bin/a  -x 'b c'd \"\" ; e && f;").unwrap();
        let expected: Vec<Vec<&str>> = vec![vec!["/bin/a", "-x", "b cd", ""], vec!["e"], vec!["f"]];
        assert_eq!(words.commands, expected);
        assert_eq!(words.after_success, BTreeSet::from([2]));
        assert_eq!(words.quoted, Some(11..12));
        assert_eq!(split("a b=%IP%").unwrap().quoted, None);
    }

    #[test]
    fn what_only_a_shell_understands_is_no_plain_word() {
        for (text, at) in [
            ("a | b", 2),
            ("a > b", 2),
            ("a & b", 2),
            ("a $(b)", 2),
            ("a `b`", 2),
            ("a \"$b\"", 2),
            ("a 'b", 2),
            ("a \\b", 2),
            ("a *", 2),
            ("a #b", 2),
            ("~/a", 0),
            ("(a)", 0),
            ("a || b", 2),
            ("a ;; b", 3),
            ("; a", 0),
            ("a && && b", 5),
            ("a &&", 3),
        ] {
            assert_eq!(split(text).unwrap_err().0.start, at, "{text}");
        }
    }
}
