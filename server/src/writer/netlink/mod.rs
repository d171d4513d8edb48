//! [IO] Elements of our sets, over netlink: put in, taken out, listed.
//!
//! One transaction is one datagram to the kernel and is done whole or not at
//! all. The kernel has answered by the time the datagram is sent, so nothing
//! here waits. Knows nothing of grants.

mod attributes;
mod conntrack;
mod events;
mod reading;
pub(super) mod ruleset;
mod writing;

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::firewall::table::{Place, SetMake, SetName};

pub(super) use conntrack::Connection;
pub(super) use events::{Events, Touched};
pub(super) use reading::Listed;
pub(super) use writing::{Action, Lasts, Message, Operation};

use reading::{MESSAGE_DONE, Messages, chain_of_rule, elements, error_code, make, table_flags};
use writing::{Kind, append, control, names, table_name};

/// The subsystem of nftables in `nfnetlink.h`.
const SUBSYSTEM: u16 = 10;
/// Room for one datagram from the kernel: dumps come in pages of up to 32 KiB.
const DATAGRAM: usize = 1 << 16;
/// Room for the answers to the longest transaction.
const ANSWERS: u32 = 1 << 20;

/// What asks for a list.
const DUMP: u16 = NLM_F_DUMP | NLM_F_ACK;

/// How the kernel answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Whole,
    /// What was listed changed meanwhile.
    InPart,
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

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refused) => match refused.first() {
                Some((_, error)) => error.fmt(f),
                None => f.write_str("refused"),
            },
            Self::Whole(error) => error.fmt(f),
            Self::Unknown => f.write_str("its answer was lost"),
        }
    }
}

/// A socket to the kernel's nftables.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    /// Where the sets are.
    place: Place,
    kernel: SocketAddr,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
    /// Answers that nobody waits for any more may be there.
    leftovers: bool,
}

impl Netlink {
    pub(super) fn open(place: Place) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_cap_ack(true)?;
        // Less room serves small transactions all the same.
        let _ = socket.set_rx_buf_sz(ANSWERS);
        Ok(Self {
            socket,
            place,
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
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// From now on the sets are there; gives where they were.
    pub(super) fn go_to(&mut self, place: Place) -> Place {
        std::mem::replace(&mut self.place, place)
    }

    /// Does all of this, or nothing.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    pub(super) fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        let place = self.place.clone();
        let room = operations.len().saturating_mul(160);
        self.transact(operations.len(), room, |index, bytes, sequence, flags| {
            if let Some(operation) = operations.get(index) {
                operation.append(bytes, &place, sequence, flags);
            }
        })
    }

    /// Makes all of these, whatever table they are about, or none.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    pub(super) fn make_all(&mut self, messages: &[Message]) -> Result<(), Failed> {
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
        room: usize,
        append: impl Fn(usize, &mut Vec<u8>, u32, u16),
    ) -> Result<(), Failed> {
        if count == 0 {
            return Ok(());
        }
        self.drain();
        let begin = self.next();
        let mut bytes = Vec::with_capacity(room.saturating_add(64));
        control(&mut bytes, Kind::Begin, begin);
        let last = count.saturating_sub(1);
        let mut first = None;
        for index in 0..count {
            let sequence = self.next();
            first.get_or_insert(sequence);
            // The kernel tells of every fault, and of success only where it is asked.
            let acknowledge = if index == last { NLM_F_ACK } else { 0 };
            append(index, &mut bytes, sequence, acknowledge);
        }
        control(&mut bytes, Kind::End, self.next());
        self.socket
            .send_to(&bytes, &self.kernel, 0)
            .map_err(|error| Failed::Whole(errno(&error)))?;
        self.outcome(begin, first.unwrap_or(begin), count)
    }

