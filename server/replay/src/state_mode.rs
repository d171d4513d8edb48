//! What becomes of records while the disk takes them, and while it does not. `[IO]`
//!
//! The disk may fail at the start or later, and nothing ends because of it: the state
//! goes on in memory, or refuses every packet, as the configuration says, and
//! is written whole once the disk can be written again.

use std::io;

use spa_proto::Timestamp;

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
use spad_model::OnStateError;

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateMode {
    /// Each record is written to the disk before its packet acts.
    OnDisk,
    /// The disk failed: records stay in memory, and the next start knows.
    InMemory {
        /// What the disk said.
        error: String,
    },
    /// The disk failed: no packet acts until the state is written again.
    Refusing {
        /// What the disk said.
        error: String,
    },
    /// The state cannot be used at all: no packet acts in this life of the process.
    Closed {
        /// Why, and how to fix it.
        problem: String,
    },
}

impl OpenedState {
    /// A state that takes no packet and writes nothing, because of `problem`.
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
    /// Where the state lives now.
    #[must_use]
    pub fn mode(&self) -> &StateMode {
        &self.mode
    }

    /// Does the disk not hold what it should?
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        matches!(self.mode, StateMode::InMemory { .. })
    }

    /// What `spad status` says of it, while not all is well.
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

    /// Looks whether the files that are written are those that the next start will read.
    /// To be called every few seconds.
    pub fn check_files(&mut self) {
        if self.is_closed() {
            return;
        }
        if self.mode == StateMode::OnDisk
            && let Err(error) = self.disk.check_present(&STATE_FILES)
        {
            // Said by an event, and by `standing`.
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

    /// Can it not be used at all?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.mode, StateMode::Closed { .. })
    }

    /// May packets act?
    pub(super) fn accepts_packets(&self) -> bool {
        matches!(self.mode, StateMode::OnDisk | StateMode::InMemory { .. })
    }

    /// The error of whoever needs the disk now; nothing while it works.
    pub(super) fn error(&self) -> Option<StateError> {
        match &self.mode {
            StateMode::OnDisk => None,
            StateMode::InMemory { error } | StateMode::Refusing { error } => {
                Some(StateError::WriteFailed(io::Error::other(error.clone())))
            }
            StateMode::Closed { problem } => Some(StateError::Closed(problem.clone())),
        }
    }

    /// The disk failed. May the server go on? Only where the configuration allows
    /// it, and only once the next start is sure to know.
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
            // The next batch of packets tries once more; then the horizon's pace counts.
            self.compaction_failed = false;
            self.set_mode(StateMode::Refusing { error: text });
        }
        Err(StateError::WriteFailed(error))
    }

    /// What a reloaded configuration says of a state that cannot be written, from here on.
    pub fn set_policy(&mut self, policy: OnStateError) {
        if std::mem::replace(&mut self.policy, policy) == policy {
            return;
        }
        match (policy, self.mode.clone()) {
            (OnStateError::Refuse, StateMode::InMemory { error }) => {
                self.set_mode(StateMode::Refusing { error });
            }
            (OnStateError::Memory, StateMode::Refusing { error }) if self.record_failure() => {
                // The horizon stood still while packets were refused.
                self.recovered = true;
                self.set_mode(StateMode::InMemory { error });
            }
            _ => {}
        }
    }

    /// Leaves word for the next start. Each of the three is enough; on a failing
    /// disk, who knows which works.
    fn record_failure(&mut self) -> bool {
        let in_journal = self.journal.mark_incomplete(&mut self.disk);
        let in_slots = match self.slots.timestamp() {
            Some(timestamp) => self.slots.write(&mut self.disk, timestamp, true),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let in_run = self.write_run_horizon(self.in_force, true);
        in_journal.is_ok() || in_slots.is_ok() || in_run.is_ok()
    }

    /// The horizon where the next start of this boot finds it, whatever the disk holds.
    pub(super) fn write_run_horizon(
        &mut self,
        timestamp: Timestamp,
        disk_failed: bool,
    ) -> io::Result<()> {
        if self.floors_unknown {
            // Nothing is accepted, and no horizon may seem to be known.
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

    /// Why the next start of this boot will not find in the run directory what it needs.
    /// What could not be written there is tried again first.
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

    /// The disk may work again: first the horizon, still marked, then the journal,
    /// then the marks go. Cut short anywhere, the next start is unclean.
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
