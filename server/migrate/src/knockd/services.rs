//! What a door needs beside its own table: services, how long they are open, a command.
//!
//! Pure. What spad.toml has already is used as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use spad_config::{Config, humanise};
use spad_model::ServiceName;

use super::action::Opening;
use super::importer::Importer;
use super::{grant, names};

/// The longest grant of a packet or a door, in seconds.
const MAX_TTL: u64 = 86_400;

impl Importer<'_> {
    /// The named command, the one that is there already if it is the same.
    pub(super) fn command(&self, name: &str, argv: &[String], tables: &mut String) -> String {
        let mut program = toml::Table::new();
        program.insert("argv".to_owned(), argv.to_vec().into());
        program.insert("user".to_owned(), self.input.run_as.into());
        if self.input.run_as == "root" {
            program.insert("as_root".to_owned(), true.into());
        }
        let root = self.appender.table();
        let commands = root.get("commands").and_then(toml::Value::as_table);
        let existing = |name: &str| commands.and_then(|commands| commands.get(name));
        let is_this = |name: &str| existing(name).and_then(toml::Value::as_table) == Some(&program);
        let command = names::unique_name(name, |name| existing(name).is_some() && !is_this(name));
        if existing(&command).is_none() {
            let _ = writeln!(tables, "[commands.{command}]");
            for (key, value) in &program {
                let _ = writeln!(tables, "{key} = {value}");
            }
            tables.push('\n');
        }
        command
    }

    /// The services of these ports: those that are there, and new ones for the rest. With
    /// each the longest time that it may be open for.
    pub(super) fn services(
        &mut self,
        opening: &Opening,
        tables: &mut String,
    ) -> Option<Vec<(String, Duration)>> {
        let Opening { ports, ttl, span } = opening;
        let config: &Config = &self.appender.config;
        let max_ttl = config.grants.max_ttl;
        let mut open: Vec<(String, Duration)> = Vec::new();
        let mut wrong = None;
        let mut taken: BTreeSet<String> =
            config.services.keys().map(ServiceName::to_string).collect();
        for port in ports {
            let existing = config
                .services
                .iter()
                .find(|(_, service)| service.ports.contains(port));
            if let Some((name, service)) = existing {
                let more = service.ports.iter().find(|other| !ports.contains(other));
                if let Some(more) = more {
                    wrong = Some(format!(
                        "{port} belongs to the service `{name}`, which has {more} too"
                    ));
                } else if service.to.is_some() {
                    wrong = Some(format!(
                        "{port} belongs to the service `{name}`, which leads to another host"
                    ));
                } else if !open.iter().any(|(known, _)| known == name.as_str()) {
                    open.push((name.to_string(), service.max_ttl.unwrap_or(max_ttl)));
                }
                continue;
            }
            let usual = grant::service_name(*port);
            let by_number = format!("{}-{}", port.protocol.as_str(), port.port);
            let name = if taken.contains(&usual) {
                names::unique_name(&by_number, |name| taken.contains(name))
            } else {
                usual
            };
            taken.insert(name.clone());
            let wanted = Duration::from_secs(ttl.unwrap_or(0)).min(Duration::from_secs(MAX_TTL));
            let _ = writeln!(tables, "[services.{name}]\nports = [\"{port}\"]");
            if wanted > max_ttl {
                let _ = writeln!(tables, "max_ttl = \"{}\"", humanise(wanted.as_secs()));
            }
            tables.push('\n');
            open.push((name, wanted.max(max_ttl)));
        }
        if let Some(wrong) = wrong {
            self.warn(
                span.clone(),
                format!("this door is left out: {wrong}"),
                "give the port a service of its own in spad.toml",
            );
            return None;
        }
        Some(open)
    }

    /// For how long it opens, in seconds; none: the services' own time.
    pub(super) fn ttl(&mut self, open: &[(String, Duration)], opening: &Opening) -> Option<u64> {
        let Opening { ttl, span, .. } = opening;
        let Some(wanted) = *ttl else {
            let config = &self.appender.config;
            let own = |name: &str| config.services.get(name).and_then(|service| service.ttl);
            let times = open
                .iter()
                .map(|(name, _)| own(name).unwrap_or(config.grants.ttl));
            let time = humanise(times.min().unwrap_or(config.grants.ttl).as_secs());
            self.warn(
                span.clone(),
                format!("knockd left this open FOR EVER to whoever knocked once; here it closes after {time}"),
                "established connections live on; for another time write ttl = \"…\" into the door",
            );
            return None;
        };
        let most = open
            .iter()
            .map(|(_, most)| most.as_secs())
            .min()
            .unwrap_or(MAX_TTL)
            .min(MAX_TTL);
        if wanted > most {
            let most = humanise(most);
            self.warn(
                span.clone(),
                format!("what it opens is open for at most {most} here, and so it is written"),
                "established connections live on; a longer time needs a longer max_ttl of the service",
            );
        }
        Some(wanted.min(most))
    }
}
