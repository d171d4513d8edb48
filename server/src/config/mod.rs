//! The configuration: files as written → checked → [`Config`], valid by construction.
//!
//! [`load`] reads `spad.toml` and `clients.d/*.toml` and gives either a
//! configuration with nothing left to check, or everything that is wrong with
//! it, with place and mend. An unknown key is an error: an ignored limit
//! leaves a port open. Nothing in here reads a secret or touches the network.

mod builder;
mod carrier_list;
mod client_file;
mod client_rules;
mod client_summary;
mod cross_checks;
pub mod edit;
mod external_firewall;
mod files;
mod gateway;
mod gateway_checks;
mod groups;
mod hours;
mod knock_overlap;
mod knock_table;
mod last_good;
mod mode;
mod names;
mod network;
mod one_time;
mod port_list;
mod prefix_lengths;
mod programs;
mod read_access;
mod reference;
mod secret_scan;
mod server_file;
mod service_table;
mod toml_reader;
mod types;
mod used_sequence_checks;
mod users;
mod values;
pub(crate) mod writable_by_others;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spa_findings::{Findings, Source};
use spa_proto::Timestamp;

pub use crate::model::OnStateError;
pub use client_summary::{ClientSummaries, ClientSummary};
pub use external_firewall::{ExternalFirewall, Template};
pub use files::{Files, client, client_names, client_path, each_client};
pub(crate) use files::{SERVER_LIMIT, one_time, read_other_program_file, server};
pub use gateway::{Forward, InnerHost};
pub use hours::{Hours, HoursError, Week};
pub(crate) use last_good::for_hiding;
pub use last_good::{
    ConfigTexts, StartConfig, for_firewall, load_or_last_good, load_texts, saved_hidden_ports,
};
pub use mode::Mode;
pub use names::{ClientName, DoorId, DoorName, MAX_NAME, NameError, ServiceName};
pub use network::{Network, NetworkError};
pub(crate) use one_time::listed_files as one_time_files;
pub use prefix_lengths::PrefixLengths;
pub use read_access::ConfigReaders;
pub(crate) use read_access::has_access_list;
pub use reference::{KeyDescription, Section};
pub use types::{
    AcceptedKey, AlwaysAllow, Answer, ClientConfig, ClientKey, CommandDefinition, Config, Door,
    GrantLimits, Guard, Hooks, Listen, Log, Packets, Program, Rate, ServiceDefinition,
};
pub use used_sequence_checks::check_used_sequences;
pub(crate) use users::is_service_user;
pub use users::{check_programs, check_programs_in};
pub(crate) use values::humanise;

use builder::ConfigBuilder;

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

/// Checks texts; pure.
///
/// # Errors
///
/// All findings, those about the files themselves included, if one of them is an error.
pub fn check(files: &Files, now: Timestamp) -> Result<Loaded, Findings> {
    let one_time = |path: &Path| files.one_time(path);
    let mut checking = ConfigBuilder::new(files.server.as_ref(), &one_time, now);
    let each = files.clients.iter();
    let clients = each.filter_map(|(name, source)| checking.add_client(name, source));
    let clients = clients.collect();
    let (config, warnings) = checking.finish(&files.directory, files.findings.clone())?;
    let config = Config { clients, ..config };
    Ok(Loaded { config, warnings })
}
