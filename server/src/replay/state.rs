//! `[IO]` The state directory of a running server: what must survive it.
//!
//! Takes records and the time; writes the journal before a packet acts, moves
//! the horizon, compacts. Every write that fails ends in one of two ways, as
//! the configuration says: the packet must not act, or the state goes on in
//! memory once that is noted where the next start will find it.
//! docs/protocol.md §8.

use std::io;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Timestamp;

use super::cache::ReplayCache;
use super::disk::{Directory, Disk, FileName};
use super::encoding::{RECORD, encode};
use super::error::{StateError, StateEvent};
use super::horizon::{Horizon, Move};
use super::journal::Journal;
use super::machine::Lock;
use super::open::wipe_if_written;
use super::record::{Entry, JournalRecord};
use super::slots::HorizonSlots;
use crate::clock::Now;
use crate::config::OnStateError;

/// The files, held by this process alone.
#[derive(Debug)]
pub struct State<D = Directory> {
    pub(super) disk: D,
    #[expect(dead_code, reason = "held, not read; none in tests")]
    pub(super) lock: Option<Lock>,
    pub(super) boot_id: [u8; 16],
    pub(super) policy: OnStateError,
    pub(super) journal: Journal,
    pub(super) slots: HorizonSlots,
    /// The horizon in force, on disk or, in memory, in the run directory.
    pub(super) in_force: Timestamp,
    /// The disk failed: records are no longer written, and the next start knows.
    pub(super) in_memory: bool,
    /// Neither floors nor horizon are known: only a reset makes them so.
    pub(super) lost: bool,
    /// A compaction failed; not again before the horizon moves.
    pub(super) compaction_failed: bool,
    pub(super) events: Vec<StateEvent>,
}

impl<D: Disk> State<D> {
    /// Writes a record, with one call, before its packet acts.
    ///
    /// # Errors
    /// It could not be written: the packet must not act.
    pub fn append(&mut self, record: &JournalRecord) -> Result<(), StateError> {
        if self.in_memory {
            return Ok(());
        }
        self.journal
            .append(&mut self.disk, record)
            .or_else(|error| self.go_on_in_memory(error))
    }

    /// Moves the horizon where it is due: every 10 s, and at once when the clock
    /// steps or the allowed skew changes. Cheap when it is not; to be called before packets are
    /// judged. A failed write leaves the old horizon in force.
    ///
    /// # Errors
    /// The horizon could not be written; it is tried again.
    pub fn tick(
        &mut self,
        now: Now,
        skew: Duration,
        horizon: &mut Horizon,
    ) -> Result<(), StateError> {
        let Some(step) = horizon.plan(now, skew) else {
            return Ok(());
        };
        horizon.moved(now, skew);
        self.compaction_failed = false;
        match step {
            Move::Raise(to) => {
                self.write_horizon(to)?;
                horizon.put_in_force(to);
                self.in_force = to;
            }
            Move::Lower(to) => {
                horizon.put_in_force(to);
                self.in_force = to;
                self.write_horizon(to)?;
            }
        }
        Ok(())
    }

    /// When the journal is nearly full, or the disk failed before: writes it anew
    /// from `records`, all that is still true (the cache's and what the engine keeps besides). To be
    /// called after every batch of packets.
    pub fn compact_if_needed<I>(&mut self, records: impl FnOnce() -> I)
    where
        I: IntoIterator<Item = JournalRecord>,
    {
        if self.compaction_failed || !(self.in_memory || self.journal.is_nearly_full()) {
            return;
        }
        let result = if self.in_memory {
            self.recover(records())
        } else {
            let header = self.header();
            self.journal
                .compact(&mut self.disk, header, records(), false)
        };
        if let Err(error) = result {
            self.compaction_failed = true;
            if !self.in_memory {
                self.events.push(StateEvent::NotCompacted {
                    error: error.to_string(),
                });
            }
        }
    }

    /// `spad client reset`: see [`ReplayCache::reset_client`]. Returns the floor then in force.
    ///
    /// # Errors
    /// It could not be written: it holds until the next start only.
    pub fn reset_client(
        &mut self,
        id: KeyId,
        now: Now,
        cache: &mut ReplayCache,
        kept: impl IntoIterator<Item = JournalRecord>,
        skew: Duration,
    ) -> Result<Timestamp, StateError> {
        let floor = cache.reset_client(id, now.wall, skew);
        self.rewrite(cache, kept)?;
        Ok(floor)
    }

    /// `spad replay reset`: floors go down to now, the horizon is set from the
    /// clock alone. Where used packets may be missing and no horizon says how far
    /// they went, everything up to now + 2 × skew is refused instead.
    ///
    /// # Errors
    /// It could not be written: it holds until the next start only.
    pub fn reset_all(
        &mut self,
        now: Now,
        cache: &mut ReplayCache,
        horizon: &mut Horizon,
        kept: impl IntoIterator<Item = JournalRecord>,
        skew: Duration,
    ) -> Result<(), StateError> {
        cache.reset_all(now.wall, skew);
        horizon.reset();
        if std::mem::take(&mut self.lost) {
            let ahead = now.wall.saturating_add(skew).saturating_add(skew);
            cache.raise_all(ahead);
            *horizon = Horizon::at_start(ahead);
        }
        self.rewrite(cache, kept)?;
        self.tick(now, skew, horizon)
    }

