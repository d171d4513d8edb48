//! What is asked of the kernel, as netlink messages. Pure.

use std::time::Duration;

use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::SUBSYSTEM;
use crate::firewall::table::{Place, SetName};

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
    Add(Lasts),
    /// It must be there.
    Delete,
}

/// How long an element lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Lasts {
    /// Milliseconds count, and there is at least one.
    For(Duration),
    /// Until it is taken out.
    Forever,
}

impl Operation {
    pub(super) fn message(
        &self,
        place: &Place,
        sequence: u32,
        flags: u16,
    ) -> NetlinkMessage<NetfilterMessage> {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(
            self.key.clone(),
        ))];
        if let Action::Add(Lasts::For(time)) = self.action {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            // Zero would mean for ever.
            attributes.push(SetElementAttribute::Timeout(milliseconds.max(1)));
        }
        let message = SetElementMessage {
            attributes: vec![
                SetElementList::Table(place.table().to_owned()),
                SetElementList::Set(place.name(self.set)),
                SetElementList::Elements(vec![ListAttribute::Element(attributes)]),
            ],
        };
        match self.action {
            Action::Add(_) => request(
                NfTablesMessage::NewSetElement(message).into(),
                0,
                sequence,
                flags | NLM_F_CREATE | NLM_F_EXCL,
            ),
            Action::Delete => request(
                NfTablesMessage::DeleteSetElement(message).into(),
                0,
                sequence,
                flags,
            ),
        }
    }
}

pub(super) fn control(message: ControlMessage, sequence: u32, bytes: &mut Vec<u8>) {
    append(bytes, request(message.into(), SUBSYSTEM, sequence, 0));
}

pub(super) fn request(
    inner: NetfilterMessageInner,
    subsystem: u16,
    sequence: u32,
    flags: u16,
) -> NetlinkMessage<NetfilterMessage> {
    let family = match inner {
        NetfilterMessageInner::None(_) => NetfilterProtoFamily::Unspec,
        _ => NetfilterProtoFamily::Inet,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let netfilter = NetfilterHeader::new(family, 0, subsystem);
    let payload = NetlinkPayload::from(NetfilterMessage::new(netfilter, inner));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    message
}

pub(super) fn append(bytes: &mut Vec<u8>, message: NetlinkMessage<NetfilterMessage>) {
    let start = bytes.len();
    let end = start.saturating_add(message.buffer_len().next_multiple_of(4));
    bytes.resize(end, 0);
    if let Some(room) = bytes.get_mut(start..) {
        message.serialize(room);
    }
}
