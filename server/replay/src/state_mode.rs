//! What happens to records while the disk works, and while it does not. `[IO]`
//!
//! The disk may fail at the start or later; the server continues. The state moves to memory
//! or refuses every packet, as the configuration says. It is rewritten completely once the
//! disk works again.

use std::io;

use spa_proto::Timestamp;
use spad_model::OnStateError;

use super::cache::ReplayCache;
use super::disk::{Directory, Disk, FileName, RUN_FILES, STATE_FILES};
use super::encoding::encode;
use super::error::{StateError, StateEvent};
use super::horizon::Horizon;
use super::horizon_file::HorizonSlots;
use super::journal::Journal;
use super::journal_read::read;
use super::lock;
use super::record::{JournalEntry, JournalRecord};
use super::startup::OpenedState;
use super::state_dir::{StateDir, wipe};

/// Where the state is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateMode {
    /// Each record is written to the disk before its packet acts.
    OnDisk,
    /// The disk failed: records are in memory, and the next start will know.
    InMemory {
        /// The disk's error.
        error: String,
    },
    /// The disk failed: no packet acts until the state can be written.
    Refusing {
        /// The disk's error.
        error: String,
    },
    /// The state is unusable: no packet acts until a restart.
    Closed {
        /// The problem and its fix.
        problem: String,
    },
}

impl OpenedState {
    /// A state that accepts no packet and writes nothing, because of `problem`.
    #[must_use]
    pub(super) fn closed(problem: &StateError, policy: OnStateError) -> Self {
        let mode = StateMode::Closed {
            problem: problem.to_string(),
        };
        let mut horizon = Horizon::unknown();
        horizon.set_writable(false);
        Self {
            state: StateDir {
                disk: Directory::unavailable(),
                lock: None,
                boot_id: lock::NO_BOOT_ID,
                policy,
                journal: Journal::resume(&read(&[], &[]), [0, 0]),
                slots: HorizonSlots::default(),
                in_force: horizon.in_force(),
                mode: mode.clone(),
                floors_unknown: true,
                compaction_failed: true,
                recovered: false,
                used_mark: None,
                distrust_reason: None,
                run_dir_error: None,
                run_write_error: None,
                compaction_error: None,
                events: vec![StateEvent::ModeChanged(mode)],
            },
            cache: ReplayCache::default(),
            horizon,
            holders: Vec::new(),
            pending_hooks: Vec::new(),
        }
    }
}

impl<D: Disk> StateDir<D> {
    /// The current mode.
    #[must_use]
    pub fn mode(&self) -> &StateMode {
        &self.mode
    }

