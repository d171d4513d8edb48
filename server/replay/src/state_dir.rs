//! `[IO]` The state directory of a running server: what must survive a restart.
//!
//! Takes records and the time; writes the journal before a packet acts, moves the horizon,
//! and compacts. A failed write has one of two results, as the configuration says. Either the
//! packet must not act, or the state continues in memory once that is noted for the next
//! start. docs/protocol.md §8.

use std::io;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_model::{Now, OnStateError};

use super::cache::ReplayCache;
use super::disk::{Directory, Disk, FileName};
use super::encoding::RECORD_LEN;
use super::error::{DistrustReason, StateError, StateEvent};
use super::horizon::{Horizon, HorizonMove, PERIOD};
use super::horizon_file::HorizonSlots;
use super::journal::Journal;
use super::lock::{Lock, NO_BOOT_ID};
use super::record::JournalRecord;
use super::state_mode::StateMode;
use super::trust::records_disk_failure;
use super::used_sequences::UsedMark;

/// The files, owned by this process alone.
#[derive(Debug)]
pub struct StateDir<D = Directory> {
    pub(super) disk: D,
    #[expect(dead_code, reason = "held, not read; none in tests")]
    pub(super) lock: Option<Lock>,
    pub(super) boot_id: [u8; 16],
    pub(super) policy: OnStateError,
    pub(super) journal: Journal,
    pub(super) slots: HorizonSlots,
    /// The horizon in force, on disk or, in memory, in the run directory.
    pub(super) in_force: Timestamp,
    pub(super) mode: StateMode,
    /// Floors and horizon are unknown until a reset.
    pub(super) floors_unknown: bool,
    /// A compaction failed; it is retried when the horizon moves.
    pub(super) compaction_failed: bool,
    /// The disk works again, so the horizon is due.
    pub(super) recovered: bool,
    /// The minimum extent of the file of used one-time sequences.
    pub(super) used_mark: Option<UsedMark>,
    /// Why the journal was not trusted at the start, if a crash alone does not explain it.
    pub(super) distrust_reason: Option<DistrustReason>,
    /// The problem with the run directory's files, if any.
    pub(super) run_dir_error: Option<String>,
    /// Why the last write of the horizon to the run directory failed.
    pub(super) run_write_error: Option<String>,
    /// Why the last compaction failed.
    pub(super) compaction_error: Option<String>,
    pub(super) events: Vec<StateEvent>,
}

impl<D: Disk> StateDir<D> {
    /// Writes a record, with one call, before its packet acts.
    ///
    /// # Errors
    /// The write failed: the packet must not act.
    pub fn append(&mut self, record: &JournalRecord) -> Result<(), StateError> {
        match &self.mode {
            StateMode::OnDisk => self
                .journal
                .append(&mut self.disk, record)
                .or_else(|error| self.on_disk_error(error)),
            StateMode::InMemory { .. } => Ok(()),
            StateMode::Refusing { .. } | StateMode::Closed { .. } => {
                self.error().map_or(Ok(()), Err)
            }
        }
    }

    /// Moves the horizon when due: every 10 s, and immediately when the clock steps or the
    /// allowed skew changes. Cheap otherwise; call it before processing packets. If the write
    /// fails, the old horizon stays in force.
    ///
    /// # Errors
    /// The horizon could not be written; it is retried.
    pub fn advance_horizon(
        &mut self,
        now: Now,
        skew: Duration,
        horizon: &mut Horizon,
    ) -> Result<(), StateError> {
        horizon.set_writable(self.accepts_packets());
        if std::mem::take(&mut self.recovered) {
            horizon.force_move();
        }
        let Some(step) = horizon.plan(now, skew) else {
            return Ok(());
        };
        horizon.mark_done(now, skew);
        self.compaction_failed = false;
        if !self.accepts_packets() {
            // It is put in force once the state can be written.
            return Ok(());
        }
        match step {
            HorizonMove::Raise(to) => {
                // Packets with timestamps up to this may arrive before the next move.
                let needed = now.wall.saturating_add(skew).saturating_add(PERIOD);
                let secured = self.raise_horizon(to, needed)?;
                self.update_run_horizon(secured);
                horizon.commit(secured);
                self.in_force = secured;
            }
            HorizonMove::Lower(to) => {
                horizon.commit(to);
                self.in_force = to;
                self.write_horizon(to)?;
                self.update_run_horizon(to);
            }
        }
        Ok(())
    }

