//! The words that our rules are made of.
//!
//! Each is made once, as JSON for the kernel (in the `nftables` crate's schema
//! where that has the word) and as text for people. Pure.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use nftables::expr::{
    BinaryOperation, CT, Expression, Fib, FibFlag, FibResult, JHash, Meta, MetaKey,
    NamedExpression, Payload, PayloadBase, PayloadField, PayloadRaw, Prefix, Range,
};
use nftables::stmt::{
    Accept, Drop, JumpTarget, Mangle, Match, Operator, Reject, RejectType, Set, SetOp, Statement,
};
use nftables::types::RejectCode;
use serde_json::{Value, json};

use super::nat_stmt::original_dport;
use super::sets::SetName;
use super::{object, prefix_mark};
use crate::config::Network;

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stmt {
    pub(super) data: Value,
    pub(super) text: String,
}

impl Stmt {
    pub(super) fn new(statement: &Statement<'_>, text: impl Into<String>) -> Self {
        Self {
            data: object(statement),
            text: text.into(),
        }
    }

    pub(super) fn compare(
        left: Expression<'static>,
        op: Operator,
        right: Expression<'_>,
        text: impl Into<String>,
    ) -> Self {
        Self::new(&Statement::Match(Match { left, right, op }), text)
    }
}

/// What a rule reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source4,
    Source6,
    /// Of which a mask leaves a network's length.
    PrefixMark,
    SourcePort,
    Protocol,
    Port,
    Destination4,
    Destination6,
    /// The port that the connection's first packet was for, before any NAT.
    OriginalPort,
}

impl Field {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Source4 => "ip saddr",
            Self::Source6 => "ip6 saddr",
            Self::PrefixMark => "meta protocol",
            Self::SourcePort => "th sport",
            Self::Protocol => "meta l4proto",
            Self::Port => "th dport",
            Self::Destination4 => "ip daddr",
            Self::Destination6 => "ip6 daddr",
            Self::OriginalPort => "ct original proto-dst",
        }
    }

    pub(super) fn expression(self) -> Expression<'static> {
        match self {
            Self::Source4 => payload("ip", "saddr"),
            Self::Source6 => payload("ip6", "saddr"),
            Self::PrefixMark => meta(MetaKey::Protocol),
            Self::SourcePort => payload("th", "sport"),
            Self::Protocol => meta(MetaKey::L4proto),
            Self::Port => payload("th", "dport"),
            Self::Destination4 => payload("ip", "daddr"),
            Self::Destination6 => payload("ip6", "daddr"),
            Self::OriginalPort => original_dport(),
        }
    }
}

pub(super) fn payload(protocol: &'static str, field: &'static str) -> Expression<'static> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(
        PayloadField {
            protocol: protocol.into(),
            field: field.into(),
        },
    )))
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn ct(key: &'static str) -> Expression<'static> {
    Expression::Named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: None,
    }))
}

pub(super) fn string(text: &str) -> Expression<'_> {
    Expression::String(Cow::Borrowed(text))
}

pub(super) fn key(fields: &[Field]) -> (Expression<'static>, String) {
    let expressions = fields.iter().map(|field| field.expression()).collect();
    let texts: Vec<&str> = fields.iter().map(|field| field.text()).collect();
    (
        Expression::Named(NamedExpression::Concat(expressions)),
        texts.join(" . "),
    )
}

/// The packet's fields are an element of the set.
pub(super) fn in_set(set: SetName) -> Stmt {
    let (left, text) = key(set.fields());
    let name = format!("@{}", set.as_str());
    let text = format!("{text} {name}");
    Stmt::compare(left, Operator::EQ, string(&name), text)
}

/// The packet's source lies in an IPv4 network of this length that is an element of `net4`.
pub(super) fn saddr_in_net4(length: u8, port: Field) -> Stmt {
    let (mask, text) = masked(Field::Source4, Ipv4Addr::BROADCAST.into(), length);
    let number = Ipv4Addr::from_bits(u32::from(length)).to_string();
    let text = format!("{text} | {number}");
    let marked = BinaryOperation::OR(vec![mask, Expression::String(number.into())]);
    let marked = Expression::BinaryOperation(Box::new(marked));
    in_networks(SetName::GrantsNet4, vec![marked], text, port)
}

/// The packet's source lies in an IPv6 network of this length that is an element of `net6`.
pub(super) fn saddr_in_net6(length: u8, port: Field) -> Stmt {
    let all = Ipv6Addr::from_bits(u128::MAX);
    let (mask, text) = masked(Field::Source6, all.into(), length);
    let mark = prefix_mark::mark(length);
    let text = format!("{text} . {} & {mark:#06x}", Field::PrefixMark.text());
    let mark = Expression::Number(u32::from(mark));
    let marked = BinaryOperation::AND(Field::PrefixMark.expression(), mark);
    let marked = Expression::BinaryOperation(Box::new(marked));
    in_networks(SetName::GrantsNet6, vec![mask, marked], text, port)
}

