//! The rules that answer strangers at hidden ports.
//!
//! Pure: for each kind of packet, the answer that [`Answers`] names.

use spa_proto::Protocol;

use super::answers::{Answers, Family, PacketKind, Reply, State};
use super::context::Rule;
use super::names::{ChainName, Names};
use super::stmt::{
    Stmt, counter, doff_is, drop, has_full_header, has_no_checksum, nfproto, pkttype_is_not_host,
    port_unreachable, protocol, protocol_unreachable, reject_with_icmp, reset, saddr_is_local,
    state,
};

/// The rules of [`ChainName::RejectUngranted`].
pub(super) fn reject_rules(names: Names<'_>, answers: &Answers) -> Vec<Rule> {
    let mut rules = vec![vec![counter()]];
    if *answers == Answers::all(Reply::Closed) {
        rules.push(vec![names.goto(ChainName::Closed)]);
        return rules;
    }
    for one in Protocol::ALL {
        let reply = |family, state| {
            answers.reply_to(PacketKind {
                family,
                protocol: one,
                state,
            })
        };
        let replies = Family::BOTH.map(|family| State::BOTH.map(|state| reply(family, state)));
        let [four, six] = replies;
        if four == six && is_icmpx_expressible(four) {
            rules.extend(protocol_rules(names, one, None, four));
        } else {
            rules.extend(protocol_rules(names, one, Some(Family::Four), four));
            rules.extend(protocol_rules(names, one, Some(Family::Six), six));
        }
    }
    rules.push(vec![drop()]);
    rules
}

/// Whether `icmpx` has a code for each of these replies.
fn is_icmpx_expressible(replies: [Reply; 2]) -> bool {
    replies.iter().all(|reply| {
        matches!(
            reply,
            Reply::Closed
                | Reply::Reset
                | Reply::Nothing
                | Reply::Error("admin-prohibited" | "port-unreachable")
        )
    })
}

fn protocol_rules(
    names: Names<'_>,
    proto: Protocol,
    family: Option<Family>,
    [new, invalid]: [Reply; 2],
) -> Vec<Rule> {
    let mut conditions = Vec::new();
    conditions.extend(family.map(|family| nfproto(family.text())));
    conditions.push(protocol(proto.as_str()));
    let rule = |more: Option<Stmt>, reply| {
        let answer = match reply {
            Reply::Closed => names.goto(ChainName::Closed),
            Reply::Reset => reset(),
            Reply::Nothing => drop(),
            Reply::Error(code) => reject_with_icmp(icmp_kind(family), code),
        };
        let conditions = conditions.iter().cloned().chain(more);
        conditions.chain([answer]).collect::<Rule>()
    };
    match new == invalid {
        true => vec![rule(None, new)],
        false => vec![rule(Some(state(&["invalid"])), invalid), rule(None, new)],
    }
}

const fn icmp_kind(family: Option<Family>) -> &'static str {
    match family {
        None => "icmpx",
        Some(Family::Four) => "icmp",
        Some(Family::Six) => "icmpv6",
    }
}

/// The rules of [`ChainName::Closed`]: what the kernel answers for a port without a service.
///
/// Packets that the kernel would ignore there get no answer either: wrong lengths, frames to
/// several hosts, this host's own address as a source. The kernel itself never sends a reset or
/// an unreachable error to a broadcast or multicast address, to a reset, or for a wrong checksum.
pub(super) fn closed_rules() -> Vec<Rule> {
    let mut rules = vec![
        vec![pkttype_is_not_host(), drop()],
        vec![saddr_is_local(), drop()],
    ];
    rules.extend((5..=15).map(|words| vec![doff_is(words), has_full_header(words), reset()]));
    // RFC 8200, section 8.1.
    rules.push(vec![nfproto("ipv6"), has_no_checksum(), drop()]);
    // To connection tracking a datagram with a wrong length or checksum is invalid.
    rules.push(vec![protocol("udp"), state(&["invalid"]), drop()]);
    rules.push(vec![protocol("udp"), port_unreachable()]);
    // Over IPv6 the answer would be a parameter problem, which `reject` cannot send.
    rules.push(vec![
        nfproto("ipv4"),
        protocol("sctp"),
        protocol_unreachable(),
    ]);
    rules.push(vec![drop()]);
    rules
}

#[cfg(test)]
mod tests {
    use super::super::print;
    use super::*;

    fn text(answers: &Answers) -> Vec<String> {
        let rules = reject_rules(Names::OWN, answers);
        let rules = rules.iter().map(|rule| print::rule(rule).unwrap());
        rules.collect()
    }

    #[test]
    fn each_kind_of_packet_gets_its_own_answer() {
        let answers = Answers::from_each(|kind| match (kind.state, kind.family, kind.protocol) {
            (State::Invalid, _, _) => Reply::Nothing,
            (_, Family::Four, Protocol::Udp) => Reply::Error("host-prohibited"),
            (_, Family::Six, Protocol::Udp) => Reply::PROHIBITED,
            (_, _, Protocol::Sctp) => Reply::PROHIBITED,
            _ => Reply::Closed,
        });
        assert_eq!(
            text(&answers)[1..],
            [
                "meta l4proto tcp ct state invalid drop",
                "meta l4proto tcp goto reject_as_closed",
                "meta nfproto ipv4 meta l4proto udp ct state invalid drop",
                "meta nfproto ipv4 meta l4proto udp reject with icmp host-prohibited",
                "meta nfproto ipv6 meta l4proto udp ct state invalid drop",
                "meta nfproto ipv6 meta l4proto udp reject with icmpv6 admin-prohibited",
                "meta l4proto sctp ct state invalid drop",
                "meta l4proto sctp reject with icmpx admin-prohibited",
                "drop",
            ]
        );
        assert!(answers.resets_tcp6());
        assert!(!Answers::all(Reply::PROHIBITED).resets_tcp6());
    }
}
