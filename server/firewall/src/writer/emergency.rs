//! The emergency table: hides what is to be hidden where the program `nft` cannot be used.
//!
//! It goes in over netlink in one transaction, within a millisecond and without starting a
//! program. The hidden ports are dropped for everybody: there are no grants. What
//! `always_allow` names may pass, and what belongs to an established connection. Its chains
//! are called `emergency…`, by which it is known again; the next load by `nft` replaces it.
//!
//! [`Plan`] and its messages are pure; [`load`] is I/O. In the mode "set" there is nothing to
//! do here, for there the administrator's own rules hide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use Expression::{Accept, Drop, Goto, In, Is, IsNot, Load as Read, Mask};
use rustix::io::Errno;
use spa_proto::{Protocol, Service};
use spad_config::AlwaysAllow;
use spad_model::Network;

use super::netlink::ruleset::{
    Expression, Hook, Load, add_chain, add_elements, add_rule, add_set, add_table, delete_table,
};
use super::netlink::{Action, Message, Netlink, Timeout, TransactionError};
use super::{element_key, existing_connections};
use crate::table::{
    ADMITTED_LABEL, ChainName, InnerPort, LAST_PRIORITY, PREROUTING_PRIORITY, SetLocation, SetName,
    Table,
};

type Rule = Vec<Expression>;

/// A key, and how long it stays.
type Element = (Vec<u8>, Timeout);

/// Its name, its hook with the priority if it has one, its rules.
type Chain = (&'static str, Option<(Hook, i32)>, Vec<Rule>);

/// What the table says of itself where `nft list table inet spad` shows it.
const COMMENT: &str = "emergency: nft could not be used, so nobody has a grant; spad firewall load";

/// What strangers get at hidden ports while it stands.
pub(super) const STRANGER_REPLY: &str = "nothing: the emergency table drops the hidden ports for everybody, whatever closed ports answer";

/// The chains.
const PREROUTING: &str = "emergency";
const INPUT: &str = "emergency_input";
const FORWARD: &str = "emergency_forward";
const HIDDEN: &str = "emergency_hidden";

/// Chains of the full table without whose rules nothing is hidden.
const FULL_TABLE_CHAINS: [ChainName; 5] = [
    ChainName::Prerouting,
    ChainName::Input,
    ChainName::LateInput,
    ChainName::CheckGrant,
    ChainName::AcceptGranted,
];

/// What is to be hidden, and who is let in all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The rest of its trial where a port is on trial.
    hidden: BTreeMap<Service, Option<Duration>>,
    inner: BTreeMap<InnerPort, Option<Duration>>,
    allowed: Vec<AlwaysAllow>,
    established: EstablishedPolicy,
}

/// What of the connections that are there goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EstablishedPolicy {
    /// Whatever is established: it was so before its port was hidden.
    Any,
    /// What our table let in, by the label that it gave: others slipped in while it was away.
    AdmittedOnly,
}

/// What is done with a table that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// A full table stays, and what it does not hide yet is put in.
    Keep,
    /// Nobody knows what became of it.
    Replace,
}

/// What hides now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HiddenBy {
    /// The full table that was there.
    FullTable,
    /// The emergency table.
    EmergencyTable,
}

/// What stands in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableState {
    /// No table, or none that hides.
    Missing,
    /// The full table.
    Full,
    /// The emergency table.
    Emergency,
}

impl TableState {
    /// What that means for what is to be hidden.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Missing => "nothing is hidden",
            Self::Full => "the table inet spad that was loaded before goes on hiding",
            Self::Emergency => {
                "an emergency table inet spad drops the hidden ports for everybody, and nobody has a grant"
            }
        }
    }
}

/// How much is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All of it.
    Full,
    /// Only what every kernel with nftables has without another module: ports of this host
    /// are hidden where they are delivered, and nobody but an interface is let in.
    Minimal,
}

