//! The table `inet spad` in guard mode, as data.
//!
//! [`Table::new`] builds the whole table from the configuration and the state of each hidden
//! port. Each rule is written once, as data: [`Table::transaction`] loads it, and
//! [`Table::text`] prints the same data for people. Pure; a test in
//! `server/spad/tests/it/firewall` shows that both mean the same to the kernel.
//!
//! To change a chain, look for its rules in [`chains`] or [`gateway`], for the answers to
//! strangers in [`rejections`], for a statement in [`stmt`] and its neighbours, for a set in
//! [`sets`], and for a chain's name in [`names`]. A new kind of statement needs a line in
//! [`print`].

pub mod answers;

mod chains;

mod context;

mod ct_stmt;

mod gateway;

mod location;

mod names;

mod nat_stmt;

pub(crate) mod prefix_mark;

mod print;

mod rejections;

mod set_stmt;

pub mod sets;

pub mod snippet;

mod stmt;

mod transaction;

use std::collections::BTreeMap;
use std::time::Duration;

use answers::{Answers, Reply};
pub(crate) use chains::{LAST_PRIORITY, PREROUTING_PRIORITY};
pub(crate) use ct_stmt::ADMITTED_LABEL;
pub(crate) use gateway::InnerPort;
pub use location::SetLocation;
pub(crate) use names::ChainName;
use names::Names;
use nftables::schema::Chain;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
pub use print::PrintError;
use serde_json::Value;
pub use sets::{SET_SIZE, SetLayout, SetName};
use spa_proto::{Protocol, Service};
use spad_config::{AlwaysAllow, Answer, Config};
use spad_model::{Element, PortState};
use stmt::Stmt;
pub(crate) use transaction::idle_timeout;
pub use transaction::removal;

/// The name of our table; its family is `inet`.
pub const TABLE: &str = "spad";

/// What the kernel and this host contribute to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Seeds the flow labels of our IPv6 resets; `None` where this kernel sets none itself.
    pub flow_label_seed: Option<u32>,
    /// Connection tracking has labels.
    pub labels: bool,
    /// The answers of this host's closed ports, by the rules of others.
    pub closed_ports: Answers,
}

/// The whole table that the kernel should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    chains: Vec<TableChain>,
    hidden: BTreeMap<Service, Option<Duration>>,
    /// Hidden ports of inner hosts; none where this machine is no gateway.
    inner: Option<BTreeMap<InnerPort, Option<Duration>>>,
    /// Connections that are older than their port's hiding, each with its source port.
    existing: Vec<Element>,
    /// The table was missing a moment ago.
    settling: bool,
}

/// One chain with its rules.
#[derive(Clone, Debug, PartialEq)]
struct TableChain {
    name: ChainName,
    kind: NfChainType,
    hook: Option<(NfHook, i32)>,
    rules: Vec<Vec<Stmt>>,
}

impl Table {
    /// The table that `config` asks for, with each hidden port in its state.
    #[must_use]
    pub fn new(
        config: &Config,
        port_states: &BTreeMap<Service, PortState>,
        facts: &HostFacts,
    ) -> Self {
        let hidden: BTreeMap<Service, Option<Duration>> = port_states
            .iter()
            .filter_map(|(service, state)| match state {
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
            // With "any" every port would be silent, those of exposed services too.
            Answer::Drop if !ports.is_any() => ports.ranges(),
            // Nothing listens on them, so they are closed: the kernel and the host's own
            // rules answer there as anywhere.
            _ => &[],
        };
        let context = context::RuleContext {
            names: Names::OWN,
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

    /// The same table, which accepts these connections from its first moment on: an established
    /// connection that connection tracking has not seen looks like a stray segment.
    #[must_use]
    pub(crate) fn with_existing_connections(mut self, connections: Vec<Element>) -> Self {
        self.existing = connections;
        self
    }

    /// The same table, loaded where the table was missing a moment ago.
    #[must_use]
    pub(crate) fn settling(mut self) -> Self {
        self.settling = true;
        self
    }

    /// The hidden ports that a stranger's datagram may have reached while the table was missing.
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

    /// The hidden ports, and the rest of the trial of each that is on trial.
    #[must_use]
    pub const fn hidden(&self) -> &BTreeMap<Service, Option<Duration>> {
        &self.hidden
    }

    /// The number of rules of each chain that has any, in the order of the chains' names.
    pub(crate) fn rules(&self) -> BTreeMap<&'static str, usize> {
        let chains = self.chains.iter();
        let chains = chains.map(|chain| (chain.name.as_str(), chain.rules.len()));
        chains.filter(|(_, rules)| *rules > 0).collect()
    }

    /// The hidden ports of inner hosts, where this machine is a gateway.
    pub(crate) const fn inner(&self) -> Option<&BTreeMap<InnerPort, Option<Duration>>> {
        self.inner.as_ref()
    }

    /// The table in nft's language.
    ///
    /// # Errors
    /// Where a rule has a part that [`print`] does not know.
    pub fn text(&self) -> Result<String, PrintError> {
        let mut text = format!("table inet {TABLE} {{\n");
        for set in self.sets() {
            let elements = self.elements(set);
            let elements: Result<Vec<String>, PrintError> =
                elements.iter().map(print::element).collect();
            text.push_str(&set.text(Names::OWN, &elements?));
        }
        for chain in &self.chains {
            text.push_str(&chain.text(Names::OWN)?);
        }
        text.push_str("}\n");
        Ok(text)
    }
}

impl TableChain {
    fn schema(&self, names: Names<'_>) -> Chain<'static> {
        Chain {
            family: NfFamily::INet,
            table: names.table.to_owned().into(),
            name: names.chain(self.name).into(),
            _type: self.hook.map(|_| self.kind),
            hook: self.hook.map(|(hook, _)| hook),
            prio: self.hook.map(|(_, priority)| priority),
            policy: self.hook.map(|_| NfChainPolicy::Accept),
            ..Chain::default()
        }
    }

    fn text(&self, names: Names<'_>) -> Result<String, PrintError> {
        print::chain(&object(&self.schema(names)), &self.rules)
    }
}

/// A value of the crate's schema as JSON. Its types contain only text, numbers and lists,
/// which always have a JSON form.
fn object(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The entries of `always_allow`.
type AlwaysAllowed<'a> = &'a [AlwaysAllow];

#[cfg(test)]
mod gateway_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;
