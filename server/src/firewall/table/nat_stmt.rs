//! The words of a gateway's rules: where a packet was sent, and where it is led.
//!
//! Pure. Made like those of `words`.

use std::net::IpAddr;

use nftables::expr::{CT, CTDir, Expression, NamedExpression};
use nftables::stmt::{NAT, NATFamily, Operator, Statement};
use spa_proto::Service;

use super::ct_stmt::is_dnatted;
use super::sets::SetName;
use super::stmt::{Field, Stmt, key, payload, protocol, string};
use crate::config::Forward;

/// The packet is of this protocol, and for this port. The protocol comes first: only
/// then do nft's words for connection tracking know what a port is.
pub(super) fn dport_is(port: Service) -> Vec<Stmt> {
    let number = Stmt::compare(
        payload("th", "dport"),
        Operator::EQ,
        Expression::Number(u32::from(port.port.get())),
        format!("th dport {}", port.port),
    );
    vec![protocol(port.protocol.as_str()), number]
}

/// The packet is for the inner host's port.
pub(super) fn daddr_is_inner(one: &Forward) -> Vec<Stmt> {
    let field = match one.address {
        IpAddr::V4(_) => Field::Destination4,
        IpAddr::V6(_) => Field::Destination6,
    };
    let address = one.address.to_string();
    let host = Stmt::compare(
        field.expression(),
        Operator::EQ,
        string(&address),
        format!("{} {address}", field.text()),
    );
    [dport_is(one.inner), vec![host]].concat()
}

/// Destination NAT moved the packet, which was for the port that leads there; to stand behind its protocol.
pub(super) fn dnat_from(one: &Forward) -> Vec<Stmt> {
    let port = Stmt::compare(
        Field::OriginalPort.expression(),
        Operator::EQ,
        Expression::Number(u32::from(one.outer.port.get())),
        format!("{} {}", Field::OriginalPort.text(), one.outer.port),
    );
    vec![is_dnatted(), port]
}

/// The packet's destination is an element of the set.
pub(super) fn daddr_in_set(set: SetName) -> Stmt {
    in_set_with_fields(set, set.fields())
}

/// The packet's fields, with the port that it was for before any NAT, are an element
/// of the set of grants; to stand behind its protocol.
pub(super) fn in_set_by_original_dport(set: SetName) -> Stmt {
    let fields: Vec<Field> = set
        .fields()
        .iter()
        .map(|field| match field {
            Field::Port => Field::OriginalPort,
            other => *other,
        })
        .collect();
    in_set_with_fields(set, &fields)
}

/// The port that the packet was for before any NAT is hidden; to stand behind its protocol.
pub(super) fn original_dport_is_hidden() -> Stmt {
    in_set_with_fields(SetName::Hidden, &[Field::Protocol, Field::OriginalPort])
}

fn in_set_with_fields(set: SetName, fields: &[Field]) -> Stmt {
    let (left, text) = key(fields);
    let name = format!("@{}", set.as_str());
    let text = format!("{text} {name}");
    Stmt::compare(left, Operator::EQ, string(&name), text)
}

/// Leads the packet's connection to the inner host.
pub(super) fn dnat(one: &Forward) -> Stmt {
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
    Stmt::new(&statement, text)
}

/// Puts this machine's address in the place of the client's.
pub(super) fn masquerade() -> Stmt {
    Stmt {
        data: serde_json::json!({"masquerade": null}),
        text: "masquerade".to_owned(),
    }
}

/// The port that the connection's first packet was for, before any NAT.
pub(super) fn original_dport() -> Expression<'static> {
    Expression::Named(NamedExpression::CT(CT {
        key: "proto-dst".into(),
        family: None,
        dir: Some(CTDir::Original),
    }))
}
