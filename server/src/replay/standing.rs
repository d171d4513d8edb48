//! What becomes of records while the disk takes them, and while it does not. `[IO]`
//!
//! The disk may fail at the start or later, and nothing ends because of it: the state
//! goes on in memory, or refuses every packet, as the configuration says, and
//! is written whole once the disk can be written again.

use std::io;

use spa_proto::Timestamp;

use super::cache::ReplayCache;
use super::disk::{Directory, Disk, FileName, OF_RUN, OF_STATE};
use super::encoding::encode;
use super::error::{StateError, StateEvent};
use super::horizon::Horizon;
use super::journal::Journal;
use super::machine;
use super::open::Opened;
use super::reading::read;
use super::record::{Entry, JournalRecord};
use super::slots::HorizonSlots;
use super::state::{State, wipe};
use crate::config::OnStateError;

/// Where the state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
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

impl Opened {
    /// A state that takes no packet and writes nothing, because of `problem`.
    #[must_use]
    pub(super) fn closed(problem: &StateError, policy: OnStateError) -> Self {
        let standing = Standing::Closed {
            problem: problem.to_string(),
        };
        let mut horizon = Horizon::unknown();
        horizon.set_writable(false);
        Self {
            state: State {
                disk: Directory::none(),
                lock: None,
                boot_id: machine::NO_BOOT,
                policy,
                journal: Journal::after(&read(&[], &[]), [0, 0]),
                slots: HorizonSlots::default(),
                in_force: horizon.used(),
                standing: standing.clone(),
                lost: true,
                compaction_failed: true,
                written_again: false,
                one_time: None,
                distrusted: None,
                run_lost: None,
                not_noted: None,
                not_compacted: None,
                events: vec![StateEvent::Standing(standing)],
            },
            cache: ReplayCache::default(),
            horizon,
            holders: Vec::new(),
            owed: Vec::new(),
        }
    }
}

