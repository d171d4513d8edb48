//! Tables, chains, rules and sets as netlink messages, without the program `nft`. Pure.
//!
//! Only what the emergency table is made of. Numbers are those of the kernel's nf_tables.h.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::attributes::{nest, put, put_text};
use super::build::{Message, MessageKind, Timeout, put_set_name, put_table_name};
use crate::table::{SetLocation, SetName};

/// Elements that are put in by one message: the length of an attribute has 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// The hook of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
}

/// What is read into a register, in network byte order where the packet has it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Load {
    /// The name of the interface that the packet came by, 16 bytes.
    InputInterface,
    /// The family of the packet, one byte.
    Family,
    /// The number of the protocol above IP, one byte.
    Protocol,
    /// Bytes of the network header.
    Network { offset: u32, length: u32 },
    /// Bytes of the transport header.
    Transport { offset: u32, length: u32 },
    /// What connection tracking knows of the packet: a bit.
    ConnectionState,
    /// What connection tracking did to the connection: bits.
    ConnectionStatus,
    /// The labels of the connection, 16 bytes.
    ConnectionLabels,
    /// What kind of address the destination is to this host.
    DestinationType,
    /// The interface that leads to the source, if it is the one that the packet came by; else zero.
    ReversePath,
}

/// A step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Expression {
    /// Read this into the register that begins at so many times four bytes.
    Load(Load, u32),
    /// Clear the bits of the first register that this mask does not have.
    Mask(Vec<u8>),
    /// Go on only where the first register is this.
    Is(Vec<u8>),
    /// Go on only where the first register is anything but this.
    IsNot(Vec<u8>),
    /// Go on only where the registers from the first are an element of this set.
    In(SetName),
    Accept,
    Drop,
    /// Go on in this chain, for good.
    Goto(&'static str),
}

/// The table is made, or stands. A kernel that knows no comments of tables leaves it out.
pub(in crate::writer) fn add_table(location: &SetLocation, comment: &str) -> Message {
    const USERDATA: u16 = 6;
    // nft's own form: kind 0, length, and a text that ends in a zero.
    let length = u8::try_from(comment.len().saturating_add(1)).unwrap_or(0);
    message(MessageKind::AddTable, NLM_F_CREATE, |bytes| {
        put_table_name(bytes, location.table());
        if length > 0 {
            let comment = [&[0, length], comment.as_bytes(), &[0]].concat();
            put(bytes, USERDATA, &comment);
        }
    })
}

/// The table goes with all that is in it; it must stand.
pub(in crate::writer) fn delete_table(location: &SetLocation) -> Message {
    message(MessageKind::DeleteTable, 0, |bytes| {
        put_table_name(bytes, location.table());
    })
}

/// A chain is made that accepts what comes to its end; with a hook and its priority, or without.
pub(in crate::writer) fn add_chain(
    location: &SetLocation,
    name: &str,
    hook: Option<(Hook, i32)>,
) -> Message {
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    const HOOK_PRIORITY: u16 = 2;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    message(MessageKind::AddChain, NLM_F_CREATE, |bytes| {
        put_table_name(bytes, location.table());
        put_text(bytes, NAME, name);
        if let Some((hook, priority)) = hook {
            nest(bytes, HOOK, |bytes| {
                put(bytes, HOOK_NUMBER, &(hook as u32).to_be_bytes());
                put(bytes, HOOK_PRIORITY, &priority.to_be_bytes());
            });
            put(bytes, POLICY, &ACCEPT.to_be_bytes());
            put_text(bytes, TYPE, "filter");
        }
    })
}

/// A set is made as the full table has it.
pub(in crate::writer) fn add_set(location: &SetLocation, set: SetName) -> Message {
    const FLAGS: u16 = 3;
    const FLAG_TIMEOUT: u32 = 0x10;
    const KEY_TYPE: u16 = 4;
    const KEY_LENGTH: u16 = 5;
    const DESCRIPTION: u16 = 9;
    const DESCRIPTION_SIZE: u16 = 1;
    const ID: u16 = 10;
    let layout = set.layout();
    message(MessageKind::AddSet, NLM_F_CREATE, |bytes| {
        put_set_name(bytes, location, set);
        put(bytes, FLAGS, &FLAG_TIMEOUT.to_be_bytes());
        put(bytes, KEY_TYPE, &layout.key_type.to_be_bytes());
        put(bytes, KEY_LENGTH, &layout.key_length.to_be_bytes());
        nest(bytes, DESCRIPTION, |bytes| {
            put(bytes, DESCRIPTION_SIZE, &layout.size.to_be_bytes());
        });
        // Needed by the kernel; rules refer to the set by its name.
        put(bytes, ID, &(set as u32).saturating_add(1).to_be_bytes());
    })
}

/// Elements are put into a set; those that are there already stay as they are.
pub(in crate::writer) fn add_elements(
    location: &SetLocation,
    set: SetName,
    elements: &[(Vec<u8>, Timeout)],
) -> Vec<Message> {
    const ELEMENTS: u16 = 3;
    let page = |elements: &[(Vec<u8>, Timeout)]| {
        message(MessageKind::AddElement, NLM_F_CREATE, |bytes| {
            put_set_name(bytes, location, set);
            nest(bytes, ELEMENTS, |bytes| {
                for (key, lasts) in elements {
                    super::build::put_element(bytes, key, Some(*lasts));
                }
            });
        })
    };
    elements.chunks(ELEMENTS_PER_MESSAGE).map(page).collect()
}

