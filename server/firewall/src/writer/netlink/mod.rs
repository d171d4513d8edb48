//! [IO] Elements of our sets, over netlink: put in, taken out, listed.
//!
//! One transaction is one datagram to the kernel and is done whole or not at
//! all. The kernel has answered by the time the datagram is sent, so nothing
//! here waits. Knows nothing of grants.

mod attributes;
mod build;
mod conntrack;
mod events;
mod parse;
pub(super) mod ruleset;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

pub(super) use build::{Action, Message, Operation, Timeout};
use build::{MessageKind, append, put_control, put_set_name, put_table_name};
pub(super) use conntrack::Connection;
pub(super) use events::{Events, TableChanges};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NetlinkBuffer};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
pub(super) use parse::Listed;
use parse::{
    MESSAGE_DONE, Messages, error_code, parse_elements, parse_set_layout, rule_chain, table_flags,
};
use rustix::io::Errno;
use rustix::net::sockopt;
use spa_proto::Service;

use super::element_key;
use crate::table::{SetLayout, SetLocation, SetName};

/// The subsystem of nftables in `nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
/// Room for one datagram from the kernel: dumps come in pages of up to 32 KiB.
const DATAGRAM: usize = 1 << 16;
/// Room for the answers to the longest transaction.
const RECEIVE_BUFFER: u32 = 1 << 20;

/// What asks for a list.
const DUMP: u16 = NLM_F_DUMP | NLM_F_ACK;

/// How the kernel answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerStatus {
    Complete,
    /// What was listed changed meanwhile.
    Interrupted,
}

/// Why a transaction was not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TransactionError {
    /// The kernel refused these operations, by their place; all were undone.
    Refused(Vec<(usize, Errno)>),
    /// The kernel refused the transaction as a whole.
    Transaction(Errno),
    /// The answer was lost: it may have been made.
    Unconfirmed,
}

impl std::fmt::Display for TransactionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refused) => match refused.first() {
                Some((_, error)) => error.fmt(f),
                None => f.write_str("refused"),
            },
            Self::Transaction(error) => error.fmt(f),
            Self::Unconfirmed => f.write_str("its answer was lost"),
        }
    }
}

/// A socket to the kernel's nftables.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    /// Where the sets are.
    location: SetLocation,
    kernel: SocketAddr,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    /// Answers that nobody waits for any more may be there.
    leftovers: bool,
}

