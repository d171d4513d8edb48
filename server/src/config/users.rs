//! [IO] Whether the users and programs of `[commands]` and `[hooks]` exist.
//!
//! Apart from the rest of the check: the engine, in its sandbox, sees no names. The
//! command runner asks at each reload, `spad check` whenever it is asked.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use spa_findings::redact::quote;
use spa_findings::{Finding, Findings, Source};

use super::files;
use super::written::{Page, Table, Value, parse};
use crate::sys;

/// What is wrong with them. Nothing where the file cannot be read: that is found elsewhere.
#[must_use]
pub fn check_programs(directory: &Path) -> Findings {
    match files::server(directory) {
        Ok(Ok(source)) => programs_of(&source),
        _ => Findings::default(),
    }
}

/// The same of this `spad.toml`, wherever it stands.
#[must_use]
pub fn programs_of(source: &Source) -> Findings {
    let mut findings = Findings::default();
    let page = Page::new(source);
    let Some(tree) = parse(&page) else {
        return findings;
    };
    let root = page.root(&tree);
    for table in [root.table("commands"), root.table("hooks")] {
        for (_, value) in table.iter().flat_map(Table::entries) {
            if value.is_table()
                && let Some(program) = value.table(String::new())
            {
                findings.extend(program.get("user").and_then(|user| {
                    let as_root = program.get("as_root");
                    let as_root = as_root.is_some_and(|said| said.raw().as_bool() == Some(true));
                    unknown_user(user, as_root)
                }));
                findings.extend(program.get("argv").and_then(missing_program));
            }
        }
    }
    findings
}

/// Whether somebody besides its owner, and root's group, may change the file.
pub(crate) fn others_may_write(status: &std::fs::Metadata) -> bool {
    let by_group = status.mode() & 0o020 != 0 && status.gid() != 0;
    status.mode() & 0o002 != 0 || by_group
}

/// Whether a process of the daemon runs as this user: `nobody` too, where it stands in
/// for one that is missing. What runs as such a user may read the server's key, or end
/// the daemon.
pub(crate) fn is_the_daemons(uid: u32) -> bool {
    let known = |name| sys::users::user(name).ok().flatten();
    ["spad", "spad-fw", "spad-run"]
        .into_iter()
        .filter_map(|name| known(name).or_else(|| known("nobody")))
        .any(|user| user.uid == uid)
}

fn unknown_user(value: Value<'_>, as_root: bool) -> Option<Finding> {
    let name = value.raw().as_str()?;
    let shown = quote(name);
    match sys::users::user(name) {
        Ok(Some(user)) if user.uid == 0 && name != "root" && !as_root => Some(
            value
                .error(format!("`{shown}` is root by another name"))
                .help("name an ordinary user"),
        ),
        Ok(Some(user)) if is_the_daemons(user.uid) => Some(
            value
                .error(format!("processes of spad run as `{shown}` here"))
                .help("name a user of its own: adduser --system --group --no-create-home backup")
                .note("it could read the server's key, and end the daemon"),
        ),
        Ok(Some(_)) => None,
        // What has another finding already.
        _ if name == "root" => None,
        Ok(None) => Some(
            value
                .error(format!("there is no user `{shown}` on this machine"))
                .help(format!(
                    "adduser --system --group --no-create-home {shown}, or name another user"
                )),
        ),
        Err(error) => Some(
            value
                .error(format!("the user `{shown}` cannot be looked up: {error}"))
                .help("see what nsswitch.conf names, and whether it answers"),
        ),
    }
}

fn missing_program(argv: Value<'_>) -> Option<Finding> {
    let list = argv.raw().as_array()?;
    let path = Path::new(list.first()?.get_ref().as_str()?);
    if !path.is_absolute() {
        return None;
    }
    let status = std::fs::metadata(path).ok();
    let status =
        status.filter(|status| status.is_file() && status.permissions().mode() & 0o111 != 0);
    let Some(status) = status else {
        let finding = argv.warning("there is no program of this path that can be executed");
        return Some(finding.help("install it, make it executable, or mend the path"));
    };
    if others_may_write(&status) {
        let shown = spa_findings::redact::line(&path.display().to_string(), false);
        let finding = argv.error("others than its owner may write to this program");
        return Some(
            finding
                .help(format!("chmod go-w {shown}"))
                .note("whoever can change it decides what clients' packets run"),
        );
    }
    None
}
