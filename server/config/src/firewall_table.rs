//! `[firewall]`: the programs of the mode "command".
//!
//! Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, nearest};
use spa_proto::Service;

use super::external_firewall::{ExternalFirewall, PLACEHOLDERS, Piece, Placeholder, Template};
use super::reference::Section;
use super::toml_reader::Value;
use super::values;

/// The most arguments, the program included.
const MAX_ARGUMENTS: usize = 64;

/// Reads `[firewall]`, which belongs to the mode "command" and to no other.
pub(super) fn read(
    firewall: Option<Value<'_>>,
    mode: Option<Value<'_>>,
    hide: Option<Value<'_>>,
    ports: &BTreeSet<Service>,
) -> Option<ExternalFirewall> {
    let command_mode = mode.filter(|mode| mode.raw().as_str() == Some("command"));
    match (firewall, command_mode) {
        (None, None) => None,
        (Some(firewall), None) => {
            let finding = firewall.error("these programs would never be run");
            firewall.report(
                finding.help("write mode = \"command\" under [guard], or take [firewall] out"),
            );
            None
        }
        (None, Some(mode)) => {
            let finding = mode.error("the mode \"command\" needs the programs that open and close");
            mode.report(finding.help(HELP));
            None
        }
        (Some(firewall), Some(_)) => {
            if let Some(hide) =
                hide.filter(|hide| hide.raw().as_array().is_some_and(|all| !all.is_empty()))
            {
                let finding = hide.warning("nothing is hidden in the mode \"command\"");
                hide.report(
                    finding
                        .help("let your firewall drop what nobody opened, and take `hide` out")
                        .note("spad only runs your programs then, and has no table of its own"),
                );
            }
            read_table(firewall, ports)
        }
    }
}

const HELP: &str = "write under [firewall]: open = { argv = [\"/usr/local/sbin/fw-open\", \"{address}\", \"{protocol}\", \"{port}\"] }, and close in the same way";

fn read_table(value: Value<'_>, ports: &BTreeSet<Service>) -> Option<ExternalFirewall> {
    let table = value.table("`[firewall]`".to_owned(), Section::Firewall)?;
    let programs = ["open", "close"].map(|name| {
        let Some(program) = table.get(name) else {
            let finding = value.error(format!("the program that is to {name} is missing"));
            value.report(finding.help(HELP));
            return None;
        };
        read_program(program, name, ports)
    });
    let user = table.get("user").and_then(user);
    let keep_net_admin = table
        .get("keep_net_admin")
        .and_then(|value| value.boolean());
    let limit = table
        .get("time_limit")
        .and_then(|value| values::time(value, 1..=60));
    table.report_unknown_keys();
    let [open, close] = programs;
    Some(ExternalFirewall {
        open: open?,
        close: close?,
        user,
        keep_net_admin: keep_net_admin.unwrap_or(false),
        time_limit: limit.map_or(Duration::from_secs(10), |limit| limit.value),
    })
}

fn user(value: Value<'_>) -> Option<String> {
    let name = value.text("spad-pf")?;
    let right = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name == "root" {
        let finding = value.error("these programs do not run as root");
        value.report(
            finding
                .help("make a user for them that may do just this: adduser --system spad-pf")
                .note("keep_net_admin = true lets that user change this machine's own firewall"),
        );
        return None;
    }
    if name.is_empty() || name.len() > 32 || !name.chars().all(right) || name.starts_with('-') {
        let finding = value.error(format!("`{}` is not the name of a user", quote(name)));
        value.report(finding.help("write a name as `getent passwd` shows it"));
        return None;
    }
    Some(name.to_owned())
}

