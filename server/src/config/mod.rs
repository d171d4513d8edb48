//! The configuration: files as written → checked → [`Config`], valid by construction.
//!
//! [`load`] reads `spad.toml` and `clients.d/*.toml` and gives either a
//! configuration with nothing left to check, or everything that is wrong with
//! it, with place and mend. An unknown key is an error: an ignored limit
//! leaves a port open. Nothing in here reads a secret or touches the network.

mod across;
mod checked;
mod client_file;
pub mod edit;
mod files;
mod last_good;
mod names;
mod network;
mod secret_scan;
mod server_file;
mod service_table;
mod survey;
mod values;
mod written;

use std::path::Path;

use spa_findings::{Finding, Findings};
use spa_proto::Timestamp;

pub use across::Occasion;
pub use checked::{
    AlwaysAllow, Answer, ClientConfig, ClientKey, Config, GrantLimits, Guard, Listen, ListenPort,
    Log, OnStateError, Packets, Rate, ServiceDefinition,
};
pub use files::Files;
pub use last_good::{Usable, keep, keep_in, load_or_last_good};
pub use names::{ClientName, MAX_NAME, NameError, ServiceName};
pub use network::{Network, NetworkError};
pub use survey::{Surveyed, survey};

use client_file::ClientFile;
use server_file::ServerFile;

/// A configuration that can be used, and what is odd about it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Valid by construction.
    pub config: Config,
    /// To be shown; none of them is an error.
    pub warnings: Findings,
}

/// Reads the configuration as a starting daemon does: [`Occasion::Start`], now.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load(config_directory: &Path) -> Result<Loaded, Findings> {
    load_for(config_directory, Occasion::Start, crate::clock::now().wall)
}

/// Reads the configuration on this occasion.
///
/// # Errors
///
/// All findings, if one of them is an error.
pub fn load_for(
    config_directory: &Path,
    occasion: Occasion,
    now: Timestamp,
) -> Result<Loaded, Findings> {
    check(&Files::read(config_directory), occasion, now)
}

/// Checks texts; pure.
///
/// # Errors
///
/// All findings, those about the files themselves included, if one of them is an error.
pub fn check(files: &Files, occasion: Occasion, now: Timestamp) -> Result<Loaded, Findings> {
    let mut findings = files.findings.clone();
    let server = files.server.as_ref().map(|source| {
        let page = written::Page::new(source);
        let server = server_file::read(&page);
        findings.extend(secret_scan::with_secrets(source, page.into_findings()));
        (source, server)
    });
    let mut clients = Vec::new();
    for (name, source) in &files.clients {
        let page = written::Page::new(source);
        clients.extend(client_file::read(&page, name));
        findings.extend(secret_scan::with_secrets(source, page.into_findings()));
    }
    findings.extend(across::keys_held_twice(&clients));
    // What a broken file says about services is not known, so nothing is said about it.
    let all_clients = clients.len() == files.clients.len();
    if let Some((source, Some(server))) = &server {
        findings.extend(across::check(
            source,
            server,
            &clients,
            all_clients.then_some(occasion),
            now,
        ));
    } else if server.is_none() && files.findings.is_empty() {
        findings.push(Finding::error(
            &files.directory.join("spad.toml"),
            "there is no such file",
        ));
    }
    findings.sort_by_key(order);
    match server {
        Some((_, Some(server))) if !findings.has_errors() => {
            let config = config(server, clients);
            Ok(Loaded {
                config,
                warnings: findings,
            })
        }
        _ => Err(findings),
    }
}

/// The order of files and places, whoever found it first: `spad.toml` first, for
/// that is where a reader begins.
fn order(finding: &Finding) -> impl Ord + use<> {
    let name = finding.file.file_name();
    let first = name.is_some_and(|name| name == "spad.toml");
    let (file, message) = (finding.file.clone(), finding.message.clone());
    (!first, file, finding.position(), message)
}

/// Puts together what was found faultless.
fn config(server: ServerFile, clients: Vec<ClientFile<'_>>) -> Config {
    let clients = clients.into_iter().map(|client| ClientConfig {
        allow: across::resolve(&server, &client.allow),
        name: client.name,
        keys: client.keys.into_iter().map(|key| key.value).collect(),
        pre_shared_key: client.pre_shared_key,
        sources: client.sources,
        expires: client.expires,
        enabled: client.enabled,
        max_ttl: client.max_ttl,
        require_address: client.require_address,
        note: client.note,
    });
    Config {
        clients: clients.collect(),
        hide: across::resolve(&server, &server.hide),
        services: server.services,
        listen: server.listen,
        grants: server.grants,
        packets: server.packets,
        guard: server.guard,
        log: server.log,
    }
}
