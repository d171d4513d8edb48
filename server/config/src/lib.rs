//! The configuration: files as written → checked → [`Config`], valid by construction.
//!
//! [`load`] reads `spad.toml` and `clients.d/*.toml` and gives either a
//! configuration with nothing left to check, or everything that is wrong with
//! it, with place and mend. An unknown key is an error: an ignored limit
//! leaves a port open. Nothing in here reads a secret or touches the network.
#![forbid(unsafe_code)]

// The modules in five layers. A module imports its own layer and those before it, and the
// test `a_layer_of_the_configuration_imports_only_those_before_it` reads this list.

// Layer types: what a checked configuration holds.
mod external_firewall;
mod hours;
mod inner_host;
mod types;

// Layer toml: TOML as written, with places; descriptions of keys; single values.
mod reference;
mod secret_scan;
mod toml_reader;
mod values;
mod zone;

// Layer schema: the tables and keys of each file, checked by themselves.
mod carrier_list;
mod client_file;
mod client_rules;
mod firewall_table;
mod gateway;
mod groups;
mod knock_table;
mod mode;
mod one_time;
mod port_list;
mod programs;
mod server_file;
mod service_table;

// Layer check: what one file or table cannot know.
mod builder;
mod cross_checks;
mod gateway_checks;
mod knock_overlap;
mod used_sequence_checks;
mod users;
pub mod writable_by_others;

// Layer load: files on the disk, and this module.
mod client_summary;
pub mod edit;
mod files;
mod last_good;
mod read_access;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::ConfigBuilder;
pub use client_summary::{ClientSummaries, ClientSummary};
pub use external_firewall::{ExternalFirewall, Template};
pub use files::{
    Files, SERVER_LIMIT, client, client_names, client_path, each_client, one_time,
    read_other_program_file, server,
};
pub use hours::{Hours, HoursError, Week};
pub use inner_host::{Forward, InnerHost};
pub use last_good::{
    ConfigTexts, StartConfig, for_firewall, for_hiding, load_or_last_good, load_texts,
    saved_hidden_ports,
};
pub use read_access::{ConfigReaders, has_access_list, one_time_files};
pub use reference::{KeyDescription, Section};
use spa_findings::{Findings, Source};
use spa_proto::Timestamp;
use spad_model::ClientName;
pub use types::{
    AcceptedKey, AlwaysAllow, Answer, ClientConfig, ClientKey, CommandDefinition, Config, Door,
    GrantLimits, Guard, Hooks, Listen, Log, Mode, Packets, Program, Rate, ServiceDefinition,
};
pub use used_sequence_checks::check_used_sequences;
pub use users::{check_programs_in, is_service_user};
pub use values::humanise;

/// A configuration that can be used, and what is odd about it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Valid by construction.
    pub config: Config,
    /// To be shown; none of them is an error.
    pub warnings: Findings,
}

/// Reads the configuration, as it applies at this time.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load(config_directory: &Path, now: Timestamp) -> Result<Loaded, Findings> {
    load_with(config_directory, None, now)
}

/// The same, as if `spad.toml` held this text, and these files of sequences stood there.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load_text(
    config_directory: &Path,
    server: String,
    one_time: &BTreeMap<PathBuf, String>,
    now: Timestamp,
) -> Result<Loaded, Findings> {
    let source = Source::new(&config_directory.join("spad.toml"), server);
    let read = |path: &Path| match one_time.get(path) {
        Some(text) => Ok(text.clone()),
        None => files::one_time(path),
    };
    let mut checking = ConfigBuilder::new(Some(&source), &read, now);
    let mut clients = Vec::new();
    let findings = files::each_client(config_directory, None, |name, source| {
        clients.extend(checking.add_client(name, source));
    });
    let (config, warnings) = checking.finish(config_directory, findings)?;
    let config = Config { clients, ..config };
    Ok(Loaded { config, warnings })
}

/// The same, as if this client's file stood there as well.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load_with(
    config_directory: &Path,
    client: Option<(ClientName, String)>,
    now: Timestamp,
) -> Result<Loaded, Findings> {
    let mut clients = Vec::new();
    let (config, warnings) = read(
        config_directory,
        client,
        now,
        |_| {},
        |_, _, client| clients.extend(client),
    )?;
    clients.shrink_to_fit();
    let config = Config { clients, ..config };
    Ok(Loaded { config, warnings })
}

/// Reads and checks everything; gives each client to `each` with its text, none where it
/// says nothing, and the rest of the configuration without them.
fn read(
    config_directory: &Path,
    client: Option<(ClientName, String)>,
    now: Timestamp,
    server: impl FnOnce(&Source),
    mut each: impl FnMut(&ClientName, &Source, Option<ClientConfig>),
) -> Result<(Config, Findings), Findings> {
    let mut findings = Findings::default();
    let source = match files::server(config_directory) {
        Ok(Ok(source)) => Some(source),
        Ok(Err(finding)) => {
            findings.push(finding);
            None
        }
        Err(finding) => {
            findings.push(finding);
            return Err(findings);
        }
    };
    if let Some(source) = &source {
        server(source);
    }
    let mut checking = ConfigBuilder::new(source.as_ref(), &files::one_time, now);
    findings.append(files::each_client(
        config_directory,
        client,
        |name, source| {
            let client = checking.add_client(name, source);
            each(name, source, client);
        },
    ));
    checking.finish(config_directory, findings)
}

/// What is wrong with the users and programs that `spad.toml` names. Nothing where the file
/// cannot be read: that is found elsewhere.
#[must_use]
pub fn check_programs(directory: &Path) -> Findings {
    match files::server(directory) {
        Ok(Ok(source)) => check_programs_in(&source),
        _ => Findings::default(),
    }
}

/// Checks texts; pure.
///
/// # Errors
///
/// All findings, those about the files themselves included, if one of them is an error.
pub fn check(files: &Files, now: Timestamp) -> Result<Loaded, Findings> {
    let one_time = |path: &Path| files.one_time(path);
    let mut checking = ConfigBuilder::new(files.server.as_ref(), &one_time, now);
    let each = files.clients.iter();
    let clients = each
        .filter_map(|(name, source)| checking.add_client(name, source))
        .collect();
    let (config, warnings) = checking.finish(&files.directory, files.findings.clone())?;
    let config = Config { clients, ..config };
    Ok(Loaded { config, warnings })
}
