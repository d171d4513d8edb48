//! The chains of a gateway: who is forwarded to an inner host, and who reaches it at all.
//!
//! Pure. Where a port forwards to is declared, so these rules do not change with a grant. A
//! grant is one element of the same sets as any other grant.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nftables::types::{NfChainType, NfHook};
use spa_proto::Service;
use spad_config::{AlwaysAllow, Forward};

use super::TableChain;
use super::chains::LAST_PRIORITY;
use super::context::{Rule, RuleContext, base_chain, regular_chain};
use super::ct_stmt::is_original;
use super::names::{ChainName, Names};
use super::nat_stmt::{daddr_is_inner, dnat, dnat_from, dport_is, masquerade};
use super::sets::{FamilySets, SetName};
use super::stmt::{
    Field, Stmt, accept, daddr_is_local, has_no_flow_label, iifname_is, is_reset, is_syn, not_syn,
    passes_rp_filter, protocol, saddr_in, set_flow_label, set_hop_limit,
};

/// Before the administrator's own destination NAT, so that a grant decides first.
const BEFORE_DNAT: i32 = -105;
/// Before the administrator's own source NAT.
const BEFORE_SNAT: i32 = 95;

/// An address and port of an inner host.
pub(crate) type InnerPort = (IpAddr, Service);