impl Plan {
    /// The plan that hides what this table hides.
    pub(super) fn new(
        table: &Table,
        allowed: &[AlwaysAllow],
        established: EstablishedPolicy,
    ) -> Self {
        Self {
            hidden: table.hidden().clone(),
            inner: table.inner().cloned().unwrap_or_default(),
            allowed: allowed.to_vec(),
            established,
        }
    }

    /// The elements of each set.
    pub(super) fn elements(&self) -> Vec<(SetName, Vec<Element>)> {
        let timeout = |rest: &Option<Duration>| rest.map_or(Timeout::Never, Timeout::For);
        let hidden = self.hidden.iter();
        let hidden = hidden.map(|(port, rest)| (element_key::from_service(*port), timeout(rest)));
        let inner = |four: bool| {
            let all = self.inner.iter();
            all.filter(move |((address, _), _)| address.is_ipv4() == four)
                .map(|(port, rest)| (element_key::from_inner(*port), timeout(rest)))
                .collect::<Vec<_>>()
        };
        let gateway = [
            (SetName::InnerHidden4, true),
            (SetName::InnerHidden6, false),
        ];
        let gateway = gateway.map(|(set, four)| (set, inner(four)));
        std::iter::once((SetName::Hidden, hidden.collect()))
            .chain(
                gateway
                    .into_iter()
                    .filter(|(_, elements)| !elements.is_empty()),
            )
            .collect()
    }

    /// The transaction that puts the table in the place of whatever has its name.
    fn messages(&self, extent: Scope) -> Vec<Message> {
        let location = SetLocation::own_table();
        let mut messages = vec![
            add_table(&location, ""),
            delete_table(&location),
            add_table(&location, COMMENT),
        ];
        let elements = self.elements();
        messages.extend(elements.iter().map(|(set, _)| add_set(&location, *set)));
        let chains = self.chains(extent);
        for (name, hook, _) in &chains {
            messages.push(add_chain(&location, name, *hook));
        }
        for (name, _, rules) in &chains {
            messages.extend(rules.iter().map(|rule| add_rule(&location, name, rule)));
        }
        for (set, elements) in &elements {
            messages.extend(add_elements(&location, *set, elements));
        }
        messages
    }

    /// The chains, each before those that lead to it.
    fn chains(&self, extent: Scope) -> Vec<Chain> {
        let allowed = |by| self.allowed(extent, by);
        let mut chains = vec![(HIDDEN, None, stranger_rules(extent, self.established))];
        if extent == Scope::Full {
            let mut hidden = dport_is_hidden();
            hidden.extend([
                Read(Load::DestinationType, 0),
                Is(LOCAL.to_ne_bytes().into()),
            ]);
            hidden.push(Goto(HIDDEN));
            let rules = [allowed(Load::ReversePath), vec![hidden]].concat();
            chains.push((
                PREROUTING,
                Some((Hook::Prerouting, PREROUTING_PRIORITY)),
                rules,
            ));
        }
        let hidden = [dport_is_hidden(), vec![Goto(HIDDEN)]].concat();
        // Here every way leads back; what NAT did not move was looked at before.
        let rules = [allowed(Load::ConnectionStatus), vec![hidden]].concat();
        chains.push((INPUT, Some((Hook::Input, LAST_PRIORITY)), rules));
        let sets = self.elements();
        let inner = sets.iter().filter_map(|(set, _)| match set {
            SetName::InnerHidden4 => Some(daddr_is_inner(*set, IPV4, (16, 4))),
            SetName::InnerHidden6 => Some(daddr_is_inner(*set, IPV6, (24, 16))),
            _ => None,
        });
        let inner: Vec<Rule> = inner.collect();
        if !inner.is_empty() {
            let rules = [allowed(Load::ReversePath), inner].concat();
            chains.push((FORWARD, Some((Hook::Forward, LAST_PRIORITY)), rules));
        }
        chains
    }