    /// Ends this life: everything is synced, then the clean mark is written. Says
    /// whether it was; without it the next start on another boot is unclean.
    ///
    /// # Errors
    /// The disk failed; the next start is unclean.
    pub fn clean_stop(mut self) -> io::Result<bool> {
        if self.in_memory || self.lost {
            return Ok(false);
        }
        self.journal.sync(&mut self.disk)?;
        let (generation, count) = self.journal.position();
        self.disk.write(
            FileName::Clean,
            0,
            &encode(generation, &Entry::Clean { count }),
        )?;
        self.disk.sync(FileName::Clean)?;
        Ok(true)
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<StateEvent> {
        std::mem::take(&mut self.events)
    }

    /// Does the disk not hold what it should?
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// The journal anew, durably: the cache, and `kept` besides.
    pub(super) fn rewrite(
        &mut self,
        cache: &ReplayCache,
        kept: impl IntoIterator<Item = JournalRecord>,
    ) -> Result<(), StateError> {
        let records = cache.records().chain(kept);
        let header = self.header();
        self.journal
            .compact(&mut self.disk, header, records, true)
            .map_err(StateError::NotWritten)
    }

    /// The boot id under which the journal is trusted. While the state is lost, that
    /// of no boot: the next start must not take what is written now for all there was.
    fn header(&self) -> [u8; 16] {
        if self.lost { [0; 16] } else { self.boot_id }
    }

    /// Brings the horizon to where the next start finds it.
    pub(super) fn write_horizon(&mut self, to: Timestamp) -> Result<(), StateError> {
        if self.slots.holds(to) && !self.in_memory {
            return Ok(());
        }
        let Err(error) = self.slots.write(&mut self.disk, to, self.in_memory) else {
            return Ok(());
        };
        self.go_on_in_memory(error)?;
        self.note_in_run_directory(to)
            .map_err(StateError::NotWritten)
    }

    /// The disk failed. May the server go on? Only where the configuration allows
    /// it, and only once the next start is sure to know.
    pub(super) fn go_on_in_memory(&mut self, error: io::Error) -> Result<(), StateError> {
        if self.in_memory {
            return Ok(());
        }
        if self.policy == OnStateError::Refuse {
            return Err(StateError::NotWritten(error));
        }
        // Each of the three is enough; on a failing disk, who knows which works.
        let in_journal = self.journal.mark_incomplete(&mut self.disk);
        let in_slots = match self.slots.timestamp() {
            Some(timestamp) => self.slots.write(&mut self.disk, timestamp, true),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let in_run = self.note_in_run_directory(self.in_force);
        if in_journal.is_err() && in_slots.is_err() && in_run.is_err() {
            return Err(StateError::NotWritten(error));
        }
        self.in_memory = true;
        self.compaction_failed = true;
        self.events.push(StateEvent::InMemory {
            error: error.to_string(),
        });
        Ok(())
    }

    fn note_in_run_directory(&mut self, timestamp: Timestamp) -> io::Result<()> {
        let entry = Entry::Memory {
            boot_id: self.boot_id,
            timestamp,
        };
        self.disk.write(FileName::Memory, 0, &encode(0, &entry))
    }

    /// The disk may work again: first the horizon, still marked, then the journal,
    /// then the marks go. Cut short anywhere, the next start is unclean.
    fn recover(&mut self, records: impl IntoIterator<Item = JournalRecord>) -> io::Result<()> {
        self.slots.write(&mut self.disk, self.in_force, true)?;
        wipe(&mut self.disk, FileName::Clean)?;
        let header = self.header();
        self.journal
            .compact(&mut self.disk, header, records, true)?;
        let memory = self.disk.read(FileName::Memory).unwrap_or_default();
        self.unmark(&memory)?;
        self.in_memory = false;
        self.events.push(StateEvent::Recovered);
        Ok(())
    }
}

impl<D: Disk> State<D> {
    /// Takes away what says that the disk failed; the horizon's slot goes last.
    pub(super) fn unmark(&mut self, memory: &[u8]) -> io::Result<()> {
        wipe_if_written(&mut self.disk, FileName::Memory, memory)?;
        if self.slots.is_marked() {
            self.slots.write(&mut self.disk, self.in_force, false)
        } else {
            Ok(())
        }
    }
}

/// Overwrites a file of one entry with zeros, durably.
pub(super) fn wipe<D: Disk>(disk: &mut D, file: FileName) -> io::Result<()> {
    disk.write(file, 0, &[0; RECORD])?;
    disk.sync(file)
}
