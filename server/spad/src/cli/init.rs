//! `spad init`: directories, the server's key, a commented spad.toml.
//!
//! Makes what is missing and keeps what is there, so that it can be said twice.
//! Hides nothing: the first thing hidden could be the way to this machine.

use std::num::NonZeroU16;
use std::path::Path;

use serde_json::json;
use spa_findings::Severity;
use spa_keys::ServerSecret;
use spa_keys::file::{FileProblem, WriteOptions, write_secret_file_with};
use spad_config::Config;
use spad_model::Paths;

use super::atomic_file::{self, Existing};
use super::output::{counted, note, print, print_json, warn};
use super::ownership::{Owners, chown_to_engine};
use super::{CliResult, Failure, Options, key, key_checks};

mod port;
pub(super) mod state;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The UDP port of knocks [default: drawn at random outside the local port range]
    #[arg(long, value_name = "PORT", value_parser = port_number)]
    port: Option<NonZeroU16>,
}

fn port_number(text: &str) -> Result<NonZeroU16, &'static str> {
    text.parse()
        .map_err(|_| "a port is a number from 1 to 65535")
}

pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let paths = options.paths();
    let owners = Owners::find();
    if let (Some(port), Some(config)) = (arguments.port, existing(&paths)?)
        && config.listen.ports.first() != Some(port)
    {
        let file = paths.config_file();
        return Err(Failure::with_help(
            format_args!(
                "{} is there already, with another port, and is never overwritten",
                file.display()
            ),
            "change [listen] port in it, or leave --port out",
        ));
    }
    if owners.stand_in && owners.engine.is_some() {
        warn(
            "there is no user `spad`: `nobody` gets the state, which other programs may share\n  help: adduser --system --group --no-create-home spad, before spad init",
        );
    }
    directories(&paths, owners)?;
    let key_is_new = server_key(&paths, owners)?;
    configuration(&paths, owners, arguments.port)?;
    let trials_are_new = state::has_no_trials(&paths);
    state::complete(&paths, key_is_new)?;
    report(options, &paths)?;
    if let Some(config) = existing(&paths)?.filter(|_| trials_are_new) {
        warn_about_trials(&config);
    }
    Ok(())
}

fn note_created(path: &Path, new: bool) {
    note(format_args!(
        "{} {}",
        if new { "made" } else { "kept" },
        path.display()
    ));
}

fn directories(paths: &Paths, owners: Owners) -> CliResult {
    for path in [&paths.config, &paths.clients_dir()] {
        note_created(
            path,
            atomic_file::create_directory(path, owners.directory_mode(), owners.configuration())?,
        );
    }
    for path in [&paths.state, &paths.client_keys_dir()] {
        let (mode, owner) = (owners.state_mode(), owners.state());
        note_created(path, atomic_file::create_directory(path, mode, owner)?);
    }
    for finding in key_checks::unreadable_directories(paths, owners) {
        note(finding.with(Severity::Warning));
    }
    Ok(())
}

