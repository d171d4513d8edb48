//! `[guard] mode` and `table`: whose rules hide the services.
//!
//! Pure.

use spa_findings::Finding;
use spa_findings::redact::quote;

use super::toml_reader::{FileReader, Table, Value, WithSpan};
use super::types::Mode;

/// The keys that say how we hide, which we do not do in the mode "set".
const GUARD_ONLY_KEYS: [&str; 3] = ["always_allow", "answer", "trial"];

/// Reads both keys of `[guard]`.
pub(super) fn read(guard: &Table<'_>) -> Mode {
    let (mode, table) = (guard.get("mode"), guard.get("table"));
    let word =
        mode.and_then(|value| value.one_of(&[("guard", false), ("set", true), ("command", false)]));
    match (mode, word, table) {
        (Some(mode), Some(true), None) => {
            mode.report(
                mode.error("the mode \"set\" needs the table of your ruleset")
                    .help("write table = \"inet filter\", or whatever your table is called")
                    .note("rules can refer to sets of their own table alone"),
            );
            Mode::Guard
        }
        (_, Some(true), Some(table)) => {
            for key in GUARD_ONLY_KEYS {
                if let Some(value) = guard.get(key) {
                    value.report(
                        value
                            .warning(format!("`{key}` says nothing in the mode \"set\""))
                            .help("take it out, and let your own rules do it"),
                    );
                }
            }
            name(table).map_or(Mode::Guard, Mode::Set)
        }
        // The mode is wrong and reported already.
        (Some(_), None, _) | (_, _, None) => Mode::Guard,
        (_, _, Some(table)) => {
            table.report(
                table
                    .error("`table` concerns the mode \"set\" alone")
                    .help("write mode = \"set\", or take `table` out")
                    .note("in the mode \"guard\" the table is inet spad"),
            );
            Mode::Guard
        }
    }
}

/// "inet filter": the family and the name; the name.
fn name(value: Value<'_>) -> Option<String> {
    let text = value.text("inet filter")?;
    let (family, name) = text.split_once(' ').unwrap_or(("", text));
    let right = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let named = (1..=64).contains(&name.len())
        && name.chars().all(right)
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    let fault = |message: String| Some(value.error(message));
    let finding: Option<Finding> = if !named {
        fault(format!("`{}` is not the name of a table", quote(text)))
            .map(|finding| finding.help("write it as `nft list tables` shows it: \"inet filter\""))
    } else if family != "inet" {
        fault("the table must be of the family inet".to_owned()).map(|finding| {
            finding
                .help(format!("write \"inet {name}\", and have your rules in it"))
                .note("one table then serves IPv4 and IPv6 alike")
        })
    } else if name == "spad" {
        fault("the table inet spad is our own".to_owned())
            .map(|finding| finding.help("name the table that your rules are in: \"inet filter\""))
    } else {
        None
    };
    match finding {
        None => Some(name.to_owned()),
        Some(finding) => {
            value.report(finding);
            None
        }
    }
}

/// `hide` in the mode "set" would be a promise that we do not keep.
pub(super) fn check_hide(mode: &Mode, hide: &[WithSpan<String>], reader: &FileReader<'_>) {
    if let (Mode::Set(_), Some(first)) = (mode, hide.first()) {
        let finding = reader
            .source
            .error(first.span.clone(), "in the mode \"set\" spad hides nothing");
        reader.report(
            finding
                .help("take the services out of `hide`; `spad firewall snippet` prints the rules that let clients in where yours drop")
                .note("a service that is neither hidden by us nor dropped by your rules is open to everybody"),
        );
    }
}
