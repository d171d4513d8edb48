//! The limits that no message can widen.
//!
//! Pure: a change and the writer's own reading of the configuration in, a
//! refusal or nothing out. The engine has checked all this; this is for the day
//! on which the engine is no longer itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spa_proto::Service;
use spad_config::{Config, InnerHost};
use spad_model::{CONNECT_TIMEOUT, Change, FirewallError, MAX_STEPS, PrefixLengths, Step};

/// What a change may ask for at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    declared: BTreeSet<Service>,
    lengths: PrefixLengths,
    /// Of those, the ports that lead to an inner host.
    inner: BTreeMap<Service, InnerHost>,
    max_ttl: Duration,
}

impl Limits {
    /// The limits of a configuration.
    pub(super) fn from_config(config: &Config) -> Self {
        Self {
            declared: config.declared_ports(),
            lengths: config.prefix_lengths.clone(),
            inner: config
                .declared_ports()
                .into_iter()
                .filter_map(|port| Some((port, config.inner_host(port)?.clone())))
                .collect(),
            max_ttl: config.max_ttl_overall(),
        }
    }

    /// The longest that anything may be open.
    pub(super) const fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Whether some service has this port.
    pub(super) fn declares(&self, port: Service) -> bool {
        self.declared.contains(&port)
    }

