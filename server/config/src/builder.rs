//! One configuration being checked: `spad.toml`, then one client file after the other.
//!
//! Pure. A client's text is not needed any more once it was checked, so a hundred
//! thousand files never stand in memory together.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::tz::TimeZone;
use spa_findings::{Finding, Findings, Source};
use spa_proto::Timestamp;
use spad_model::{ClientName, PrefixLengths};

use super::client_file::{self, ClientFile};
use super::cross_checks::{self, CrossChecks};
use super::groups::{EffectiveRules, Groups};
use super::one_time::SequenceReader;
use super::server_file::{self, ServerFile};
use super::toml_reader::{FileReader, WithSpan};
use super::types::{AcceptedKey, ClientConfig, Config};
use super::{knock_overlap, secret_scan};

/// What is known so far.
pub(super) struct ConfigBuilder<'s> {
    source: Option<&'s Source>,
    /// None where its syntax is broken, or it is not there.
    server: Option<ServerFile>,
    cross_checks: CrossChecks,
    /// Groups that clients name.
    used: BTreeSet<String>,
    /// Every client file could be understood.
    understood: bool,
    found: Findings,
    now: Timestamp,
}

impl<'s> ConfigBuilder<'s> {
    /// Begins with `spad.toml`, if it could be read, and the files of sequences that it names.
    pub(super) fn new(
        source: Option<&'s Source>,
        one_time: SequenceReader<'_>,
        now: Timestamp,
    ) -> Self {
        let mut found = Findings::default();
        let server = source.and_then(|source| {
            let reader = FileReader::new(source);
            let server = server_file::read(&reader, one_time);
            let mut own = reader.into_findings();
            if let Some(server) = &server {
                own.extend(knock_overlap::findings(source, &server.knock));
            }
            found.extend(secret_scan::with_secrets(source, own));
            server
        });
        Self {
            source,
            cross_checks: CrossChecks::new(server.as_ref()),
            server,
            used: BTreeSet::new(),
            understood: true,
            found,
            now,
        }
    }

    /// The next client file, in the order of their names. None where it or `spad.toml`
    /// has such faults that it says nothing.
    pub(super) fn add_client(
        &mut self,
        name: &ClientName,
        source: &Source,
    ) -> Option<ClientConfig> {
        let reader = FileReader::new(source);
        let client = client_file::read(&reader, name);
        self.found
            .extend(secret_scan::with_secrets(source, reader.into_findings()));
        let Some(client) = client else {
            self.understood = false;
            return None;
        };
        self.found.extend(expired_keys(&client, self.now));
        let names = client.groups.iter().map(|name| name.value.clone());
        self.used.extend(names);
        let none = Groups::new();
        let (groups, zone) = match &self.server {
            Some(server) => (&server.groups, server.time_zone.clone()),
            None => (&none, TimeZone::UTC),
        };
        let effective = EffectiveRules::new(&client, groups, &zone);
        let server = self.server.as_ref();
        let allow = server.map(|server| cross_checks::resolve(server, &effective.allow));
        let commands =
            server.map(|server| cross_checks::resolve_commands(server, &effective.commands));
        let config = ClientConfig {
            name: client.name.clone(),
            keys: client.keys.iter().map(|key| key.value.clone()).collect(),
            pre_shared_key: client.pre_shared_key,
            allow: self.cross_checks.intern_list(allow.unwrap_or_default()),
            sources: effective.sources.clone(),
            ipv4_prefix: client.ipv4_prefix,
            ipv6_prefix: client.ipv6_prefix,
            hours: effective.hours.clone(),
            expires: effective.expires,
            enabled: client.enabled,
            max_ttl: effective.max_ttl,
            max_grants: effective.max_grants,
            max_connections: effective.max_connections,
            require_address: effective.require_address,
            commands: commands.unwrap_or_default(),
            note: client.rules.note.clone(),
        };
        let active = config.is_active(self.now);
        self.found.extend(
            self.cross_checks
                .add_client(server, &client, &effective, active),
        );
        server.map(|_| config)
    }

    /// The end: the configuration without its clients if all of it is faultless, and
    /// everything that was found. `read` is what was wrong with the files themselves.
    pub(super) fn finish(
        self,
        directory: &Path,
        read: Findings,
    ) -> Result<(Config, Findings), Findings> {
        let is_missing = self.source.is_none() && read.is_empty();
        let all_read = !read.has_errors();
        let mut findings = read;
        findings.append(self.found);
        if let (Some(source), Some(server)) = (self.source, &self.server) {
            // What a file that is broken, or could not be read, says about services is not
            // known, so nothing is said about it.
            let all_known = self.understood && all_read;
            let used = all_known.then_some(&self.used);
            findings.extend(cross_checks::check_groups(source, server, used));
            findings.extend(cross_checks::check_hidden(
                source,
                server,
                &self.cross_checks,
                all_known,
            ));
        } else if is_missing {
            findings.push(Finding::error(
                &directory.join("spad.toml"),
                "there is no such file",
            ));
        }
        findings.sort_by_key(order);
        match self.server {
            Some(server) if !findings.has_errors() => {
                Ok((config(server, self.cross_checks.prefix_lengths), findings))
            }
            _ => Err(findings),
        }
    }
}

/// Keys whose time is over.
fn expired_keys(client: &ClientFile<'_>, now: Timestamp) -> Vec<Finding> {
    let past = client.keys.iter().filter(|key| !key.value.is_valid(now));
    let finding = |key: &WithSpan<AcceptedKey>| {
        let message = "the time of this key is over: its packets are refused";
        let finding = client.source.warning(key.span.clone(), message);
        finding.help("take the key out, or give it a later `until`")
    };
    past.map(finding).collect()
}

/// The order of files and places, whoever found it first: `spad.toml` first, for
/// that is where a reader begins.
fn order(finding: &Finding) -> impl Ord + use<> {
    let name = finding.file.file_name();
    let first = name.is_some_and(|name| name == "spad.toml");
    let (file, message) = (finding.file.clone(), finding.message.clone());
    (!first, file, finding.position(), message)
}

/// What was found faultless, without clients.
fn config(server: ServerFile, lengths: PrefixLengths) -> Config {
    Config {
        clients: Vec::new(),
        prefix_lengths: lengths,
        hide: cross_checks::resolve(&server, &server.hide),
        services: server.services,
        listen: server.listen,
        grants: server.grants,
        packets: server.packets,
        guard: server.guard,
        external: server.external,
        log: server.log,
        commands: server.commands,
        hooks: server.hooks,
        knock: server
            .knock
            .into_iter()
            .map(|located| located.door)
            .collect(),
    }
}