/// A rule is put in at the end of its chain.
pub(in crate::writer) fn add_rule(
    location: &SetLocation,
    chain: &str,
    rule: &[Expression],
) -> Message {
    const CHAIN: u16 = 2;
    const EXPRESSIONS: u16 = 4;
    const ITEM: u16 = 1;
    message(MessageKind::AddRule, NLM_F_CREATE | NLM_F_APPEND, |bytes| {
        put_table_name(bytes, location.table());
        put_text(bytes, CHAIN, chain);
        nest(bytes, EXPRESSIONS, |bytes| {
            for expression in rule {
                nest(bytes, ITEM, |bytes| expression.put(bytes, location));
            }
        });
    })
}

fn message(kind: MessageKind, flags: u16, attributes: impl FnOnce(&mut Vec<u8>)) -> Message {
    let mut bytes = Vec::new();
    attributes(&mut bytes);
    Message {
        kind,
        flags,
        attributes: bytes,
    }
}

/// Verdicts.
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const GOTO: i32 = -4;

/// The registers of four bytes begin at this number; the first is also that of 16 bytes.
const FIRST_REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;

impl Expression {
    fn put(&self, bytes: &mut Vec<u8>, location: &SetLocation) {
        match self {
            Self::Load(load, register) => load.put(bytes, FIRST_REGISTER.saturating_add(*register)),
            Self::Mask(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(0);
                put_expression(bytes, "bitwise", |bytes| {
                    number(bytes, 1, FIRST_REGISTER);
                    number(bytes, 2, FIRST_REGISTER);
                    number(bytes, 3, length);
                    nest(bytes, 4, |bytes| put(bytes, VALUE, mask));
                    nest(bytes, 5, |bytes| put(bytes, VALUE, &vec![0; mask.len()]));
                });
            }
            Self::Is(value) => compare(bytes, 0, value),
            Self::IsNot(value) => compare(bytes, 1, value),
            Self::In(set) => put_expression(bytes, "lookup", |bytes| {
                put_text(bytes, 1, &location.name(*set));
                number(bytes, 2, FIRST_REGISTER);
            }),
            Self::Accept => verdict(bytes, ACCEPT, None),
            Self::Drop => verdict(bytes, DROP, None),
            Self::Goto(chain) => verdict(bytes, GOTO, Some(chain)),
        }
    }
}

impl Load {
    fn put(self, bytes: &mut Vec<u8>, register: u32) {
        match self {
            Self::InputInterface => meta(bytes, 6, register),
            Self::Family => meta(bytes, 15, register),
            Self::Protocol => meta(bytes, 16, register),
            Self::Network { offset, length } => payload(bytes, (1, offset, length), register),
            Self::Transport { offset, length } => payload(bytes, (2, offset, length), register),
            Self::ConnectionState => connection(bytes, 0, register),
            Self::ConnectionStatus => connection(bytes, 2, register),
            Self::ConnectionLabels => connection(bytes, 13, register),
            Self::DestinationType => fib(bytes, (3, 2), register),
            Self::ReversePath => fib(bytes, (1, 1 | 8), register),
        }
    }
}

const VALUE: u16 = 1;

fn put_expression(bytes: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    put_text(bytes, NAME, name);
    nest(bytes, DATA, data);
}

fn number(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    put(bytes, kind, &value.to_be_bytes());
}

fn meta(bytes: &mut Vec<u8>, key: u32, register: u32) {
    put_expression(bytes, "meta", |bytes| {
        number(bytes, 1, register);
        number(bytes, 2, key);
    });
}

fn connection(bytes: &mut Vec<u8>, key: u32, register: u32) {
    put_expression(bytes, "ct", |bytes| {
        number(bytes, 1, register);
        number(bytes, 2, key);
    });
}

fn payload(bytes: &mut Vec<u8>, (base, offset, length): (u32, u32, u32), register: u32) {
    put_expression(bytes, "payload", |bytes| {
        number(bytes, 1, register);
        number(bytes, 2, base);
        number(bytes, 3, offset);
        number(bytes, 4, length);
    });
}

fn fib(bytes: &mut Vec<u8>, (result, flags): (u32, u32), register: u32) {
    put_expression(bytes, "fib", |bytes| {
        number(bytes, 1, register);
        number(bytes, 2, result);
        number(bytes, 3, flags);
    });
}

fn compare(bytes: &mut Vec<u8>, operator: u32, value: &[u8]) {
    put_expression(bytes, "cmp", |bytes| {
        number(bytes, 1, FIRST_REGISTER);
        number(bytes, 2, operator);
        nest(bytes, 3, |bytes| put(bytes, VALUE, value));
    });
}

fn verdict(bytes: &mut Vec<u8>, code: i32, chain: Option<&str>) {
    const VERDICT: u16 = 2;
    put_expression(bytes, "immediate", |bytes| {
        number(bytes, 1, VERDICT_REGISTER);
        nest(bytes, 2, |bytes| {
            nest(bytes, VERDICT, |bytes| {
                put(bytes, 1, &code.to_be_bytes());
                if let Some(chain) = chain {
                    put_text(bytes, 2, chain);
                }
            });
        });
    });
}
