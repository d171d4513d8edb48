//! The chains of the table `inet spad`: who is judged, and where.
//!
//! Pure. Before routing a packet is judged, and whoever is let in gets a label. A
//! stranger's packet goes on: through NAT, routing and the host's own rules, so that those
//! answer it as they answer for any port. Behind them it gets what is left: nothing of it
//! reaches a service. Why each rule stands where it stands was tried in real kernels;
//! `server/tests/it/firewall` tries it again.

use std::ops::RangeInclusive;

use nftables::types::{NfChainType, NfHook};

use super::answers::{Answers, closed, strangers};
use super::label_words::{
    Label, comes_the_way_back, for_another_host, has_label, is_first_segment, is_moved,
    is_original, keep_in, set_label, source_port_in,
};
use super::nat_words::hidden_by_first_port;
use super::sets::SetName;
use super::words::{
    Field, Word, accept, add_to, arrived_at, back, came_from, delete_from, for_this_host,
    from_hidden, goto, has_no_flow_label, in_network4, in_network6, in_set, is_no_first_segment,
    is_reset, jump, protocol, set_flow_label, state, udp_ports,
};
use super::{Allowed, ChainOf};
use crate::config::{AlwaysAllow, Lengths, Network};

/// Just before `mangle`: after connection tracking and reassembly, before NAT
/// moves a packet and before any ordinary firewall.
pub(crate) const PRIORITY: i32 = -155;

/// Behind the host's own rules (`filter`, `security`), before IPVS takes a packet away.
const BEHIND: i32 = 96;

/// After whatever else of the host may move a packet to another port on its way in:
/// rules that rewrite ports, IPVS.
pub(crate) const LAST: i32 = 250;

/// States of packets that belong to no connection of this host.
const OF_STRANGERS: &[&str] = &["new", "untracked", "invalid"];

/// How long a connection from before its port was hidden may be silent, in seconds: as long as
/// connection tracking remembers one.
pub(super) const TCP_SILENCE: u32 = 24 * 60 * 60;
pub(super) const UDP_SILENCE: u32 = 180;

pub(super) type Rule = Vec<Word>;

/// What all chains are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judging<'a> {
    pub(super) allowed: Allowed<'a>,
    pub(super) lengths: &'a Lengths,
    /// The kernel has labels. Where it has none, strangers are answered where they are judged,
    /// before the host's own rules, and connections are known by their state alone.
    pub(super) labels: bool,
}

impl Judging<'_> {
    fn networks(&self) -> impl Iterator<Item = &Network> {
        self.allowed.iter().filter_map(|one| match one {
            AlwaysAllow::Network(network) => Some(network),
            AlwaysAllow::Interface(_) => None,
        })
    }

    /// By name, not by index: an interface that is missing must not make the table fail.
    fn interfaces(&self) -> Vec<Rule> {
        let mut rules = vec![vec![arrived_at("lo"), accept()]];
        for one in self.allowed {
            if let AlwaysAllow::Interface(name) = one
                && name != "lo"
            {
                rules.push(vec![arrived_at(name), accept()]);
            }
        }
        rules
    }

    /// Who needs no grant, before routing.
    fn always_allowed(&self) -> Vec<Rule> {
        let mut rules = self.interfaces();
        let networks = self.networks();
        rules.extend(
            networks.map(|network| vec![came_from(network), comes_the_way_back(), accept()]),
        );
        rules
    }

    /// The same behind routing, where the way a packet came cannot be looked up any more.
    pub(super) fn always_allowed_behind(&self) -> Vec<Rule> {
        let mut rules = self.interfaces();
        for network in self.networks() {
            if self.labels {
                rules.push(vec![
                    came_from(network),
                    has_label(Label::Allowed),
                    accept(),
                ]);
                // These belong to no connection, so they have no label; what came another way
                // has been answered before routing.
                rules.push(vec![
                    came_from(network),
                    state(&["invalid", "untracked"]),
                    accept(),
                ]);
            } else {
                rules.push(vec![came_from(network), accept()]);
            }
        }
        rules
    }

    /// The label of connections that we let in; none where the kernel has none.
    pub(super) fn admitted(&self) -> Option<Word> {
        self.labels.then(|| set_label(Label::Admitted))
    }

    /// The connection is one that we let in.
    pub(super) fn is_admitted(&self) -> Option<Word> {
        self.labels.then(|| has_label(Label::Admitted))
    }

    /// What goes on of connections that were let in.
    pub(super) fn going_on(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        // Never `related`: a helper of connection tracking would let strangers in.
        // Never a first segment: on the ports of a connection that only connection tracking
        // still knows it would begin another, long after the grant has ended.
        for begun in [is_no_first_segment(), protocol("udp")] {
            let mut rule = vec![begun, state(&["established"])];
            rule.extend(self.is_admitted());
            rule.push(accept());
            rules.push(rule);
        }
        rules.extend(self.older());
        if self.labels {
            // Who slipped in while the table was away is answered with a reset, and its own
            // reset ends the connection for the service as well.
            rules.push(vec![is_reset(), state(&["established"]), accept()]);
        }
        rules
    }

    /// What goes on of connections that were there before their port was hidden: connection
    /// tracking may not have seen the beginning of these, or made no room for labels then.
    fn older(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for before in [SetName::Before4, SetName::Before6] {
            for (goes_on, silence) in [
                (is_no_first_segment(), TCP_SILENCE),
                (protocol("udp"), UDP_SILENCE),
            ] {
                let mut rule = vec![goes_on, in_set(before), keep_in(before, silence)];
                rule.extend(self.admitted());
                rule.push(accept());
                rules.push(rule);
            }
        }
        rules
    }
}

