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

use super::chains::{Judging, LAST, Rule, base, networks4, networks6, ordinary};
use super::label_words::{
    comes_the_way_back, is_first_segment, is_original, one_hop_away, source_in,
};
use super::nat_words::{
    dnat, in_set_by_first_port, led_from, masquerade, sent_to, to_inner, to_port,
};
use super::sets::SetName;
use super::words::{
    Field, Word, accept, add_to, arrived_at, came_from, delete_from, for_this_host, goto,
    has_no_flow_label, in_set, is_no_first_segment, is_reset, protocol, set_flow_label,
};
use super::{Allowed, ChainOf};
use crate::config::{AlwaysAllow, Forward, Lengths};

/// Before the administrator's own destination NAT: who has a grant is led by it.
const BEFORE_DNAT: i32 = -105;
/// Before the administrator's own source NAT.
const BEFORE_SNAT: i32 = 95;

/// An address and port of an inner host.
pub(crate) type InnerPort = (IpAddr, Service);

/// The ports of inner hosts that nobody reaches without a grant, with the rest of
/// their trial: the least open of the ports that lead there decides.
pub(super) fn hidden(
    forwards: &[Forward],
    outer: &BTreeMap<Service, Option<Duration>>,
) -> BTreeMap<InnerPort, Option<Duration>> {
    let mut hidden: BTreeMap<InnerPort, Option<Duration>> = BTreeMap::new();
    for one in forwards.iter().filter(|one| one.hidden) {
        let Some(rest) = outer.get(&one.outer) else {
            continue;
        };
        let longest = hidden.entry((one.address, one.inner)).or_insert(*rest);
        *longest = match (*longest, *rest) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
    hidden
}

/// The chains; declared even where they are empty, like all of ours.
pub(super) fn chains(
    forwards: &[Forward],
    judging: Judging<'_>,
    flow_labels: Option<u32>,
) -> Vec<ChainOf> {
    let mut through = begun_inside(judging);
    through.extend(judging.always_allowed_behind());
    through.push(vec![sent_to(SetName::Inner4), goto("inside")]);
    through.push(vec![sent_to(SetName::Inner6), goto("inside")]);
    let mut chains = nat_chains(forwards, judging.allowed, judging.lengths);
    chains.push(ordinary("led", led(forwards, judging)));
    chains.push(ordinary("inside", inside(judging)));
    chains.push(base("through", NfHook::Forward, LAST, through));
    chains.push(base("farther", NfHook::Output, LAST, farther(flow_labels)));
    chains
}

/// The sets of inner hosts' ports, with what names such a host.
const INNER: [(SetName, Field); 2] = [
    (SetName::Inner4, Field::Source4),
    (SetName::Inner6, Field::Source6),
];

/// Connections that an inner host begins from a hidden port are let in by that.
fn begun_inside(judging: Judging<'_>) -> Vec<Rule> {
    let Some(admitted) = judging.admitted() else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (inner, address) in INNER {
        let from = source_in(inner, address);
        rules.push(vec![is_first_segment(), from.clone(), admitted.clone()]);
        rules.push(vec![protocol("udp"), is_original(), from, admitted.clone()]);
    }
    rules
}

/// This host's resets in an inner host's name are as far from the client as those of the
/// inner host itself, and have a flow label as its own have.
fn farther(flow_labels: Option<u32>) -> Vec<Rule> {
    let rule = |(inner, address): (SetName, Field)| {
        vec![
            is_reset(),
            source_in(inner, address),
            one_hop_away(address == Field::Source4),
        ]
    };
    let mut rules: Vec<Rule> = INNER.map(rule).into();
    rules.extend(flow_labels.map(|seed| {
        vec![
            is_reset(),
            source_in(SetName::Inner6, Field::Source6),
            has_no_flow_label(),
            set_flow_label(seed),
        ]
    }));
    rules
}

/// Those that lead, and change nothing about who reaches what.
pub(super) fn nat_chains(
    forwards: &[Forward],
    allowed: Allowed<'_>,
    lengths: &Lengths,
) -> Vec<ChainOf> {
    let lead = vec![vec![for_this_host(), goto("leading")]];
    let masquerading = forwards.iter().filter(|one| one.masquerade);
    let masquerading = masquerading
        .map(|one| [to_inner(one), led_from(one), vec![masquerade()]].concat())
        .collect();
    vec![
        ordinary("leading", leading(forwards, allowed, lengths)),
        nat("lead", NfHook::Prerouting, BEFORE_DNAT, lead),
        nat("leave", NfHook::Postrouting, BEFORE_SNAT, masquerading),
    ]
}

fn nat(name: &'static str, hook: NfHook, priority: i32, rules: Vec<Rule>) -> ChainOf {
    let mut chain = base(name, hook, priority, rules);
    chain.kind = NfChainType::NAT;
    chain
}

/// The sets of grants of the inner host's family.
fn sets(one: &Forward) -> [SetName; 3] {
    if one.address.is_ipv4() {
        [SetName::Grants4, SetName::Flow4, SetName::Once4]
    } else {
        [SetName::Grants6, SetName::Flow6, SetName::Once6]
    }
}

/// The networks of the inner host's family that were let in to this port.
fn networks(one: &Forward, lengths: &Lengths, port: Field) -> Vec<Word> {
    if one.address.is_ipv4() {
        networks4(lengths, port)
    } else {
        networks6(lengths, port)
    }
}

/// Who is led: whoever has a grant, and whoever never needs one.
fn leading(forwards: &[Forward], allowed: Allowed<'_>, lengths: &Lengths) -> Vec<Rule> {
    let mut rules = Vec::new();
    for one in forwards {
        let [grants, flow, once] = sets(one);
        let mut lead = |conditions: Rule| {
            rules.push([to_port(one.outer), conditions, vec![dnat(one)]].concat());
        };
        for allow in allowed {
            match allow {
                AlwaysAllow::Interface(name) => lead(vec![arrived_at(name)]),
                AlwaysAllow::Network(network)
                    if network.address.is_ipv4() == one.address.is_ipv4() =>
                {
                    lead(vec![came_from(network), comes_the_way_back()]);
                }
                AlwaysAllow::Network(_) => {}
            }
        }
        lead(vec![in_set(grants)]);
        lead(vec![in_set(flow)]);
        for network in networks(one, lengths, Field::Port) {
            lead(vec![network]);
        }
        // `judge` has moved the hole already, where the port is hidden.
        lead(vec![in_set(once), delete_from(once), add_to(flow)]);
    }
    rules
}

/// Who may reach a hidden port of an inner host, whichever way: those who were led
/// there by a grant that they still have. A drop of a later chain is not overruled.
fn inside(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    // What was cut does not go on by a route to the inner host either, where that still
    // talks and connection tracking so knows the connection again; as in `judge`.
    for cut in [SetName::Cut4, SetName::Cut6] {
        let goes_on = || vec![is_no_first_segment(), in_set(cut)];
        rules.push([goes_on(), vec![is_reset(), accept()]].concat());
        rules.push([goes_on(), vec![goto("strangers")]].concat());
        rules.push(vec![protocol("udp"), in_set(cut), goto("led")]);
    }
    rules.extend(judging.going_on());
    rules.push(vec![is_no_first_segment(), goto("strangers")]);
    rules.push(vec![goto("led")]);
    rules
}

/// Who was led there by a grant; one that was cut may so begin anew. A rule of the host's may
/// have led there from an address that is not this host's, so the label is given here too.
fn led(forwards: &[Forward], judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for one in forwards.iter().filter(|one| one.hidden) {
        let [grants, flow, _] = sets(one);
        let cut = if one.address.is_ipv4() {
            SetName::Cut4
        } else {
            SetName::Cut6
        };
        let granted = [grants, flow].map(in_set_by_first_port).into_iter();
        for word in granted.chain(networks(one, judging.lengths, Field::FirstPort)) {
            let let_in = [delete_from(cut)].into_iter().chain(judging.admitted());
            let admitted = [word].into_iter().chain(let_in).chain([accept()]);
            rules.push([to_inner(one), led_from(one), admitted.collect()].concat());
        }
    }
    rules.push(vec![goto("strangers")]);
    rules
}
