//! Statements of rules, as data.
//!
//! Pure. A statement is a value of nftables' JSON, in the `nftables` crate's schema where
//! that has it. It is loaded as it is; [`super::print`] prints it for people. Statements that
//! refer to a set or a chain are in [`super::set_stmt`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use nftables::expr::{
    BinaryOperation, CT, CTDir, Expression, Fib, FibFlag, FibResult, JHash, Meta, MetaKey,
    NamedExpression, Payload, PayloadBase, PayloadField, PayloadRaw, Prefix, Range, SetItem,
};
use nftables::stmt::{Accept, Drop, Mangle, Match, Operator, Reject, RejectType, Statement};
use nftables::types::RejectCode;
use serde_json::{Value, json};
use spad_model::Network;

use super::object;

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stmt(Value);

impl Stmt {
    pub(super) fn new(statement: &Statement<'_>) -> Self {
        Self(object(statement))
    }

    /// A statement that the crate's schema does not have.
    pub(super) const fn from_json(data: Value) -> Self {
        Self(data)
    }

    pub(super) fn compare(left: Expression<'static>, op: Operator, right: Expression<'_>) -> Self {
        Self::new(&Statement::Match(Match { left, right, op }))
    }

    pub(super) const fn json(&self) -> &Value {
        &self.0
    }
}

/// What a rule reads from a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source4,
    Source6,
    /// A mask leaves a network's length of it.
    PrefixMark,
    SourcePort,
    Protocol,
    Port,
    Destination4,
    Destination6,
    /// The port that the connection's first packet was for, before any NAT.
    OriginalPort,
}

/// nftables' data type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataType {
    pub(super) name: &'static str,
    /// nftables' number of the type.
    pub(super) number: u32,
    /// Bytes in a key.
    pub(super) bytes: u32,
}

impl Field {
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
            Self::OriginalPort => Expression::Named(NamedExpression::CT(CT {
                key: "proto-dst".into(),
                family: None,
                dir: Some(CTDir::Original),
            })),
        }
    }

    pub(super) const fn data_type(self) -> DataType {
        let (name, number, bytes) = match self {
            Self::Source4 | Self::Destination4 => ("ipv4_addr", 7, 4),
            Self::Source6 | Self::Destination6 => ("ipv6_addr", 8, 16),
            Self::PrefixMark => ("ether_type", 10, 4),
            Self::Protocol => ("inet_proto", 12, 4),
            Self::Port | Self::SourcePort | Self::OriginalPort => ("inet_service", 13, 4),
        };
        DataType {
            name,
            number,
            bytes,
        }
    }

    /// The source's address, of this one's family.
    pub(super) const fn source(address: IpAddr) -> Self {
        match address.is_ipv4() {
            true => Self::Source4,
            false => Self::Source6,
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

fn raw_payload(base: PayloadBase, offset: u32, len: u32) -> Expression<'static> {
    let raw = PayloadRaw { base, offset, len };
    Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(raw)))
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

fn fib<const COUNT: usize>(result: FibResult, flags: [FibFlag; COUNT]) -> Expression<'static> {
    let flags = HashSet::from(flags);
    Expression::Named(NamedExpression::Fib(Fib { result, flags }))
}

pub(super) fn string(text: &str) -> Expression<'_> {
    Expression::String(Cow::Borrowed(text))
}

pub(super) fn and(left: Expression<'static>, mask: Expression<'static>) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(left, mask)))
}

pub(super) fn or(left: Expression<'static>, right: Expression<'static>) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(BinaryOperation::OR(vec![left, right])))
}

/// The packet arrived at this interface.
pub(super) fn iifname_is(interface: &str) -> Stmt {
    Stmt::compare(meta(MetaKey::Iifname), Operator::EQ, string(interface))
}

/// The packet came from this network.
pub(super) fn saddr_in(network: &Network) -> Stmt {
    let address = network.address.to_string();
    let prefix = Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(string(&address)),
        len: u32::from(network.prefix),
    }));
    let source = Field::source(network.address).expression();
    Stmt::compare(source, Operator::EQ, prefix)
}

/// The packet is for this host: an address of its own, or one that it shares with others.
pub(super) fn daddr_is_local() -> Stmt {
    daddr_type(Operator::EQ)
}

/// The packet is for another host, by this host's main routing table.
pub(super) fn daddr_is_not_local() -> Stmt {
    daddr_type(Operator::NEQ)
}

fn daddr_type(op: Operator) -> Stmt {
    const LOCAL: [&str; 4] = ["local", "broadcast", "anycast", "multicast"];
    let types = LOCAL.map(|one| SetItem::Element(string(one))).into();
    let types = Expression::Named(NamedExpression::Set(types));
    Stmt::compare(fib(FibResult::Type, [FibFlag::Daddr]), op, types)
}

/// The packet's source is an address of this host's own.
pub(super) fn saddr_is_local() -> Stmt {
    let source = fib(FibResult::Type, [FibFlag::Saddr]);
    Stmt::compare(source, Operator::EQ, string("local"))
}

/// The interface that the packet came by leads back to its source. Only before routing,
/// because afterwards the kernel treats every packet for this host as its own.
pub(super) fn passes_rp_filter() -> Stmt {
    let route = fib(FibResult::Oif, [FibFlag::Saddr, FibFlag::Iif]);
    Stmt::compare(route, Operator::EQ, Expression::Boolean(true))
}

/// The link layer sent the frame to several hosts, or to another one.
pub(super) fn pkttype_is_not_host() -> Stmt {
    Stmt::compare(meta(MetaKey::Pkttype), Operator::NEQ, string("host"))
}

