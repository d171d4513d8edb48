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
use super::encoding::RECORD;
use super::error::{Because, StateError, StateEvent};
use super::horizon::{Horizon, Move, PERIOD};
use super::journal::Journal;
use super::machine::{Lock, NO_BOOT};
use super::one_time::UsedMark;
use super::record::JournalRecord;
use super::slots::HorizonSlots;
use super::standing::Standing;
use super::start::says_disk_failed;
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
    pub(super) standing: Standing,
    /// Neither floors nor horizon are known: only a reset makes them so.
    pub(super) lost: bool,
    /// A compaction failed; not again before the horizon moves.
    pub(super) compaction_failed: bool,
    /// The disk takes the state again: the horizon is due.
    pub(super) written_again: bool,
    /// What the file of used one-time sequences must hold at least.
    pub(super) one_time: Option<UsedMark>,
    /// Why the journal was not trusted at the start, where a crash alone does not explain it.
    pub(super) distrusted: Option<Because>,
    /// What became of the files of the run directory.
    pub(super) run_lost: Option<String>,
    /// Why the horizon could not be written there the last time.
    pub(super) not_noted: Option<String>,
    /// Why the journal could not be compacted the last time.
    pub(super) not_compacted: Option<String>,
    pub(super) events: Vec<StateEvent>,
}