/// Makes the server's key; false if there is one.
fn server_key(paths: &Paths, owners: Owners) -> Result<bool, Failure> {
    let path = paths.server_key();
    if path.symlink_metadata().is_ok() {
        // A key that cannot be read must be seen to before anything builds on it.
        key::public(paths)?;
        chown_keys(paths, owners)?;
        note_created(&path, false);
        return Ok(false);
    }
    let secret = ServerSecret::generate()?;
    let writing = WriteOptions {
        replace: false,
        owner: owners.engine,
    };
    match write_secret_file_with(&path, &secret.to_text(), writing) {
        Ok(()) => {}
        // Another `spad init` was faster.
        Err(error) if matches!(error.problem, FileProblem::Exists) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    note_created(&path, true);
    Ok(true)
}

/// Lets the engine read the keys that are there: put back from a backup, they are root's.
fn chown_keys(paths: &Paths, owners: Owners) -> CliResult {
    chown_to_engine(&paths.state, &["server.key"], owners)?;
    let directory = paths.client_keys_dir();
    for entry in std::fs::read_dir(&directory)? {
        let file_name = entry?.file_name();
        let name = file_name.to_string_lossy();
        if name.ends_with(".shared") || name.ends_with(".psk") {
            chown_to_engine(&directory, &[&*name], owners)?;
        }
    }
    Ok(())
}

fn configuration(paths: &Paths, owners: Owners, port: Option<NonZeroU16>) -> CliResult {
    let path = paths.config_file();
    if path.symlink_metadata().is_ok() {
        note_created(&path, false);
        return Ok(());
    }
    let port = match port {
        Some(port) => {
            if port::local_range().contains(&port.get()) {
                let why =
                    "lies in the range from which this machine draws ports for its own connections";
                warn(format_args!(
                    "port {port} {why}\n  help: choose one outside /proc/sys/net/ipv4/ip_local_port_range"
                ));
            }
            port
        }
        None => port::random_port()?,
    };
    let text = include_str!("spad.toml").replace("@PORT@", &port.to_string());
    atomic_file::write(
        &path,
        text.as_bytes(),
        owners.file_mode(),
        owners.configuration(),
        Existing::Refuse,
    )?;
    note_created(&path, true);
    Ok(())
}

/// The configuration; `None` if there is none yet.
fn existing(paths: &Paths) -> Result<Option<Config>, Failure> {
    if paths.config_file().symlink_metadata().is_err() {
        return Ok(None);
    }
    match spad_config::load(&paths.config, spad_sys::clock::now().wall) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(findings) => {
            note(&findings);
            Err(Failure::with_help(
                "the configuration that is there has errors",
                "mend it, then say spad init again",
            ))
        }
    }
}

fn report(options: &Options, paths: &Paths) -> CliResult {
    let public = key::public(paths)?;
    let config = existing(paths)?;
    let first_port = config
        .as_ref()
        .and_then(|config| config.listen.ports.first());
    let port = first_port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    if options.json {
        return print_json(&json!({ "public_key": public.to_string(), "port": port }));
    }
    let next = next(paths, config.as_ref());
    print(format_args!(
        "server key  {public}\nport        {port}\n\n{next}"
    ))
}

/// A restored configuration hides, and nothing here knows that its ports were hidden for good.
fn warn_about_trials(config: &Config) {
    let ports: Vec<_> = config
        .hidden_ports()
        .iter()
        .map(ToString::to_string)
        .collect();
    let ours = config.guard.mode == spad_config::Mode::Guard && config.external.is_none();
    if ports.is_empty() || !ours || config.guard.trial.is_zero() {
        return;
    }
    warn(format_args!(
        "from the start of spad on, {} will be hidden ON TRIAL, for {} s: if nobody reaches a port through a grant by then, EVERYBODY CAN REACH IT\n  help: once spad runs, `spad confirm` hides them for good",
        ports.join(", "),
        config.guard.trial.as_secs()
    ));
}

/// How the daemon is started here.
fn start(flags: &str) -> String {
    let by_systemd = flags.is_empty() && Path::new("/run/systemd/system").is_dir();
    match by_systemd {
        true => "systemctl enable --now spad-guard spad".to_owned(),
        false => format!("spad{flags} run"),
    }
}

/// What is left to do.
fn next(paths: &Paths, config: Option<&Config>) -> String {
    let flags = flags(paths);
    let start = start(&flags);
    if let Some(config) = config.filter(|config| !config.hide.is_empty()) {
        let hidden: Vec<_> = config.hide.iter().map(ToString::to_string).collect();
        return format!(
            "the configuration that was there hides {}, and has {}. Next:\n  spad{flags} check\n  {start}, or where it runs already: spad{flags} reload",
            hidden.join(", "),
            counted(config.clients.len(), "client"),
        );
    }
    format!(
        "nothing is hidden yet. Next:\n  spad{flags} client add NAME --key spa-pub-… --allow ssh\n  hide = [\"ssh\"] in {}\n  spad{flags} check\n  {start}",
        paths.config_file().display()
    )
}

/// The options that later commands need as well.
pub(super) fn flags(paths: &Paths) -> String {
    let mut flags = String::new();
    for (name, path, default) in [
        ("config", &paths.config, "/etc/spad"),
        ("state", &paths.state, "/var/lib/spad"),
        ("run", &paths.run, "/run/spad"),
    ] {
        if path != Path::new(default) {
            flags.push_str(&format!(" --{name} {}", path.display()));
        }
    }
    flags
}