    fn allowed(&self, extent: Scope, by: Load) -> Vec<Rule> {
        let mut rules = vec![iifname_is("lo")];
        for one in &self.allowed {
            match (one, extent) {
                (AlwaysAllow::Interface(name), _) if name == "lo" => {}
                (AlwaysAllow::Interface(name), _) => rules.push(iifname_is(name)),
                (AlwaysAllow::Network(network), Scope::Full) => rules.push(saddr_in(network, by)),
                (AlwaysAllow::Network(_), Scope::Minimal) => {}
            }
        }
        rules
    }
}

const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// An address of this host, as the kernel numbers kinds of addresses.
const LOCAL: u32 = 2;

fn iifname_is(interface: &str) -> Rule {
    let mut name = interface.as_bytes().to_vec();
    name.resize(16, 0);
    vec![Read(Load::InputInterface, 0), Is(name), Accept]
}

/// From this network, and not with a forged source: by the interface that leads there, or not
/// moved by NAT since that was seen.
fn saddr_in(network: &Network, by: Load) -> Rule {
    const MOVED: u32 = 1 << 5;
    let (family, offset, address) = match network.address {
        IpAddr::V4(address) => (IPV4, 12, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6, 8, address.octets().to_vec()),
    };
    let length = u32::try_from(address.len()).unwrap_or(4);
    let prefix = usize::from(network.prefix);
    let mask = (0..address.len()).map(|byte| {
        let bits = prefix.saturating_sub(byte.saturating_mul(8)).min(8);
        u8::MAX
            .checked_shl(8_u32.saturating_sub(u32::try_from(bits).unwrap_or(8)))
            .unwrap_or(0)
    });
    let mut rule = vec![
        Read(Load::Family, 0),
        Is(vec![family]),
        Read(Load::Network { offset, length }, 0),
        Mask(mask.collect()),
        Is(address),
        Read(by, 0),
    ];
    match by {
        Load::ConnectionStatus => {
            rule.extend([Mask(MOVED.to_ne_bytes().into()), Is(vec![0; 4])]);
        }
        _ => rule.push(IsNot(vec![0; 4])),
    }
    rule.push(Accept);
    rule
}

const DESTINATION_PORT: Load = Load::Transport {
    offset: 2,
    length: 2,
};

fn dport_is_hidden() -> Rule {
    vec![
        Read(Load::Protocol, 0),
        Read(DESTINATION_PORT, 1),
        In(SetName::Hidden),
    ]
}

/// To an inner host's hidden port; where the destination stands in the network header.
fn daddr_is_inner(set: SetName, family: u8, (offset, length): (u32, u32)) -> Rule {
    let words = length / 4;
    vec![
        Read(Load::Family, 0),
        Is(vec![family]),
        Read(Load::Network { offset, length }, 0),
        Read(Load::Protocol, words),
        Read(DESTINATION_PORT, words.saturating_add(1)),
        In(set),
        Goto(HIDDEN),
    ]
}

/// What comes to a hidden port. As in the full table a first segment never passes, whatever
/// connection tracking thinks of it.
fn stranger_rules(extent: Scope, policy: EstablishedPolicy) -> Vec<Rule> {
    if extent == Scope::Minimal {
        return vec![vec![Drop]];
    }
    const FLAGS: Load = Load::Transport {
        offset: 13,
        length: 1,
    };
    const SYN: u8 = 0x02;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    const ESTABLISHED: u32 = 2;
    let is = |protocol: Protocol| [Read(Load::Protocol, 0), Is(vec![protocol.number()])];
    let mut established = vec![
        Read(Load::ConnectionState, 0),
        Mask(ESTABLISHED.to_ne_bytes().into()),
        IsNot(vec![0; 4]),
    ];
    if policy == EstablishedPolicy::AdmittedOnly {
        let label = 1_u128 << ADMITTED_LABEL;
        established.extend([
            Read(Load::ConnectionLabels, 0),
            Mask(label.to_ne_bytes().into()),
            IsNot(vec![0; 16]),
        ]);
    }
    established.push(Accept);
    let not_syn = [
        Read(FLAGS, 0),
        Mask(vec![FIN_SYN_RST_ACK]),
        IsNot(vec![SYN]),
    ];
    vec![
        [&is(Protocol::Tcp)[..], &not_syn, &established].concat(),
        [&is(Protocol::Udp)[..], &established].concat(),
        vec![Drop],
    ]
}

