//! The command line's `gw[:SERVICE]` and the configuration → what to ask of
//! whom, and what to wait for. Pure.

use spa_findings::{EditDistance, nearest, redact};
use spa_proto::{Protocol, Service, Services, TooManyServices};

use crate::config::{Config, Host, HostName};

/// What to ask one host for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'c> {
    /// Which host.
    pub name: &'c HostName,
    /// Its configuration.
    pub host: &'c Host,
    /// The services to ask for; none: the server's policy decides.
    pub services: Services,
    /// Whether the command line named them, and not the configuration.
    pub is_named: bool,
    /// The ports to wait for, as far as this machine knows any.
    pub watched: Vec<Service>,
}

/// Why a target makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No such host.
    #[error("there is no host `{name}` in the configuration; {help}")]
    Host {
        /// What was written.
        name: String,
        /// How to mend it.
        help: String,
    },
    /// No such service.
    #[error("the host `{host}` has no service `{name}`; {help}")]
    Service {
        /// The host.
        host: HostName,
        /// What was written.
        name: String,
        /// How to mend it.
        help: String,
    },
    /// `gw:` and nothing behind it.
    #[error("`{0}:` names no service; leave the colon out for the default ones")]
    NoService(HostName),
    /// Too many for one packet.
    #[error("{0}: {1}")]
    TooMany(HostName, TooManyServices),
}

