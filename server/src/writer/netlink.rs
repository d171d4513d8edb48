//! [IO] Elements of our sets, over netlink: put in, taken out, listed.
//!
//! One transaction is one datagram to the kernel and is done whole or not at
//! all. The kernel has answered by the time the datagram is sent, so nothing
//! here waits. Knows nothing of grants.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetAttribute, SetElementAttribute,
    SetElementList, SetElementMessage, SetMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::io::Errno;

use crate::firewall::table::{SetMake, SetName, TABLE};

/// The subsystem of nftables in `nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
/// Room for one datagram from the kernel: dumps come in pages of up to 32 KiB.
const DATAGRAM: usize = 1 << 16;
/// Room for the answers to the longest transaction.
const ANSWERS: u32 = 1 << 20;

/// One element put in or taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) set: SetName,
    pub(super) key: Vec<u8>,
    pub(super) action: Action,
}

/// What is done with the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It must not be there.
    Add(Lasts),
    /// It must be there.
    Delete,
}

/// How long an element lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// Milliseconds count, and there is at least one.
    For(Duration),
    /// Until it is taken out.
    Forever,
}

/// Why a transaction was not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The kernel refused these operations, by their place; all were undone.
    Refused(Vec<(usize, Errno)>),
    /// The kernel refused the transaction as a whole.
    Whole(Errno),
    /// The answer was lost: it may have been made.
    Unknown,
}

/// An element as listed: its key and how long it will last.
pub(super) type Listed = (Vec<u8>, Option<Duration>);

