//! The words about labels of connection tracking, and about the way a packet came.
//!
//! Pure. Made like those of `words`. A label is one of 128 bits of a connection that
//! rules can set and never clear; other bits are left as they are. It survives a flush of
//! the ruleset, as marks and sets do not.

use std::collections::HashSet;

use nftables::expr::{Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression};
use nftables::stmt::{Mangle, Operator, Statement};
use serde_json::json;

use super::object;
use super::sets::SetName;
use super::stmt::{Field, Stmt, ct, key, payload, string};

/// A bit of ours. Numbers from the top: names in `connlabel.conf` are given from the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// A grant, or an end of this host's, began the connection.
    Admitted,
    /// It came from a network of `always_allow` by an interface that leads back there.
    Allowed,
    /// It was for another host, whatever NAT makes of it.
    OtherDestination,
}

/// The number of [`Label::Admitted`].
pub(crate) const ADMITTED_LABEL: u32 = 127;

impl Label {
    const fn text(self) -> &'static str {
        match self {
            Self::Admitted => "127",
            Self::Allowed => "126",
            Self::OtherDestination => "125",
        }
    }
}

/// Gives the connection this label.
pub(super) fn set_label(label: Label) -> Stmt {
    let statement = Statement::Mangle(Mangle {
        key: ct("label"),
        value: string(label.text()),
    });
    Stmt::new(&statement, format!("ct label set {}", label.text()))
}

/// The connection has this label.
pub(super) fn has_label(label: Label) -> Stmt {
    let text = format!("ct label {}", label.text());
    Stmt::compare(ct("label"), Operator::IN, string(label.text()), text)
}

/// The packet goes the way in which the connection began.
pub(super) fn is_original() -> Stmt {
    let text = "ct direction original";
    Stmt::compare(ct("direction"), Operator::EQ, string("original"), text)
}

/// Destination NAT moved the connection.
pub(super) fn is_dnatted() -> Stmt {
    Stmt::compare(ct("status"), Operator::IN, string("dnat"), "ct status dnat")
}

/// The interface that the packet came by leads back to its source. Only before routing:
/// behind it the kernel takes every packet for this host as its own.
pub(super) fn passes_rp_filter() -> Stmt {
    let fib = Expression::Named(NamedExpression::Fib(Fib {
        result: FibResult::Oif,
        flags: HashSet::from([FibFlag::Saddr, FibFlag::Iif]),
    }));
    let text = "fib saddr . iif oif exists";
    Stmt::compare(fib, Operator::EQ, Expression::Boolean(true), text)
}

/// The packet is for another host, by this host's main routing table.
pub(super) fn daddr_is_not_local() -> Stmt {
    let here = super::stmt::daddr_is_local();
    let text = here.text.replace("fib daddr type {", "fib daddr type != {");
    let mut data = here.data;
    if let Some(op) = data.pointer_mut("/match/op") {
        *op = json!("!=");
    }
    Stmt { data, text }
}

/// The packet's source is an address of this host's own.
pub(super) fn saddr_is_local() -> Stmt {
    let fib = Expression::Named(NamedExpression::Fib(Fib {
        result: FibResult::Type,
        flags: HashSet::from([FibFlag::Saddr]),
    }));
    Stmt::compare(fib, Operator::EQ, string("local"), "fib saddr type local")
}

/// The link layer sent the frame to more than this host, or to another.
pub(super) fn pkttype_is_not_host() -> Stmt {
    let kind = Expression::Named(NamedExpression::Meta(Meta {
        key: MetaKey::Pkttype,
    }));
    let text = "meta pkttype != host";
    Stmt::compare(kind, Operator::NEQ, string("host"), text)
}

/// The port that the packet comes from is an element of the set, or is none.
pub(super) fn sport_in_set(set: SetName, is: bool) -> Stmt {
    let (left, text) = key(&[Field::Protocol, Field::SourcePort]);
    let name = format!("@{}", set.as_str());
    let (op, not) = match is {
        true => (Operator::EQ, ""),
        false => (Operator::NEQ, "!= "),
    };
    let text = format!("{text} {not}{name}");
    Stmt::compare(left, op, string(&name), text)
}

/// The packet's source address and port are an element of the set of inner ports.
pub(super) fn saddr_sport_in_set(set: SetName, address: Field) -> Stmt {
    let (left, text) = key(&[address, Field::Protocol, Field::SourcePort]);
    let name = format!("@{}", set.as_str());
    let text = format!("{text} {name}");
    Stmt::compare(left, Operator::EQ, string(&name), text)
}

/// The packet is the first of a TCP connection.
pub(super) fn is_syn() -> Stmt {
    let not_syn = super::stmt::not_syn();
    let text = not_syn.text.replace("!= syn", "== syn");
    let mut data = not_syn.data;
    if let Some(op) = data.pointer_mut("/match/op") {
        *op = json!("==");
    }
    Stmt { data, text }
}

/// Puts the packet's fields into the set, or keeps them there, for so many seconds from now.
pub(super) fn refresh_in(set: SetName, seconds: u32) -> Stmt {
    let (elem, text) = key(set.fields());
    let name = format!("@{}", set.as_str());
    Stmt {
        text: format!("update {name} {{ {text} timeout {seconds}s }}"),
        data: json!({"set": {
            "op": "update",
            "elem": {"elem": {"val": object(&elem), "timeout": seconds}},
            "set": name,
        }}),
    }
}

/// Makes the packet look as if it had passed one router on its way from a host like this.
pub(super) fn set_hop_limit(is_ipv4: bool) -> Stmt {
    let (protocol, field) = match is_ipv4 {
        true => ("ip", "ttl"),
        false => ("ip6", "hoplimit"),
    };
    let statement = Statement::Mangle(Mangle {
        key: payload(protocol, field),
        value: Expression::Number(63),
    });
    Stmt::new(&statement, format!("{protocol} {field} set 63"))
}
