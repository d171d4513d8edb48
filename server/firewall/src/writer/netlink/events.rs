//! [IO] Hears that somebody else touched our table.

use std::io;

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::parse::{Messages, attribute};
use super::{DATAGRAM, RECEIVE_BUFFER, SUBSYSTEM};

/// A socket that hears of every change of any table.
#[derive(Debug)]
pub(in crate::writer) struct Events(Socket);

impl Events {
    /// The kernel's group `NFNLGRP_NFTABLES`.
    const GROUP: u32 = 7;

    /// Listens from now on. Needs CAP_NET_ADMIN.
    pub(in crate::writer) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
        socket.add_membership(Self::GROUP)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Reads what has come: whether somebody whose socket is not `own` touched this table, or
    /// rules of others, or whether something was missed. Our `loader`, an `nft` that has just
    /// ended, made the table whole whatever came before its transaction. Its number is free
    /// for others from then on, so only the first look after it may name it.
    pub(in crate::writer) fn changed_by_others(
        &self,
        table: &str,
        own: u32,
        loader: Option<u32>,
    ) -> TableChanges {
        // One who floods us with changes of other tables must not keep us here for ever.
        const MAX_EVENTS: usize = 10_000;
        let (mut touched, mut missed, mut others) = (false, false, false);
        let mut buffer = Vec::with_capacity(DATAGRAM);
        for _ in 0..MAX_EVENTS {
            buffer.clear();
            match self.0.recv_from(&mut buffer, 0) {
                Ok(_) => {
                    for message in Messages(&buffer) {
                        let from = message.port_number();
                        if Some(from) == loader {
                            touched = false;
                        } else {
                            let is_ours = concerns_table(table, &message);
                            touched |= from != own && is_ours;
                            others |= !is_ours && changes_rules(&message);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => missed = true,
            }
        }
        TableChanges {
            ours: touched | missed,
            others: others | missed,
        }
    }
}

impl std::os::fd::AsFd for Events {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What somebody touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::writer) struct TableChanges {
    /// Our table.
    pub(in crate::writer) ours: bool,
    /// Rules, chains or tables of others.
    pub(in crate::writer) others: bool,
}

/// Whether an event is about a table, a chain or a rule, whosever it is; not about elements.
fn changes_rules(message: &NetlinkBuffer<&[u8]>) -> bool {
    const DELETED_RULE: u16 = 8;
    let kind = message.message_type();
    kind >> 8 == SUBSYSTEM && kind & 0xff <= DELETED_RULE
}

/// Whether an event is about this table of the family `inet`: each but the one that ends a
/// transaction names its table in its first attribute.
fn concerns_table(table: &str, message: &NetlinkBuffer<&[u8]>) -> bool {
    const NEW_GENERATION: u16 = 15;
    const TABLE_NAME: u16 = 1;
    let kind = message.message_type();
    if kind >> 8 != SUBSYSTEM || kind & 0xff == NEW_GENERATION {
        return false;
    }
    let Some((header, attributes)) = message.payload().split_first_chunk::<4>() else {
        return false;
    };
    let inet = u8::from(NetfilterProtoFamily::Inet);
    header.first() == Some(&inet)
        && attribute(attributes, TABLE_NAME)
            .is_some_and(|name| name.strip_suffix(&[0]) == Some(table.as_bytes()))
}
