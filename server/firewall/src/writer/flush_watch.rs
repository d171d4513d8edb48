//! [IO] Hides again at once where somebody flushes while `nft` runs.
//!
//! `nft` takes tens of milliseconds, and up to ten seconds where it hangs; a flush meanwhile
//! must not wait for its end. The emergency table stands in until it is replaced.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use spad_sys::program::{HEARTBEAT_INTERVAL, RunObserver};

use super::announcer::Announcer;
use super::emergency::{self, Existing, Plan, TableState};
use super::netlink::{Events, Netlink};
use crate::table::{SetLocation, SetName, Table};

/// Listens for changes of our table from its opening on.
pub(super) struct FlushWatch<'a> {
    /// A socket of its own: what the writer's has received is still to be read when `nft` has
    /// ended.
    events: Events,
    netlink: &'a mut Netlink,
    plan: &'a Plan,
    was_flushed: &'a mut bool,
    announcer: Option<&'a Announcer>,
}

impl<'a> FlushWatch<'a> {
    /// Hides by this plan where nothing does, and then notes that the table `was_away`.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub(super) fn open(
        netlink: &'a mut Netlink,
        plan: &'a Plan,
        was_away: &'a mut bool,
        announcer: Option<&'a Announcer>,
    ) -> io::Result<Self> {
        let events = Events::open()?;
        Ok(Self {
            events,
            netlink,
            plan,
            was_flushed: was_away,
            announcer,
        })
    }

    /// Hides where nothing does: also what was flushed before this began to listen.
    pub(super) fn hide(&mut self) {
        if emergency::table_state(self.netlink) == Ok(TableState::Missing) {
            *self.was_flushed |= emergency::load(self.netlink, self.plan, Existing::Keep).is_ok();
        }
    }

    /// Whether the kernel hides what this table hides: a program in the place of `nft` may end
    /// well and load nothing. Where somebody flushed just now the table was there before.
    pub(super) fn is_hidden(&mut self, table: &Table) -> bool {
        let is_there = emergency::table_state(self.netlink) == Ok(TableState::Full)
            && self
                .netlink
                .list_ports(SetName::Hidden)
                .is_ok_and(|listed| {
                    // One on trial may be shown again by now.
                    let for_good = |(_, rest): &(_, &Option<_>)| rest.is_none();
                    let mut ports = table.hidden().iter().filter(for_good);
                    ports.all(|(port, _)| listed.contains_key(port))
                });
        self.on_readable();
        is_there || *self.was_flushed
    }
}

impl RunObserver for FlushWatch<'_> {
    fn heartbeat(&self) {
        if let Some(announcer) = self.announcer {
            announcer.busy(HEARTBEAT_INTERVAL.saturating_mul(2));
        }
    }

    fn watched_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    fn on_readable(&mut self) {
        let own = self.netlink.port();
        let touched = self
            .events
            .changed_by_others(SetLocation::own_table().table(), own, None);
        // What the kernel refuses now, it refuses the table that follows, and is reported then.
        if touched.ours {
            self.hide();
        }
    }
}
