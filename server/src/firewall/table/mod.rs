//! The table `inet spad` in guard mode, as data.
//!
//! [`Table::of`] takes the configuration and how each hidden port stands and
//! gives the whole table; [`Table::transaction`] is what `nft -j -f -` loads at
//! once, [`Table::text`] is the same for people. Pure; a test in
//! `server/tests/it/firewall` shows that both mean the same to the kernel.
//!
//! Loading replaces rules and hidden ports, and keeps every grant.

pub mod answers;

mod chains;

mod gateway;

mod ct_stmt;

pub(crate) mod prefix_mark;

mod nat_stmt;

mod location;

mod sets;

pub mod snippet;

mod stmt;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::time::Duration;

use nftables::schema::{Chain, FlushObject, NfCmd, NfListObject};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};
use spa_proto::{Protocol, Service};

use super::element::Element;
use crate::config::{AlwaysAllow, Answer, Config};
use crate::model::PortState;

use answers::{Answers, Reply};

pub(crate) use chains::{LAST_PRIORITY, PREROUTING_PRIORITY};
pub(crate) use ct_stmt::ADMITTED_LABEL;
pub(crate) use gateway::InnerPort;
pub use location::SetLocation;
pub use sets::{SET_SIZE, SetLayout, SetName};

use chains::{TCP_IDLE_TIMEOUT, UDP_IDLE_TIMEOUT};
use stmt::Stmt;

/// The name of our table; its family is `inet`.
pub const TABLE: &str = "spad";

/// What the kernel and the machine bring to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Seeds the flow labels of our IPv6 resets; `None` where this kernel sets none itself.
    pub flow_label_seed: Option<u32>,
    /// Connection tracking has labels.
    pub labels: bool,
    /// What closed ports of this host answer, by the rules of others.
    pub closed_ports: Answers,
}

/// The whole table: what is wanted of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    chains: Vec<TableChain>,
    hidden: BTreeMap<Service, Option<Duration>>,
    /// Hidden ports of inner hosts; none where this machine is no gateway.
    inner: Option<BTreeMap<InnerPort, Option<Duration>>>,
    /// Connections that are let in as they were there before, each with its source port.
    existing: Vec<Element>,
    /// The table was away a moment ago.
    settling: bool,
}

/// One chain with its rules.
#[derive(Clone, Debug, PartialEq)]
struct TableChain {
    name: &'static str,
    kind: NfChainType,
    hook: Option<(NfHook, i32)>,
    rules: Vec<Vec<Stmt>>,
}

impl Table {
    /// The table that `config` asks for, its hidden ports standing as `standings` says.
    #[must_use]
    pub fn new(
        config: &Config,
        port_states: &BTreeMap<Service, PortState>,
        facts: &HostFacts,
    ) -> Self {
        let hidden: BTreeMap<Service, Option<Duration>> = port_states
            .iter()
            .filter_map(|(service, standing)| match standing {
                PortState::Hidden => Some((*service, None)),
                PortState::OnTrial(rest) => Some((*service, Some(*rest))),
                PortState::Exposed => None,
            })
            .collect();
        let guard = &config.guard;
        let answers = match guard.answer {
            Answer::Auto => facts.closed_ports.clone(),
            Answer::RejectAsClosed => Answers::all(Reply::Closed),
            Answer::Prohibited => Answers::all(Reply::PROHIBITED),
            Answer::Drop => Answers::all(Reply::Nothing),
        };
        let flow_labels = facts.flow_label_seed;
        let flow_labels = flow_labels.filter(|_| answers.resets_tcp6());
        let ports = &config.listen.ports;
        let spa_ports = match guard.answer {
            // Every port would be silent, those of services that are not hidden too.
            Answer::Drop if !ports.is_any() => ports.ranges(),
            // Nothing listens on them, so they are closed: the kernel and the host's own
            // rules answer there as anywhere.
            _ => &[],
        };
        let context = chains::RuleContext {
            allowed: &guard.always_allow,
            lengths: &config.prefix_lengths,
            labels: facts.labels,
        };
        let mut chains = chains::all(context, &answers, spa_ports, flow_labels);
        let forwards = config.forwards();
        let inner = (!forwards.is_empty()).then(|| {
            chains.extend(gateway::chains(&forwards, context, flow_labels));
            gateway::hidden_inner(&forwards, &hidden)
        });
        Self {
            chains,
            hidden,
            inner,
            existing: Vec::new(),
            settling: false,
        }
    }

    /// The same table, loaded together with what lets these connections live on: an
    /// established one that connection tracking has not seen looks like a stray segment.
    #[must_use]
    pub(crate) fn with_existing_connections(mut self, connections: Vec<Element>) -> Self {
        self.existing = connections;
        self
    }

