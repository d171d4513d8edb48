//! Statements that refer to sets or chains.
//!
//! Pure. They are methods of [`Names`], which knows what sets and chains are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nftables::expr::{Expression, NamedExpression};
use nftables::stmt::{JumpTarget, Operator, Set, SetOp, Statement};
use serde_json::json;
use spad_model::Network;

use super::names::{ChainName, Names};
use super::sets::SetName;
use super::stmt::{Field, Stmt, and, or, string};
use super::{object, prefix_mark};

impl Names<'_> {
    /// The packet's fields are an element of the set.
    pub(super) fn in_set(self, set: SetName) -> Stmt {
        self.fields_in_set(set.fields(), set)
    }

    /// These fields of the packet are an element of the set.
    pub(super) fn fields_in_set(self, fields: &[Field], set: SetName) -> Stmt {
        self.lookup(concat(fields), Operator::EQ, set)
    }

    /// The packet's fields are an element of this set of grants, with the port that the packet
    /// was for before any NAT. Must follow the packet's protocol.
    pub(super) fn in_set_by_original_dport(self, set: SetName) -> Stmt {
        let fields = set.fields().iter().map(|field| match field {
            Field::Port => Field::OriginalPort,
            other => *other,
        });
        self.fields_in_set(&fields.collect::<Vec<Field>>(), set)
    }

    /// The packet's source is in an IPv4 network of this length that has a grant to `port`.
    pub(super) fn saddr_in_net4(self, length: u8, port: Field) -> Stmt {
        let mask = masked(Field::Source4, Ipv4Addr::BROADCAST.into(), length);
        let mark = Ipv4Addr::from_bits(u32::from(length)).to_string();
        let network = or(mask, Expression::String(mark.into()));
        self.network_lookup(SetName::GrantsNet4, vec![network], port)
    }

    /// The packet's source is in an IPv6 network of this length that has a grant to `port`.
    pub(super) fn saddr_in_net6(self, length: u8, port: Field) -> Stmt {
        let all = Ipv6Addr::from_bits(u128::MAX);
        let mask = masked(Field::Source6, all.into(), length);
        let mark = Expression::Number(u32::from(prefix_mark::mark(length)));
        let mark = and(Field::PrefixMark.expression(), mark);
        self.network_lookup(SetName::GrantsNet6, vec![mask, mark], port)
    }

    fn network_lookup(self, set: SetName, network: Vec<Expression<'static>>, port: Field) -> Stmt {
        let rest = [Field::Protocol, port].map(Field::expression);
        let key = network.into_iter().chain(rest).collect();
        let key = Expression::Named(NamedExpression::Concat(key));
        self.lookup(key, Operator::EQ, set)
    }

    /// The packet comes from a port that is in the set.
    pub(super) fn sport_in_set(self, set: SetName) -> Stmt {
        self.fields_in_set(&[Field::Protocol, Field::SourcePort], set)
    }

    /// The packet comes from a port that is not in the set.
    pub(super) fn sport_not_in_set(self, set: SetName) -> Stmt {
        let key = concat(&[Field::Protocol, Field::SourcePort]);
        self.lookup(key, Operator::NEQ, set)
    }

    fn lookup(self, key: Expression<'static>, op: Operator, set: SetName) -> Stmt {
        Stmt::compare(key, op, string(&self.reference(set)))
    }

    /// Adds the packet's fields to the set.
    pub(super) fn add_to(self, set: SetName) -> Stmt {
        Stmt::new(&Statement::Set(Set {
            op: SetOp::Add,
            elem: concat(set.fields()),
            set: self.reference(set).into(),
        }))
    }

    /// Deletes the packet's fields from the set. The crate's schema lacks this operation.
    pub(super) fn delete_from(self, set: SetName) -> Stmt {
        Stmt::from_json(json!({"set": {
            "op": "delete",
            "elem": object(&concat(set.fields())),
            "set": self.reference(set),
        }}))
    }

    /// Adds the packet's fields to the set, or renews them there, with this timeout.
    pub(super) fn refresh_in(self, set: SetName, seconds: u32) -> Stmt {
        let key = object(&concat(set.fields()));
        Stmt::from_json(json!({"set": {
            "op": "update",
            "elem": {"elem": {"val": key, "timeout": seconds}},
            "set": self.reference(set),
        }}))
    }

    /// Continues in this chain and does not come back.
    pub(super) fn goto(self, chain: ChainName) -> Stmt {
        let target = self.chain(chain).into();
        Stmt::new(&Statement::Goto(JumpTarget { target }))
    }

    /// Runs this chain and comes back.
    pub(super) fn jump(self, chain: ChainName) -> Stmt {
        let target = self.chain(chain).into();
        Stmt::new(&Statement::Jump(JumpTarget { target }))
    }

    fn reference(self, set: SetName) -> String {
        format!("@{}", self.set(set))
    }
}

fn concat(fields: &[Field]) -> Expression<'static> {
    let fields = fields.iter().map(|field| field.expression()).collect();
    Expression::Named(NamedExpression::Concat(fields))
}

/// The network of this length around the packet's source.
fn masked(source: Field, all: IpAddr, length: u8) -> Expression<'static> {
    // The configuration has no length that the family does not have.
    let mask = Network::enclosing(all, length).map_or(all, |network| network.address);
    let mask = Expression::String(mask.to_string().into());
    and(source.expression(), mask)
}
