//! The chains of the table `inet spad`: who is judged, and where.
//!
//! Pure. Packets are judged before routing, and admitted connections get a label. A
//! stranger's packet continues through NAT, routing and the host's own rules, so that those
//! answer it as they answer for any port. A last chain rejects what is left, and none of it
//! reaches a service. Real kernels showed where each rule must be; `server/spad/tests/it/firewall`
//! tries that again.

use std::ops::RangeInclusive;

use nftables::types::NfHook;

use super::TableChain;
use super::answers::Answers;
use super::context::{Rule, RuleContext, base_chain, regular_chain};
use super::ct_stmt::{Label, has_label, is_dnatted, is_original, set_label};
use super::names::ChainName;
use super::rejections::{closed_rules, reject_rules};
use super::sets::{FamilySets, SetName};
use super::stmt::{
    Field, accept, daddr_is_local, daddr_is_not_local, has_no_flow_label, is_reset, is_syn,
    not_syn, passes_rp_filter, protocol, return_to_caller, saddr_in, set_flow_label, state,
    udp_ports,
};

/// Just before `mangle`: after connection tracking and reassembly, before NAT moves a packet
/// and before any ordinary firewall.
pub(crate) const PREROUTING_PRIORITY: i32 = -155;

/// Behind the host's own rules (`filter`, `security`), before IPVS takes a packet away.
const INPUT_PRIORITY: i32 = 96;

/// After whatever else of the host may move a packet to another port on its way in: rules that
/// rewrite ports, IPVS.
pub(crate) const LAST_PRIORITY: i32 = 250;

/// States of packets that belong to no connection of this host.
const STRANGER_STATES: &[&str] = &["new", "untracked", "invalid"];

/// The chains that every table has. An empty one is declared too, because a table that is
/// loaded over another must not keep that one's rules.
pub(super) fn all(
    context: RuleContext<'_>,
    answers: &Answers,
    spa_ports: &[RangeInclusive<u16>],
    flow_labels: Option<u32>,
) -> Vec<TableChain> {
    use ChainName as Name;
    vec![
        regular_chain(Name::Closed, closed_rules()),
        regular_chain(Name::RejectUngranted, reject_rules(context.names, answers)),
        regular_chain(Name::TrackTrial, track_trial(context)),
        regular_chain(Name::AcceptGranted, accept_granted(context)),
        regular_chain(Name::CheckGrant, check_grant(context)),
        regular_chain(Name::OtherDestination, other_destination(context)),
        regular_chain(Name::PreroutingHidden, prerouting_hidden(context)),
        regular_chain(Name::InputHidden, input_hidden(context)),
        regular_chain(Name::LateInputHidden, late_input_hidden(context)),
        regular_chain(Name::Dnatted, dnatted(context)),
        regular_chain(Name::Published, published(context)),
        base_chain(
            Name::Prerouting,
            NfHook::Prerouting,
            PREROUTING_PRIORITY,
            prerouting(context, spa_ports),
        ),
        base_chain(Name::Input, NfHook::Input, INPUT_PRIORITY, input(context)),
        base_chain(
            Name::LateInput,
            NfHook::Input,
            LAST_PRIORITY,
            late_input(context),
        ),
        base_chain(
            Name::Forward,
            NfHook::Forward,
            LAST_PRIORITY,
            forward_dnatted(context),
        ),
        base_chain(
            Name::Output,
            NfHook::Output,
            PREROUTING_PRIORITY,
            output(context, flow_labels),
        ),
    ]
}

/// Notices that a port on trial was reached through a grant: a granted connection continued
/// after this host had answered it.
fn track_trial(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    for FamilySets { trial_pending, .. } in FamilySets::BOTH {
        rules.push(vec![
            state(&["established"]),
            names.in_set(trial_pending),
            names.add_to(SetName::TrialReached),
        ]);
    }
    for family in FamilySets::BOTH {
        let sets = [family.grants, family.grants_once, family.grants_port];
        let networks = context.in_grant_networks(family, Field::Port);
        for grant in sets
            .map(|set| names.in_set(set))
            .into_iter()
            .chain(networks)
        {
            rules.push(vec![
                state(&["new"]),
                grant,
                names.add_to(family.trial_pending),
            ]);
        }
    }
    rules
}

/// Accepts whoever may reach a hidden port; returns for everybody else.
fn check_grant(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = vec![vec![
        names.in_set(SetName::Trial),
        names.jump(ChainName::TrackTrial),
    ]];
    // Whatever connection tracking thinks of later packets of a connection that was cut. The
    // client's reset passes, so that the service learns of the end too. UDP has no first
    // segment: with a grant its client may begin again.
    for FamilySets { cut, .. } in FamilySets::BOTH {
        rules.push(vec![not_syn(), names.in_set(cut), is_reset(), accept()]);
        rules.push(vec![not_syn(), names.in_set(cut), return_to_caller()]);
        rules.push(vec![
            protocol("udp"),
            names.in_set(cut),
            names.goto(ChainName::AcceptGranted),
        ]);
    }
    rules.extend(context.established_rules());
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![not_syn(), return_to_caller()]);
    rules.push(vec![names.goto(ChainName::AcceptGranted)]);
    rules
}

