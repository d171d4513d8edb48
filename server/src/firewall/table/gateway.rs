//! The chains of a gateway: who is led to an inner host, and who reaches it at all.
//!
//! Pure. The sets of grants are the only thing that changes with a grant: where a
//! port leads to is declared, so these rules stand still, and a grant is one element
//! here as everywhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nftables::types::{NfChainType, NfHook};
use spa_proto::Service;

use super::chains::{
    LAST_PRIORITY, Rule, RuleContext, base_chain, networks4, networks6, regular_chain,
};
use super::ct_stmt::{is_original, is_syn, passes_rp_filter, saddr_sport_in_set, set_hop_limit};
use super::nat_stmt::{
    daddr_in_set, daddr_is_inner, dnat, dnat_from, dport_is, in_set_by_original_dport, masquerade,
};
use super::sets::SetName;
use super::stmt::{
    Field, Stmt, accept, add_to, daddr_is_local, delete_from, goto, has_no_flow_label, iifname_is,
    in_set, is_reset, not_syn, protocol, saddr_in, set_flow_label,
};
use super::{AlwaysAllowed, TableChain};
use crate::config::{AlwaysAllow, Forward, PrefixLengths};

/// Before the administrator's own destination NAT: who has a grant is led by it.
const BEFORE_DNAT: i32 = -105;
/// Before the administrator's own source NAT.
const BEFORE_SNAT: i32 = 95;

/// An address and port of an inner host.
pub(crate) type InnerPort = (IpAddr, Service);

/// The ports of inner hosts that nobody reaches without a grant, with the rest of
/// their trial: the least open of the ports that lead there decides.
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
    let mut forward = initiated_inside(context);
    forward.extend(context.always_allowed_after_prerouting());
    forward.push(vec![daddr_in_set(SetName::InnerHidden4), goto("inside")]);
    forward.push(vec![daddr_in_set(SetName::InnerHidden6), goto("inside")]);
    let mut chains = nat_chains(forwards, context.allowed, context.lengths);
    chains.push(regular_chain("led", accept_forwarded(forwards, context)));
    chains.push(regular_chain("inside", check_inner(context)));
    chains.push(base_chain(
        "through",
        NfHook::Forward,
        LAST_PRIORITY,
        forward,
    ));
    chains.push(base_chain(
        "farther",
        NfHook::Output,
        LAST_PRIORITY,
        output_inner(flow_labels),
    ));
    chains
}

/// The sets of inner hosts' ports, with what names such a host.
const INNER: [(SetName, Field); 2] = [
    (SetName::InnerHidden4, Field::Source4),
    (SetName::InnerHidden6, Field::Source6),
];

/// Connections that an inner host begins from a hidden port are let in by that.
fn initiated_inside(context: RuleContext<'_>) -> Vec<Rule> {
    let Some(admitted) = context.set_admitted() else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (inner, address) in INNER {
        let from = saddr_sport_in_set(inner, address);
        rules.push(vec![is_syn(), from.clone(), admitted.clone()]);
        rules.push(vec![protocol("udp"), is_original(), from, admitted.clone()]);
    }
    rules
}

/// This host's resets in an inner host's name are as far from the client as those of the
/// inner host itself, and have a flow label as its own have.
fn output_inner(flow_labels: Option<u32>) -> Vec<Rule> {
    let rule = |(inner, address): (SetName, Field)| {
        vec![
            is_reset(),
            saddr_sport_in_set(inner, address),
            set_hop_limit(address == Field::Source4),
        ]
    };
    let mut rules: Vec<Rule> = INNER.map(rule).into();
    rules.extend(flow_labels.map(|seed| {
        vec![
            is_reset(),
            saddr_sport_in_set(SetName::InnerHidden6, Field::Source6),
            has_no_flow_label(),
            set_flow_label(seed),
        ]
    }));
    rules
}