pub(super) fn all(
    judging: Judging<'_>,
    answers: &Answers,
    knock: &[RangeInclusive<u16>],
    flow_labels: Option<u32>,
) -> Vec<ChainOf> {
    let lengths = judging.lengths;
    let mut chains = vec![
        ordinary("closed", closed()),
        ordinary("strangers", strangers(answers)),
        ordinary("trying", trying(lengths)),
        ordinary("granted", granted(judging)),
        ordinary("judge", judge(judging)),
        ordinary("elsewhere", elsewhere(judging)),
        ordinary("first", first(judging)),
        ordinary("last", last(judging)),
        ordinary("rest", rest(judging)),
        ordinary("moved", moved()),
        ordinary("published", published(judging)),
        base("guard", NfHook::Prerouting, PRIORITY, guard(judging, knock)),
        base("second", NfHook::Input, BEHIND, second(judging)),
        base("third", NfHook::Input, LAST, third()),
        base("passing", NfHook::Forward, LAST, passing(judging)),
        // Declared even where it is empty: a table loaded over another must not keep its rules.
        base("labels", NfHook::Output, PRIORITY, begun_here(judging)),
    ];
    if let (Some(seed), Some(labels)) = (flow_labels, chains.last_mut()) {
        labels.rules.push(vec![
            is_reset(),
            from_hidden(),
            has_no_flow_label(),
            set_flow_label(seed),
        ]);
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

/// Lets in who may reach a hidden port; comes back for everybody else.
fn judge(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![in_set(SetName::Trial), jump("trying")]];
    // Whatever connection tracking makes of what goes on of a connection that was cut. Its
    // reset passes, so that the service learns of the end too. UDP has no first segment: a
    // grant lets its client begin anew.
    for cut in [SetName::Cut4, SetName::Cut6] {
        let goes_on = || vec![is_no_first_segment(), in_set(cut)];
        rules.push([goes_on(), vec![is_reset(), accept()]].concat());
        rules.push([goes_on(), vec![back()]].concat());
        rules.push(vec![protocol("udp"), in_set(cut), goto("granted")]);
    }
    rules.extend(judging.going_on());
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![is_no_first_segment(), back()]);
    rules.push(vec![goto("granted")]);
    rules
}

/// Who begins a connection: through a grant. One that was cut may so begin anew.
fn granted(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (grants, networks, flow, once, cut) in [
        (
            SetName::Grants4,
            networks4(judging.lengths, Field::Port),
            SetName::Flow4,
            SetName::Once4,
            SetName::Cut4,
        ),
        (
            SetName::Grants6,
            networks6(judging.lengths, Field::Port),
            SetName::Flow6,
            SetName::Once6,
            SetName::Cut6,
        ),
    ] {
        let let_in = || {
            let label = judging.admitted().into_iter();
            [delete_from(cut)]
                .into_iter()
                .chain(label)
                .chain([accept()])
        };
        let admitting = [in_set(grants), in_set(flow)];
        for word in admitting.into_iter().chain(networks) {
            rules.push([word].into_iter().chain(let_in()).collect());
        }
        // The hole moves to the 4-tuple, so that a first segment that was lost may come again.
        let moves = [in_set(once), delete_from(once), add_to(flow)];
        rules.push(moves.into_iter().chain(let_in()).collect());
    }
    rules
}