    /// The same table, loaded where it was away a moment ago.
    #[must_use]
    pub(crate) fn settling(mut self) -> Self {
        self.settling = true;
        self
    }

    /// The hidden ports that a stranger's datagram may have reached while the table was away.
    pub(crate) fn settling_ports(&self) -> impl Iterator<Item = Service> {
        let udp = |port: &Service| port.protocol == Protocol::Udp;
        self.hidden.keys().copied().filter(udp)
    }

    /// The sets that the table has.
    #[must_use]
    pub fn sets(&self) -> Vec<SetName> {
        let gateway = self.inner.as_ref().map(|_| SetName::GATEWAY);
        let gateway = gateway.into_iter().flatten();
        SetName::ALL.into_iter().chain(gateway).collect()
    }

    /// The commands that load the table in one transaction, for `nft -j -f -`.
    /// Declares the sets that are `missing`, which are all where the table is. Keeps
    /// the elements of the others, hidden ports apart.
    #[must_use]
    pub fn transaction(&self, missing: &[SetName]) -> Value {
        let mut commands = vec![object(&NfCmd::Add(sets::table()))];
        for set in missing {
            commands.push(set.declaration());
        }
        for chain in &self.chains {
            commands.push(object(&NfCmd::Add(NfListObject::Chain(chain.schema()))));
        }
        for chain in &self.chains {
            let chain = FlushObject::Chain(chain.schema());
            commands.push(object(&NfCmd::Flush(chain)));
        }
        for chain in &self.chains {
            for rule in &chain.rules {
                let words: Vec<&Value> = rule.iter().map(|word| &word.data).collect();
                commands.push(json!({"add": {"rule": {
                    "family": "inet", "table": TABLE, "chain": chain.name, "expr": words,
                }}}));
            }
        }
        for set in [SetName::Existing4, SetName::Existing6] {
            let four = set == SetName::Existing4;
            let in_set = |one: &&Element| one.address.is_ipv4() == four;
            let elements: Vec<Value> = self
                .existing
                .iter()
                .filter(in_set)
                .map(connection_json)
                .collect();
            if !elements.is_empty() {
                commands.push(add_elements(set, &elements));
            }
        }
        for set in [SetName::Hidden, SetName::Trial] {
            commands.push(object(&NfCmd::Flush(FlushObject::Set(Box::new(
                set.schema(),
            )))));
            let elements: Vec<Value> = self.elements(set).map(element_json).collect();
            if !elements.is_empty() {
                commands.push(add_elements(set, &elements));
            }
        }
        if self.settling {
            let ports = self.settling_ports();
            let elements: Vec<Value> = ports.map(|port| element_json((port, None))).collect();
            if !elements.is_empty() {
                commands.push(add_elements(SetName::Settling, &elements));
            }
        }
        for set in self
            .sets()
            .iter()
            .filter(|set| SetName::GATEWAY.contains(set))
        {
            let flush = FlushObject::Set(Box::new(set.schema()));
            commands.push(object(&NfCmd::Flush(flush)));
            let elements: Vec<Value> = self.inner_elements(*set).map(inner_element).collect();
            if !elements.is_empty() {
                commands.push(add_elements(*set, &elements));
            }
        }
        json!({ "nftables": commands })
    }

    /// The hidden ports, and how long each stays so where it is on trial.
    #[must_use]
    pub const fn hidden(&self) -> &BTreeMap<Service, Option<Duration>> {
        &self.hidden
    }

    /// How many rules each chain has; chains without one are not told. In the chains' order.
    pub(crate) fn rules(&self) -> BTreeMap<&'static str, usize> {
        let chains = self.chains.iter();
        let chains = chains.map(|chain| (chain.name, chain.rules.len()));
        chains.filter(|(_, rules)| *rules > 0).collect()
    }

    /// The hidden ports of inner hosts, where this machine is a gateway.
    pub(crate) const fn inner(&self) -> Option<&BTreeMap<InnerPort, Option<Duration>>> {
        self.inner.as_ref()
    }

    /// The table as nftables' own language says it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("table inet {TABLE} {{\n");
        for set in self.sets() {
            let elements: Vec<String> = self
                .elements(set)
                .map(|(service, rest)| element_text(service, rest))
                .chain(self.inner_elements(set).map(inner_text))
                .collect();
            text.push_str(&set.text(set.as_str(), &elements));
        }
        for chain in &self.chains {
            text.push_str(&chain.text());
        }
        text.push_str("}\n");
        text
    }

    /// What is declared in a set: hidden ports, those on trial.
    fn elements(&self, set: SetName) -> impl Iterator<Item = (Service, Option<Duration>)> {
        self.hidden
            .iter()
            .filter(move |(_, rest)| match set {
                SetName::Hidden => true,
                SetName::Trial => rest.is_some(),
                _ => false,
            })
            .map(|(service, rest)| (*service, *rest))
    }

    /// What is declared in a gateway's set: hidden ports of inner hosts.
    fn inner_elements(&self, set: SetName) -> impl Iterator<Item = (InnerPort, Option<Duration>)> {
        let four = match set {
            SetName::InnerHidden4 => Some(true),
            SetName::InnerHidden6 => Some(false),
            _ => None,
        };
        let all = self.inner.iter().flatten();
        all.filter(move |((address, _), _)| Some(address.is_ipv4()) == four)
            .map(|(port, rest)| (*port, *rest))
    }
}