/// The ports of inner hosts that require a grant, with the rest of their trial: the least open
/// of the ports that forward there decides.
pub(super) fn hidden_inner(
    forwards: &[Forward],
    outer: &BTreeMap<Service, Option<Duration>>,
) -> BTreeMap<InnerPort, Option<Duration>> {
    let mut hidden: BTreeMap<InnerPort, Option<Duration>> = BTreeMap::new();
    for one in forwards.iter().filter(|one| one.hidden) {
        let Some(rest) = outer.get(&one.outer) else {
            continue;
        };
        let latest = hidden.entry((one.address, one.inner)).or_insert(*rest);
        *latest = match (*latest, *rest) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
    hidden
}

/// The chains; declared even where they are empty, like all of ours.
pub(super) fn chains(
    forwards: &[Forward],
    context: RuleContext<'_>,
    flow_labels: Option<u32>,
) -> Vec<TableChain> {
    let mut chains = nat_chains(forwards, context);
    chains.extend([
        regular_chain(
            ChainName::AcceptForwarded,
            accept_forwarded(forwards, context),
        ),
        regular_chain(ChainName::CheckInner, check_inner(context)),
        base_chain(
            ChainName::ForwardInner,
            NfHook::Forward,
            LAST_PRIORITY,
            forward_inner(context),
        ),
        base_chain(
            ChainName::OutputInner,
            NfHook::Output,
            LAST_PRIORITY,
            output_inner(context.names, flow_labels),
        ),
    ]);
    chains
}

/// The sets of inner hosts' ports, with the field that names such a host as a source.
const INNER: [(SetName, Field); 2] = [
    (SetName::InnerHidden4, Field::Source4),
    (SetName::InnerHidden6, Field::Source6),
];

/// The packet's source address and port are an element of the set of inner ports.
fn comes_from_inner(names: Names<'_>, set: SetName, address: Field) -> Stmt {
    names.fields_in_set(&[address, Field::Protocol, Field::SourcePort], set)
}

fn forward_inner(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = initiated_inside(context);
    rules.extend(context.always_allowed_after_prerouting());
    for set in SetName::GATEWAY {
        let to_inner = context.names.in_set(set);
        rules.push(vec![to_inner, context.names.goto(ChainName::CheckInner)]);
    }
    rules
}

/// Admits connections that an inner host begins from a hidden port.
fn initiated_inside(context: RuleContext<'_>) -> Vec<Rule> {
    let Some(admitted) = context.set_admitted() else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (set, address) in INNER {
        let from = comes_from_inner(context.names, set, address);
        rules.push(vec![is_syn(), from.clone(), admitted.clone()]);
        rules.push(vec![protocol("udp"), is_original(), from, admitted.clone()]);
    }
    rules
}

/// Makes this host's resets in an inner host's name as far from the client as the inner host's
/// own, and gives them a flow label as that host's have.
fn output_inner(names: Names<'_>, flow_labels: Option<u32>) -> Vec<Rule> {
    let rule = |(set, address): (SetName, Field)| {
        vec![
            is_reset(),
            comes_from_inner(names, set, address),
            set_hop_limit(address == Field::Source4),
        ]
    };
    let mut rules: Vec<Rule> = INNER.map(rule).into();
    rules.extend(flow_labels.map(|seed| {
        vec![
            is_reset(),
            comes_from_inner(names, SetName::InnerHidden6, Field::Source6),
            has_no_flow_label(),
            set_flow_label(seed),
        ]
    }));
    rules
}

/// The chains that forward connections; they decide nothing about who reaches what else.
pub(super) fn nat_chains(forwards: &[Forward], context: RuleContext<'_>) -> Vec<TableChain> {
    let to_dnat = context.names.goto(ChainName::DnatGranted);
    let prerouting = vec![vec![daddr_is_local(), to_dnat]];
    let masquerading = forwards.iter().filter(|one| one.masquerade);
    let masquerading = masquerading
        .map(|one| [daddr_is_inner(one), dnat_from(one), vec![masquerade()]].concat())
        .collect();
    vec![
        regular_chain(ChainName::DnatGranted, dnat_granted(forwards, context)),
        nat(
            ChainName::NatPrerouting,
            NfHook::Prerouting,
            BEFORE_DNAT,
            prerouting,
        ),
        nat(
            ChainName::NatPostrouting,
            NfHook::Postrouting,
            BEFORE_SNAT,
            masquerading,
        ),
    ]
}

fn nat(name: ChainName, hook: NfHook, priority: i32, rules: Vec<Rule>) -> TableChain {
    let mut chain = base_chain(name, hook, priority, rules);
    chain.kind = NfChainType::NAT;
    chain
}

/// Sends to the inner host whoever has a grant or never needs one.
fn dnat_granted(forwards: &[Forward], context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    for one in forwards {
        let family = FamilySets::for_address(one.address);
        let mut push_rule = |conditions: Rule| {
            rules.push([dport_is(one.outer), conditions, vec![dnat(one)]].concat());
        };
        for allow in context.allowed {
            match allow {
                AlwaysAllow::Interface(name) => push_rule(vec![iifname_is(name)]),
                AlwaysAllow::Network(network)
                    if network.address.is_ipv4() == one.address.is_ipv4() =>
                {
                    push_rule(vec![saddr_in(network), passes_rp_filter()]);
                }
                AlwaysAllow::Network(_) => {}
            }
        }
        push_rule(vec![names.in_set(family.grants)]);
        push_rule(vec![names.in_set(family.grants_port)]);
        for network in context.in_grant_networks(family, Field::Port) {
            push_rule(vec![network]);
        }
        // Where the port is hidden, `AcceptGranted` has moved the grant already.
        let (once, port) = (family.grants_once, family.grants_port);
        push_rule(vec![
            names.in_set(once),
            names.delete_from(once),
            names.add_to(port),
        ]);
    }
    rules
}

/// Decides who may reach a hidden port of an inner host, by whatever path: those whom a grant
/// forwarded there and who still have it. A drop in a later chain is not overruled.
fn check_inner(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let reject = || names.goto(ChainName::RejectUngranted);
    let accept_forwarded = || names.goto(ChainName::AcceptForwarded);
    let mut rules = Vec::new();
    // A connection that was cut does not continue by a route to the inner host either, where
    // that still answers and connection tracking knows the connection again. As in `CheckGrant`.
    for FamilySets { cut, .. } in FamilySets::BOTH {
        rules.push(vec![not_syn(), names.in_set(cut), is_reset(), accept()]);
        rules.push(vec![not_syn(), names.in_set(cut), reject()]);
        rules.push(vec![protocol("udp"), names.in_set(cut), accept_forwarded()]);
    }
    rules.extend(context.established_rules());
    rules.push(vec![not_syn(), reject()]);
    rules.push(vec![accept_forwarded()]);
    rules
}

/// Accepts whom a grant forwarded; a connection that was cut may begin again this way. A rule of
/// the host's may have forwarded it from an address that is not this host's, so this sets the
/// label too.
fn accept_forwarded(forwards: &[Forward], context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    for one in forwards.iter().filter(|one| one.hidden) {
        let family = FamilySets::for_address(one.address);
        let sets = [family.grants, family.grants_port];
        let granted = sets.map(|set| names.in_set_by_original_dport(set));
        let networks = context.in_grant_networks(family, Field::OriginalPort);
        for grant in granted.into_iter().chain(networks) {
            let mut admit = vec![grant, names.delete_from(family.cut)];
            admit.extend(context.set_admitted());
            admit.push(accept());
            rules.push([daddr_is_inner(one), dnat_from(one), admit].concat());
        }
    }
    rules.push(vec![names.goto(ChainName::RejectUngranted)]);
    rules
}
