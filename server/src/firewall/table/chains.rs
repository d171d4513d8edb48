//! The chains of the table `inet spad`: who is judged, and where.
//!
//! Pure. Before routing a packet is judged, and whoever is let in gets a label. A
//! stranger's packet goes on: through NAT, routing and the host's own rules, so that those
//! answer it as they answer for any port. Behind them it gets what is left: nothing of it
//! reaches a service. Why each rule stands where it stands was tried in real kernels;
//! `server/tests/it/firewall` tries it again.

use std::ops::RangeInclusive;

use nftables::types::{NfChainType, NfHook};

use super::answers::{Answers, closed_rules, stranger_rules};
use super::ct_stmt::{
    Label, daddr_is_not_local, has_label, is_dnatted, is_original, is_syn, passes_rp_filter,
    refresh_in, set_label, sport_in_set,
};
use super::nat_stmt::original_dport_is_hidden;
use super::sets::SetName;
use super::stmt::{
    Field, Stmt, accept, add_to, daddr_is_local, delete_from, goto, has_no_flow_label, iifname_is,
    in_set, is_reset, jump, not_syn, protocol, return_to_caller, saddr_in, saddr_in_net4,
    saddr_in_net6, set_flow_label, sport_is_hidden, state, udp_ports,
};
use super::{AlwaysAllowed, TableChain};
use crate::config::{AlwaysAllow, Network, PrefixLengths};

/// Just before `mangle`: after connection tracking and reassembly, before NAT
/// moves a packet and before any ordinary firewall.
pub(crate) const PREROUTING_PRIORITY: i32 = -155;

/// Behind the host's own rules (`filter`, `security`), before IPVS takes a packet away.
const INPUT_PRIORITY: i32 = 96;

/// After whatever else of the host may move a packet to another port on its way in:
/// rules that rewrite ports, IPVS.
pub(crate) const LAST_PRIORITY: i32 = 250;

/// States of packets that belong to no connection of this host.
const STRANGER_STATES: &[&str] = &["new", "untracked", "invalid"];

/// How long a connection from before its port was hidden may be silent, in seconds: as long as
/// connection tracking remembers one.
pub(super) const TCP_IDLE_TIMEOUT: u32 = 24 * 60 * 60;
pub(super) const UDP_IDLE_TIMEOUT: u32 = 180;

pub(super) type Rule = Vec<Stmt>;

/// What all chains are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleContext<'a> {
    pub(super) allowed: AlwaysAllowed<'a>,
    pub(super) lengths: &'a PrefixLengths,
    /// The kernel has labels. Where it has none, strangers are answered where they are judged,
    /// before the host's own rules, and connections are known by their state alone.
    pub(super) labels: bool,
}

impl RuleContext<'_> {
    fn networks(&self) -> impl Iterator<Item = &Network> {
        self.allowed.iter().filter_map(|one| match one {
            AlwaysAllow::Network(network) => Some(network),
            AlwaysAllow::Interface(_) => None,
        })
    }

    /// By name, not by index: an interface that is missing must not make the table fail.
    fn interfaces(&self) -> Vec<Rule> {
        let mut rules = vec![vec![iifname_is("lo"), accept()]];
        for one in self.allowed {
            if let AlwaysAllow::Interface(name) = one
                && name != "lo"
            {
                rules.push(vec![iifname_is(name), accept()]);
            }
        }
        rules
    }

    /// Who needs no grant, before routing.
    fn always_allowed(&self) -> Vec<Rule> {
        let mut rules = self.interfaces();
        let networks = self.networks();
        rules.extend(networks.map(|network| vec![saddr_in(network), passes_rp_filter(), accept()]));
        rules
    }

    /// The same behind routing, where the way a packet came cannot be looked up any more.
    pub(super) fn always_allowed_after_prerouting(&self) -> Vec<Rule> {
        let mut rules = self.interfaces();
        for network in self.networks() {
            if self.labels {
                rules.push(vec![saddr_in(network), has_label(Label::Allowed), accept()]);
                // These belong to no connection, so they have no label; what came another way
                // has been answered before routing.
                rules.push(vec![
                    saddr_in(network),
                    state(&["invalid", "untracked"]),
                    accept(),
                ]);
            } else {
                rules.push(vec![saddr_in(network), accept()]);
            }
        }
        rules
    }

    /// The label of connections that we let in; none where the kernel has none.
    pub(super) fn set_admitted(&self) -> Option<Stmt> {
        self.labels.then(|| set_label(Label::Admitted))
    }

    /// The connection is one that we let in.
    pub(super) fn has_admitted(&self) -> Option<Stmt> {
        self.labels.then(|| has_label(Label::Admitted))
    }

    /// What goes on of connections that were let in.
    pub(super) fn established_rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        // Never `related`: a helper of connection tracking would let strangers in.
        // Never a first segment: on the ports of a connection that only connection tracking
        // still knows it would begin another, long after the grant has ended.
        for begun in [not_syn(), protocol("udp")] {
            let mut rule = vec![begun, state(&["established"])];
            rule.extend(self.has_admitted());
            rule.push(accept());
            rules.push(rule);
        }
        rules.extend(self.preexisting_rules());
        if self.labels {
            // Who slipped in while the table was away is answered with a reset, and its own
            // reset ends the connection for the service as well.
            rules.push(vec![is_reset(), state(&["established"]), accept()]);
        }
        rules
    }

    /// What goes on of connections that were there before their port was hidden: connection
    /// tracking may not have seen the beginning of these, or made no room for labels then.
    fn preexisting_rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for before in [SetName::Existing4, SetName::Existing6] {
            for (goes_on, silence) in [
                (not_syn(), TCP_IDLE_TIMEOUT),
                (protocol("udp"), UDP_IDLE_TIMEOUT),
            ] {
                let mut rule = vec![goes_on, in_set(before), refresh_in(before, silence)];
                rule.extend(self.set_admitted());
                rule.push(accept());
                rules.push(rule);
            }
        }
        rules
    }
}

