//! The configuration: files as written → checked → [`Config`], valid by construction.
//!
//! [`load`] reads `spad.toml` and `clients.d/*.toml` and gives either a
//! configuration with nothing left to check, or everything that is wrong with
//! it, with place and mend. An unknown key is an error: an ignored limit
//! leaves a port open. Nothing in here reads a secret or touches the network.

mod across;
mod carrier_list;
pub(crate) mod changeable;
mod checked;
mod checking;
mod client_file;
pub mod edit;
mod external;
mod files;
mod groups;
mod hours;
mod inner;
mod inner_shared;
mod knock_shadows;
mod knock_table;
mod last_good;
mod lengths;
mod mode;
mod names;
mod network;
mod one_time;
mod port_list;
mod programs;
mod readers;
mod rules;
mod secret_scan;
mod server_file;
mod service_table;
mod survey;
mod used_up;
mod users;
mod values;
mod written;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spa_findings::{Findings, Source};
use spa_proto::Timestamp;

pub use checked::{
    AcceptedKey, AlwaysAllow, Answer, ClientConfig, ClientKey, CommandDefinition, Config,
    GrantLimits, Guard, Hooks, KnockDoor, Listen, Log, OnStateError, Packets, Program, Rate,
    ServiceDefinition,
};
pub use external::{External, Template};
pub use files::{Files, client, client_names, client_path, each_client};
pub(crate) use files::{SERVER_LIMIT, foreign, one_time, server};
pub use hours::{Hours, HoursError, Week};
pub use inner::{Forward, Inner};
pub(crate) use last_good::for_hiding;
pub use last_good::{Texts, Usable, for_firewall, hidden_before, load_or_last_good, load_texts};
pub use lengths::Lengths;
pub use mode::Mode;
pub use names::{ClientName, DoorId, DoorName, MAX_NAME, NameError, ServiceName};
pub use network::{Network, NetworkError};
pub(crate) use one_time::named as one_time_files;
pub use readers::Readers;
pub(crate) use readers::has_access_list;
pub use survey::{Surveyed, Surveyor};
pub use used_up::used_up;
pub(crate) use users::is_the_daemons;
pub use users::{check_programs, programs_of};
pub(crate) use values::in_words;

use checking::Checking;

/// A configuration that can be used, and what is odd about it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Valid by construction.
    pub config: Config,
    /// To be shown; none of them is an error.
    pub warnings: Findings,
}

/// Reads the configuration now.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load(config_directory: &Path) -> Result<Loaded, Findings> {
    load_for(config_directory, crate::clock::now().wall)
}

/// Reads the configuration at this time.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load_for(config_directory: &Path, now: Timestamp) -> Result<Loaded, Findings> {
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
    let mut checking = Checking::of(Some(&source), &read, now);
    let mut clients = Vec::new();
    let findings = files::each_client(config_directory, None, |name, source| {
        clients.extend(checking.client(name, source));
    });
    let (config, warnings) = checking.end(config_directory, findings)?;
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
    let mut checking = Checking::of(source.as_ref(), &files::one_time, now);
    findings.append(files::each_client(
        config_directory,
        client,
        |name, source| {
            let client = checking.client(name, source);
            each(name, source, client);
        },
    ));
    checking.end(config_directory, findings)
}

/// Checks texts; pure.
///
/// # Errors
///
/// All findings, those about the files themselves included, if one of them is an error.
pub fn check(files: &Files, now: Timestamp) -> Result<Loaded, Findings> {
    let one_time = |path: &Path| files.one_time(path);
    let mut checking = Checking::of(files.server.as_ref(), &one_time, now);
    let each = files.clients.iter();
    let clients = each.filter_map(|(name, source)| checking.client(name, source));
    let clients = clients.collect();
    let (config, warnings) = checking.end(&files.directory, files.findings.clone())?;
    let config = Config { clients, ..config };
    Ok(Loaded { config, warnings })
}