/// A socket to the kernel's nftables.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    kernel: SocketAddr,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        // Less room serves small transactions all the same.
        let _ = socket.set_rx_buf_sz(ANSWERS);
        Ok(Self {
            socket,
            kernel: SocketAddr::new(0, 0),
            port,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// The socket's number in events of the kernel.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Does all of this, or nothing.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    pub(super) fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        if operations.is_empty() {
            return Ok(());
        }
        self.drain();
        let begin = self.next();
        let mut bytes = Vec::with_capacity(operations.len().saturating_mul(160).saturating_add(64));
        control(ControlMessage::BatchBegin, begin, &mut bytes);
        let last = operations.len().saturating_sub(1);
        let mut first = None;
        for (place, operation) in operations.iter().enumerate() {
            let sequence = self.next();
            first.get_or_insert(sequence);
            // The kernel tells of every fault, and of success only where it is asked.
            let acknowledge = if place == last { NLM_F_ACK } else { 0 };
            append(&mut bytes, operation.message(sequence, acknowledge));
        }
        control(ControlMessage::BatchEnd, self.next(), &mut bytes);
        self.socket
            .send_to(&bytes, &self.kernel, 0)
            .map_err(|error| Failed::Whole(errno(&error)))?;
        self.outcome(first.unwrap_or(begin), operations.len())
    }

    /// Reads the answers, which are all there.
    fn outcome(&mut self, first: u32, count: usize) -> Result<(), Failed> {
        let (mut answered, mut refused, mut whole) = (false, Vec::new(), None);
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(Failed::Unknown),
            }
            for message in Messages(&self.buffer) {
                let Some(code) = error_code(&message) else {
                    continue;
                };
                answered = true;
                if code == 0 {
                    continue;
                }
                let error = Errno::from_raw_os_error(code.saturating_neg());
                let place = usize::try_from(message.sequence_number().wrapping_sub(first));
                match place {
                    Ok(place) if place < count => refused.push((place, error)),
                    _ => whole = Some(error),
                }
            }
        }
        match (whole, refused.is_empty(), answered) {
            (Some(error), _, _) => Err(Failed::Whole(error)),
            (None, false, _) => Err(Failed::Refused(refused)),
            (None, true, true) => Ok(()),
            (None, true, false) => Err(Failed::Unknown),
        }
    }

    /// How a set is made; none where it is not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn make_of(&mut self, set: SetName) -> Result<Option<SetMake>, Errno> {
        self.drain();
        let sequence = self.next();
        let attributes = vec![
            SetAttribute::Table(TABLE.to_owned()),
            SetAttribute::Name(set.as_str().to_owned()),
        ];
        let message = NfTablesMessage::GetSet(SetMessage { attributes });
        let mut bytes = Vec::new();
        append(&mut bytes, request(message.into(), 0, sequence, 0));
        let sent = self.socket.send_to(&bytes, &self.kernel, 0);
        sent.map_err(|error| errno(&error))?;
        loop {
            self.receive(0).map_err(|error| errno(&error))?;
            for message in Messages(&self.buffer) {
                if message.sequence_number() != sequence {
                    continue;
                }
                return match error_code(&message).map(i32::saturating_neg) {
                    Some(code) if code == Errno::NOENT.raw_os_error() => Ok(None),
                    Some(code) => Err(Errno::from_raw_os_error(code)),
                    None => Ok(Some(make(message.payload()))),
                };
            }
        }
    }

    /// Every element of a set.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    pub(super) fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        // A set that changes while it is listed may be listed in part: listed again then.
        for _ in 0..8 {
            if let Some(listed) = self.list_once(set)? {
                return Ok(listed);
            }
        }
        Err(Errno::AGAIN)
    }

    fn list_once(&mut self, set: SetName) -> Result<Option<Vec<Listed>>, Errno> {
        const INTERRUPTED: u16 = 16;
        self.drain();
        let sequence = self.next();
        let attributes = vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.as_str().to_owned()),
        ];
        let message = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
        let mut bytes = Vec::new();
        append(
            &mut bytes,
            request(message.into(), 0, sequence, NLM_F_DUMP | NLM_F_ACK),
        );
        let sent = self.socket.send_to(&bytes, &self.kernel, 0);
        sent.map_err(|error| errno(&error))?;
        let mut listed = Vec::new();
        let mut whole = true;
        loop {
            self.receive(0).map_err(|error| errno(&error))?;
            for message in Messages(&self.buffer) {
                if message.sequence_number() != sequence {
                    continue;
                }
                whole &= message.flags() & INTERRUPTED == 0;
                match (message.message_type(), error_code(&message)) {
                    (MESSAGE_DONE, _) | (_, Some(0)) => return Ok(whole.then_some(listed)),
                    (_, Some(code)) => {
                        return Err(Errno::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => elements(message.payload(), &mut listed),
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn receive(&mut self, flags: libc::c_int) -> io::Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv_from(&mut self.buffer, flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Forgets answers that nobody waits for any more.
    fn drain(&mut self) {
        while self.receive(libc::MSG_DONTWAIT).is_ok() {}
    }
}

/// A socket that hears of every change of any table.
#[derive(Debug)]
pub(super) struct Events(Socket);

impl Events {
    /// The kernel's group `NFNLGRP_NFTABLES`.
    const GROUP: u32 = 7;

    /// Listens from now on. Needs CAP_NET_ADMIN.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let _ = socket.set_rx_buf_sz(ANSWERS);
        socket.add_membership(Self::GROUP)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Reads what there is to hear; true where somebody whose socket is not
    /// `own` touched our table, or where something was missed.
    pub(super) fn others_touched_us(&self, own: &[u32]) -> bool {
        // One who floods us with changes of other tables must not keep us here for ever.
        const MOST: usize = 10_000;
        let mut touched = false;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        for _ in 0..MOST {
            buffer.clear();
            match self.0.recv_from(&mut buffer, 0) {
                Ok(_) => {
                    touched |= Messages(&buffer).any(|message| {
                        !own.contains(&message.port_number()) && is_about_us(&message)
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => touched = true,
            }
        }
        touched
    }
}

impl std::os::fd::AsFd for Events {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether an event is about the table `inet spad`: each but the one that ends a
/// transaction names its table in its first attribute.
fn is_about_us(message: &NetlinkBuffer<&[u8]>) -> bool {
    const END_OF_TRANSACTION: u16 = 15;
    const TABLE_NAME: u16 = 1;
    let kind = message.message_type();
    if kind >> 8 != SUBSYSTEM || kind & 0xff == END_OF_TRANSACTION {
        return false;
    }
    let Some((header, attributes)) = message.payload().split_first_chunk::<4>() else {
        return false;
    };
    let inet = u8::from(NetfilterProtoFamily::Inet);
    header.first() == Some(&inet)
        && attribute(attributes, TABLE_NAME)
            .is_some_and(|name| name.strip_suffix(&[0]) == Some(TABLE.as_bytes()))
}

impl Operation {
    fn message(&self, sequence: u32, flags: u16) -> NetlinkMessage<NetfilterMessage> {
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
                SetElementList::Table(TABLE.to_owned()),
                SetElementList::Set(self.set.as_str().to_owned()),
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

fn control(message: ControlMessage, sequence: u32, bytes: &mut Vec<u8>) {
    append(bytes, request(message.into(), SUBSYSTEM, sequence, 0));
}

fn request(
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

fn append(bytes: &mut Vec<u8>, message: NetlinkMessage<NetfilterMessage>) {
    let start = bytes.len();
    let end = start.saturating_add(message.buffer_len().next_multiple_of(4));
    bytes.resize(end, 0);
    if let Some(room) = bytes.get_mut(start..) {
        message.serialize(room);
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The code of an error or acknowledgement; none for other messages.
fn error_code(message: &NetlinkBuffer<&[u8]>) -> Option<i32> {
    if message.message_type() != MESSAGE_ERROR {
        return None;
    }
    let (code, _) = message.payload().split_first_chunk::<4>()?;
    Some(i32::from_ne_bytes(*code))
}

/// The messages of one datagram.
struct Messages<'a>(&'a [u8]);

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
fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(attributes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// How the set is made that the kernel describes here.
fn make(payload: &[u8]) -> SetMake {
    const KEY_TYPE: u16 = 4;
    const KEY_LENGTH: u16 = 5;
    const DESCRIPTION: u16 = 9;
    const DESCRIPTION_SIZE: u16 = 1;
    const TIMEOUT: u16 = 11;
    let attributes = payload.get(4..).unwrap_or(&[]);
    let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u32::from_be_bytes);
    let description = attribute(attributes, DESCRIPTION).unwrap_or(&[]);
    let timeout = attribute(attributes, TIMEOUT).and_then(|bytes| bytes.try_into().ok());
    SetMake {
        key_type: number(attribute(attributes, KEY_TYPE)).unwrap_or(0),
        key_length: number(attribute(attributes, KEY_LENGTH)).unwrap_or(0),
        timeout: timeout.map_or(0, u64::from_be_bytes),
        size: number(attribute(description, DESCRIPTION_SIZE)).unwrap_or(0),
    }
}

/// The elements of one page of a list. Read by hand: the crate's own reader
/// formats the whole page for each element in it, seconds for a large set.
fn elements(payload: &[u8], listed: &mut Vec<Listed>) {
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
