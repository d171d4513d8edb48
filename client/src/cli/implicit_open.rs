//! `spa NAME` is short for `spa open NAME`. Pure.

use std::ffi::{OsStr, OsString};

use clap::{Args as _, Subcommand as _};

use super::args::{Command, Common, OpenOptions};

/// The words with `open` put in where the first one that is no option is no
/// command either.
pub(super) fn insert_open(mut words: Vec<OsString>) -> Vec<OsString> {
    if let Some(first) = first_positional(&words)
        && !is_command(first)
        && words.len() > 1
    {
        words.insert(1, OsString::from("open"));
    }
    words
}

/// Whether a word is a command of this program, `help` included.
pub(super) fn is_command(word: &OsStr) -> bool {
    word == "help" || word.to_str().is_some_and(Command::has_subcommand)
}

/// The first word that is neither an option nor an option's value.
fn first_positional(words: &[OsString]) -> Option<&OsStr> {
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            return Some(word);
        };
        if text == "--" {
            return words.next().map(OsString::as_os_str);
        }
        let Some(option) = text.strip_prefix("--") else {
            if text.starts_with('-') {
                continue;
            }
            return Some(word);
        };
        if takes_value(option) {
            words.next();
        }
    }
    None
}

/// Whether `--option` takes the next word, before any command or after `open`.
/// With `=` in it, it names no option as a whole.
fn takes_value(option: &str) -> bool {
    OpenOptions::augment_args(Common::augment_args(clap::Command::new("open")))
        .get_arguments()
        .any(|known| known.get_long() == Some(option) && known.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(words: &str) -> String {
        let words = words.split_whitespace().map(OsString::from).collect();
        let words = insert_open(words);
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn a_host_alone_is_opened_whatever_stands_before_it() {
        for (words, expected) in [
            ("spa gw", "spa open gw"),
            ("spa -v gw:ssh", "spa open -v gw:ssh"),
            ("spa --config d gw", "spa open --config d gw"),
            ("spa --config=d -4 gw", "spa open --config=d -4 gw"),
            ("spa --ttl 60s gw", "spa open --ttl 60s gw"),
            ("spa -- open", "spa -- open"),
        ] {
            assert_eq!(rewritten(words), expected);
        }
    }

    #[test]
    fn commands_and_bare_options_stay_as_they_are() {
        for words in [
            "spa",
            "spa --version",
            "spa hosts",
            "spa --config gw hosts",
            "spa --json key show",
            "spa help open",
            "spa open open",
            "spa close gw",
            "spa ssh gw -p 22",
            "spa proxy gw gw 22",
            "spa exec gw -- true",
            "spa run gw backup",
        ] {
            assert_eq!(rewritten(words), words);
        }
    }
}
