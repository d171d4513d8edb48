//! The chains of the table `inet spad`: who is judged, how, and what strangers get.
//!
//! Pure. Why each rule stands where it stands was tried in real kernels;
//! `server/tests/firewall.rs` tries it again.

use std::ops::RangeInclusive;

use nftables::types::{NfChainType, NfHook};

use super::sets::SetName;
use super::words::{
    Field, Word, accept, add_to, arrived_at, came_from, counter, delete_from, drop, for_this_host,
    from_hidden, goto, has_no_checksum, has_no_flow_label, has_whole_header, header_words,
    in_network4, in_network6, in_set, is_ipv6, is_no_first_segment, is_reset, jump,
    port_unreachable, protocol, reset, set_flow_label, state, udp_ports,
};
use super::{Allowed, ChainOf};
use crate::config::{AlwaysAllow, Answer, Lengths};

/// Just before `mangle`: after connection tracking and reassembly, before NAT
/// moves a packet and before any ordinary firewall.
const PRIORITY: i32 = -155;

/// After whatever else of the host may move a packet to another port on its way in:
/// destination NAT, rules that rewrite ports, IPVS.
pub(super) const LAST: i32 = 250;

/// States of packets that belong to no connection of this host.
const OF_STRANGERS: &[&str] = &["new", "untracked", "invalid"];

pub(super) type Rule = Vec<Word>;

pub(super) fn all(
    allowed: Allowed<'_>,
    answer: Answer,
    knock: &[RangeInclusive<u16>],
    flow_labels: Option<u32>,
    lengths: &Lengths,
) -> Vec<ChainOf> {
    let mut chains = vec![
        ordinary("strangers", strangers(answer)),
        ordinary("trying", trying(lengths)),
        ordinary("granted", granted(lengths)),
        ordinary("judge", judge()),
        base("guard", NfHook::Prerouting, PRIORITY, guard(allowed, knock)),
        base("second", NfHook::Input, LAST, second(allowed)),
        // Declared even where it is empty: a table loaded over another must not keep its rules.
        base("labels", NfHook::Output, PRIORITY, Vec::new()),
    ];
    if let (Some(seed), Some(labels)) = (flow_labels, chains.last_mut()) {
        labels.rules = vec![vec![
            is_reset(),
            from_hidden(),
            has_no_flow_label(),
            set_flow_label(seed),
        ]];
    }
    chains
}

pub(super) fn ordinary(name: &'static str, rules: Vec<Rule>) -> ChainOf {
    ChainOf {
        name,
        kind: NfChainType::Filter,
        hook: None,
        rules,
    }
}

pub(super) fn base(name: &'static str, hook: NfHook, priority: i32, rules: Vec<Rule>) -> ChainOf {
    ChainOf {
        name,
        kind: NfChainType::Filter,
        hook: Some((hook, priority)),
        rules,
    }
}

/// What strangers get. A reset or an unreachable port never goes to a broadcast
/// or multicast address, nor answers a reset or a broken checksum: the kernel
/// sees to that, as it does for its own. What it would not look at when it came to a
/// closed port, such as lengths that lie, is not answered either.
fn strangers(answer: Answer) -> Vec<Rule> {
    let mut rules = vec![vec![counter()]];
    match answer {
        Answer::Drop => return vec![vec![counter(), drop()]],
        Answer::AsClosed => {
            for words in 5..=15 {
                rules.push(vec![header_words(words), has_whole_header(words), reset()]);
            }
            // RFC 8200, section 8.1.
            rules.push(vec![is_ipv6(), has_no_checksum(), drop()]);
            // To connection tracking a datagram is invalid where its length or checksum is.
            rules.push(vec![protocol("udp"), state(&["invalid"]), drop()]);
            rules.push(vec![protocol("udp"), port_unreachable()]);
            rules.push(vec![drop()]);
        }
    }
    rules
}

/// Notices that a port on trial was reached through a grant: a connection that a
/// grant let in went on after this host had answered it.
fn trying(lengths: &Lengths) -> Vec<Rule> {
    let mut rules = Vec::new();
    for trying in [SetName::Trying4, SetName::Trying6] {
        rules.push(vec![
            state(&["established"]),
            in_set(trying),
            add_to(SetName::Reached),
        ]);
    }
    for (trying, grants, networks) in [
        (
            SetName::Trying4,
            [SetName::Grants4, SetName::Once4, SetName::Flow4],
            networks4(lengths, Field::Port),
        ),
        (
            SetName::Trying6,
            [SetName::Grants6, SetName::Once6, SetName::Flow6],
            networks6(lengths, Field::Port),
        ),
    ] {
        for grant in grants.map(in_set).into_iter().chain(networks) {
            rules.push(vec![state(&["new"]), grant, add_to(trying)]);
        }
    }
    rules
}