/// The network of this length around the packet's source.
fn masked(source: Field, all: IpAddr, length: u8) -> (Expression<'static>, String) {
    // The configuration has no length that the family has not.
    let mask = Network::enclosing(all, length).map_or(all, |network| network.address);
    let mask = mask.to_string();
    let text = format!("{} & {mask}", source.text());
    let mask = Expression::String(mask.into());
    let masked = BinaryOperation::AND(source.expression(), mask);
    (Expression::BinaryOperation(Box::new(masked)), text)
}

fn in_networks(set: SetName, network: Vec<Expression<'static>>, text: String, port: Field) -> Stmt {
    let rest = [Field::Protocol, port];
    let all = network.into_iter().chain(rest.map(Field::expression));
    let left = Expression::Named(NamedExpression::Concat(all.collect()));
    let name = format!("@{}", set.as_str());
    let (_, rest) = key(&rest);
    let text = format!("{text} . {rest} {name}");
    Stmt::compare(left, Operator::EQ, string(&name), text)
}

/// The port that the packet comes from is hidden: for answers.
pub(super) fn sport_is_hidden() -> Stmt {
    let (left, text) = key(&[Field::Protocol, Field::SourcePort]);
    let name = format!("@{}", SetName::Hidden.as_str());
    let text = format!("{text} {name}");
    Stmt::compare(left, Operator::EQ, string(&name), text)
}

/// Adds the packet's fields to the set.
pub(super) fn add_to(set: SetName) -> Stmt {
    let (elem, text) = key(set.fields());
    let text = format!("add @{0} {{ {text} }}", set.as_str());
    let statement = Statement::Set(Set {
        op: SetOp::Add,
        elem,
        set: format!("@{}", set.as_str()).into(),
    });
    Stmt::new(&statement, text)
}

/// Takes the packet's fields out of the set. The crate's schema has no such word.
pub(super) fn delete_from(set: SetName) -> Stmt {
    let (elem, text) = key(set.fields());
    let name = format!("@{}", set.as_str());
    Stmt {
        data: json!({"set": {"op": "delete", "elem": object(&elem), "set": name}}),
        text: format!("delete {name} {{ {text} }}"),
    }
}

/// The packet arrived at this interface.
pub(super) fn iifname_is(interface: &str) -> Stmt {
    // A name cannot hold quotes or white space: the configuration refuses them.
    Stmt::compare(
        meta(MetaKey::Iifname),
        Operator::EQ,
        string(interface),
        format!("iifname \"{interface}\""),
    )
}

/// The packet came from this network.
pub(super) fn saddr_in(network: &Network) -> Stmt {
    let field = match network.address {
        IpAddr::V4(_) => Field::Source4,
        IpAddr::V6(_) => Field::Source6,
    };
    let address = network.address.to_string();
    let right = Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(string(&address)),
        len: u32::from(network.prefix),
    }));
    let text = format!("{} {address}/{}", field.text(), network.prefix);
    Stmt::compare(field.expression(), Operator::EQ, right, text)
}

/// The packet is for this host: an address of its own, or one that it listens to with others.
pub(super) fn daddr_is_local() -> Stmt {
    const KINDS: [&str; 4] = ["local", "broadcast", "anycast", "multicast"];
    let fib = Expression::Named(NamedExpression::Fib(Fib {
        result: FibResult::Type,
        flags: HashSet::from([FibFlag::Daddr]),
    }));
    let kinds = KINDS
        .iter()
        .map(|kind| nftables::expr::SetItem::Element(string(kind)))
        .collect();
    Stmt::compare(
        fib,
        Operator::EQ,
        Expression::Named(NamedExpression::Set(kinds)),
        format!("fib daddr type {{ {} }}", KINDS.join(", ")),
    )
}

/// The connection's state is one of these.
pub(super) fn state(states: &[&'static str]) -> Stmt {
    let list = Expression::List(states.iter().map(|state| string(state)).collect());
    let text = format!("ct state {}", states.join(","));
    Stmt::compare(ct("state"), Operator::IN, list, text)
}

/// The packet's transport protocol.
pub(super) fn protocol(name: &'static str) -> Stmt {
    Stmt::compare(
        meta(MetaKey::L4proto),
        Operator::EQ,
        string(name),
        format!("meta l4proto {name}"),
    )
}

/// The packet is UDP to one of these ports.
pub(super) fn udp_ports(ports: &RangeInclusive<u16>) -> Stmt {
    let (from, to) = (ports.start(), ports.end());
    let [low, high] = [from, to].map(|end| Expression::Number(u32::from(*end)));
    let (right, text) = if from == to {
        (low, format!("udp dport {from}"))
    } else {
        let range = Range { range: [low, high] };
        let text = format!("udp dport {from}-{to}");
        (Expression::Range(Box::new(range)), text)
    };
    Stmt::compare(payload("udp", "dport"), Operator::EQ, right, text)
}

/// The packet is TCP and not the first of a connection.
pub(super) fn not_syn() -> Stmt {
    let flags = ["fin", "syn", "rst", "ack"];
    // Two at a time: nft 1.0.6 does not read longer lists.
    let mut any = string("ack");
    for flag in ["rst", "syn", "fin"] {
        let both = BinaryOperation::OR(vec![string(flag), any]);
        any = Expression::BinaryOperation(Box::new(both));
    }
    let both = BinaryOperation::AND(payload("tcp", "flags"), any);
    Stmt::compare(
        Expression::BinaryOperation(Box::new(both)),
        Operator::NEQ,
        string("syn"),
        format!("tcp flags & ({}) != syn", flags.join(" | ")),
    )
}

/// The TCP header says that it has so many words of four bytes.
pub(super) fn doff_is(words: u32) -> Stmt {
    Stmt::compare(
        payload("tcp", "doff"),
        Operator::EQ,
        Expression::Number(words),
        format!("tcp doff {words}"),
    )
}

/// The packet has so many words of four bytes behind its network header. True of each
/// value of the last byte: where there is none, the rule does not match.
pub(super) fn has_full_header(words: u32) -> Stmt {
    let offset = words.saturating_mul(32).saturating_sub(8);
    let last = Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw {
        base: PayloadBase::TH,
        offset,
        len: 8,
    })));
    Stmt::compare(
        last,
        Operator::GEQ,
        Expression::Number(0),
        format!("@th,{offset},8 >= 0"),
    )
}