/// Accepts connections that begin with a grant. One that was cut may begin again.
fn accept_granted(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    for family in FamilySets::BOTH {
        let admit = || {
            let label = context.set_admitted().into_iter();
            [names.delete_from(family.cut)]
                .into_iter()
                .chain(label)
                .chain([accept()])
        };
        let sets = [family.grants, family.grants_port].map(|set| names.in_set(set));
        let networks = context.in_grant_networks(family, Field::Port);
        for grant in sets.into_iter().chain(networks) {
            rules.push([grant].into_iter().chain(admit()).collect());
        }
        // The grant moves to the 4-tuple, so that the client may repeat a lost first segment.
        let (once, port) = (family.grants_once, family.grants_port);
        let use_up = [
            names.in_set(once),
            names.delete_from(once),
            names.add_to(port),
        ];
        rules.push(use_up.into_iter().chain(admit()).collect());
    }
    rules
}

/// Judges packets as they arrived, before NAT.
fn prerouting(context: RuleContext<'_>, spa_ports: &[RangeInclusive<u16>]) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    if context.labels {
        // For every port, because a rule of the host's may move a packet to a hidden one.
        for network in context.allowed_networks() {
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
            names.goto(ChainName::RejectUngranted),
        ]);
    }
    rules.push(vec![
        names.in_set(SetName::Hidden),
        names.goto(ChainName::PreroutingHidden),
    ]);
    rules
}

/// Judges a packet for a hidden port first. A stranger's packet continues, unless later chains
/// could not tell it from an admitted one.
fn prerouting_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let reject = || names.goto(ChainName::RejectUngranted);
    let mut rules = vec![vec![
        daddr_is_not_local(),
        names.goto(ChainName::OtherDestination),
    ]];
    rules.extend(context.always_allowed());
    rules.push(vec![names.jump(ChainName::CheckGrant)]);
    if context.labels {
        // By another interface than the one that leads back to that network.
        let networks = context.allowed_networks();
        rules.extend(networks.map(|network| vec![saddr_in(network), reject()]));
        // Its connection was admitted and the packet is not: the grant has expired, or was cut.
        rules.push(vec![has_label(Label::Admitted), reject()]);
        rules.push(vec![state(&["untracked"]), reject()]);
    } else {
        rules.push(vec![reject()]);
    }
    rules
}

/// Labels connections to another host, which NAT may still send to this one.
fn other_destination(context: RuleContext<'_>) -> Vec<Rule> {
    let label = || vec![state(&["new"]), set_label(Label::OtherDestination)];
    context.labels.then(label).into_iter().collect()
}

/// Judges a packet last, by what it has become.
fn input_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = context.always_allowed_after_prerouting();
    rules.push(vec![context.names.jump(ChainName::CheckGrant)]);
    rules.push(vec![context.names.goto(ChainName::RejectUngranted)]);
    rules
}

/// Judges, behind the host's own rules, whatever came to a hidden port, also by a path that
/// [`ChainName::Prerouting`] does not see: rules that move packets, or addresses that only
/// another routing table knows as local. What passed there passes here.
fn input(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = vec![vec![
        names.in_set(SetName::Hidden),
        names.goto(ChainName::InputHidden),
    ]];
    rules.extend(forward_dnatted(context));
    rules
}

/// Judges what was moved to a hidden port behind [`ChainName::Input`].
fn late_input(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let hidden = names.in_set(SetName::Hidden);
    vec![vec![hidden, names.goto(ChainName::LateInputHidden)]]
}

fn late_input_hidden(context: RuleContext<'_>) -> Vec<Rule> {
    let admitted = context.has_admitted().map(|is| vec![is, accept()]);
    let others = vec![context.names.goto(ChainName::InputHidden)];
    admitted.into_iter().chain([others]).collect()
}

/// Judges what destination NAT moved away from a hidden port of this host. Answers are not
/// judged.
fn forward_dnatted(context: RuleContext<'_>) -> Vec<Rule> {
    let goto = context.names.goto(ChainName::Dnatted);
    let rule = vec![is_dnatted(), is_original(), goto];
    context.labels.then_some(rule).into_iter().collect()
}

/// Finds connections whose original port, before NAT, is hidden.
fn dnatted(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let fields = [Field::Protocol, Field::OriginalPort];
    let rule = |name| {
        vec![
            protocol(name),
            names.fields_in_set(&fields, SetName::Hidden),
            names.goto(ChainName::Published),
        ]
    };
    ["tcp", "udp", "sctp"].map(rule).into()
}

/// Accepts what [`ChainName::PreroutingHidden`] admitted before NAT moved it.
fn published(context: RuleContext<'_>) -> Vec<Rule> {
    let mut rules = context.always_allowed_after_prerouting();
    rules.extend(context.preexisting_rules());
    if context.labels {
        for label in [Label::Admitted, Label::OtherDestination] {
            rules.push(vec![has_label(label), accept()]);
        }
    }
    rules.push(vec![context.names.goto(ChainName::RejectUngranted)]);
    rules
}

/// Admits connections that this host begins from a hidden port, and gives our resets the flow
/// label of this host's own.
fn output(context: RuleContext<'_>, flow_labels: Option<u32>) -> Vec<Rule> {
    let names = context.names;
    let sport_is_hidden = || names.sport_in_set(SetName::Hidden);
    let mut rules = Vec::new();
    if let Some(admitted) = context.set_admitted() {
        rules.push(vec![is_syn(), sport_is_hidden(), admitted.clone()]);
        // While the table was missing a stranger's datagram may have come in unseen, and this
        // may be the answer to it.
        rules.push(vec![
            protocol("udp"),
            is_original(),
            sport_is_hidden(),
            names.sport_not_in_set(SetName::Settling),
            admitted,
        ]);
    }
    rules.extend(flow_labels.map(|seed| {
        vec![
            is_reset(),
            sport_is_hidden(),
            has_no_flow_label(),
            set_flow_label(seed),
        ]
    }));
    rules
}