impl<D: Disk> State<D> {
    /// Writes a record, with one call, before its packet acts.
    ///
    /// # Errors
    /// It could not be written: the packet must not act.
    pub fn append(&mut self, record: &JournalRecord) -> Result<(), StateError> {
        match &self.standing {
            Standing::OnDisk => self
                .journal
                .append(&mut self.disk, record)
                .or_else(|error| self.disk_failed(error)),
            Standing::InMemory { .. } => Ok(()),
            Standing::Refusing { .. } | Standing::Closed { .. } => {
                self.trouble().map_or(Ok(()), Err)
            }
        }
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
        horizon.set_writable(self.takes_packets());
        if std::mem::take(&mut self.written_again) {
            horizon.move_at_once();
        }
        let Some(step) = horizon.plan(now, skew) else {
            return Ok(());
        };
        horizon.moved(now, skew);
        self.compaction_failed = false;
        if !self.takes_packets() {
            // It is put in force once the state is written again.
            return Ok(());
        }
        match step {
            Move::Raise(to) => {
                // Until the next move packets of so late a time may come.
                let needed = now.wall.saturating_add(skew).saturating_add(PERIOD);
                let secured = self.raise_horizon(to, needed)?;
                self.note_horizon(secured);
                horizon.put_in_force(secured);
                self.in_force = secured;
            }
            Move::Lower(to) => {
                horizon.put_in_force(to);
                self.in_force = to;
                self.write_horizon(to)?;
                self.note_horizon(to);
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
        if self.compaction_failed {
            return;
        }
        let result = match self.standing {
            Standing::OnDisk if !self.journal.is_nearly_full() => return,
            Standing::Closed { .. } => return,
            Standing::OnDisk => {
                let header = self.header();
                let records = self.own_records().chain(records());
                self.journal.compact(&mut self.disk, header, records, false)
            }
            Standing::InMemory { .. } | Standing::Refusing { .. } => self.recover(records()),
        };
        match result {
            Ok(()) => {
                if self.not_compacted.take().is_some() {
                    self.events.push(StateEvent::Compacted);
                }
            }
            Err(error) => {
                self.compaction_failed = true;
                let error = error.to_string();
                if self.standing == Standing::OnDisk && self.not_compacted.is_none() {
                    self.events.push(StateEvent::NotCompacted {
                        error: error.clone(),
                    });
                    self.not_compacted = Some(error);
                }
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
        self.is_open()?;
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
        self.is_open()?;
        cache.reset_all(now.wall, skew);
        horizon.reset();
        if std::mem::take(&mut self.lost) {
            let ahead = now.wall.saturating_add(skew).saturating_add(skew);
            cache.raise_all(ahead);
            *horizon = Horizon::at_start(ahead);
            self.in_force = ahead;
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
        if self.standing != Standing::OnDisk || self.lost {
            return Ok(false);
        }
        let Some(horizon) = self.slots.id() else {
            return Ok(false);
        };
        self.journal.sync(&mut self.disk)?;
        let mark = self.journal.clean_mark(horizon);
        self.disk.write(FileName::Clean, 0, &mark)?;
        self.disk.sync(FileName::Clean)?;
        Ok(true)
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<StateEvent> {
        std::mem::take(&mut self.events)
    }

    /// Is there anything for [`Self::take_events`]?
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Nothing can be reset in a state that cannot be used.
    fn is_open(&self) -> Result<(), StateError> {
        match (&self.standing, self.trouble()) {
            (Standing::Closed { .. }, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The journal anew, durably: the cache, and `kept` besides.
    pub(super) fn rewrite(
        &mut self,
        cache: &ReplayCache,
        kept: impl IntoIterator<Item = JournalRecord>,
    ) -> Result<(), StateError> {
        self.write_anew(cache, kept).map_err(StateError::NotWritten)
    }

    pub(super) fn write_anew(
        &mut self,
        cache: &ReplayCache,
        kept: impl IntoIterator<Item = JournalRecord>,
    ) -> io::Result<()> {
        let records = self.own_records().chain(cache.records()).chain(kept);
        let header = self.header();
        self.journal.compact(&mut self.disk, header, records, true)
    }

    /// The boot id under which the journal is trusted. While the state is lost, that
    /// of no boot: the next start must not take what is written now for all there was.
    pub(super) fn header(&self) -> [u8; 16] {
        if self.lost { NO_BOOT } else { self.boot_id }
    }

    /// What the journal holds besides what others remember.
    pub(super) fn own_records(&self) -> impl Iterator<Item = JournalRecord> + use<D> {
        let mark = self.one_time.map(|used| JournalRecord::OneTime {
            count: used.count,
            sum: used.sum,
        });
        mark.into_iter()
    }

    /// Writes how many one-time sequences are used, after their own file holds them.
    ///
    /// # Errors
    /// It could not be written: nothing may open by them.
    pub fn append_used(&mut self, used: UsedMark) -> Result<(), StateError> {
        self.one_time = Some(used);
        let UsedMark { count, sum } = used;
        self.append(&JournalRecord::OneTime { count, sum })
    }

    /// What the file of used one-time sequences must hold at least.
    #[must_use]
    pub fn one_time(&self) -> Option<UsedMark> {
        self.one_time
    }

    /// Brings the horizon to where the next start finds it even if one of its slots is
    /// lost, and gives what may be in force then. That one slot lags behind is usual,
    /// and enough while it lies above `needed`.
    fn raise_horizon(&mut self, to: Timestamp, needed: Timestamp) -> Result<Timestamp, StateError> {
        for _each_slot in 0..2 {
            self.write_horizon(to)?;
            match self.slots.in_both() {
                Some(secured) if secured >= needed.min(to) => return Ok(secured),
                _ => {}
            }
        }
        Ok(to)
    }

    /// Brings the horizon to one more place where the next start finds it.
    pub(super) fn write_horizon(&mut self, to: Timestamp) -> Result<(), StateError> {
        let in_memory = self.is_in_memory();
        if self.slots.holds(to) && !in_memory {
            return Ok(());
        }
        let Err(error) = self.slots.write(&mut self.disk, to, in_memory) else {
            return Ok(());
        };
        self.disk_failed(error)?;
        self.note_in_run_directory(to, true)
            .map_err(StateError::NotWritten)
    }

    /// For a start in this boot that finds the state gone.
    fn note_horizon(&mut self, to: Timestamp) {
        let in_memory = self.is_in_memory();
        // Without it that start refuses packets for longer, or all of them; `look` reports it.
        let _noted = self.note_in_run_directory(to, in_memory);
    }
}

impl<D: Disk> State<D> {
    /// Takes away what says that the disk failed; the horizon's slots go last.
    pub(super) fn unmark(&mut self) -> io::Result<()> {
        let noted = self.note_in_run_directory(self.in_force, false);
        let memory = self.disk.read(FileName::Memory).unwrap_or_default();
        if says_disk_failed(&memory) {
            noted?;
        }
        while self.slots.is_marked() {
            self.slots.write(&mut self.disk, self.in_force, false)?;
        }
        Ok(())
    }
}

/// Overwrites a file of one entry with zeros, durably.
pub(super) fn wipe<D: Disk>(disk: &mut D, file: FileName) -> io::Result<()> {
    disk.write(file, 0, &[0; RECORD])?;
    disk.sync(file)
}
