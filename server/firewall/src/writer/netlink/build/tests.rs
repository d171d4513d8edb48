//! What is written, as netlink-packet-netfilter writes it.

use netlink_packet_core::{NLM_F_ACK, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetAttribute, SetElementAttribute,
    SetElementList, SetElementMessage, SetMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use proptest::prelude::*;

use super::*;

/// The same message by the crate.
fn encoded_by_crate(
    inner: NetfilterMessageInner,
    about: (NetfilterProtoFamily, u16),
    header: (u32, u16),
) -> Vec<u8> {
    let mut netlink = NetlinkHeader::default();
    (netlink.sequence_number, netlink.flags) = header;
    let netfilter = NetfilterHeader::new(about.0, 0, about.1);
    let payload = NetlinkPayload::from(NetfilterMessage::new(netfilter, inner));
    let mut message = NetlinkMessage::new(netlink, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
    message.serialize(&mut bytes);
    bytes
}

const INET: (NetfilterProtoFamily, u16) = (NetfilterProtoFamily::Inet, 0);

proptest! {
    #[test]
    fn an_operation_is_written_as_the_crate_writes_it(
        set in prop::sample::select(SetName::ALL.to_vec()),
        key in prop::collection::vec(any::<u8>(), 0..40),
        lasts in prop::option::of(prop::option::of(any::<u64>())),
        sequence: u32,
        acknowledge: bool,
    ) {
        let place = SetLocation::own_table();
        let action = match lasts {
            None => Action::Delete,
            Some(None) => Action::Add(Timeout::Never),
            Some(Some(milliseconds)) => Action::Add(Timeout::For(Duration::from_millis(milliseconds))),
        };
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key.clone()))];
        if let Action::Add(Timeout::For(time)) = action {
            let milliseconds = u64::try_from(time.as_millis()).unwrap();
            attributes.push(SetElementAttribute::Timeout(milliseconds.max(1)));
        }
        let message = SetElementMessage {
            attributes: vec![
                SetElementList::Table(place.table().to_owned()),
                SetElementList::Set(place.name(set)),
                SetElementList::Elements(vec![ListAttribute::Element(attributes)]),
            ],
        };
        let acknowledge = if acknowledge { NLM_F_ACK } else { 0 };
        let (message, flags) = match action {
            Action::Add(_) => (NfTablesMessage::NewSetElement(message), NLM_F_CREATE | NLM_F_EXCL),
            Action::Delete => (NfTablesMessage::DeleteSetElement(message), 0),
        };
        let header = (sequence, NLM_F_REQUEST | flags | acknowledge);
        let mut ours = Vec::new();
        Operation { set, key, action }.append(&mut ours, &place, sequence, acknowledge);
        prop_assert_eq!(ours, encoded_by_crate(message.into(), INET, header));
    }
}

#[test]
fn a_transaction_begins_and_ends_as_the_crate_writes_it() {
    let about = (NetfilterProtoFamily::Unspec, SUBSYSTEM);
    for (kind, message) in [
        (MessageKind::Begin, ControlMessage::BatchBegin),
        (MessageKind::End, ControlMessage::BatchEnd),
    ] {
        let mut ours = Vec::new();
        put_control(&mut ours, kind, 7);
        assert_eq!(
            ours,
            encoded_by_crate(message.into(), about, (7, NLM_F_REQUEST))
        );
    }
}

#[test]
fn a_set_is_asked_for_as_the_crate_asks() {
    let place = SetLocation::own_table();
    let set = SetName::Grants6;
    let request = NfTablesMessage::GetSet(SetMessage {
        attributes: vec![
            SetAttribute::Table(place.table().to_owned()),
            SetAttribute::Name(place.name(set)),
        ],
    });
    let list = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(place.table().to_owned()),
            SetElementList::Set(place.name(set)),
        ],
    });
    for (kind, message) in [
        (MessageKind::GetSet, request),
        (MessageKind::ListElements, list),
    ] {
        let mut ours = Vec::new();
        append(&mut ours, kind, 7, 0, |bytes| {
            put_set_name(bytes, &place, set)
        });
        assert_eq!(
            ours,
            encoded_by_crate(message.into(), INET, (7, NLM_F_REQUEST))
        );
    }
}
