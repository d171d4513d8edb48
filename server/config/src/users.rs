//! [IO] Whether the users and programs of `[commands]` and `[hooks]` exist, and the programs
//! of `[firewall]`.
//!
//! Apart from the rest of the check: the engine, in its sandbox, sees no names. The
//! command runner asks at each reload, `spad check` whenever it is asked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use spa_findings::redact::quote;
use spa_findings::{Finding, Findings, Source};

use super::reference::Section;
use super::toml_reader::{FileReader, Table, Value, parse};
use super::writable_by_others;

/// Checks whether what this `spad.toml` names is on this machine.
#[must_use]
pub fn check_programs_in(source: &Source) -> Findings {
    let mut findings = Findings::default();
    let reader = FileReader::new(source);
    let Some(tree) = parse(&reader) else {
        return findings;
    };
    let root = reader.root(&tree, Section::ServerFile);
    for table in [
        root.table("commands", Section::Command),
        root.table("hooks", Section::Hooks),
    ] {
        for (_, value) in table.iter().flat_map(Table::named_entries) {
            if value.is_table()
                && let Some(program) = value.table(String::new(), Section::Program)
            {
                findings.extend(program.get("user").and_then(|user| {
                    let as_root_value = program.get("as_root");
                    let as_root =
                        as_root_value.is_some_and(|said| said.raw().as_bool() == Some(true));
                    unknown_user(user, as_root)
                }));
                findings.extend(program.get("argv").and_then(missing_program));
            }
        }
    }
    // As whom these run is looked up when they are started.
    for (_, value) in root
        .table("firewall", Section::Firewall)
        .iter()
        .flat_map(Table::named_entries)
    {
        if value.is_table()
            && let Some(program) = value.table(String::new(), Section::FirewallProgram)
        {
            findings.extend(program.get("argv").and_then(missing_program));
        }
    }
    findings
}

/// Whether a process of the daemon runs as this user: `nobody` too, where it stands in
/// for one that is missing. What runs as such a user may read the server's key, or end
/// the daemon.
pub fn is_service_user(uid: u32) -> bool {
    let known = |name| spad_sys::users::user(name).ok().flatten();
    ["spad", "spad-fw", "spad-run"]
        .into_iter()
        .filter_map(|name| known(name).or_else(|| known("nobody")))
        .any(|user| user.uid == uid)
}

fn unknown_user(value: Value<'_>, as_root: bool) -> Option<Finding> {
    let name = value.raw().as_str()?;
    let shown = quote(name);
    match spad_sys::users::user(name) {
        Ok(Some(user)) if user.uid == 0 && name != "root" && !as_root => Some(
            value
                .error(format!("`{shown}` is root by another name"))
                .help("name an ordinary user"),
        ),
        Ok(Some(user)) if is_service_user(user.uid) => Some(
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
    if status.is_none() {
        let finding = argv.warning("there is no program of this path that can be executed");
        return Some(finding.help("install it, make it executable, or mend the path"));
    }
    let what = match writable_by_others::writable_by_others(path) {
        Ok(what) => what?,
        Err(error) => {
            let finding = argv.warning(format!("who may change this program is unknown: {error}"));
            return Some(finding.help("run this as root"));
        }
    };
    let finding = if what == path {
        argv.error("others than its owner may write to this program")
    } else {
        argv.error("others may put another program in the place of this one")
    };
    let shown = spa_findings::redact::line(&what.display().to_string(), false);
    Some(
        finding
            .help(format!("chmod go-w {shown}"))
            .note("whoever can change it decides what clients' packets run"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn commands_hooks_and_the_programs_of_another_firewall_are_looked_at_from_the_root_on() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        set_mode(&program, 0o755);
        let found = |entry: &str| {
            let text = entry.replace("PROGRAM", program.to_str().unwrap());
            let source = Source::new(Path::new("/etc/spad/spad.toml"), text);
            check_programs_in(&source).to_string()
        };
        for entry in [
            "[commands]\nbackup = { argv = [\"PROGRAM\"], user = \"daemon\" }\n",
            "[hooks]\nclose = { argv = [\"PROGRAM\"], user = \"daemon\" }\n",
            "[firewall]\nopen = { argv = [\"PROGRAM\", \"{address}\"] }\n",
        ] {
            set_mode(directory.path(), 0o755);
            assert_eq!(found(entry), "", "{entry}");
            set_mode(directory.path(), 0o775);
            std::os::unix::fs::chown(directory.path(), None, Some(4242)).unwrap();
            let said = found(entry);
            assert!(said.contains("spad.toml:2:"), "{said}");
            assert!(said.contains("in the place of this one"), "{said}");
            let mend = format!("help: chmod go-w {}\n", directory.path().display());
            assert!(said.contains(&mend), "{said}");
            set_mode(directory.path(), 0o755);
            set_mode(&program, 0o757);
            let said = found(entry);
            assert!(said.contains("may write to this program"), "{said}");
            set_mode(&program, 0o755);
        }
    }
}
