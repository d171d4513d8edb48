//! What the kernel says in netlink messages. Pure; no bytes panic.

use std::time::Duration;

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_netfilter::NetfilterProtoFamily;

use crate::table::SetLayout;

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const MESSAGE_ERROR: u16 = 2;
pub(super) const MESSAGE_DONE: u16 = 3;

/// An element as listed: its key and how long it will last.
pub(in crate::writer) type Listed = (Vec<u8>, Option<Duration>);

/// The code of an error or acknowledgement; none for other messages.
pub(super) fn error_code(message: &NetlinkBuffer<&[u8]>) -> Option<i32> {
    if message.message_type() != MESSAGE_ERROR {
        return None;
    }
    let (code, _) = message.payload().split_first_chunk::<4>()?;
    Some(i32::from_ne_bytes(*code))
}

/// The messages of one datagram.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = NetlinkBuffer<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = NetlinkBuffer::new_checked(self.0).ok()?;
        let length = usize::try_from(message.length()).ok()?;
        let rest = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        self.0 = rest;
        Some(message)
    }
}

/// Kind and value of each attribute: length and kind in two bytes each, then the value, padded.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const KIND: u16 = 0x3fff;
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes(*kind) & KIND, value))
    }
}

/// The value of the first attribute of this kind.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(attributes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// How the set is made that the kernel describes here.
pub(super) fn parse_set_layout(payload: &[u8]) -> SetLayout {
    const KEY_TYPE: u16 = 4;
    const KEY_LENGTH: u16 = 5;
    const DESCRIPTION: u16 = 9;
    const DESCRIPTION_SIZE: u16 = 1;
    const TIMEOUT: u16 = 11;
    let attributes = payload.get(4..).unwrap_or(&[]);
    let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u32::from_be_bytes);
    let description = attribute(attributes, DESCRIPTION).unwrap_or(&[]);
    let timeout = attribute(attributes, TIMEOUT).and_then(|bytes| bytes.try_into().ok());
    SetLayout {
        key_type: number(attribute(attributes, KEY_TYPE)).unwrap_or(0),
        key_length: number(attribute(attributes, KEY_LENGTH)).unwrap_or(0),
        timeout: timeout.map_or(0, u64::from_be_bytes),
        size: number(attribute(description, DESCRIPTION_SIZE)).unwrap_or(0),
    }
}

/// The flags of the table that the kernel describes here.
pub(super) fn table_flags(payload: &[u8]) -> u32 {
    const FLAGS: u16 = 2;
    let attributes = payload.get(4..).unwrap_or(&[]);
    let flags = attribute(attributes, FLAGS).and_then(|bytes| bytes.try_into().ok());
    flags.map_or(0, u32::from_be_bytes)
}

/// The chain of the rule that the kernel describes here; none where it is another table's.
pub(super) fn rule_chain(table: &str, payload: &[u8]) -> Option<String> {
    const TABLE: u16 = 1;
    const CHAIN: u16 = 2;
    let (header, attributes) = payload.split_first_chunk::<4>()?;
    let text = |kind| attribute(attributes, kind)?.strip_suffix(&[0]);
    let inet = u8::from(NetfilterProtoFamily::Inet);
    let is_in_table = header.first() == Some(&inet) && text(TABLE)? == table.as_bytes();
    is_in_table.then(|| String::from_utf8_lossy(text(CHAIN).unwrap_or_default()).into_owned())
}

/// The elements of one page of a list. Read by hand: the crate's own reader
/// formats the whole page for each element in it, seconds for a large set.
pub(super) fn parse_elements(payload: &[u8], listed: &mut Vec<Listed>) {
    const LIST_ELEMENTS: u16 = 3;
    const ELEMENT: u16 = 1;
    const ELEMENT_KEY: u16 = 1;
    const ELEMENT_EXPIRATION: u16 = 5;
    const DATA_VALUE: u16 = 1;
    let Some((_, attributes)) = payload.split_first_chunk::<4>() else {
        return;
    };
    let Some(list) = attribute(attributes, LIST_ELEMENTS) else {
        return;
    };
    for (kind, value) in Attributes(list) {
        if kind != ELEMENT {
            continue;
        }
        let key = attribute(value, ELEMENT_KEY).and_then(|key| attribute(key, DATA_VALUE));
        let expiration = attribute(value, ELEMENT_EXPIRATION)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| Duration::from_millis(u64::from_be_bytes(bytes)));
        if let Some(key) = key {
            listed.push((key.to_vec(), expiration));
        }
    }
}
