//! The commands that load and remove the table, for `nft -j -f -`.
//!
//! Pure. Loading replaces rules and hidden ports, and keeps every grant.

use std::num::NonZeroU16;
use std::time::Duration;

use nftables::schema::{FlushObject, NfCmd, NfListObject};
use serde_json::{Value, json};
use spa_proto::{Protocol, Service};
use spad_model::Element;

use super::context::{TCP_IDLE_TIMEOUT, UDP_IDLE_TIMEOUT};
use super::gateway::InnerPort;
use super::names::Names;
use super::sets::{self, FamilySets, SetName};
use super::stmt::Stmt;
use super::{Table, TableChain, object};

impl Table {
    /// The commands that load the table in one transaction. They declare the sets that are
    /// `missing`, which are all of them if the table is. They keep the elements of the other
    /// sets, except hidden ports.
    #[must_use]
    pub fn transaction(&self, missing: &[SetName]) -> Value {
        let names = Names::OWN;
        let mut commands = vec![object(&NfCmd::Add(sets::table()))];
        commands.extend(missing.iter().map(|set| set.declaration(names)));
        let schema = |chain: &TableChain| chain.schema(names);
        commands.extend(
            self.chains
                .iter()
                .map(|chain| object(&NfCmd::Add(NfListObject::Chain(schema(chain))))),
        );
        commands.extend(
            self.chains
                .iter()
                .map(|chain| object(&NfCmd::Flush(FlushObject::Chain(schema(chain))))),
        );
        for chain in &self.chains {
            let rules = chain.rules.iter();
            commands.extend(rules.map(|rule| add_rule(names, chain, rule)));
        }
        for set in [SetName::Existing4, SetName::Existing6] {
            commands.extend(add_elements(set, &self.elements(set)));
        }
        for set in [SetName::Hidden, SetName::Trial] {
            commands.push(flush(set));
            commands.extend(add_elements(set, &self.elements(set)));
        }
        let settling = self.elements(SetName::Settling);
        commands.extend(add_elements(SetName::Settling, &settling));
        if self.inner.is_some() {
            for set in SetName::GATEWAY {
                commands.push(flush(set));
                commands.extend(add_elements(set, &self.elements(set)));
            }
        }
        json!({ "nftables": commands })
    }

    /// The elements that the table declares in a set.
    pub(super) fn elements(&self, set: SetName) -> Vec<Value> {
        match set {
            SetName::Hidden => self.hidden.iter().map(hidden_element).collect(),
            SetName::Trial => {
                let on_trial = self.hidden.iter().filter(|(_, rest)| rest.is_some());
                on_trial.map(hidden_element).collect()
            }
            SetName::Settling if self.settling => {
                let ports = self.settling_ports();
                ports.map(|port| hidden_element((&port, &None))).collect()
            }
            SetName::InnerHidden4 | SetName::InnerHidden6 => {
                let is_ipv4 = set == SetName::InnerHidden4;
                let inner = self.inner.iter().flatten();
                let family = inner.filter(|((address, _), _)| address.is_ipv4() == is_ipv4);
                family.map(inner_element).collect()
            }
            SetName::Existing4 | SetName::Existing6 => {
                let existing = self.existing.iter();
                let family =
                    existing.filter(|one| FamilySets::for_address(one.address).existing == set);
                family.map(connection_element).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The commands that remove the table; they change nothing if it is missing.
#[must_use]
pub fn removal() -> Value {
    let table = sets::table();
    json!({ "nftables": [
        object(&NfCmd::Add(table.clone())),
        object(&NfCmd::Delete(table)),
    ]})
}

/// How long a connection that is older than its port's hiding may be silent.
pub(crate) const fn idle_timeout(protocol: Protocol) -> Duration {
    let seconds = match protocol {
        Protocol::Udp => UDP_IDLE_TIMEOUT,
        Protocol::Tcp | Protocol::Sctp => TCP_IDLE_TIMEOUT,
    };
    Duration::from_secs(seconds as u64)
}

fn add_rule(names: Names<'_>, chain: &TableChain, rule: &[Stmt]) -> Value {
    let statements: Vec<&Value> = rule.iter().map(Stmt::json).collect();
    json!({"add": {"rule": {
        "family": "inet",
        "table": names.table,
        "chain": names.chain(chain.name),
        "expr": statements,
    }}})
}

fn flush(set: SetName) -> Value {
    let set = Box::new(set.schema(Names::OWN));
    object(&NfCmd::Flush(FlushObject::Set(set)))
}

/// The command that adds these elements; none where there are no elements.
fn add_elements(set: SetName, elements: &[Value]) -> Option<Value> {
    let command = || {
        json!({"add": {"element": {
            "family": "inet",
            "table": Names::OWN.table,
            "name": Names::OWN.set(set),
            "elem": elements,
        }}})
    };
    (!elements.is_empty()).then(command)
}

fn hidden_element((service, rest): (&Service, &Option<Duration>)) -> Value {
    let key = json!({"concat": [service.protocol.as_str(), service.port.get()]});
    timed(key, *rest)
}

fn inner_element(((address, port), rest): (&InnerPort, &Option<Duration>)) -> Value {
    let key = json!({"concat": [address, port.protocol.as_str(), port.port.get()]});
    timed(key, *rest)
}

fn connection_element(connection: &Element) -> Value {
    let service = connection.service;
    let port = connection.source_port.map(NonZeroU16::get);
    let key = json!({"concat": [
        connection.address, port, service.protocol.as_str(), service.port.get(),
    ]});
    timed(key, Some(idle_timeout(service.protocol)))
}

fn timed(key: Value, rest: Option<Duration>) -> Value {
    match rest {
        None => key,
        Some(rest) => json!({"elem": {"val": key, "timeout": seconds(rest)}}),
    }
}

/// Seconds, rounded up, and at least one, because zero would mean no timeout.
fn seconds(time: Duration) -> u64 {
    let up = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(up).max(1)
}