pub(super) fn all(
    context: RuleContext<'_>,
    answers: &Answers,
    spa_ports: &[RangeInclusive<u16>],
    flow_labels: Option<u32>,
) -> Vec<TableChain> {
    let lengths = context.lengths;
    let mut chains = vec![
        regular_chain("closed", closed_rules()),
        regular_chain("strangers", stranger_rules(answers)),
        regular_chain("trying", track_trial(lengths)),
        regular_chain("granted", accept_granted(context)),
        regular_chain("judge", check_grant(context)),
        regular_chain("elsewhere", other_destination(context)),
        regular_chain("first", prerouting_hidden(context)),
        regular_chain("last", input_hidden(context)),
        regular_chain("rest", late_input_hidden(context)),
        regular_chain("moved", dnatted()),
        regular_chain("published", published(context)),
        base_chain(
            "guard",
            NfHook::Prerouting,
            PREROUTING_PRIORITY,
            prerouting(context, spa_ports),
        ),
        base_chain("second", NfHook::Input, INPUT_PRIORITY, input(context)),
        base_chain("third", NfHook::Input, LAST_PRIORITY, late_input()),
        base_chain(
            "passing",
            NfHook::Forward,
            LAST_PRIORITY,
            forward_dnatted(context),
        ),
        // Declared even where it is empty: a table loaded over another must not keep its rules.
        base_chain(
            "labels",
            NfHook::Output,
            PREROUTING_PRIORITY,
            initiated_locally(context),
        ),
    ];
    if let (Some(seed), Some(labels)) = (flow_labels, chains.last_mut()) {
        labels.rules.push(vec![
            is_reset(),
            sport_is_hidden(),
            has_no_flow_label(),
            set_flow_label(seed),
        ]);
    }
    chains
}
pub(super) fn regular_chain(name: &'static str, rules: Vec<Rule>) -> TableChain {
    TableChain {
        name,
        kind: NfChainType::Filter,
        hook: None,
        rules,
    }
}

pub(super) fn base_chain(
    name: &'static str,
    hook: NfHook,
    priority: i32,
    rules: Vec<Rule>,
) -> TableChain {
    TableChain {
        name,
        kind: NfChainType::Filter,
        hook: Some((hook, priority)),
        rules,
    }
}

/// Notices that a port on trial was reached through a grant: a connection that a
/// grant let in went on after this host had answered it.
fn track_trial(lengths: &PrefixLengths) -> Vec<Rule> {
    let mut rules = Vec::new();
    for trying in [SetName::TrialPending4, SetName::TrialPending6] {
        rules.push(vec![
            state(&["established"]),
            in_set(trying),
            add_to(SetName::TrialReached),
        ]);
    }
    for (trying, grants, networks) in [
        (
            SetName::TrialPending4,
            [SetName::Grants4, SetName::GrantsOnce4, SetName::GrantsPort4],
            networks4(lengths, Field::Port),
        ),
        (
            SetName::TrialPending6,
            [SetName::Grants6, SetName::GrantsOnce6, SetName::GrantsPort6],
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
pub(super) fn networks4(lengths: &PrefixLengths, port: Field) -> Vec<Stmt> {
    let four = lengths.ipv4.iter();
    four.map(|length| saddr_in_net4(*length, port)).collect()
}

pub(super) fn networks6(lengths: &PrefixLengths, port: Field) -> Vec<Stmt> {
    let six = lengths.ipv6.iter();
    six.map(|length| saddr_in_net6(*length, port)).collect()
}

/// Lets in who may reach a hidden port; comes back for everybody else.
fn check_grant(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![in_set(SetName::Trial), jump("trying")]];
    // Whatever connection tracking makes of what goes on of a connection that was cut. Its
    // reset passes, so that the service learns of the end too. UDP has no first segment: a
    // grant lets its client begin anew.
    for cut in [SetName::Cut4, SetName::Cut6] {
        let established = || vec![not_syn(), in_set(cut)];
        rules.push([established(), vec![is_reset(), accept()]].concat());
        rules.push([established(), vec![return_to_caller()]].concat());
        rules.push(vec![protocol("udp"), in_set(cut), goto("granted")]);
    }
    rules.extend(context.established_rules());
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![not_syn(), return_to_caller()]);
    rules.push(vec![goto("granted")]);
    rules
}

/// Who begins a connection: through a grant. One that was cut may so begin anew.
fn accept_granted(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (grants, networks, flow, once, cut) in [
        (
            SetName::Grants4,
            networks4(context.lengths, Field::Port),
            SetName::GrantsPort4,
            SetName::GrantsOnce4,
            SetName::Cut4,
        ),
        (
            SetName::Grants6,
            networks6(context.lengths, Field::Port),
            SetName::GrantsPort6,
            SetName::GrantsOnce6,
            SetName::Cut6,
        ),
    ] {
        let admit = || {
            let label = context.set_admitted().into_iter();
            [delete_from(cut)]
                .into_iter()
                .chain(label)
                .chain([accept()])
        };
        let grants_and_ports = [in_set(grants), in_set(flow)];
        for word in grants_and_ports.into_iter().chain(networks) {
            rules.push([word].into_iter().chain(admit()).collect());
        }
        // The hole moves to the 4-tuple, so that a first segment that was lost may come again.
        let moves = [in_set(once), delete_from(once), add_to(flow)];
        rules.push(moves.into_iter().chain(admit()).collect());
    }
    rules
}

/// Before NAT, as the packets came.
fn prerouting(context: RuleContext<'_>, spa_ports: &[RangeInclusive<u16>]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if context.labels {
        // For every port: a rule of the host's may lead to a hidden one.
        for network in context.networks() {
            rules.push(vec![
                state(&["new"]),
                saddr_in(network),
                passes_rp_filter(),
                set_label(Label::Allowed),
            ]);
        }
    }
    for ports in spa_ports {
        rules.push(vec![
            udp_ports(ports),
            state(STRANGER_STATES),
            daddr_is_local(),
            goto("strangers"),
        ]);
    }
    rules.push(vec![in_set(SetName::Hidden), goto("first")]);
    rules
}