impl<D: Disk> State<D> {
    /// Where the state lives now.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Does the disk not hold what it should?
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        matches!(self.standing, Standing::InMemory { .. })
    }

    /// What `spad status` says of it, while not all is well.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let standing = match &self.standing {
            Standing::OnDisk => None,
            Standing::InMemory { error } => Some(format!(
                "cannot write the state ({error}): check the disk, or the next start refuses packets for a while"
            )),
            Standing::Refusing { error } => Some(format!(
                "cannot write the state ({error}): no packet is accepted until it is written again; check the disk"
            )),
            Standing::Closed { problem } => Some(format!("no packet is accepted: {problem}")),
        };
        let distrusted = self.distrusted.as_ref().map(|because| {
            format!(
                "at the last start the journal could not be trusted ({because}): packets sent before it are refused; check the disk"
            )
        });
        let run = self.run_lost.as_ref().map(|error| {
            format!("{error}: the next start will be as after a crash of the machine; make room in the run directory, or restart spad where its files were deleted")
        });
        let compacted = self.not_compacted.as_ref().map(|error| {
            format!(
                "the journal cannot be compacted ({error}), and is not full yet: check the disk"
            )
        });
        let all = [standing, distrusted, run, compacted];
        all.into_iter().flatten().collect()
    }

    /// Looks whether the files that are written are those that the next start will read.
    /// To be called every few seconds.
    pub fn look(&mut self) {
        if self.is_closed() {
            return;
        }
        if self.standing == Standing::OnDisk
            && let Err(error) = self.disk.is_found(&OF_STATE)
        {
            // Said by an event, and by `standing`.
            let _refusing = self.disk_failed(error);
        }
        let lost = self.run_trouble();
        match (&self.run_lost, &lost) {
            (None, Some(error)) => self.events.push(StateEvent::RunLost {
                error: error.clone(),
            }),
            (Some(_), None) => self.events.push(StateEvent::RunFound),
            _ => {}
        }
        self.run_lost = lost;
    }

    /// Can it not be used at all?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.standing, Standing::Closed { .. })
    }

    /// May packets act?
    pub(super) fn takes_packets(&self) -> bool {
        matches!(self.standing, Standing::OnDisk | Standing::InMemory { .. })
    }

    /// The error of whoever needs the disk now; nothing while it works.
    pub(super) fn trouble(&self) -> Option<StateError> {
        match &self.standing {
            Standing::OnDisk => None,
            Standing::InMemory { error } | Standing::Refusing { error } => {
                Some(StateError::NotWritten(io::Error::other(error.clone())))
            }
            Standing::Closed { problem } => Some(StateError::Closed(problem.clone())),
        }
    }

    /// The disk failed. May the server go on? Only where the configuration allows
    /// it, and only once the next start is sure to know.
    pub(super) fn disk_failed(&mut self, error: io::Error) -> Result<(), StateError> {
        if self.is_in_memory() {
            return Ok(());
        }
        let text = error.to_string();
        if self.policy == OnStateError::Memory && self.note_failure() {
            self.compaction_failed = true;
            self.goes_on(Standing::InMemory { error: text });
            return Ok(());
        }
        if self.standing == Standing::OnDisk {
            // The next batch of packets tries once more; then the horizon's pace counts.
            self.compaction_failed = false;
            self.goes_on(Standing::Refusing { error: text });
        }
        Err(StateError::NotWritten(error))
    }

    /// What a reloaded configuration says of a state that cannot be written, from here on.
    pub fn use_policy(&mut self, policy: OnStateError) {
        if std::mem::replace(&mut self.policy, policy) == policy {
            return;
        }
        match (policy, self.standing.clone()) {
            (OnStateError::Refuse, Standing::InMemory { error }) => {
                self.goes_on(Standing::Refusing { error });
            }
            (OnStateError::Memory, Standing::Refusing { error }) if self.note_failure() => {
                // The horizon stood still while packets were refused.
                self.written_again = true;
                self.goes_on(Standing::InMemory { error });
            }
            _ => {}
        }
    }

    /// Leaves word for the next start. Each of the three is enough; on a failing
    /// disk, who knows which works.
    fn note_failure(&mut self) -> bool {
        let in_journal = self.journal.mark_incomplete(&mut self.disk);
        let in_slots = match self.slots.timestamp() {
            Some(timestamp) => self.slots.write(&mut self.disk, timestamp, true),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let in_run = self.note_in_run_directory(self.in_force, true);
        in_journal.is_ok() || in_slots.is_ok() || in_run.is_ok()
    }

    /// The horizon where the next start of this boot finds it, whatever the disk holds.
    pub(super) fn note_in_run_directory(
        &mut self,
        timestamp: Timestamp,
        disk_failed: bool,
    ) -> io::Result<()> {
        if self.lost {
            // Nothing is accepted, and no horizon may seem to be known.
            return Ok(());
        }
        let entry = Entry::Memory {
            boot_id: self.boot_id,
            timestamp,
            disk_failed,
        };
        let noted = self.disk.write(FileName::Memory, 0, &encode(0, 0, &entry));
        self.not_noted = noted.as_ref().err().map(ToString::to_string);
        noted
    }

    /// Why the next start of this boot will not find in the run directory what it needs.
    /// What could not be written there is tried again first.
    fn run_trouble(&mut self) -> Option<String> {
        self.journal.prove_again(&mut self.disk);
        if self.not_noted.is_some() {
            let _noted = self.note_in_run_directory(self.in_force, self.is_in_memory());
        }
        let unwritten = |file: FileName, error: &str| {
            format!(
                "cannot write {} of the run directory ({error})",
                file.as_str()
            )
        };
        let found = self.disk.is_found(&OF_RUN).err();
        let noted = self.not_noted.as_deref();
        let proven = self.journal.unproven();
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
        self.disk.is_found(&OF_STATE)?;
        if self.slots.timestamp().is_some() || !self.lost {
            self.slots.write(&mut self.disk, self.in_force, true)?;
        }
        wipe(&mut self.disk, FileName::Clean)?;
        let header = self.header();
        let records = self.own_records().chain(records);
        self.journal
            .compact(&mut self.disk, header, records, true)?;
        self.unmark()?;
        self.written_again = true;
        self.goes_on(Standing::OnDisk);
        Ok(())
    }

    fn goes_on(&mut self, standing: Standing) {
        self.standing = standing.clone();
        self.events.push(StateEvent::Standing(standing));
    }
}
