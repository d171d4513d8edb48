//! Statements of a gateway's rules: where a packet was sent, and where to forward it.
//!
//! Pure.

use nftables::expr::Expression;
use nftables::stmt::{NAT, NATFamily, Operator, Statement};
use serde_json::json;
use spa_proto::Service;
use spad_config::Forward;

use super::ct_stmt::is_dnatted;
use super::stmt::{Field, Stmt, payload, protocol, string};

/// The packet has this protocol and destination port. The protocol comes first, because only
/// then does nft know what a port means in an expression about connection tracking.
pub(super) fn dport_is(port: Service) -> Vec<Stmt> {
    let number = Expression::Number(u32::from(port.port.get()));
    let number = Stmt::compare(payload("th", "dport"), Operator::EQ, number);
    vec![protocol(port.protocol.as_str()), number]
}

/// The packet is for the inner host's port.
pub(super) fn daddr_is_inner(forward: &Forward) -> Vec<Stmt> {
    let field = match forward.address.is_ipv4() {
        true => Field::Destination4,
        false => Field::Destination6,
    };
    let address = forward.address.to_string();
    let host = Stmt::compare(field.expression(), Operator::EQ, string(&address));
    [dport_is(forward.inner), vec![host]].concat()
}

/// Destination NAT moved the packet from the port that forwards to the inner host. Must follow
/// the packet's protocol.
pub(super) fn dnat_from(forward: &Forward) -> Vec<Stmt> {
    let port = Expression::Number(u32::from(forward.outer.port.get()));
    let port = Stmt::compare(Field::OriginalPort.expression(), Operator::EQ, port);
    vec![is_dnatted(), port]
}

/// Sends the packet's connection to the inner host.
pub(super) fn dnat(forward: &Forward) -> Stmt {
    let family = match forward.address.is_ipv4() {
        true => NATFamily::IP,
        false => NATFamily::IP6,
    };
    let address = forward.address.to_string();
    Stmt::new(&Statement::DNAT(Some(NAT {
        addr: Some(string(&address)),
        family: Some(family),
        port: Some(Expression::Number(u32::from(forward.inner.port.get()))),
        flags: None,
    })))
}

/// Replaces the client's address with this machine's.
pub(super) fn masquerade() -> Stmt {
    Stmt::from_json(json!({"masquerade": null}))
}