    /// Rewrites the journal from `records`, all that is still valid, when it is nearly full or
    /// the disk failed before. They are the cache's and the engine's. Call it after every batch
    /// of packets.
    pub fn compact_if_needed<I>(&mut self, records: impl FnOnce() -> I)
    where
        I: IntoIterator<Item = JournalRecord>,
    {
        if self.compaction_failed {
            return;
        }
        let result = match self.mode {
            StateMode::OnDisk if !self.journal.is_nearly_full() => return,
            StateMode::Closed { .. } => return,
            StateMode::OnDisk => {
                let header = self.trusted_boot_id();
                let records = self.own_records().chain(records());
                self.journal.compact(&mut self.disk, header, records, false)
            }
            StateMode::InMemory { .. } | StateMode::Refusing { .. } => self.recover(records()),
        };
        match result {
            Ok(()) => {
                if self.compaction_error.take().is_some() {
                    self.events.push(StateEvent::Compacted);
                }
            }
            Err(error) => {
                self.compaction_failed = true;
                let error = error.to_string();
                if self.mode == StateMode::OnDisk && self.compaction_error.is_none() {
                    self.events.push(StateEvent::CompactionFailed {
                        error: error.clone(),
                    });
                    self.compaction_error = Some(error);
                }
            }
        }
    }

    /// `spad client reset`: see [`ReplayCache::reset_client`]. Returns the floor in force.
    ///
    /// # Errors
    /// The write failed: the reset is lost at the next start.
    pub fn reset_client(
        &mut self,
        id: KeyId,
        now: Now,
        cache: &mut ReplayCache,
        extra: impl IntoIterator<Item = JournalRecord>,
        skew: Duration,
    ) -> Result<Timestamp, StateError> {
        self.check_usable()?;
        let floor = cache.reset_client(id, now.wall, skew);
        self.rewrite(cache, extra)?;
        Ok(floor)
    }

    /// `spad replay reset`: lowers the floors to now and sets the horizon from the clock alone.
    /// If used packets may be missing and no horizon bounds them, everything up to now + 2 × skew
    /// is refused instead.
    ///
    /// # Errors
    /// The write failed: the reset is lost at the next start.
    pub fn reset_all(
        &mut self,
        now: Now,
        cache: &mut ReplayCache,
        horizon: &mut Horizon,
        extra: impl IntoIterator<Item = JournalRecord>,
        skew: Duration,
    ) -> Result<(), StateError> {
        self.check_usable()?;
        cache.reset_all(now.wall, skew);
        horizon.reset();
        if std::mem::take(&mut self.floors_unknown) {
            let ahead = now.wall.saturating_add(skew).saturating_add(skew);
            cache.raise_floors(ahead);
            *horizon = Horizon::at_start(ahead);
            self.in_force = ahead;
        }
        self.rewrite(cache, extra)?;
        self.advance_horizon(now, skew, horizon)
    }