/// The packet is IPv6.
pub(super) fn is_ipv6() -> Stmt {
    Stmt::compare(
        meta(MetaKey::Nfproto),
        Operator::EQ,
        string("ipv6"),
        "meta nfproto ipv6",
    )
}

/// The packet is UDP without a checksum.
pub(super) fn has_no_checksum() -> Stmt {
    Stmt::compare(
        payload("udp", "checksum"),
        Operator::EQ,
        Expression::Number(0),
        "udp checksum 0",
    )
}

/// The packet is a TCP reset.
pub(super) fn is_reset() -> Stmt {
    let flag = BinaryOperation::AND(payload("tcp", "flags"), string("rst"));
    Stmt::compare(
        Expression::BinaryOperation(Box::new(flag)),
        Operator::EQ,
        string("rst"),
        "tcp flags & rst == rst",
    )
}

/// The IPv6 packet has no flow label.
pub(super) fn has_no_flow_label() -> Stmt {
    Stmt::compare(
        payload("ip6", "flowlabel"),
        Operator::EQ,
        Expression::Number(0),
        "ip6 flowlabel 0",
    )
}

/// Gives the IPv6 TCP packet a flow label, the same for each packet of the flow.
/// Writes 24 bits, for nft writes whole bytes: 4 zero bits of the traffic class, then the label.
pub(super) fn set_flow_label(seed: u32) -> Stmt {
    let keys = vec![
        payload("ip6", "daddr"),
        payload("tcp", "sport"),
        payload("tcp", "dport"),
    ];
    let hash = Expression::Named(NamedExpression::JHash(JHash {
        hash_mod: 1 << 28,
        offset: None,
        expr: Box::new(Expression::Named(NamedExpression::Concat(keys))),
        seed: Some(seed),
    }));
    let label = Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw {
        base: PayloadBase::NH,
        offset: 8,
        len: 24,
    })));
    let statement = Statement::Mangle(Mangle {
        key: label,
        value: hash,
    });
    let text = format!(
        "@nh,8,24 set jhash ip6 daddr . tcp sport . tcp dport mod {} seed {seed:#x}",
        1_u32 << 28
    );
    Stmt::new(&statement, text)
}

/// Counts packets and bytes.
pub(super) fn counter() -> Stmt {
    Stmt {
        data: json!({"counter": null}),
        text: "counter".to_owned(),
    }
}

/// Lets the packet pass this chain.
pub(super) fn accept() -> Stmt {
    Stmt::new(&Statement::Accept(Some(Accept {})), "accept")
}

/// Loses the packet.
pub(super) fn drop() -> Stmt {
    Stmt::new(&Statement::Drop(Some(Drop {})), "drop")
}

/// Goes on in another chain, and does not come back.
pub(super) fn goto(chain: &'static str) -> Stmt {
    let target = JumpTarget {
        target: chain.into(),
    };
    Stmt::new(&Statement::Goto(target), format!("goto {chain}"))
}

/// Goes through another chain, and comes back.
pub(super) fn jump(chain: &'static str) -> Stmt {
    let target = JumpTarget {
        target: chain.into(),
    };
    Stmt::new(&Statement::Jump(target), format!("jump {chain}"))
}

/// Goes on behind the jump that led here.
pub(super) fn return_to_caller() -> Stmt {
    Stmt::new(&Statement::Return(None), "return")
}

/// Answers as a closed TCP port does.
pub(super) fn reset() -> Stmt {
    let reject = Reject::new(Some(RejectType::TCPReset), None);
    Stmt::new(&Statement::Reject(Some(reject)), "reject with tcp reset")
}

/// Answers as a closed UDP port does, in either family.
pub(super) fn port_unreachable() -> Stmt {
    let reject = Reject::new(Some(RejectType::ICMPX), Some(RejectCode::PortUnreach));
    Stmt::new(
        &Statement::Reject(Some(reject)),
        "reject with icmpx port-unreachable",
    )
}