    /// Whether the change may be made.
    ///
    /// # Errors
    /// The first thing that it may not.
    pub(super) fn check(&self, change: &Change) -> Result<(), FirewallError> {
        if change.steps.is_empty() || change.steps.len() > MAX_STEPS {
            return Err(FirewallError::Malformed);
        }
        for (place, step) in change.steps.iter().enumerate() {
            let element = step.element();
            // Of a few at most, and mostly of one.
            let mut before = change.steps.iter().take(place);
            if before.any(|other| other.element() == element) || !element.is_valid() {
                return Err(FirewallError::Malformed);
            }
            let Step::Put { ttl, .. } = step else {
                // A grant of a service that is declared no longer must still end.
                continue;
            };
            let lengths = self.lengths.for_family(element.address);
            let prefix_allowed = element
                .prefix
                .is_none_or(|prefix| lengths.contains(&prefix));
            if !prefix_allowed || !self.declared.contains(&element.service) {
                return Err(FirewallError::NotDeclared);
            }
            let inner = self.inner.get(&element.service);
            if inner.is_some_and(|inner| !inner.forwards_to(element.address)) {
                return Err(FirewallError::NotDeclared);
            }
            let max_ttl = match element.source_port {
                Some(_) => self.max_ttl.min(CONNECT_TIMEOUT),
                None => self.max_ttl,
            };
            if *ttl > max_ttl {
                return Err(FirewallError::TooLong);
            }
            if ttl.as_millis() == 0 {
                return Err(FirewallError::TooShort);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use spad_config::{Files, check as check_files};
    use spad_model::{ChangeId, Element};

    use super::*;

    fn limits() -> Limits {
        Limits {
            declared: BTreeSet::from(["tcp/22".parse().unwrap()]),
            lengths: PrefixLengths {
                ipv4: BTreeSet::from([24]),
                ipv6: BTreeSet::from([64]),
            },
            inner: BTreeMap::new(),
            max_ttl: Duration::from_secs(300),
        }
    }

    fn element(service: &str) -> Element {
        Element {
            address: [192, 0, 2, 1].into(),
            service: service.parse().unwrap(),
            source_port: None,
            once: false,
            prefix: None,
        }
    }

    fn put(service: &str, ttl: Duration) -> Step {
        let element = element(service);
        Step::Put { element, ttl }
    }

    fn check(steps: Vec<Step>) -> Result<(), FirewallError> {
        limits().check(&Change {
            id: ChangeId(1),
            steps,
        })
    }

    #[test]
    fn no_message_opens_a_port_that_the_configuration_does_not_declare() {
        let second = Duration::from_secs(1);
        assert_eq!(check(vec![put("tcp/22", second)]), Ok(()));
        for other in ["tcp/23", "udp/22"] {
            assert_eq!(
                check(vec![put(other, second)]),
                Err(FirewallError::NotDeclared)
            );
            let both = vec![put("tcp/22", second), put(other, second)];
            assert_eq!(check(both), Err(FirewallError::NotDeclared));
        }
    }

    fn network(limits: &Limits, address: &str, prefix: u8) -> Result<(), FirewallError> {
        let element = Element {
            address: address.parse().unwrap(),
            prefix: Some(prefix),
            ..element("tcp/22")
        };
        let ttl = Duration::from_secs(1);
        limits.check(&Change {
            id: ChangeId(1),
            steps: vec![Step::Put { element, ttl }],
        })
    }

    /// What the writer reads where the one client's file also says this.
    fn read(client: &str) -> Limits {
        let directory = std::path::Path::new("/etc/spad");
        let mut files = Files::empty(directory);
        let path = directory.join("spad.toml");
        let server = "[services]\nssh = \"tcp/22\"\n".to_owned();
        files.server = Some(spa_findings::Source::new(&path, server));
        let key = spa_keys::ClientSecret::from_bytes([1; 32]).public();
        let text = format!("key = \"{key}\"\nallow = [\"ssh\"]\n{client}\n");
        files.put_client("anna".parse().unwrap(), text);
        let now = spa_proto::Timestamp::from_micros(0);
        Limits::from_config(&check_files(&files, now).unwrap().config)
    }

    #[test]
    fn no_message_opens_a_network_of_a_length_that_no_clients_file_names() {
        let all = [
            ("10.1.0.0", 16),
            ("192.0.2.0", 24),
            ("2001:db8::", 32),
            ("2001:db8::", 48),
            ("2001:db8::", 56),
            ("2001:db8::", 64),
        ];
        let opened = |client: &str| {
            let limits = read(client);
            let is_open = |(address, prefix): &&(&str, u8)| {
                let opened = network(&limits, address, *prefix);
                assert!(matches!(opened, Ok(()) | Err(FirewallError::NotDeclared)));
                opened.is_ok()
            };
            all.iter().filter(is_open).copied().collect::<Vec<_>>()
        };
        assert_eq!(opened(""), []);
        assert_eq!(opened("ipv4_prefix = 24"), [("192.0.2.0", 24)]);
        assert_eq!(opened("ipv6_prefix = 56"), [("2001:db8::", 56)]);
    }

    #[test]
    fn no_message_opens_a_network_that_is_wider_than_any_or_of_a_length_without_a_rule() {
        let of = |address, prefix| network(&limits(), address, prefix);
        assert_eq!(of("192.0.2.0", 24), Ok(()));
        assert_eq!(of("2001:db8::", 64), Ok(()));
        for (address, prefix) in [("192.0.2.0", 23), ("2001:db8::", 63)] {
            assert_eq!(of(address, prefix), Err(FirewallError::NotDeclared));
        }
        let malformed = [("10.0.0.0", 8), ("2001::", 16), ("192.0.2.0", 25)];
        for (address, prefix) in malformed.into_iter().chain([("192.0.2.1", 24)]) {
            assert_eq!(of(address, prefix), Err(FirewallError::Malformed));
        }
    }

    #[test]
    fn no_message_opens_a_port_of_a_gateway_to_a_family_that_it_does_not_lead() {
        let mut limits = limits();
        let inner = InnerHost {
            hosts: vec![([10, 0, 0, 5].into(), None)],
            masquerade: false,
        };
        limits.inner.insert("tcp/22".parse().unwrap(), inner);
        let check = |address: &str| {
            let element = Element {
                address: address.parse().unwrap(),
                ..element("tcp/22")
            };
            let ttl = Duration::from_secs(1);
            limits.check(&Change {
                id: ChangeId(1),
                steps: vec![Step::Put { element, ttl }],
            })
        };
        assert_eq!(check("192.0.2.1"), Ok(()));
        assert_eq!(check("2001:db8::1"), Err(FirewallError::NotDeclared));
    }

    #[test]
    fn no_message_opens_a_port_for_longer_than_the_configuration_allows() {
        assert_eq!(check(vec![put("tcp/22", Duration::from_secs(300))]), Ok(()));
        let longer = Duration::from_micros(300_000_001);
        assert_eq!(
            check(vec![put("tcp/22", longer)]),
            Err(FirewallError::TooLong)
        );
        let shorter = Duration::from_micros(999);
        assert_eq!(
            check(vec![put("tcp/22", shorter)]),
            Err(FirewallError::TooShort)
        );
    }

    #[test]
    fn no_message_opens_one_source_port_for_longer_than_a_client_takes_to_connect() {
        let from_one = |ttl| {
            let element = Element {
                source_port: std::num::NonZeroU16::new(40_000),
                ..element("tcp/22")
            };
            check(vec![Step::Put { element, ttl }])
        };
        assert_eq!(from_one(Duration::from_secs(10)), Ok(()));
        let longer = Duration::from_micros(10_000_001);
        assert_eq!(from_one(longer), Err(FirewallError::TooLong));
    }

    #[test]
    fn a_change_without_steps_with_too_many_or_with_one_twice_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(check(vec![]), Err(FirewallError::Malformed));
        let remove = Step::Remove {
            element: element("tcp/22"),
        };
        assert_eq!(
            check(vec![put("tcp/22", second), remove]),
            Err(FirewallError::Malformed)
        );
        let many = (0..=u8::try_from(MAX_STEPS).unwrap()).map(|last| Step::Remove {
            element: Element {
                address: [192, 0, 2, last].into(),
                ..element("tcp/22")
            },
        });
        assert_eq!(check(many.collect()), Err(FirewallError::Malformed));
    }

    #[test]
    fn a_grant_of_a_service_that_is_declared_no_longer_can_be_taken_away() {
        assert_eq!(
            check(vec![Step::Remove {
                element: element("tcp/23")
            }]),
            Ok(())
        );
    }
}