    /// Syncs everything, then writes the clean mark. Returns whether it was written; without it
    /// the next start after a reboot is unclean.
    ///
    /// # Errors
    /// The disk failed; the next start is unclean.
    pub fn clean_stop(mut self) -> io::Result<bool> {
        if self.mode != StateMode::OnDisk || self.floors_unknown {
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

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<StateEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether [`Self::take_events`] has any.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Refuses a reset of a state that cannot be used.
    fn check_usable(&self) -> Result<(), StateError> {
        match (&self.mode, self.error()) {
            (StateMode::Closed { .. }, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Rewrites the journal durably, from the cache and `extra`.
    pub(super) fn rewrite(
        &mut self,
        cache: &ReplayCache,
        extra: impl IntoIterator<Item = JournalRecord>,
    ) -> Result<(), StateError> {
        self.try_rewrite(cache, extra)
            .map_err(StateError::WriteFailed)
    }

    pub(super) fn try_rewrite(
        &mut self,
        cache: &ReplayCache,
        extra: impl IntoIterator<Item = JournalRecord>,
    ) -> io::Result<()> {
        let records = self.own_records().chain(cache.records()).chain(extra);
        let header = self.trusted_boot_id();
        self.journal.compact(&mut self.disk, header, records, true)
    }

    /// The boot id under which the journal is trusted. While the state is lost it matches no
    /// boot, so that the next start does not take the journal for complete.
    pub(super) fn trusted_boot_id(&self) -> [u8; 16] {
        if self.floors_unknown {
            NO_BOOT_ID
        } else {
            self.boot_id
        }
    }

    /// The records that this type itself maintains.
    pub(super) fn own_records(&self) -> impl Iterator<Item = JournalRecord> + use<D> {
        let mark = self.used_mark.map(|used| JournalRecord::OneTime {
            count: used.count,
            sum: used.sum,
        });
        mark.into_iter()
    }

    /// Writes the extent of the file of used one-time sequences, after writing that file.
    ///
    /// # Errors
    /// The write failed: these sequences must not open anything.
    pub fn append_used(&mut self, used: UsedMark) -> Result<(), StateError> {
        self.used_mark = Some(used);
        let UsedMark { count, sum } = used;
        self.append(&JournalRecord::OneTime { count, sum })
    }

    /// The minimum extent of the file of used one-time sequences.
    #[must_use]
    pub fn used_mark(&self) -> Option<UsedMark> {
        self.used_mark
    }

    /// Raises the horizon so that the next start finds it even if one slot is lost, and
    /// returns what may be in force. Usually one slot lags behind, which suffices while it is
    /// above `needed`.
    fn raise_horizon(&mut self, to: Timestamp, needed: Timestamp) -> Result<Timestamp, StateError> {
        for _each_slot in 0..2 {
            self.write_horizon(to)?;
            match self.slots.durable() {
                Some(secured) if secured >= needed.min(to) => return Ok(secured),
                _ => {}
            }
        }
        Ok(to)
    }

    /// Writes the horizon to one more slot.
    pub(super) fn write_horizon(&mut self, to: Timestamp) -> Result<(), StateError> {
        let in_memory = self.is_in_memory();
        if self.slots.is_durable(to) && !in_memory {
            return Ok(());
        }
        let Err(error) = self.slots.write(&mut self.disk, to, in_memory) else {
            return Ok(());
        };
        self.on_disk_error(error)?;
        self.write_run_horizon(to, true)
            .map_err(StateError::WriteFailed)
    }

    /// Writes the horizon for a start in this boot that finds the state directory lost.
    fn update_run_horizon(&mut self, to: Timestamp) {
        let in_memory = self.is_in_memory();
        // If this fails, that start refuses packets for longer, or all; `check_files` reports it.
        let _noted = self.write_run_horizon(to, in_memory);
    }
}

impl<D: Disk> StateDir<D> {
    /// Clears the marks of a failed disk; the horizon's slots are last.
    pub(super) fn clear_marks(&mut self) -> io::Result<()> {
        let noted = self.write_run_horizon(self.in_force, false);
        let memory = self.disk.read(FileName::Memory).unwrap_or_default();
        if records_disk_failure(&memory) {
            noted?;
        }
        while self.slots.is_marked() {
            self.slots.write(&mut self.disk, self.in_force, false)?;
        }
        Ok(())
    }
}

/// Overwrites a single-entry file with zeros, durably.
pub(super) fn wipe<D: Disk>(disk: &mut D, file: FileName) -> io::Result<()> {
    disk.write(file, 0, &[0; RECORD_LEN])?;
    disk.sync(file)
}