/// Those that lead, and change nothing about who reaches what.
pub(super) fn nat_chains(
    forwards: &[Forward],
    allowed: AlwaysAllowed<'_>,
    lengths: &PrefixLengths,
) -> Vec<TableChain> {
    let prerouting = vec![vec![daddr_is_local(), goto("leading")]];
    let masquerading = forwards.iter().filter(|one| one.masquerade);
    let masquerading = masquerading
        .map(|one| [daddr_is_inner(one), dnat_from(one), vec![masquerade()]].concat())
        .collect();
    vec![
        regular_chain("leading", dnat_granted(forwards, allowed, lengths)),
        nat("lead", NfHook::Prerouting, BEFORE_DNAT, prerouting),
        nat("leave", NfHook::Postrouting, BEFORE_SNAT, masquerading),
    ]
}

fn nat(name: &'static str, hook: NfHook, priority: i32, rules: Vec<Rule>) -> TableChain {
    let mut chain = base_chain(name, hook, priority, rules);
    chain.kind = NfChainType::NAT;
    chain
}

/// The sets of grants of the inner host's family.
fn grant_sets(one: &Forward) -> [SetName; 3] {
    if one.address.is_ipv4() {
        [SetName::Grants4, SetName::GrantsPort4, SetName::GrantsOnce4]
    } else {
        [SetName::Grants6, SetName::GrantsPort6, SetName::GrantsOnce6]
    }
}

/// The networks of the inner host's family that were let in to this port.
fn networks(one: &Forward, lengths: &PrefixLengths, port: Field) -> Vec<Stmt> {
    if one.address.is_ipv4() {
        networks4(lengths, port)
    } else {
        networks6(lengths, port)
    }
}

/// Who is led: whoever has a grant, and whoever never needs one.
fn dnat_granted(
    forwards: &[Forward],
    allowed: AlwaysAllowed<'_>,
    lengths: &PrefixLengths,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for one in forwards {
        let [grants, flow, once] = grant_sets(one);
        let mut push_rule = |conditions: Rule| {
            rules.push([dport_is(one.outer), conditions, vec![dnat(one)]].concat());
        };
        for allow in allowed {
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
        push_rule(vec![in_set(grants)]);
        push_rule(vec![in_set(flow)]);
        for network in networks(one, lengths, Field::Port) {
            push_rule(vec![network]);
        }
        // `judge` has moved the hole already, where the port is hidden.
        push_rule(vec![in_set(once), delete_from(once), add_to(flow)]);
    }
    rules
}

/// Who may reach a hidden port of an inner host, whichever way: those who were led
/// there by a grant that they still have. A drop of a later chain is not overruled.
fn check_inner(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    // What was cut does not go on by a route to the inner host either, where that still
    // talks and connection tracking so knows the connection again; as in `judge`.
    for cut in [SetName::Cut4, SetName::Cut6] {
        let established = || vec![not_syn(), in_set(cut)];
        rules.push([established(), vec![is_reset(), accept()]].concat());
        rules.push([established(), vec![goto("strangers")]].concat());
        rules.push(vec![protocol("udp"), in_set(cut), goto("led")]);
    }
    rules.extend(context.established_rules());
    rules.push(vec![not_syn(), goto("strangers")]);
    rules.push(vec![goto("led")]);
    rules
}

/// Who was led there by a grant; one that was cut may so begin anew. A rule of the host's may
/// have led there from an address that is not this host's, so the label is given here too.
fn accept_forwarded(forwards: &[Forward], context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for one in forwards.iter().filter(|one| one.hidden) {
        let [grants, flow, _] = grant_sets(one);
        let cut = if one.address.is_ipv4() {
            SetName::Cut4
        } else {
            SetName::Cut6
        };
        let granted = [grants, flow].map(in_set_by_original_dport).into_iter();
        for word in granted.chain(networks(one, context.lengths, Field::OriginalPort)) {
            let admit = [delete_from(cut)].into_iter().chain(context.set_admitted());
            let admitted = [word].into_iter().chain(admit).chain([accept()]);
            rules.push([daddr_is_inner(one), dnat_from(one), admitted.collect()].concat());
        }
    }
    rules.push(vec![goto("strangers")]);
    rules
}