impl TableChain {
    fn schema(&self) -> Chain<'static> {
        Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: self.name.into(),
            _type: self.hook.map(|_| self.kind),
            hook: self.hook.map(|(hook, _)| hook),
            prio: self.hook.map(|(_, priority)| priority),
            policy: self.hook.map(|_| NfChainPolicy::Accept),
            ..Chain::default()
        }
    }

    fn text(&self) -> String {
        let mut text = format!("\tchain {} {{\n", self.name);
        if let Some((hook, priority)) = self.hook {
            let hook = format!("{hook:?}").to_lowercase();
            let kind = format!("{:?}", self.kind).to_lowercase();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\t\ttype {kind} hook {hook} priority {priority}; policy accept;"
            );
        }
        for rule in &self.rules {
            let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
            let _ = writeln!(text, "\t\t{}", words.join(" "));
        }
        text.push_str("\t}\n");
        text
    }
}

/// The commands that take the table away, for `nft -j -f -`; nothing happens where it is not there.
#[must_use]
pub fn removal() -> Value {
    let table = sets::table();
    json!({ "nftables": [
        object(&NfCmd::Add(table.clone())),
        object(&NfCmd::Delete(table)),
    ]})
}

/// Seconds, at least one: zero would mean for ever.
fn seconds(time: Duration) -> u64 {
    let up = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(up).max(1)
}

fn element_json((service, rest): (Service, Option<Duration>)) -> Value {
    let key = json!({"concat": [service.protocol.as_str(), service.port.get()]});
    timed(key, rest)
}

fn inner_element(((address, port), rest): (InnerPort, Option<Duration>)) -> Value {
    let key = json!({"concat": [address, port.protocol.as_str(), port.port.get()]});
    timed(key, rest)
}

fn timed(key: Value, rest: Option<Duration>) -> Value {
    match rest {
        None => key,
        Some(rest) => json!({"elem": {"val": key, "timeout": seconds(rest)}}),
    }
}

/// How long a connection from before its port was hidden may be silent.
pub(crate) const fn idle_timeout(protocol: Protocol) -> Duration {
    let seconds = match protocol {
        Protocol::Udp => UDP_IDLE_TIMEOUT,
        Protocol::Tcp | Protocol::Sctp => TCP_IDLE_TIMEOUT,
    };
    Duration::from_secs(seconds as u64)
}

fn connection_json(one: &Element) -> Value {
    let timeout = idle_timeout(one.service.protocol).as_secs();
    let (service, port) = (one.service, one.source_port.map(NonZeroU16::get));
    let key = json!({"concat": [
        one.address, port, service.protocol.as_str(), service.port.get(),
    ]});
    json!({"elem": {"val": key, "timeout": timeout}})
}

fn add_elements(set: SetName, elements: &[Value]) -> Value {
    json!({"add": {"element": {
        "family": "inet", "table": TABLE, "name": set.as_str(), "elem": elements,
    }}})
}

fn element_text(service: Service, rest: Option<Duration>) -> String {
    let timeout = rest.map_or(String::new(), |rest| format!(" timeout {}s", seconds(rest)));
    format!("{} . {}{timeout}", service.protocol, service.port)
}

fn inner_text(((address, port), rest): (InnerPort, Option<Duration>)) -> String {
    format!("{address} . {}", element_text(port, rest))
}

/// A value of the crate's schema as JSON. Its types hold only text, numbers and
/// lists, which always have a JSON form.
fn object(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The guard's own reading of `always_allow`.
type AlwaysAllowed<'a> = &'a [AlwaysAllow];

#[cfg(test)]
mod data_tests;
#[cfg(test)]
mod gateway_tests;
#[cfg(test)]
mod tests;