/// The source lies in a network that was let in to this port: one word for each length.
pub(super) fn networks4(lengths: &Lengths, port: Field) -> Vec<Word> {
    let four = lengths.four.iter();
    four.map(|length| in_network4(*length, port)).collect()
}

pub(super) fn networks6(lengths: &Lengths, port: Field) -> Vec<Word> {
    let six = lengths.six.iter();
    six.map(|length| in_network6(*length, port)).collect()
}

/// Who may reach a hidden port.
fn judge() -> Vec<Rule> {
    let mut rules = vec![vec![in_set(SetName::Trial), jump("trying")]];
    // Whatever connection tracking makes of what goes on of a connection that was cut. Its
    // reset passes, so that the service learns of the end too. UDP has no first segment: a
    // grant lets its client begin anew.
    for cut in [SetName::Cut4, SetName::Cut6] {
        let goes_on = || vec![is_no_first_segment(), in_set(cut)];
        rules.push([goes_on(), vec![is_reset(), accept()]].concat());
        rules.push([goes_on(), vec![goto("strangers")]].concat());
        rules.push(vec![protocol("udp"), in_set(cut), goto("granted")]);
    }
    rules.extend([
        // Never `related`: a helper of connection tracking would let strangers in.
        // Never a first segment: on the ports of a connection that only connection tracking
        // still knows it would begin another, long after the grant has ended.
        vec![is_no_first_segment(), state(&["established"]), accept()],
        vec![protocol("udp"), state(&["established"]), accept()],
        // Connection tracking may not have seen the beginning of these.
        vec![is_no_first_segment(), in_set(SetName::Before4), accept()],
        vec![is_no_first_segment(), in_set(SetName::Before6), accept()],
        // A stray segment must not use up a grant for one connection.
        vec![is_no_first_segment(), goto("strangers")],
        vec![goto("granted")],
    ]);
    rules
}

/// Who begins a connection: through a grant. One that was cut may so begin anew.
fn granted(lengths: &Lengths) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (grants, networks, flow, once, cut) in [
        (
            SetName::Grants4,
            networks4(lengths, Field::Port),
            SetName::Flow4,
            SetName::Once4,
            SetName::Cut4,
        ),
        (
            SetName::Grants6,
            networks6(lengths, Field::Port),
            SetName::Flow6,
            SetName::Once6,
            SetName::Cut6,
        ),
    ] {
        let admitting = [in_set(grants), in_set(flow)];
        for word in admitting.into_iter().chain(networks) {
            rules.push(vec![word, delete_from(cut), accept()]);
        }
        // The hole moves to the 4-tuple, so that a first segment that was lost may come again.
        rules.push(vec![
            in_set(once),
            delete_from(once),
            add_to(flow),
            delete_from(cut),
            accept(),
        ]);
    }
    rules.push(vec![goto("strangers")]);
    rules
}

/// By name, not by index: an interface that is missing must not make the table fail.
pub(super) fn always_allowed(allowed: Allowed<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![arrived_at("lo"), accept()]];
    for one in allowed {
        match one {
            AlwaysAllow::Interface(name) if name == "lo" => {}
            AlwaysAllow::Interface(name) => rules.push(vec![arrived_at(name), accept()]),
            AlwaysAllow::Network(network) => rules.push(vec![came_from(network), accept()]),
        }
    }
    rules
}

/// Before NAT, as the packets came.
fn guard(allowed: Allowed<'_>, knock: &[RangeInclusive<u16>]) -> Vec<Rule> {
    let mut rules = always_allowed(allowed);
    for ports in knock {
        rules.push(vec![
            udp_ports(ports),
            state(OF_STRANGERS),
            for_this_host(),
            goto("strangers"),
        ]);
    }
    rules.push(vec![
        in_set(SetName::Hidden),
        for_this_host(),
        goto("judge"),
    ]);
    rules
}

/// Whatever came to a hidden port of this host by a way that `guard` does not see:
/// rules that move packets, addresses that only another routing table knows as local.
/// What passed there passes here.
fn second(allowed: Allowed<'_>) -> Vec<Rule> {
    let mut rules = always_allowed(allowed);
    rules.push(vec![in_set(SetName::Hidden), goto("judge")]);
    rules
}