    /// Whether the disk lacks part of the state.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        matches!(self.mode, StateMode::InMemory { .. })
    }

    /// The warning for `spad status`, if there is a problem.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mode = match &self.mode {
            StateMode::OnDisk => None,
            StateMode::InMemory { error } => Some(format!(
                "cannot write the state ({error}): check the disk, or the next start refuses packets for a while"
            )),
            StateMode::Refusing { error } => Some(format!(
                "cannot write the state ({error}): no packet is accepted until it is written again; check the disk"
            )),
            StateMode::Closed { problem } => Some(format!("no packet is accepted: {problem}")),
        };
        let distrusted = self.distrust_reason.as_ref().map(|reason| {
            format!(
                "at the last start the journal could not be trusted ({reason}): packets sent before it are refused; check the disk"
            )
        });
        let run = self.run_dir_error.as_ref().map(|error| {
            format!("{error}: the next start will be as after a crash of the machine; make room in the run directory, or restart spad where its files were deleted")
        });
        let compacted = self.compaction_error.as_ref().map(|error| {
            format!(
                "the journal cannot be compacted ({error}), and is not full yet: check the disk"
            )
        });
        let all = [mode, distrusted, run, compacted];
        all.into_iter().flatten().collect()
    }

    /// Checks that the open files are still those that the next start will read.
    /// Call it every few seconds.
    pub fn check_files(&mut self) {
        if self.is_closed() {
            return;
        }
        if self.mode == StateMode::OnDisk
            && let Err(error) = self.disk.check_present(&STATE_FILES)
        {
            // Reported by an event and by `mode`.
            let _refusing = self.on_disk_error(error);
        }
        let lost = self.run_dir_error();
        match (&self.run_dir_error, &lost) {
            (None, Some(error)) => self.events.push(StateEvent::RunDirLost {
                error: error.clone(),
            }),
            (Some(_), None) => self.events.push(StateEvent::RunDirRestored),
            _ => {}
        }
        self.run_dir_error = lost;
    }

    /// Whether the state is unusable until a restart.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.mode, StateMode::Closed { .. })
    }

    /// Whether packets may act.
    pub(super) fn accepts_packets(&self) -> bool {
        matches!(self.mode, StateMode::OnDisk | StateMode::InMemory { .. })
    }

    /// The error for callers that need the disk; `None` while it works.
    pub(super) fn error(&self) -> Option<StateError> {
        match &self.mode {
            StateMode::OnDisk => None,
            StateMode::InMemory { error } | StateMode::Refusing { error } => {
                Some(StateError::WriteFailed(io::Error::other(error.clone())))
            }
            StateMode::Closed { problem } => Some(StateError::Closed(problem.clone())),
        }
    }

    /// Handles a disk error. Succeeds if the configuration allows memory and the next start is
    /// certain to know.
    pub(super) fn on_disk_error(&mut self, error: io::Error) -> Result<(), StateError> {
        if self.is_in_memory() {
            return Ok(());
        }
        let text = error.to_string();
        if self.policy == OnStateError::Memory && self.record_failure() {
            self.compaction_failed = true;
            self.set_mode(StateMode::InMemory { error: text });
            return Ok(());
        }
        if self.mode == StateMode::OnDisk {
            // The next batch of packets retries once; then the horizon's period applies.
            self.compaction_failed = false;
            self.set_mode(StateMode::Refusing { error: text });
        }
        Err(StateError::WriteFailed(error))
    }

    /// Applies a reloaded configuration's policy for a state that cannot be written.
    pub fn set_policy(&mut self, policy: OnStateError) {
        if std::mem::replace(&mut self.policy, policy) == policy {
            return;
        }
        match (policy, self.mode.clone()) {
            (OnStateError::Refuse, StateMode::InMemory { error }) => {
                self.set_mode(StateMode::Refusing { error });
            }
            (OnStateError::Memory, StateMode::Refusing { error }) if self.record_failure() => {
                // The horizon did not move while packets were refused.
                self.recovered = true;
                self.set_mode(StateMode::InMemory { error });
            }
            _ => {}
        }
    }

    /// Records the failure for the next start in three places. One suffices; on a failing
    /// disk it is unknown which one succeeds.
    fn record_failure(&mut self) -> bool {
        let in_journal = self.journal.mark_incomplete(&mut self.disk);
        let in_slots = match self.slots.timestamp() {
            Some(timestamp) => self.slots.write(&mut self.disk, timestamp, true),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let in_run = self.write_run_horizon(self.in_force, true);
        in_journal.is_ok() || in_slots.is_ok() || in_run.is_ok()
    }

    /// Writes the horizon to the run directory, for a start in the same boot.
    pub(super) fn write_run_horizon(
        &mut self,
        timestamp: Timestamp,
        disk_failed: bool,
    ) -> io::Result<()> {
        if self.floors_unknown {
            // Nothing is accepted, and the horizon must not appear to be known.
            return Ok(());
        }
        let entry = JournalEntry::Memory {
            boot_id: self.boot_id,
            timestamp,
            disk_failed,
        };
        let noted = self.disk.write(FileName::Memory, 0, &encode(0, 0, &entry));
        self.run_write_error = noted.as_ref().err().map(ToString::to_string);
        noted
    }

    /// Why the next start of this boot will lack something in the run directory. Retries
    /// failed writes there first.
    fn run_dir_error(&mut self) -> Option<String> {
        self.journal.retry_proof(&mut self.disk);
        if self.run_write_error.is_some() {
            let _noted = self.write_run_horizon(self.in_force, self.is_in_memory());
        }
        let unwritten = |file: FileName, error: &str| {
            format!(
                "cannot write {} of the run directory ({error})",
                file.as_str()
            )
        };
        let found = self.disk.check_present(&RUN_FILES).err();
        let noted = self.run_write_error.as_deref();
        let proven = self.journal.proof_error();
        found
            .map(|error| error.to_string())
            .or_else(|| proven.map(|error| unwritten(FileName::Proof, error)))
            .or_else(|| noted.map(|error| unwritten(FileName::Memory, error)))
    }

    /// Returns to the disk: writes the horizon, still marked, then the journal, then clears
    /// the marks. If interrupted anywhere, the next start is unclean.
    pub(super) fn recover(
        &mut self,
        records: impl IntoIterator<Item = JournalRecord>,
    ) -> io::Result<()> {
        self.disk.check_present(&STATE_FILES)?;
        if self.slots.timestamp().is_some() || !self.floors_unknown {
            self.slots.write(&mut self.disk, self.in_force, true)?;
        }
        wipe(&mut self.disk, FileName::Clean)?;
        let header = self.trusted_boot_id();
        let records = self.own_records().chain(records);
        self.journal
            .compact(&mut self.disk, header, records, true)?;
        self.clear_marks()?;
        self.recovered = true;
        self.set_mode(StateMode::OnDisk);
        Ok(())
    }

    fn set_mode(&mut self, mode: StateMode) {
        self.mode = mode.clone();
        self.events.push(StateEvent::ModeChanged(mode));
    }
}