/// What each target means. Targets of one host become one request, so that one
/// packet does; those that name no service stay requests of their own.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn lookup_targets<'c>(
    config: &'c Config,
    targets: &[String],
) -> Result<Vec<Target<'c>>, Vec<TargetError>> {
    let mut named: Vec<(&HostName, &Host, Vec<Service>, bool)> = Vec::new();
    let mut errors = Vec::new();
    for target in targets {
        match lookup_target(config, target) {
            Ok((name, host, services, explicit)) => {
                let same = |other: &&mut (&HostName, &Host, Vec<Service>, bool)| {
                    other.0 == name && other.3 == explicit
                };
                match named.iter_mut().find(same) {
                    Some(other) => other.2.extend(services),
                    None => named.push((name, host, services, explicit)),
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let mut found = Vec::new();
    for (name, host, services, is_named) in named {
        match Services::from_iter(services) {
            Ok(services) => found.push(Target::new(name, host, services, is_named)),
            Err(error) => errors.push(TargetError::TooMany(name.clone(), error)),
        }
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(errors)
    }
}

impl<'c> Target<'c> {
    /// Where nothing in particular is asked for, all that the configuration
    /// knows of this host is waited for.
    fn new(name: &'c HostName, host: &'c Host, services: Services, is_named: bool) -> Self {
        let watched = if services.is_empty() {
            host.known_ports()
        } else {
            services.as_slice().to_vec()
        };
        Self {
            name,
            host,
            services,
            is_named,
            watched,
        }
    }

    /// Whether a service can be probed: only TCP answers a stranger's first packet.
    #[must_use]
    pub fn can_be_probed(service: Service) -> bool {
        service.protocol == Protocol::Tcp
    }
}

type ResolvedTarget<'c> = (&'c HostName, &'c Host, Vec<Service>, bool);

fn lookup_target<'c>(config: &'c Config, target: &str) -> Result<ResolvedTarget<'c>, TargetError> {
    let (name, words) = match target.split_once(':') {
        Some((name, words)) => (name, Some(words)),
        None => (target, None),
    };
    let mut hosts = config.hosts.iter();
    let Some((name, host)) = hosts.find(|(known, _)| known.as_str() == name) else {
        return Err(unknown_host(config, name));
    };
    let Some(words) = words else {
        return Ok((name, host, host.default.clone(), false));
    };
    if words.is_empty() {
        return Err(TargetError::NoService(name.clone()));
    }
    let mut services = Vec::new();
    for word in words.split(',') {
        if let Some(ports) = host.services.get(word) {
            services.extend_from_slice(ports);
        } else if let Ok(service) = word.parse() {
            services.push(service);
        } else {
            return Err(unknown_service(name, host, word));
        }
    }
    Ok((name, host, services, true))
}

fn unknown_host(config: &Config, name: &str) -> TargetError {
    let known = config.hosts.keys().map(HostName::as_str);
    let help = match nearest(name, known, EditDistance::Levenshtein) {
        Some(near) => format!("did you mean `{near}`?"),
        None if config.hosts.is_empty() => {
            "there is none yet: `spad client add` on the server prints the `spa host add` to run"
                .into()
        }
        None => "`spa hosts` lists them, `spa --help` the commands".into(),
    };
    TargetError::Host {
        name: redact::message(name),
        help,
    }
}

fn unknown_service(name: &HostName, host: &Host, word: &str) -> TargetError {
    let known = host.services.keys().map(String::as_str);
    let help = match nearest(word, known, EditDistance::Levenshtein) {
        Some(near) => format!("did you mean `{near}`?"),
        None if host.services.is_empty() => format!(
            "it was added without names for services: name a port such as tcp/22, or say `spa host remove {name}` and add it with `--service NAME=PORTS`"
        ),
        None => {
            let known: Vec<_> = host.services.keys().map(String::as_str).collect();
            format!(
                "it knows {}; or name a port such as tcp/22",
                known.join(", ")
            )
        }
    };
    TargetError::Service {
        host: name.clone(),
        name: redact::message(word),
        help,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let key = spa_keys::ServerSecret::from_bytes([7; 32]).public();
        let text = format!(
            "[hosts.gw]\naddress = \"gw\"\nport = 1\nkey = \"{key}\"\nservices = {{ ssh = \"tcp/22\", wg = \"udp/51820\" }}\n{more}"
        );
        crate::config::parse(Path::new("config.toml"), &text).unwrap()
    }

    fn words(services: &[Service]) -> String {
        let words: Vec<_> = services.iter().map(ToString::to_string).collect();
        words.join(" ")
    }

    fn lookup(config: &Config, targets: &[&str]) -> Vec<(String, String)> {
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        lookup_targets(config, &targets)
            .unwrap()
            .iter()
            .map(|target| (words(target.services.as_slice()), words(&target.watched)))
            .collect()
    }

    fn pair(asked: &str, watched: &str) -> (String, String) {
        (asked.to_owned(), watched.to_owned())
    }

    #[test]
    fn services_are_names_or_ports_and_one_host_gets_one_packet() {
        let config = config("");
        assert_eq!(
            lookup(&config, &["gw:ssh", "gw:tcp/80", "gw:wg,ssh"]),
            [pair("tcp/22 tcp/80 udp/51820", "tcp/22 tcp/80 udp/51820")]
        );
    }

    #[test]
    fn without_a_default_the_server_decides_and_the_known_ports_are_waited_for() {
        assert_eq!(
            lookup(&config(""), &["gw", "gw:tcp/80"]),
            [pair("", "tcp/22 udp/51820"), pair("tcp/80", "tcp/80")]
        );
        assert_eq!(
            lookup(&config("default = \"ssh\""), &["gw"]),
            [pair("tcp/22", "tcp/22")]
        );
    }

    #[test]
    fn an_unknown_service_is_answered_with_what_can_be_named() {
        let error_text = |config: &Config| {
            let errors = lookup_targets(config, &["gw:smtp".to_owned()]).unwrap_err();
            errors[0].to_string()
        };
        assert!(error_text(&config("")).contains("it knows ssh, wg;"));
        let key = spa_keys::ServerSecret::from_bytes([7; 32]).public();
        let text = format!("[hosts.gw]\naddress = \"gw\"\nport = 1\nkey = \"{key}\"\n");
        let bare = crate::config::parse(Path::new("config.toml"), &text).unwrap();
        assert!(error_text(&bare).contains("--service NAME=PORTS"));
    }

    #[test]
    fn every_unknown_word_is_named_at_once_with_the_nearest_known_one() {
        let targets = ["gx", "gw:shs", "gw:", "nowhere"].map(str::to_owned);
        let config = config("");
        let errors = lookup_targets(&config, &targets).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(
            errors
                .iter()
                .any(|error| error.contains("did you mean `gw`?"))
        );
    }
}
