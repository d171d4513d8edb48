//! The words of a gateway's rules: where a packet was sent, and where it is led.
//!
//! Pure. Made like those of `words`.

use std::net::IpAddr;

use nftables::expr::{CT, CTDir, Expression, NamedExpression};
use nftables::stmt::{NAT, NATFamily, Operator, Statement};
use spa_proto::Service;

use super::label_words::is_moved;
use super::sets::SetName;
use super::words::{Field, Word, key, payload, protocol, string};
use crate::config::Forward;

/// The packet is of this protocol, and for this port. The protocol comes first: only
/// then do nft's words for connection tracking know what a port is.
pub(super) fn to_port(port: Service) -> Vec<Word> {
    let number = Word::compare(
        payload("th", "dport"),
        Operator::EQ,
        Expression::Number(u32::from(port.port.get())),
        format!("th dport {}", port.port),
    );
    vec![protocol(port.protocol.as_str()), number]
}

/// The packet is for the inner host's port.
pub(super) fn to_inner(one: &Forward) -> Vec<Word> {
    let field = match one.address {
        IpAddr::V4(_) => Field::Destination4,
        IpAddr::V6(_) => Field::Destination6,
    };
    let address = one.address.to_string();
    let host = Word::compare(
        field.expression(),
        Operator::EQ,
        string(&address),
        format!("{} {address}", field.text()),
    );
    [to_port(one.inner), vec![host]].concat()
}

/// Destination NAT moved the packet, which was for the port that leads there; to stand behind its protocol.
pub(super) fn led_from(one: &Forward) -> Vec<Word> {
    let port = Word::compare(
        Field::FirstPort.expression(),
        Operator::EQ,
        Expression::Number(u32::from(one.outer.port.get())),
        format!("{} {}", Field::FirstPort.text(), one.outer.port),
    );
    vec![is_moved(), port]
}

/// The packet's destination is an element of the set.
pub(super) fn sent_to(set: SetName) -> Word {
    in_set_as(set, set.fields())
}

/// The packet's fields, with the port that it was for before any NAT, are an element
/// of the set of grants; to stand behind its protocol.
pub(super) fn in_set_by_first_port(set: SetName) -> Word {
    let fields: Vec<Field> = set
        .fields()
        .iter()
        .map(|field| match field {
            Field::Port => Field::FirstPort,
            other => *other,
        })
        .collect();
    in_set_as(set, &fields)
}

/// The port that the packet was for before any NAT is hidden; to stand behind its protocol.
pub(super) fn hidden_by_first_port() -> Word {
    in_set_as(SetName::Hidden, &[Field::Protocol, Field::FirstPort])
}

fn in_set_as(set: SetName, fields: &[Field]) -> Word {
    let (left, text) = key(fields);
    let name = format!("@{}", set.as_str());
    let text = format!("{text} {name}");
    Word::compare(left, Operator::EQ, string(&name), text)
}

/// Leads the packet's connection to the inner host.
pub(super) fn dnat(one: &Forward) -> Word {
    let address = one.address.to_string();
    let (family, text) = match one.address {
        IpAddr::V4(_) => (
            NATFamily::IP,
            format!("dnat ip to {address}:{}", one.inner.port),
        ),
        IpAddr::V6(_) => (
            NATFamily::IP6,
            format!("dnat ip6 to [{address}]:{}", one.inner.port),
        ),
    };
    let statement = Statement::DNAT(Some(NAT {
        addr: Some(string(&address)),
        family: Some(family),
        port: Some(Expression::Number(u32::from(one.inner.port.get()))),
        flags: None,
    }));
    Word::new(&statement, text)
}

/// Puts this machine's address in the place of the client's.
pub(super) fn masquerade() -> Word {
    Word {
        data: serde_json::json!({"masquerade": null}),
        text: "masquerade".to_owned(),
    }
}

/// The port that the connection's first packet was for, before any NAT.
pub(super) fn first_port() -> Expression<'static> {
    Expression::Named(NamedExpression::CT(CT {
        key: "proto-dst".into(),
        family: None,
        dir: Some(CTDir::Original),
    }))
}