impl Netlink {
    pub(super) fn open(location: SetLocation) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        // Less room serves small transactions all the same.
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
        Ok(Self {
            socket,
            location,
            kernel: SocketAddr::new(0, 0),
            port,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
            leftovers: false,
        })
    }

    /// The socket's number in events of the kernel.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Where the sets are.
    pub(super) const fn location(&self) -> &SetLocation {
        &self.location
    }

    /// From now on the sets are there; gives where they were.
    pub(super) fn set_location(&mut self, location: SetLocation) -> SetLocation {
        std::mem::replace(&mut self.location, location)
    }

    /// Does all of this, or nothing.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    pub(super) fn transaction(&mut self, operations: &[Operation]) -> Result<(), TransactionError> {
        let location = self.location.clone();
        let capacity = operations.len().saturating_mul(160);
        self.transact(
            operations.len(),
            capacity,
            |index, bytes, sequence, flags| {
                if let Some(operation) = operations.get(index) {
                    operation.append(bytes, &location, sequence, flags);
                }
            },
        )
    }

    /// Makes all of these, whatever table they are about, or none.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    pub(super) fn send_batch(&mut self, messages: &[Message]) -> Result<(), TransactionError> {
        let room = messages
            .iter()
            .map(|one| one.attributes.len().saturating_add(32));
        let room = room.fold(0_usize, usize::saturating_add);
        // A transaction is one datagram, however long.
        let buffer = room.saturating_add(1 << 16);
        // Where it stays smaller, a long transaction is refused, and a short one is not.
        let _ = sockopt::set_socket_send_buffer_size_force(&self.socket, buffer);
        self.transact(messages.len(), room, |index, bytes, sequence, flags| {
            if let Some(message) = messages.get(index) {
                message.append(bytes, sequence, flags);
            }
        })
    }

    /// One transaction of `count` messages, which `append` writes.
    fn transact(
        &mut self,
        count: usize,
        capacity: usize,
        append: impl Fn(usize, &mut Vec<u8>, u32, u16),
    ) -> Result<(), TransactionError> {
        if count == 0 {
            return Ok(());
        }
        self.drain();
        let begin = self.next_sequence();
        let mut bytes = Vec::with_capacity(capacity.saturating_add(64));
        put_control(&mut bytes, MessageKind::Begin, begin);
        let last = count.saturating_sub(1);
        let mut first = None;
        for index in 0..count {
            let sequence = self.next_sequence();
            first.get_or_insert(sequence);
            // The kernel tells of every fault, and of success only where it is asked.
            let acknowledge = if index == last { NLM_F_ACK } else { 0 };
            append(index, &mut bytes, sequence, acknowledge);
        }
        put_control(&mut bytes, MessageKind::End, self.next_sequence());
        self.socket
            .send_to(&bytes, &self.kernel, 0)
            .map_err(|error| TransactionError::Transaction(errno(&error)))?;
        self.read_replies(begin, first.unwrap_or(begin), count)
    }

    /// Reads the answers, which are all there.
    fn read_replies(
        &mut self,
        begin: u32,
        first: u32,
        count: usize,
    ) -> Result<(), TransactionError> {
        let (mut answered, mut refused, mut transaction_error) = (false, Vec::new(), None);
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.leftovers = false;
                    break;
                }
                Err(_) => return Err(TransactionError::Unconfirmed),
            }
            for message in Messages(&self.buffer) {
                let Some(code) = error_code(&message) else {
                    continue;
                };
                let sequence = message.sequence_number();
                let place = usize::try_from(sequence.wrapping_sub(first)).ok();
                let place = place.filter(|place| *place < count);
                // An answer to an earlier one, left behind where answers were lost, tells nothing.
                if place.is_none() && sequence != begin {
                    continue;
                }
                answered = true;
                if code == 0 {
                    continue;
                }
                let error = Errno::from_raw_os_error(code.saturating_neg());
                match place {
                    Some(place) => refused.push((place, error)),
                    None => transaction_error = Some(error),
                }
            }
        }
        match (transaction_error, refused.is_empty(), answered) {
            (Some(error), _, _) => Err(TransactionError::Transaction(error)),
            (None, false, _) => Err(TransactionError::Refused(refused)),
            (None, true, true) => Ok(()),
            (None, true, false) => Err(TransactionError::Unconfirmed),
        }
    }

    /// How a set is made; none where it is not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn set_layout(&mut self, set: SetName) -> Result<Option<SetLayout>, Errno> {
        self.set_layout_in(&self.location.clone(), set)
    }

    /// The same at another place.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn set_layout_in(
        &mut self,
        location: &SetLocation,
        set: SetName,
    ) -> Result<Option<SetLayout>, Errno> {
        let mut found = None;
        let request = |sequence| {
            let mut bytes = Vec::new();
            append(
                &mut bytes,
                MessageKind::GetSet,
                sequence,
                NLM_F_ACK,
                |bytes| {
                    put_set_name(bytes, location, set);
                },
            );
            bytes
        };
        match self.request(request, |message| {
            found = Some(parse_set_layout(message.payload()))
        }) {
            Ok(_) => Ok(found),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every element of a set.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    pub(super) fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        self.list_in(&self.location.clone(), set)
    }

    /// The same at another place.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    pub(super) fn list_in(
        &mut self,
        location: &SetLocation,
        set: SetName,
    ) -> Result<Vec<Listed>, Errno> {
        // A set that changes while it is listed may be listed in part, and a part of the
        // answer may be lost: listed again then.
        for _ in 0..8 {
            match self.list_once(location, set) {
                Ok(Some(listed)) => return Ok(listed),
                Ok(None) | Err(Errno::NOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::AGAIN)
    }

    /// The ports in a set of ports, each with the rest of its time.
    ///
    /// # Errors
    /// `NOENT` where table or set are missing.
    pub(super) fn list_ports(
        &mut self,
        set: SetName,
    ) -> Result<BTreeMap<Service, Option<Duration>>, Errno> {
        let listed = self.list(set)?.into_iter();
        let ports = listed.filter_map(|(key, rest)| Some((element_key::to_service(&key)?, rest)));
        Ok(ports.collect())
    }

    fn list_once(
        &mut self,
        location: &SetLocation,
        set: SetName,
    ) -> Result<Option<Vec<Listed>>, Errno> {
        let mut listed = Vec::new();
        let request = |sequence| {
            let mut bytes = Vec::new();
            append(
                &mut bytes,
                MessageKind::ListElements,
                sequence,
                DUMP,
                |bytes| {
                    put_set_name(bytes, location, set);
                },
            );
            bytes
        };
        let answer = self.request(request, |message| {
            parse_elements(message.payload(), &mut listed)
        })?;
        Ok((answer == AnswerStatus::Complete).then_some(listed))
    }

    /// Whether the kernel passes by all chains of this table.
    ///
    /// # Errors
    /// `NOENT` where it is not there.
    pub(super) fn is_dormant(&mut self, table: &str) -> Result<bool, Errno> {
        const DORMANT: u32 = 1;
        let mut is_dormant = false;
        let request = |sequence| {
            let mut bytes = Vec::new();
            append(
                &mut bytes,
                MessageKind::GetTable,
                sequence,
                NLM_F_ACK,
                |bytes| {
                    put_table_name(bytes, table);
                },
            );
            bytes
        };
        self.request(request, |message| {
            is_dormant |= table_flags(message.payload()) & DORMANT != 0;
        })?;
        Ok(is_dormant)
    }

    /// How many rules each chain of this table has; a chain without rules is not listed.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn rule_counts(&mut self, table: &str) -> Result<BTreeMap<String, usize>, Errno> {
        let mut rules = BTreeMap::new();
        let request = |sequence| {
            let mut bytes = Vec::new();
            append(
                &mut bytes,
                MessageKind::ListRules,
                sequence,
                DUMP,
                |bytes| {
                    put_table_name(bytes, table);
                },
            );
            bytes
        };
        self.request(request, |message| {
            // Not every kernel heeds the table's name.
            if let Some(chain) = rule_chain(table, message.payload()) {
                let count: &mut usize = rules.entry(chain).or_default();
                *count = count.saturating_add(1);
            }
        })?;
        Ok(rules)
    }

    /// Sends the request that `asked` makes of its sequence number, and gives each message of
    /// the answer to `take`, until the kernel says that it has ended.
    ///
    /// # Errors
    /// What the kernel says instead.
    fn request(
        &mut self,
        build: impl FnOnce(u32) -> Vec<u8>,
        mut on_message: impl FnMut(&NetlinkBuffer<&[u8]>),
    ) -> Result<AnswerStatus, Errno> {
        const INTERRUPTED: u16 = 16;
        self.drain();
        let sequence = self.next_sequence();
        let sent = self.socket.send_to(&build(sequence), &self.kernel, 0);
        sent.map_err(|error| errno(&error))?;
        let mut answered = AnswerStatus::Complete;
        loop {
            self.receive(0).map_err(|error| errno(&error))?;
            for message in Messages(&self.buffer) {
                if message.sequence_number() != sequence {
                    continue;
                }
                if message.flags() & INTERRUPTED != 0 {
                    answered = AnswerStatus::Interrupted;
                }
                match (message.message_type(), error_code(&message)) {
                    (MESSAGE_DONE, _) | (_, Some(0)) => return Ok(answered),
                    (_, Some(code)) => {
                        return Err(Errno::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => on_message(&message),
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
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

    /// Forgets answers that nobody waits for any more, and that some were lost, which
    /// the kernel says once, ahead of those that were not.
    fn drain(&mut self) {
        if !std::mem::replace(&mut self.leftovers, true) {
            return;
        }
        let mut lost = false;
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if errno(&error) == Errno::NOBUFS && !lost => lost = true,
                Err(_) => return,
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests;