/// The first judgement of a packet for a hidden port. A stranger's goes on, unless nothing
/// behind could tell it from one that was let in.
fn prerouting_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![daddr_is_not_local(), goto("elsewhere")]];
    rules.extend(context.always_allowed());
    rules.push(vec![jump("judge")]);
    if context.labels {
        // By another way than the one that leads back to that network.
        rules.extend(
            context
                .networks()
                .map(|network| vec![saddr_in(network), goto("strangers")]),
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
fn other_destination(context: RuleContext<'_>) -> Vec<Rule> {
    let labels = context
        .labels
        .then(|| vec![state(&["new"]), set_label(Label::OtherDestination)]);
    labels.into_iter().collect()
}

/// The last judgement: by what the packet has become.
fn input_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = context.always_allowed_after_prerouting();
    rules.push(vec![jump("judge")]);
    rules.push(vec![goto("strangers")]);
    rules
}

/// Behind the host's own rules, whatever came to a hidden port: also by a way that
/// `guard` does not see, such as rules that move packets, or addresses that only another
/// routing table knows as local. What passed there passes here.
fn input(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = vec![vec![in_set(SetName::Hidden), goto("last")]];
    rules.extend(context.labels.then(goto_dnatted));
    rules
}

/// Answers need no judgement.
fn goto_dnatted() -> Rule {
    vec![is_dnatted(), is_original(), goto("moved")]
}

/// What was moved to a hidden port behind `second`.
fn late_input() -> Vec<Rule> {
    vec![vec![in_set(SetName::Hidden), goto("rest")]]
}

fn late_input_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let admitted = context.has_admitted().map(|is| vec![is, accept()]);
    admitted.into_iter().chain([vec![goto("last")]]).collect()
}

/// What destination NAT moved from a hidden port of this host to another host.
fn forward_dnatted(context: RuleContext<'_>) -> Vec<Rule> {
    context.labels.then(goto_dnatted).into_iter().collect()
}

/// What destination NAT moved from a hidden port.
fn dnatted() -> Vec<Rule> {
    let rule = |of| vec![protocol(of), original_dport_is_hidden(), goto("published")];
    ["tcp", "udp", "sctp"].map(rule).into()
}

/// `first` saw it, before it was moved.
fn published(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = context.always_allowed_after_prerouting();
    rules.extend(context.preexisting_rules());
    if context.labels {
        for label in [Label::Admitted, Label::OtherDestination] {
            rules.push(vec![has_label(label), accept()]);
        }
    }
    rules.push(vec![goto("strangers")]);
    rules
}

/// Connections that this host begins from a hidden port are let in by that.
fn initiated_locally(context: RuleContext<'_>) -> Vec<Rule> {
    let Some(admitted) = context.set_admitted() else {
        return Vec::new();
    };
    let from = |is_begun: Vec<Stmt>| [is_begun, vec![sport_in_set(SetName::Hidden, true)]].concat();
    vec![
        [from(vec![is_syn()]), vec![admitted.clone()]].concat(),
        // While the table was away a stranger's datagram may have come in unseen, and this
        // may be the answer to it.
        [
            from(vec![protocol("udp"), is_original()]),
            vec![sport_in_set(SetName::Settling, false), admitted],
        ]
        .concat(),
    ]
}