/// Hides what the plan says, in one transaction; says by which table it is hidden now.
///
/// # Errors
/// Why the kernel took neither the whole table nor the bare one; nothing was changed then.
pub(super) fn load(
    netlink: &mut Netlink,
    plan: &Plan,
    existing: Existing,
) -> Result<HiddenBy, TransactionError> {
    if existing == Existing::Keep && table_state(netlink) == Ok(TableState::Full) {
        match hide_in_full_table(netlink, plan) {
            // It cannot hide what the plan leads to inner hosts.
            Err(TransactionError::Transaction(Errno::NOENT)) => {}
            hidden => return hidden.map(|()| HiddenBy::FullTable),
        }
    }
    match netlink.send_batch(&plan.messages(Scope::Full)) {
        Ok(()) => return Ok(HiddenBy::EmergencyTable),
        // A kernel without labels for connections lets go on whatever is established.
        Err(_) if plan.established == EstablishedPolicy::AdmittedOnly => {
            let going = EstablishedPolicy::Any;
            let plan = Plan {
                established: going,
                ..plan.clone()
            };
            if netlink.send_batch(&plan.messages(Scope::Full)).is_ok() {
                return Ok(HiddenBy::EmergencyTable);
            }
        }
        Err(_) => {}
    }
    // A module may be missing: of connection tracking, or of routing.
    netlink.send_batch(&plan.messages(Scope::Minimal))?;
    Ok(HiddenBy::EmergencyTable)
}

/// What stands in the kernel.
///
/// # Errors
/// What the kernel says.
pub(super) fn table_state(netlink: &mut Netlink) -> Result<TableState, Errno> {
    let location = SetLocation::own_table();
    match netlink.is_dormant(location.table()) {
        // Not there, or the kernel passes all its rules by.
        Err(Errno::NOENT) | Ok(true) => return Ok(TableState::Missing),
        Ok(false) => {}
        Err(error) => return Err(error),
    }
    let rules = netlink.rule_counts(location.table())?;
    let has = |chain: &str| rules.contains_key(chain);
    Ok(if has(HIDDEN) && has(INPUT) {
        TableState::Emergency
    } else if FULL_TABLE_CHAINS.iter().all(|chain| has(chain.as_str())) {
        TableState::Full
    } else {
        TableState::Missing
    })
}

/// Whether the kernel has every rule of this table, as far as their number tells.
pub(super) fn is_intact(netlink: &mut Netlink, table: &Table) -> bool {
    let rules = netlink
        .rule_counts(SetLocation::own_table().table())
        .unwrap_or_default();
    let found = rules.iter().map(|(chain, count)| (chain.as_str(), *count));
    found.eq(table.rules())
}

/// Puts in what the full table does not hide yet.
///
/// # Errors
/// `NOENT` where it lacks a set for it.
fn hide_in_full_table(netlink: &mut Netlink, plan: &Plan) -> Result<(), TransactionError> {
    let location = SetLocation::own_table();
    let mut messages = Vec::new();
    for (set, mut elements) in plan.elements() {
        let listed = netlink
            .list_in(&location, set)
            .map_err(TransactionError::Transaction)?;
        let hidden: BTreeSet<Vec<u8>> = listed.into_iter().map(|(key, _)| key).collect();
        elements.retain(|(key, _)| !hidden.contains(key));
        if set == SetName::Hidden {
            let new = elements
                .iter()
                .filter_map(|(key, _)| element_key::to_service(key));
            // The administrator's own connection goes on, and is let in by name for that.
            for one in existing_connections::elements(netlink, &new.collect()).1 {
                if let Action::Add(lasts) = one.action {
                    messages.extend(add_elements(&location, one.set, &[(one.key, lasts)]));
                }
            }
        }
        messages.extend(add_elements(&location, set, &elements));
    }
    netlink.send_batch(&messages)
}

#[cfg(test)]
mod tests;
