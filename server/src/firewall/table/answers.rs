//! What strangers get at a hidden port: what closed ports of this host answer.
//!
//! Pure: kinds of packets, an answer for each, and the rules that give it.

use nftables::stmt::{Reject, RejectType, Statement};
use serde_json::json;
use spa_proto::Protocol;

use super::chains::Rule;
use super::ct_stmt::{pkttype_is_not_host, saddr_is_local};
use super::stmt::{
    Stmt, counter, doff_is, drop, goto, has_full_header, has_no_checksum, is_ipv6,
    port_unreachable, protocol, reset, state,
};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Four, Self::Six];

    const fn text(self) -> &'static str {
        match self {
            Self::Four => "ipv4",
            Self::Six => "ipv6",
        }
    }
}

/// What connection tracking says of a packet that belongs to no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It begins one.
    New,
    /// It neither begins nor continues one.
    Invalid,
}

impl State {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::New, Self::Invalid];
}

/// Packets that a host may answer differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketKind {
    /// Over which family.
    pub family: Family,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Of which state.
    pub state: State,
}

impl PacketKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let protocols = Protocol::ALL.into_iter().flat_map(|protocol| {
            Family::BOTH
                .into_iter()
                .map(move |family| (family, protocol))
        });
        protocols.flat_map(|(family, protocol)| {
            State::BOTH.into_iter().map(move |state| Self {
                family,
                protocol,
                state,
            })
        })
    }
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// What the kernel answers for a port without a service.
    Closed,
    /// A TCP reset of the host's own rules.
    Reset,
    /// Nothing.
    Nothing,
    /// An ICMP error, by nft's word for it.
    Error(&'static str),
}

impl Reply {
    /// The word that both families have for an error of administrators.
    pub const PROHIBITED: Self = Self::Error("admin-prohibited");

    /// The words of a family, as `reject with icmp` or `icmpv6` has them.
    const fn icmp_codes(family: Family) -> &'static [&'static str] {
        match family {
            Family::Four => &[
                "net-unreachable",
                "host-unreachable",
                "prot-unreachable",
                "port-unreachable",
                "net-prohibited",
                "host-prohibited",
                "admin-prohibited",
            ],
            Family::Six => &[
                "no-route",
                "admin-prohibited",
                "addr-unreachable",
                "port-unreachable",
            ],
        }
    }

    /// The answer that `reject` gives over this family by this word of `icmp`, `icmpv6`
    /// or `icmpx`; none where it is no such word.
    #[must_use]
    pub fn from_icmp_code(family: Family, word: &str) -> Option<Self> {
        let word = match (family, word) {
            (Family::Four, "no-route") => "net-unreachable",
            (Family::Six, "host-unreachable") => "addr-unreachable",
            (_, word) => word,
        };
        let known = Self::icmp_codes(family)
            .iter()
            .find(|known| **known == word)?;
        Some(Self::Error(known))
    }
}

/// The answer to each kind of packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers(Vec<(PacketKind, Reply)>);

impl Answers {
    /// One answer for all.
    #[must_use]
    pub fn all(reply: Reply) -> Self {
        Self::from_each(|_| reply)
    }

    /// The answer that this gives for each kind.
    #[must_use]
    pub fn from_each(mut reply: impl FnMut(PacketKind) -> Reply) -> Self {
        Self(PacketKind::all().map(|kind| (kind, reply(kind))).collect())
    }

    /// The answer to this kind.
    #[must_use]
    pub fn reply_to(&self, kind: PacketKind) -> Reply {
        let found = self.0.iter().find(|(one, _)| *one == kind);
        found.map_or(Reply::Closed, |(_, reply)| *reply)
    }

    /// Whether any IPv6 TCP packet is answered as the kernel answers it.
    #[must_use]
    pub fn resets_tcp6(&self) -> bool {
        let resets = |(kind, reply): &(PacketKind, Reply)| {
            (kind.family, kind.protocol) == (Family::Six, Protocol::Tcp) && *reply == Reply::Closed
        };
        self.0.iter().any(resets)
    }

    /// The answers in words: each answer, and to what it is given where not to all.
    #[must_use]
    pub fn text(&self) -> String {
        let mut texts: Vec<String> = Vec::new();
        for state in State::BOTH {
            for protocol in Protocol::ALL {
                let of = |family| {
                    self.reply_to(PacketKind {
                        family,
                        protocol,
                        state,
                    })
                };
                let [four, six] = Family::BOTH.map(of);
                let what = match state {
                    State::New => format!("{protocol}"),
                    State::Invalid => format!("{protocol} that is invalid"),
                };
                let text = match four == six {
                    true => reply_name(four).to_owned(),
                    false => format!(
                        "{} over IPv4, {} over IPv6",
                        reply_name(four),
                        reply_name(six)
                    ),
                };
                texts.push(format!("{what}: {text}"));
            }
        }
        let answers: std::collections::BTreeSet<&str> = texts
            .iter()
            .filter_map(|text| Some(text.split_once(": ")?.1))
            .collect();
        match answers.iter().next() {
            Some(one) if answers.len() == 1 => format!("{one}, whatever the packet"),
            _ => texts.join("; "),
        }
    }
}

const fn reply_name(reply: Reply) -> &'static str {
    match reply {
        Reply::Closed => "as closed",
        Reply::Reset => "a reset",
        Reply::Nothing => "nothing",
        Reply::Error(word) => word,
    }
}