fn read_program(value: Value<'_>, name: &str, ports: &BTreeSet<Service>) -> Option<Template> {
    let table = value.table(format!("`{name}`"), Section::FirewallProgram)?;
    let argv = table.get("argv");
    table.report_unknown_keys();
    let Some(argv) = argv else {
        value.report(
            value
                .error("the program and its arguments are missing")
                .help(HELP),
        );
        return None;
    };
    if argv.raw().is_str() {
        let finding = argv.error("a program and its arguments are a list");
        argv.report(finding.help("write each argument by itself: argv = [\"/usr/local/sbin/fw-open\", \"{address}\"]").note("nothing here goes through a shell"));
        return None;
    }
    let items = argv.list("[\"/usr/local/sbin/fw-open\", \"{address}\"]")?;
    let words: Vec<(Value<'_>, &str)> = items
        .iter()
        .map(|item| Some((*item, item.text("{address}")?)))
        .collect::<Option<_>>()?;
    let Some(((first, path), rest)) = words.split_first() else {
        argv.report(argv.error("there is no program").help(HELP));
        return None;
    };
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        let finding = first.error("this is not the whole path of a program");
        first.report(finding.help("write it from the root on: \"/usr/local/sbin/fw-open\""));
        return None;
    }
    if words.len() > MAX_ARGUMENTS {
        let finding = argv.error(format!("more than {MAX_ARGUMENTS} arguments"));
        argv.report(finding.help("let a program of yours say the rest"));
        return None;
    }
    let mut arguments = Vec::new();
    for (item, text) in rest {
        match argument(text, name) {
            Ok(argument) => arguments.push(argument),
            Err(wrong) => {
                item.report(wrong(*item));
                return None;
            }
        }
    }
    let program = Template {
        path: PathBuf::from(path),
        arguments,
    };
    if !program.names(Placeholder::Address) {
        let finding = argv.error(format!(
            "the program that is to {name} is not told for whom"
        ));
        argv.report(finding.help("give it the argument \"{address}\""));
        return None;
    }
    let protocols: BTreeSet<&str> = ports.iter().map(|port| port.protocol.as_str()).collect();
    let needed = [
        (Placeholder::Port, "{port}", ports.len()),
        (Placeholder::Protocol, "{protocol}", protocols.len()),
    ];
    for (placeholder, word, several) in needed {
        if several > 1 && !program.names(placeholder) {
            let finding = argv.error(format!(
                "the program that is to {name} is not told to what, and there are several"
            ));
            argv.report(
                finding
                    .help(format!("give it the argument \"{word}\""))
                    .note("a grant of one service would open or close the others too"),
            );
            return None;
        }
    }
    Some(program)
}

/// One argument; or what is wrong with it.
fn argument<'t>(
    text: &'t str,
    name: &'t str,
) -> Result<Vec<Piece>, impl FnOnce(Value<'_>) -> Finding + 't> {
    let known = PLACEHOLDERS
        .iter()
        .filter(move |(_, what)| name == "open" || *what != Placeholder::Ttl);
    let mut pieces = Vec::new();
    let mut rest = text;
    let wrong = loop {
        let Some(start) = rest.find(['{', '}', '\0']) else {
            if !rest.is_empty() || pieces.is_empty() {
                pieces.push(Piece::Text(rest.to_owned()));
            }
            return Ok(pieces);
        };
        let (before, from) = rest.split_at(start);
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let end = from.find('}').filter(|_| from.starts_with('{'));
        let Some((word, after)) = end.and_then(|end| from.split_at_checked(end.saturating_add(1)))
        else {
            break None;
        };
        match known.clone().find(|(known, _)| *known == word) {
            Some((_, what)) => pieces.push(Piece::Placeholder(*what)),
            None => break Some(word),
        }
        rest = after;
    };
    Err(move |item: Value<'_>| {
        let words: Vec<&str> = known.map(|(word, _)| *word).collect();
        let finding = item.error(match wrong {
            Some(word) => format!("there is no placeholder `{}` here", quote(word)),
            None => "this brace, or what is in it, belongs to no placeholder".to_owned(),
        });
        let near = wrong.and_then(|word| {
            nearest(
                word,
                words.iter().copied(),
                EditDistance::OptimalStringAlignment,
            )
        });
        match near {
            Some(meant) => finding.help(format!("did you mean `{meant}`?")),
            None => finding.help(format!("there is: {}", words.join(", "))),
        }
    })
}
