//! `[commands]` and `[hooks]`: programs, as whom they run, and for how long at most.
//!
//! Pure. An argument list is never joined, split or expanded: no shell reads it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use spa_findings::redact::quote;
use spa_findings::{EditDistance, Finding, Source, nearest};
use spa_proto::CommandName;

use super::reference::Section;
use super::toml_reader::{Table, Value, WithSpan};
use super::types::{CommandDefinition, Hooks, Program};
use super::values;

/// The most arguments, the program's path included.
const MAX_ARGUMENTS: usize = 64;
/// The most bytes of one argument.
const MAX_ARGUMENT: usize = 4096;
/// How long a program may run, in seconds.
const TIMEOUT: std::ops::RangeInclusive<u64> = 1..=86_400;
/// How long it may run where nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// `[commands]`, and every name in it, also of those with a fault.
pub(super) fn commands(
    table: Option<Table<'_>>,
) -> (
    BTreeMap<String, Range<usize>>,
    BTreeMap<CommandName, CommandDefinition>,
) {
    let (mut names, mut commands) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in table.iter().flat_map(Table::named_entries) {
        names.insert(key.value.to_owned(), key.span.clone());
        let name = key.value.parse::<CommandName>();
        if let Err(error) = &name {
            let message = format!("`{}` is not a name", quote(key.value));
            let finding = value.reader.source.error(key.span.clone(), message);
            value.report(finding.help(error.to_string()));
        }
        let what = format!("the command `{}`", quote(key.value));
        let Some(table) = entry(value, what, Section::Command) else {
            continue;
        };
        let parallel = table
            .get("parallel")
            .is_some_and(|value| value.boolean().unwrap_or(false));
        let program = program(value, &table);
        table.report_unknown_keys();
        if let (Ok(name), Some(program)) = (name, program) {
            commands.insert(name, CommandDefinition { program, parallel });
        }
    }
    (names, commands)
}

/// `[hooks]`.
pub(super) fn hooks(table: Option<Table<'_>>) -> Hooks {
    let Some(table) = table else {
        return Hooks::default();
    };
    let hook = |key: &'static str| {
        let value = table.get(key)?;
        let inner = entry(value, format!("the hook `{key}`"), Section::Program)?;
        let program = program(value, &inner);
        inner.report_unknown_keys();
        program
    };
    let hooks = Hooks {
        open: hook("open"),
        close: hook("close"),
    };
    table.report_unknown_keys();
    hooks
}

/// The table of one program; a bare list, the likeliest slip, gets its mend.
fn entry(value: Value<'_>, name: String, section: Section) -> Option<Table<'_>> {
    if value.is_table() {
        return value.table(name, section);
    }
    let help = format!(
        "write {} = {{ argv = [\"/usr/local/bin/program\"], user = \"backup\" }}",
        quote(value.key)
    );
    value.report(
        value
            .error("a program to run stands in a table")
            .help(help)
            .note("no shell is ever asked: the list of arguments is used as it stands"),
    );
    None
}

fn program(value: Value<'_>, table: &Table<'_>) -> Option<Program> {
    let argv = match table.get("argv") {
        Some(argv) => arguments(argv),
        None => {
            let finding = value.error("there is nothing to run");
            value.report(finding.help("write argv = [\"/usr/local/bin/program\"]"));
            None
        }
    };
    let as_root = table.get("as_root");
    let may_be_root = as_root.is_some_and(|value| value.boolean().unwrap_or(false));
    let user = match table.get("user") {
        Some(user) => user_name(user, may_be_root),
        None => {
            let finding = value.error("nobody is named to run this as");
            value.report(finding.help("write user = \"backup\", an ordinary user of this machine"));
            None
        }
    };
    if let (true, Some(as_root_value), Some(user)) = (may_be_root, as_root, &user)
        && user != "root"
    {
        let finding = as_root_value.error(format!(
            "`as_root` says root, and `user` says `{}`",
            quote(user)
        ));
        as_root_value.report(finding.help("take one of the two out"));
    }
    let timeout = match table.get("timeout") {
        Some(timeout) => values::time(timeout, TIMEOUT).map(|time| time.value),
        None => Some(DEFAULT_TIMEOUT),
    };
    Some(Program {
        argv: argv?,
        user: user?,
        as_root: may_be_root,
        timeout: timeout?,
    })
}

/// The path of a program and its arguments.
fn arguments(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.texts("/usr/local/bin/program")?;
    let Some(first) = items.first() else {
        if value.raw().as_array().is_some_and(|list| list.is_empty()) {
            let finding = value.error("there is nothing to run");
            value.report(finding.help("write argv = [\"/usr/local/bin/program\"]"));
        }
        return None;
    };
    let about = |span: &Range<usize>, message: &str| {
        value.reader.source.error(span.clone(), message.to_owned())
    };
    let mut right = true;
    let mut wrong = |finding: Finding| {
        right = false;
        value.report(finding);
    };
    if !first.value.starts_with('/') || first.value.ends_with('/') {
        let finding = about(&first.span, "this is not the whole path of a program");
        wrong(
            finding
                .help("write it from the root on: \"/usr/local/bin/program\"")
                .note("no PATH is searched, so nobody can put another program in its place"),
        );
    }
    if items.len() > MAX_ARGUMENTS {
        let message = format!("a program gets at most {MAX_ARGUMENTS} arguments");
        wrong(value.error(message).help("put them into a script"));
    }
    for item in &items {
        if item.value.contains('\0') || item.value.len() > MAX_ARGUMENT {
            let message = format!("an argument has at most {MAX_ARGUMENT} bytes, and no NUL");
            wrong(about(&item.span, &message).help("put it into a file or a script"));
        }
    }
    right.then(|| {
        items
            .into_iter()
            .map(|item| item.value.to_owned())
            .collect()
    })
}

/// Whose name; that there is such a user is looked up elsewhere.
fn user_name(value: Value<'_>, may_be_root: bool) -> Option<String> {
    let text = value.text("backup")?;
    let right = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !(1..=32).contains(&text.len()) || text.starts_with('-') || !text.chars().all(right) {
        let finding = value.error(format!("`{}` is not the name of a user", quote(text)));
        value.report(finding.help("write a name as `getent passwd` shows it"));
        return None;
    }
    if text == "root" && !may_be_root {
        let finding = value.error("a client's packet would run this as root");
        value.report(
            finding
                .help("name an ordinary user, or write as_root = true beside it")
                .note("root's files are root's even to a program without any capability"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// A command that `[commands]` does not have.
pub(super) fn unknown(
    source: &Source,
    known: &BTreeMap<String, Range<usize>>,
    name: &WithSpan<String>,
) -> Option<Finding> {
    if known.contains_key(&name.value) {
        return None;
    }
    let message = format!("there is no command `{}`", quote(&name.value));
    let finding = source.error(name.span.clone(), message);
    let names = || known.keys().map(String::as_str);
    Some(
        match nearest(&name.value, names(), EditDistance::OptimalStringAlignment) {
            Some(meant) => finding.help(format!("did you mean `{}`?", quote(meant))),
            None if known.is_empty() => finding.help(format!(
                "write it under [commands] in spad.toml: {} = {{ argv = [\"/usr/local/bin/program\"], user = \"backup\" }}",
                quote(&name.value)
            )),
            None => {
                let known: Vec<String> = names().take(20).map(quote).collect();
                finding.help(format!("[commands] in spad.toml has: {}", known.join(", ")))
            }
        },
    )
}