/// The connection's state is one of these.
pub(super) fn state(states: &[&'static str]) -> Stmt {
    let list = Expression::List(states.iter().map(|state| string(state)).collect());
    Stmt::compare(ct("state"), Operator::IN, list)
}

/// The packet's transport protocol.
pub(super) fn protocol(name: &'static str) -> Stmt {
    Stmt::compare(meta(MetaKey::L4proto), Operator::EQ, string(name))
}

/// The packet is IPv4 (`ipv4`) or IPv6 (`ipv6`).
pub(super) fn nfproto(name: &'static str) -> Stmt {
    Stmt::compare(meta(MetaKey::Nfproto), Operator::EQ, string(name))
}

/// The packet is UDP to one of these ports.
pub(super) fn udp_ports(ports: &RangeInclusive<u16>) -> Stmt {
    let [low, high] = [ports.start(), ports.end()].map(|end| Expression::Number((*end).into()));
    let ports = match low == high {
        true => low,
        false => Expression::Range(Box::new(Range { range: [low, high] })),
    };
    Stmt::compare(payload("udp", "dport"), Operator::EQ, ports)
}

/// The packet is the first of a TCP connection.
pub(super) fn is_syn() -> Stmt {
    connection_flags(Operator::EQ)
}

/// The packet is TCP and not the first of a connection.
pub(super) fn not_syn() -> Stmt {
    connection_flags(Operator::NEQ)
}

/// Compares the flags that begin and end a connection with SYN alone.
fn connection_flags(op: Operator) -> Stmt {
    // Two at a time: nft 1.0.6 does not accept longer lists.
    let flags = ["rst", "syn", "fin"];
    let flags = flags
        .into_iter()
        .fold(string("ack"), |all, flag| or(string(flag), all));
    Stmt::compare(and(payload("tcp", "flags"), flags), op, string("syn"))
}

/// The packet is a TCP reset.
pub(super) fn is_reset() -> Stmt {
    let flag = and(payload("tcp", "flags"), string("rst"));
    Stmt::compare(flag, Operator::EQ, string("rst"))
}

/// The TCP header states this length, in words of four bytes.
pub(super) fn doff_is(words: u32) -> Stmt {
    let length = Expression::Number(words);
    Stmt::compare(payload("tcp", "doff"), Operator::EQ, length)
}

/// The packet has this many words of four bytes behind its network header. Any value of the
/// last byte matches; without that byte the rule does not.
pub(super) fn has_full_header(words: u32) -> Stmt {
    let offset = words.saturating_mul(32).saturating_sub(8);
    let last = raw_payload(PayloadBase::TH, offset, 8);
    Stmt::compare(last, Operator::GEQ, Expression::Number(0))
}

/// The packet is UDP without a checksum.
pub(super) fn has_no_checksum() -> Stmt {
    let checksum = payload("udp", "checksum");
    Stmt::compare(checksum, Operator::EQ, Expression::Number(0))
}

/// The IPv6 packet has no flow label.
pub(super) fn has_no_flow_label() -> Stmt {
    let label = payload("ip6", "flowlabel");
    Stmt::compare(label, Operator::EQ, Expression::Number(0))
}

/// Sets the flow label of an IPv6 TCP packet, the same one for each packet of the flow.
/// Writes 24 bits, because nft writes whole bytes: 4 zero bits of the traffic class, then the label.
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
    set(raw_payload(PayloadBase::NH, 8, 24), hash)
}

/// Sets the hop limit to that of a packet that passed one router since a host like this.
pub(super) fn set_hop_limit(is_ipv4: bool) -> Stmt {
    let (protocol, field) = match is_ipv4 {
        true => ("ip", "ttl"),
        false => ("ip6", "hoplimit"),
    };
    set(payload(protocol, field), Expression::Number(63))
}

/// Writes this value into the packet or the connection.
pub(super) fn set(key: Expression<'static>, value: Expression<'_>) -> Stmt {
    Stmt::new(&Statement::Mangle(Mangle { key, value }))
}

/// Counts packets and bytes.
pub(super) fn counter() -> Stmt {
    Stmt::from_json(json!({"counter": null}))
}

/// Accepts the packet in this chain.
pub(super) fn accept() -> Stmt {
    Stmt::new(&Statement::Accept(Some(Accept {})))
}

/// Drops the packet.
pub(super) fn drop() -> Stmt {
    Stmt::new(&Statement::Drop(Some(Drop {})))
}

/// Continues behind the jump to this chain.
pub(super) fn return_to_caller() -> Stmt {
    Stmt::new(&Statement::Return(None))
}

/// Answers like a closed TCP port.
pub(super) fn reset() -> Stmt {
    reject_with(RejectType::TCPReset, None)
}

/// Answers like a closed UDP port, in either family.
pub(super) fn port_unreachable() -> Stmt {
    reject_with(RejectType::ICMPX, Some(RejectCode::PortUnreach))
}

/// Answers like a host that does not know the protocol, over IPv4.
pub(super) fn protocol_unreachable() -> Stmt {
    reject_with(RejectType::ICMP, Some(RejectCode::ProtUnreach))
}

fn reject_with(kind: RejectType, code: Option<RejectCode>) -> Stmt {
    Stmt::new(&Statement::Reject(Some(Reject::new(Some(kind), code))))
}

/// Answers with an ICMP error: `kind` is `icmp`, `icmpv6` or `icmpx`, and `code` its word.
pub(super) fn reject_with_icmp(kind: &'static str, code: &'static str) -> Stmt {
    Stmt::from_json(json!({"reject": {"type": kind, "expr": code}}))
}
