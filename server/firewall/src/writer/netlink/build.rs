//! What is asked of the kernel, as netlink messages. Pure.

use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};

use super::SUBSYSTEM;
use super::attributes::{nest, put, put_text};
use crate::table::{SetLocation, SetName};

/// Bytes of the length that each message begins with.
const LENGTH: usize = 4;

/// What a message is, with the family and the resource that its kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A transaction begins.
    Begin,
    /// It is to be made now.
    End,
    /// How a set is made.
    GetSet,
    /// What is in it.
    ListElements,
    /// Put elements in.
    AddElement,
    /// Take them out.
    DeleteElement,
    /// How a table is made.
    GetTable,
    /// Make a table.
    AddTable,
    /// Take a table away with all that is in it.
    DeleteTable,
    /// Make a chain.
    AddChain,
    /// Put a rule in at the end of its chain.
    AddRule,
    /// The rules of a table.
    ListRules,
    /// Make a set.
    AddSet,
}

/// One step of a transaction that makes tables, chains, rules and sets: what it is, and its
/// attributes as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::writer) struct Message {
    pub(super) kind: MessageKind,
    pub(super) flags: u16,
    pub(super) attributes: Vec<u8>,
}

impl Message {
    /// Writes the message that asks for it.
    pub(super) fn append(&self, bytes: &mut Vec<u8>, sequence: u32, flags: u16) {
        append(bytes, self.kind, sequence, self.flags | flags, |bytes| {
            bytes.extend(&self.attributes);
        });
    }
}

/// One element put in or taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::writer) struct Operation {
    pub(in crate::writer) set: SetName,
    pub(in crate::writer) key: Vec<u8>,
    pub(in crate::writer) action: Action,
}

/// What is done with the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Action {
    /// It must not be there.
    Add(Timeout),
    /// It must be there.
    Delete,
}

/// How long an element lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Timeout {
    /// Milliseconds count, and there is at least one.
    For(Duration),
    /// Until it is taken out.
    Never,
}

impl Operation {
    /// Writes the message that asks for it.
    pub(super) fn append(
        &self,
        bytes: &mut Vec<u8>,
        location: &SetLocation,
        sequence: u32,
        flags: u16,
    ) {
        const ELEMENTS: u16 = 3;
        let (kind, flags) = match self.action {
            Action::Add(_) => (MessageKind::AddElement, flags | NLM_F_CREATE | NLM_F_EXCL),
            Action::Delete => (MessageKind::DeleteElement, flags),
        };
        append(bytes, kind, sequence, flags, |bytes| {
            put_set_name(bytes, location, self.set);
            let lasts = match self.action {
                Action::Add(lasts) => Some(lasts),
                Action::Delete => None,
            };
            nest(bytes, ELEMENTS, |bytes| {
                put_element(bytes, &self.key, lasts)
            });
        });
    }
}

/// Writes one element of a list of elements, and how long it lasts where it is put in.
pub(super) fn put_element(bytes: &mut Vec<u8>, key: &[u8], timeout: Option<Timeout>) {
    // Of the kernel's nf_tables.h.
    const ELEMENT: u16 = 1;
    const KEY: u16 = 1;
    const TIMEOUT: u16 = 4;
    const VALUE: u16 = 1;
    nest(bytes, ELEMENT, |bytes| {
        nest(bytes, KEY, |bytes| put(bytes, VALUE, key));
        if let Some(Timeout::For(time)) = timeout {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            // Zero would mean for ever.
            put(bytes, TIMEOUT, &milliseconds.max(1).to_be_bytes());
        }
    });
}

impl MessageKind {
    /// Its type, as nfnetlink.h and nf_tables.h number them.
    const fn number(self) -> u16 {
        const NFTABLES: u16 = SUBSYSTEM << 8;
        match self {
            Self::Begin => 16,
            Self::End => 17,
            Self::AddTable => NFTABLES,
            Self::GetTable => NFTABLES | 1,
            Self::DeleteTable => NFTABLES | 2,
            Self::AddChain => NFTABLES | 3,
            Self::AddRule => NFTABLES | 6,
            Self::ListRules => NFTABLES | 7,
            Self::AddSet => NFTABLES | 9,
            Self::GetSet => NFTABLES | 10,
            Self::AddElement => NFTABLES | 12,
            Self::ListElements => NFTABLES | 13,
            Self::DeleteElement => NFTABLES | 14,
        }
    }

    /// The family and the resource that the messages of this kind are about.
    const fn family_and_resource(self) -> (u8, u16) {
        const UNSPECIFIED: u8 = 0;
        const INET: u8 = 1;
        match self {
            Self::Begin | Self::End => (UNSPECIFIED, SUBSYSTEM),
            _ => (INET, 0),
        }
    }
}

/// Writes which set of which table is meant: the first two attributes of all messages here.
pub(super) fn put_set_name(bytes: &mut Vec<u8>, location: &SetLocation, set: SetName) {
    const SET: u16 = 2;
    put_table_name(bytes, location.table());
    put_text(bytes, SET, &location.name(set));
}

/// Writes which table is meant: the first attribute of every message but a transaction's ends.
pub(super) fn put_table_name(bytes: &mut Vec<u8>, table: &str) {
    const TABLE: u16 = 1;
    put_text(bytes, TABLE, table);
}

/// Writes a message without attributes.
pub(super) fn put_control(bytes: &mut Vec<u8>, kind: MessageKind, sequence: u32) {
    append(bytes, kind, sequence, 0, |_| {});
}

/// Writes a message with the attributes that `attributes` writes.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    kind: MessageKind,
    sequence: u32,
    flags: u16,
    attributes: impl FnOnce(&mut Vec<u8>),
) {
    message(
        bytes,
        kind.number(),
        flags,
        sequence,
        kind.family_and_resource(),
        attributes,
    );
}

/// Writes a message of any subsystem: netlink's header, netfilter's with the family and the
/// resource that it is about, and the attributes.
pub(super) fn message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    attributes: impl FnOnce(&mut Vec<u8>),
) {
    let start = bytes.len();
    bytes.extend([0; LENGTH]);
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The kernel sees by itself who sends.
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    attributes(bytes);
    let length = u32::try_from(bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
    let header = bytes.get_mut(start..);
    if let Some(location) = header.and_then(<[u8]>::first_chunk_mut::<LENGTH>) {
        *location = length.to_ne_bytes();
    }
}

#[cfg(test)]
mod tests;
