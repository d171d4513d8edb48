//! Port knocking in pure firewall rules, without any daemon. Pure, but for the trial.
//!
//! Takes a [`RuleSpec`], gives a complete file for `nft -f` or `iptables-restore`.
//! The kernel remembers how far each address came and for how long it may connect.
//! A wrong knock forgets an address's progress, so that a scan of ports in any order
//! does not open; the same knock once more, which the network may have repeated, does not.

mod iptables;
mod nftables;
pub mod verify;

use std::time::Duration;

pub use iptables::iptables;
pub use nftables::nftables;
use spa_proto::Service;
use spad_model::knock::Sequence;
pub use verify::{Loader, VerifyError, verify};

/// What knocks, and what they open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// The knocks.
    pub sequence: Sequence,
    /// What they open: TCP and UDP ports.
    pub open: Vec<Service>,
    /// From the first knock to the last; whole seconds.
    pub window: Duration,
    /// How long new connections are let in; whole seconds.
    pub open_for: Duration,
}

/// Why these rules cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleSpecError {
    /// A port both knocked at and opened.
    #[error(
        "{0} is a knock and is to be opened: everybody would knock at it; take another port for the knock"
    )]
    KnockIsOpened(Service),
    /// nftables and iptables match ports of TCP and UDP here.
    #[error("{0} is neither tcp nor udp")]
    Protocol(Service),
    /// Not a whole number of seconds within bounds.
    #[error("`{0}` must be from 1s to 1d")]
    Time(&'static str),
}

/// A day.
const MAX_TIME: Duration = Duration::from_secs(86_400);

impl RuleSpec {
    /// Whether rules can be made of it.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self) -> Result<(), RuleSpecError> {
        use spa_proto::Protocol::{Tcp, Udp};
        for service in &self.open {
            if !matches!(service.protocol, Tcp | Udp) {
                return Err(RuleSpecError::Protocol(*service));
            }
            let knocks = self.sequence.knocks();
            let same = |knock: &spad_model::knock::Knock| {
                (knock.protocol, knock.port) == (service.protocol, service.port)
            };
            if knocks.iter().any(same) {
                return Err(RuleSpecError::KnockIsOpened(*service));
            }
        }
        for (name, time) in [("--within", self.window), ("--for", self.open_for)] {
            if time < Duration::from_secs(1) || time > MAX_TIME {
                return Err(RuleSpecError::Time(name));
            }
        }
        Ok(())
    }

    /// The ports to be opened of one protocol, for a set in braces.
    fn ports(&self, protocol: spa_proto::Protocol) -> Vec<String> {
        let ports = self
            .open
            .iter()
            .filter(|service| service.protocol == protocol);
        ports.map(|service| service.port.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(sequence: &str, open: &str) -> RuleSpec {
        RuleSpec {
            sequence: sequence.parse().unwrap(),
            open: vec![open.parse().unwrap()],
            window: Duration::from_secs(15),
            open_for: Duration::from_secs(30),
        }
    }

    #[test]
    fn rules_that_could_not_hold_are_refused() {
        assert_eq!(spec("8881,7777", "tcp/22").check(), Ok(()));
        assert_eq!(spec("22:udp,7777", "tcp/22").check(), Ok(()));
        let knocked = spec("22,7777", "tcp/22").check();
        assert!(matches!(knocked, Err(RuleSpecError::KnockIsOpened(_))));
        let sctp = spec("8881,7777", "sctp/22").check();
        assert!(matches!(sctp, Err(RuleSpecError::Protocol(_))));
        for within in [Duration::ZERO, MAX_TIME + Duration::from_secs(1)] {
            let wrong = RuleSpec {
                window: within,
                ..spec("8881,7777", "tcp/22")
            };
            assert_eq!(wrong.check(), Err(RuleSpecError::Time("--within")));
        }
    }
}
