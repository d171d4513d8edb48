//! `spad client key`: a second key beside the first, for a while, and its inverse.

use spa_keys::ClientPublic;
use spad_config::{client_path, edit};
use spad_model::ClientName;

use crate::cli::atomic_file::{self, Existing};
use crate::cli::output::note;
use crate::cli::{CliResult, Failure, Options, daemon_client, key};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true).args(["add", "remove"])))]
pub(crate) struct Arguments {
    /// The client's name
    name: ClientName,
    /// A new key, as `spa key show` prints it there; the others stay good
    #[arg(long, value_name = "spa-pub-…")]
    add: Option<String>,
    /// With --add: from when on the other keys are refused, such as 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME", requires = "add", value_parser = super::instant)]
    old_until: Option<jiff::Timestamp>,
    /// A key to take out
    #[arg(long, value_name = "spa-pub-…")]
    remove: Option<String>,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let paths = options.paths();
    let name = &arguments.name;
    let path = client_path(&paths.config, name);
    let source =
        spad_config::client(&paths.config, name).ok_or_else(|| super::unknown(&paths, name))?;
    let unclear = || {
        Failure::with_help(
            format_args!(
                "the keys in {} cannot be edited as they are",
                path.display()
            ),
            "spad check says what is wrong; a client with a shared key has no others",
        )
    };
    let mut keys = edit::keys(source.text()).ok_or_else(unclear)?;
    if let Some(text) = &arguments.add {
        let new = public(text, "--add")?;
        new.check_for(&key::public(&paths)?)
            .map_err(|error| Failure::new(format!("--add: {error}")))?;
        if let Some(until) = arguments.old_until {
            for (_, old) in &mut keys {
                *old = Some(old.map_or(until, |old| old.min(until)));
            }
        }
        keys.push((new, None));
    } else if let Some(text) = &arguments.remove {
        let old = public(text, "--remove")?;
        let before = keys.len();
        keys.retain(|(key, _)| *key != old);
        if keys.len() == before {
            return Err(Failure::with_help(
                format_args!("`{name}` does not have this key"),
                format_args!("spad client show {name}"),
            ));
        }
        if keys.is_empty() {
            return Err(Failure::with_help(
                "it is the client's only key",
                format_args!("add the new one first, or say spad client remove {name}"),
            ));
        }
    }
    let text = edit::with_keys(source.text(), &keys).ok_or_else(unclear)?;
    let with_client = spad_config::load_with(
        &paths.config,
        Some((name.clone(), text.clone())),
        spad_sys::clock::now().wall,
    );
    let loaded = with_client.map_err(|findings| {
        note(&findings);
        Failure::new("nothing was changed".to_owned())
    })?;
    super::show_findings(&loaded.warnings);
    atomic_file::write(&path, text.as_bytes(), 0o600, None, Existing::Replace)?;
    note(format_args!("changed {}", path.display()));
    daemon_client::report(daemon_client::reload_running_daemon(&paths))
}

/// The argument itself is never shown: somebody may have given a secret.
fn public(text: &str, option: &str) -> Result<ClientPublic, Failure> {
    text.parse()
        .map_err(|error: spa_keys::KeyError| Failure::new(format!("{option}: {error}")))
}