/// The rules of the chain `strangers`.
pub(super) fn stranger_rules(answers: &Answers) -> Vec<Rule> {
    let mut rules = vec![vec![counter()]];
    if *answers == Answers::all(Reply::Closed) {
        rules.push(vec![goto("closed")]);
        return rules;
    }
    for one in Protocol::ALL {
        let of = |family, state| {
            answers.reply_to(PacketKind {
                family,
                protocol: one,
                state,
            })
        };
        let [four, six] = Family::BOTH.map(|family| State::BOTH.map(|state| of(family, state)));
        if four == six && is_icmpx_expressible(four) {
            rules.extend(protocol_rules(one, None, four));
        } else {
            rules.extend(protocol_rules(one, Some(Family::Four), four));
            rules.extend(protocol_rules(one, Some(Family::Six), six));
        }
    }
    rules.push(vec![drop()]);
    rules
}

/// `icmpx` has a word for each.
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
    proto: Protocol,
    family: Option<Family>,
    [new, invalid]: [Reply; 2],
) -> Vec<Rule> {
    let mut conditions = Vec::new();
    conditions.extend(family.map(is_family));
    conditions.push(protocol(proto.as_str()));
    let rule = |more: Option<Stmt>, reply| {
        let answer = match reply {
            Reply::Closed => goto("closed"),
            Reply::Reset => reset(),
            Reply::Nothing => drop(),
            Reply::Error(word) => reject(family, word),
        };
        let words = conditions.iter().cloned().chain(more);
        words.chain([answer]).collect::<Rule>()
    };
    match new == invalid {
        true => vec![rule(None, new)],
        false => vec![rule(Some(state(&["invalid"])), invalid), rule(None, new)],
    }
}

fn is_family(family: Family) -> Stmt {
    let mut word = is_ipv6();
    if family == Family::Four {
        word.text = word.text.replace("ipv6", family.text());
        if let Some(right) = word.data.pointer_mut("/match/right") {
            *right = json!(family.text());
        }
    }
    word
}

fn reject(family: Option<Family>, word: &'static str) -> Stmt {
    let kind = match family {
        None => "icmpx",
        Some(Family::Four) => "icmp",
        Some(Family::Six) => "icmpv6",
    };
    Stmt {
        data: json!({"reject": {"type": kind, "expr": word}}),
        text: format!("reject with {kind} {word}"),
    }
}

/// The rules of the chain `closed`: what the kernel answers for a port without a service.
/// What it would not look at when it came to one, such as lengths that lie, a frame to
/// others as well, or a source that is this host's own, is not answered either. A reset or an
/// unreachable port never goes to a broadcast or multicast address, nor answers a reset or a
/// broken checksum: the kernel sees to that, as it does for its own.
pub(super) fn closed_rules() -> Vec<Rule> {
    let mut rules = vec![
        vec![pkttype_is_not_host(), drop()],
        vec![saddr_is_local(), drop()],
    ];
    rules.extend((5..=15).map(|words| vec![doff_is(words), has_full_header(words), reset()]));
    // RFC 8200, section 8.1.
    rules.push(vec![is_ipv6(), has_no_checksum(), drop()]);
    // To connection tracking a datagram is invalid where its length or checksum is.
    rules.push(vec![protocol("udp"), state(&["invalid"]), drop()]);
    rules.push(vec![protocol("udp"), port_unreachable()]);
    // Over IPv6 that would be a parameter problem, for which `reject` has no word.
    rules.push(vec![
        is_family(Family::Four),
        protocol("sctp"),
        protocol_unreachable(),
    ]);
    rules.push(vec![drop()]);
    rules
}

/// Answers as a host does that does not know the protocol, over IPv4.
fn protocol_unreachable() -> Stmt {
    let code = nftables::types::RejectCode::ProtUnreach;
    let reject = Reject::new(Some(RejectType::ICMP), Some(code));
    let text = "reject with icmp prot-unreachable";
    Stmt::new(&Statement::Reject(Some(reject)), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answers: &Answers) -> Vec<String> {
        let rules = stranger_rules(answers);
        let text = |rule: &Rule| {
            let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
            words.join(" ")
        };
        rules.iter().map(text).collect()
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
                "meta l4proto tcp goto closed",
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

    #[test]
    fn the_words_of_icmpx_are_those_of_each_family() {
        let of = Reply::from_icmp_code;
        assert_eq!(
            of(Family::Four, "no-route"),
            Some(Reply::Error("net-unreachable"))
        );
        assert_eq!(
            of(Family::Six, "host-unreachable"),
            Some(Reply::Error("addr-unreachable"))
        );
        assert_eq!(of(Family::Six, "host-prohibited"), None);
    }

    #[test]
    fn answers_are_named_by_packet_where_they_differ() {
        let all = Answers::all(Reply::Closed).text();
        assert_eq!(all, "as closed, whatever the packet");
        let answers = Answers::from_each(|kind| match kind.state {
            State::New => Reply::Closed,
            State::Invalid => Reply::Nothing,
        });
        let text = answers.text();
        assert!(
            text.starts_with("tcp: as closed; udp: as closed;"),
            "{text}"
        );
        assert!(text.ends_with("sctp that is invalid: nothing"), "{text}");
    }
}
