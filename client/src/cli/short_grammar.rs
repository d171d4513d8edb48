//! `spa open …` is read by the part of the grammar that it needs: to put all of it
//! together took a tenth of the whole run. Pure.
//!
//! It knows nothing that the whole grammar does not. What it does not understand, help
//! included, is read by the whole grammar, which alone speaks to the user.

use std::ffi::OsString;

use clap::{Args as _, Command};

use super::args::{Arguments, Common, OpenOptions};

/// The meaning of words that begin with `open`; none where this part does not tell.
pub(super) fn read(words: &[OsString]) -> Option<Arguments> {
    if words.get(1)? != "open" {
        return None;
    }
    let open = OpenOptions::augment_args(Command::new("open"));
    let program = Common::augment_args(Command::new("spa"))
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .subcommand(open);
    super::parse(program, words).ok()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};
    use proptest::prelude::*;

    use super::*;

    /// Words of all kinds: options with and without a value, wrong ones, other commands.
    const WORDS: [&str; 39] = [
        "open",
        "close",
        "help",
        "gw",
        "gw:ssh",
        "--",
        "-",
        "-v",
        "-q",
        "-vq",
        "-4",
        "-6",
        "-h",
        "--help",
        "-V",
        "--version",
        "--json",
        "--config",
        "--config=d",
        "d",
        "--once",
        "--no-wait",
        "--no-wai",
        "--timeout",
        "--timeout=5s",
        "--hold",
        "--hold=5s",
        "--close",
        "5s",
        "--ttl",
        "--ttl=60s",
        "--ttl=x",
        "--for",
        "--for=192.0.2.1",
        "--via",
        "--via=icmp",
        "tcp:443",
        "--dry-run",
        "",
    ];

    fn words(some: &[&str]) -> Vec<OsString> {
        let begin = ["spa", "open"].into_iter();
        begin
            .chain(some.iter().copied())
            .map(OsString::from)
            .collect()
    }

    fn whole(words: &[OsString]) -> Option<Arguments> {
        let matches = Arguments::command().try_get_matches_from(words).ok()?;
        Arguments::from_arg_matches(&matches).ok()
    }

    fn shown(arguments: Option<Arguments>) -> Option<String> {
        arguments.map(|arguments| format!("{arguments:?}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn it_understands_what_the_whole_grammar_does_and_means_the_same(
            some in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..6),
        ) {
            let words = words(&some);
            prop_assert_eq!(shown(read(&words)), shown(whole(&words)));
        }
    }

    #[test]
    fn every_option_of_open_and_of_all_commands_is_understood() {
        for some in [
            &["gw"][..],
            &["gw:ssh", "web", "--ttl", "60s", "--for", "192.0.2.1", "-4"],
            &[
                "--config",
                "d",
                "--json",
                "-v",
                "gw",
                "--timeout",
                "9s",
                "--via",
                "tcp:443",
            ],
            &["gw", "--no-wait", "-q", "-6", "--dry-run"],
            &["gw", "--once"],
        ] {
            assert!(read(&words(some)).is_some(), "{some:?}");
        }
    }

    #[test]
    fn help_and_what_is_wrong_are_left_to_the_whole_grammar() {
        for some in [
            &["--help"][..],
            &["-h"],
            &["gw", "--no-wai"],
            &[],
            &["gw", "-V"],
        ] {
            assert!(read(&words(some)).is_none(), "{some:?}");
        }
        assert!(read(&["spa", "close", "gw"].map(OsString::from)).is_none());
        assert!(read(&["spa"].map(OsString::from)).is_none());
    }
}
