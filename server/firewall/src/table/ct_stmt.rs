//! Statements about connection tracking, and its labels above all.
//!
//! Pure. A label is one of 128 bits of a connection. Rules can set it and never clear it; the
//! other bits stay. Unlike marks and sets, labels survive a flush of the ruleset.

use nftables::stmt::Operator;

use super::stmt::{Stmt, ct, set, string};

/// A bit of ours. Numbered from the top, because names in `connlabel.conf` start at the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// A grant admitted the connection, or this host began it.
    Admitted,
    /// It came from a network of `always_allow`, by an interface that leads back there.
    Allowed,
    /// It was for another host before NAT.
    OtherDestination,
}

/// The number of [`Label::Admitted`].
pub(crate) const ADMITTED_LABEL: u32 = 127;

impl Label {
    const fn number(self) -> u32 {
        match self {
            Self::Admitted => ADMITTED_LABEL,
            Self::Allowed => 126,
            Self::OtherDestination => 125,
        }
    }
}

/// Sets this label of the connection.
pub(super) fn set_label(label: Label) -> Stmt {
    set(ct("label"), string(&label.number().to_string()))
}

/// The connection has this label.
pub(super) fn has_label(label: Label) -> Stmt {
    let number = label.number().to_string();
    Stmt::compare(ct("label"), Operator::IN, string(&number))
}

/// The packet has the direction of the connection's first packet.
pub(super) fn is_original() -> Stmt {
    Stmt::compare(ct("direction"), Operator::EQ, string("original"))
}

/// Destination NAT moved the connection.
pub(super) fn is_dnatted() -> Stmt {
    Stmt::compare(ct("status"), Operator::IN, string("dnat"))
}