    /// Reads the answers, which are all there.
    fn outcome(&mut self, begin: u32, first: u32, count: usize) -> Result<(), Failed> {
        let (mut answered, mut refused, mut whole) = (false, Vec::new(), None);
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.leftovers = false;
                    break;
                }
                Err(_) => return Err(Failed::Unknown),
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
                    None => whole = Some(error),
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
        self.make_in(&self.place.clone(), set)
    }

    /// The same at another place.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn make_in(
        &mut self,
        place: &Place,
        set: SetName,
    ) -> Result<Option<SetMake>, Errno> {
        let mut found = None;
        let asked = |sequence| {
            let mut bytes = Vec::new();
            append(&mut bytes, Kind::GetSet, sequence, NLM_F_ACK, |bytes| {
                names(bytes, place, set);
            });
            bytes
        };
        match self.ask(asked, |message| found = Some(make(message.payload()))) {
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
        self.list_in(&self.place.clone(), set)
    }

    /// The same at another place.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    pub(super) fn list_in(&mut self, place: &Place, set: SetName) -> Result<Vec<Listed>, Errno> {
        // A set that changes while it is listed may be listed in part, and a part of the
        // answer may be lost: listed again then.
        for _ in 0..8 {
            match self.list_once(place, set) {
                Ok(Some(listed)) => return Ok(listed),
                Ok(None) | Err(Errno::NOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::AGAIN)
    }

    fn list_once(&mut self, place: &Place, set: SetName) -> Result<Option<Vec<Listed>>, Errno> {
        let mut listed = Vec::new();
        let asked = |sequence| {
            let mut bytes = Vec::new();
            append(&mut bytes, Kind::List, sequence, DUMP, |bytes| {
                names(bytes, place, set);
            });
            bytes
        };
        let answer = self.ask(asked, |message| elements(message.payload(), &mut listed))?;
        Ok((answer == Answered::Whole).then_some(listed))
    }

    /// Whether the kernel passes by all chains of this table.
    ///
    /// # Errors
    /// `NOENT` where it is not there.
    pub(super) fn is_dormant(&mut self, table: &str) -> Result<bool, Errno> {
        const DORMANT: u32 = 1;
        let mut is_dormant = false;
        let asked = |sequence| {
            let mut bytes = Vec::new();
            append(&mut bytes, Kind::GetTable, sequence, NLM_F_ACK, |bytes| {
                table_name(bytes, table);
            });
            bytes
        };
        self.ask(asked, |message| {
            is_dormant |= table_flags(message.payload()) & DORMANT != 0;
        })?;
        Ok(is_dormant)
    }

    /// How many rules each chain of this table has; a chain without rules is not listed.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn rules_of(&mut self, table: &str) -> Result<BTreeMap<String, usize>, Errno> {
        let mut rules = BTreeMap::new();
        let asked = |sequence| {
            let mut bytes = Vec::new();
            append(&mut bytes, Kind::ListRules, sequence, DUMP, |bytes| {
                table_name(bytes, table);
            });
            bytes
        };
        self.ask(asked, |message| {
            // Not every kernel heeds the table's name.
            if let Some(chain) = chain_of_rule(table, message.payload()) {
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
    fn ask(
        &mut self,
        asked: impl FnOnce(u32) -> Vec<u8>,
        mut take: impl FnMut(&NetlinkBuffer<&[u8]>),
    ) -> Result<Answered, Errno> {
        const INTERRUPTED: u16 = 16;
        self.drain();
        let sequence = self.next();
        let sent = self.socket.send_to(&asked(sequence), &self.kernel, 0);
        sent.map_err(|error| errno(&error))?;
        let mut answered = Answered::Whole;
        loop {
            self.receive(0).map_err(|error| errno(&error))?;
            for message in Messages(&self.buffer) {
                if message.sequence_number() != sequence {
                    continue;
                }
                if message.flags() & INTERRUPTED != 0 {
                    answered = Answered::InPart;
                }
                match (message.message_type(), error_code(&message)) {
                    (MESSAGE_DONE, _) | (_, Some(0)) => return Ok(answered),
                    (_, Some(code)) => {
                        return Err(Errno::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => take(&message),
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