/// Before NAT, as the packets came.
fn guard(judging: Judging<'_>, knock: &[RangeInclusive<u16>]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if judging.labels {
        // For every port: a rule of the host's may lead to a hidden one.
        for network in judging.networks() {
            rules.push(vec![
                state(&["new"]),
                came_from(network),
                comes_the_way_back(),
                set_label(Label::Allowed),
            ]);
        }
    }
    for ports in knock {
        rules.push(vec![
            udp_ports(ports),
            state(OF_STRANGERS),
            for_this_host(),
            goto("strangers"),
        ]);
    }
    rules.push(vec![in_set(SetName::Hidden), goto("first")]);
    rules
}

/// The first judgement of a packet for a hidden port. A stranger's goes on, unless nothing
/// behind could tell it from one that was let in.
fn first(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![for_another_host(), goto("elsewhere")]];
    rules.extend(judging.always_allowed());
    rules.push(vec![jump("judge")]);
    if judging.labels {
        // By another way than the one that leads back to that network.
        rules.extend(
            judging
                .networks()
                .map(|network| vec![came_from(network), goto("strangers")]),
        );
        // Its connection was let in, and it is not: a grant has ended, or it was cut.
        rules.push(vec![has_label(Label::Admitted), goto("strangers")]);
        rules.push(vec![state(&["untracked"]), goto("strangers")]);
    } else {
        rules.push(vec![goto("strangers")]);
    }
    rules
}

/// Another host's, which NAT may make ours yet.
fn elsewhere(judging: Judging<'_>) -> Vec<Rule> {
    let labels = judging
        .labels
        .then(|| vec![state(&["new"]), set_label(Label::Elsewhere)]);
    labels.into_iter().collect()
}

/// The last judgement: by what the packet has become.
fn last(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = judging.always_allowed_behind();
    rules.push(vec![jump("judge")]);
    rules.push(vec![goto("strangers")]);
    rules
}

/// Behind the host's own rules, whatever came to a hidden port: also by a way that
/// `guard` does not see, such as rules that move packets, or addresses that only another
/// routing table knows as local. What passed there passes here.
fn second(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![in_set(SetName::Hidden), goto("last")]];
    rules.extend(judging.labels.then(leads_to_moved));
    rules
}

/// Answers need no judgement.
fn leads_to_moved() -> Rule {
    vec![is_moved(), is_original(), goto("moved")]
}

/// What was moved to a hidden port behind `second`.
fn third() -> Vec<Rule> {
    vec![vec![in_set(SetName::Hidden), goto("rest")]]
}

fn rest(judging: Judging<'_>) -> Vec<Rule> {
    let admitted = judging.is_admitted().map(|is| vec![is, accept()]);
    admitted.into_iter().chain([vec![goto("last")]]).collect()
}

/// What destination NAT moved from a hidden port of this host to another host.
fn passing(judging: Judging<'_>) -> Vec<Rule> {
    judging.labels.then(leads_to_moved).into_iter().collect()
}

/// What destination NAT moved from a hidden port.
fn moved() -> Vec<Rule> {
    let rule = |of| vec![protocol(of), hidden_by_first_port(), goto("published")];
    ["tcp", "udp", "sctp"].map(rule).into()
}

/// `first` saw it, before it was moved.
fn published(judging: Judging<'_>) -> Vec<Rule> {
    let mut rules = judging.always_allowed_behind();
    rules.extend(judging.older());
    if judging.labels {
        for label in [Label::Admitted, Label::Elsewhere] {
            rules.push(vec![has_label(label), accept()]);
        }
    }
    rules.push(vec![goto("strangers")]);
    rules
}

/// Connections that this host begins from a hidden port are let in by that.
fn begun_here(judging: Judging<'_>) -> Vec<Rule> {
    let Some(admitted) = judging.admitted() else {
        return Vec::new();
    };
    let from =
        |is_begun: Vec<Word>| [is_begun, vec![source_port_in(SetName::Hidden, true)]].concat();
    vec![
        [from(vec![is_first_segment()]), vec![admitted.clone()]].concat(),
        // While the table was away a stranger's datagram may have come in unseen, and this
        // may be the answer to it.
        [
            from(vec![protocol("udp"), is_original()]),
            vec![source_port_in(SetName::Settling, false), admitted],
        ]
        .concat(),
    ]
}
