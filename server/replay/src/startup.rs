//! `[IO]` The start of the state: creates, adopts or reopens it.
//!
//! In this order, and no packet is accepted before the end: read everything; decide whether
//! the journal can be trusted; raise floors; rewrite the journal durably; raise the horizon
//! durably; wipe the clean mark durably.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use spa_proto::Timestamp;
use spad_model::{BootTime, Now, OnStateError, Paths};

use super::cache::{Bounds, ReplayCache};
use super::disk::{Directory, Disk, FileName};
use super::error::{DistrustReason, StateError, StateEvent};
use super::horizon::Horizon;
use super::horizon_file::{FILE_LEN, HorizonSlots};
use super::journal::Journal;
use super::journal_read::{JournalContents, read};
use super::lock::{self, Lock};
use super::proof::Proof;
use super::read_only;
use super::record::{HolderKey, HolderRecord, JournalRecord};
use super::state_dir::{StateDir, wipe};
use super::state_mode::StateMode;
use super::trust::{Evidence, StartDecision};
use super::used_sequences::UsedMark;

/// Length of a single-entry file.
const SINGLE_ENTRY_LEN: u64 = 64;

/// An opened state and its contents.
#[derive(Debug)]
pub struct OpenedState<D = Directory> {
    /// The files.
    pub state: StateDir<D>,
    /// Used packets, floors and last closes.
    pub cache: ReplayCache,
    /// The upper bound of accepted timestamps.
    pub horizon: Horizon,
    /// The holders of grants, if the journal is of this boot.
    pub holders: Vec<HolderRecord>,
    /// Grants with a pending close hook, from any boot.
    pub pending_hooks: Vec<HolderKey>,
}

impl StateDir {
    /// Locks and opens the state directory for a server's run. `now` need not be right.
    /// Always returns a state, whatever is wrong with the directory or its disk:
    /// [`StateDir::mode`] says what happens to packets.
    ///
    /// # Errors
    /// Another process holds the lock.
    pub fn open(
        paths: &Paths,
        now: Now,
        max_skew: Duration,
        policy: OnStateError,
    ) -> Result<OpenedState, StateError> {
        // Without an id it matches no journal's boot.
        let boot_id = lock::boot_id().unwrap_or(lock::NO_BOOT_ID);
        let lock_result = check_initialised(paths)
            .or_else(
                |problem| match read_only::run_horizon(&paths.run, boot_id) {
                    // The files are lost, but the run directory still has the horizon.
                    Some(_) => Ok(()),
                    None => Err(problem),
                },
            )
            .and_then(|()| lock::lock(&paths.state))
            .and_then(|lock| lock::check_machine(&paths.state).map(|()| lock));
        let lock = match lock_result {
            Ok(lock) => lock,
            Err(locked @ StateError::Locked { .. }) => return Err(locked),
            Err(problem) => return Ok(OpenedState::closed(&problem, policy)),
        };
        let disk = Directory::open(&paths.state, &paths.run);
        let (lock, bounds) = (Some(lock), Bounds::default());
        Ok(start(disk, lock, boot_id, now, max_skew, policy, bounds))
    }

    /// Checks that no process holds the state directory.
    ///
    /// # Errors
    /// Another process holds it.
    pub fn check_unlocked(paths: &Paths) -> Result<(), StateError> {
        match check_initialised(paths).and_then(|()| lock::lock(&paths.state)) {
            Err(locked @ StateError::Locked { .. }) => Err(locked),
            _ => Ok(()),
        }
    }

    /// `spad init` with a new key: nothing was ever accepted, so no floor is needed.
    ///
    /// # Errors
    /// A state exists already, or it cannot be written.
    pub fn create(paths: &Paths, now: Now, max_skew: Duration) -> Result<(), StateError> {
        if is_initialised(&paths.state) {
            return Err(StateError::AlreadyInitialised {
                path: paths.state.clone(),
            });
        }
        initialise(paths, now, max_skew, Timestamp::default())
    }

    /// `spad init` with an existing key, and `spad key adopt`. The key may have been used
    /// elsewhere, so nothing up to now + 2 × skew is accepted. Existing records stay.
    ///
    /// # Errors
    /// A server is using it, or it cannot be written.
    pub fn adopt(paths: &Paths, now: Now, max_skew: Duration) -> Result<(), StateError> {
        initialise(
            paths,
            now,
            max_skew,
            now.wall.saturating_add(max_skew).saturating_add(max_skew),
        )
    }
}

/// Checks that this state directory was initialised. Unreadable does not count as missing.
fn check_initialised(paths: &Paths) -> Result<(), StateError> {
    if is_initialised(&paths.state) {
        Ok(())
    } else {
        Err(StateError::NotInitialised {
            path: paths.state.clone(),
        })
    }
}

fn is_initialised(state: &Path) -> bool {
    [FileName::JournalA, FileName::JournalB, FileName::Horizon]
        .iter()
        .any(|file| state.join(file.as_str()).try_exists().unwrap_or(true))
}

fn initialise(paths: &Paths, now: Now, skew: Duration, floor: Timestamp) -> Result<(), StateError> {
    let lock = lock::lock(&paths.state)?;
    let boot_id = lock::boot_id()?;
    let disk = Directory::open(&paths.state, &paths.run);
    create_on(disk, Some(lock), boot_id, now, skew, floor)?;
    lock::adopt(&paths.state)
}

/// Creates a state, or adopts the existing one, with this floor for all clients.
pub(super) fn create_on<D: Disk>(
    mut disk: D,
    lock: Option<Lock>,
    boot_id: [u8; 16],
    now: Now,
    skew: Duration,
    floor: Timestamp,
) -> Result<(), StateError> {
    let fail = StateError::WriteFailed;
    let mut is_new = true;
    for file in [FileName::JournalA, FileName::JournalB, FileName::Horizon] {
        is_new &= disk.read(file).map_err(fail)?.is_empty();
    }
    disk.allocate(FileName::Horizon, FILE_LEN).map_err(fail)?;
    // An unknown horizon is ignored here because the floor covers it.
    let mut slots = HorizonSlots::read(&disk.read(FileName::Horizon).map_err(fail)?);
    let horizon = slots.timestamp().unwrap_or_default().max(floor);
    let marked = slots.is_marked();
    slots.write(&mut disk, horizon, marked).map_err(fail)?;
    if is_new {
        write_clean_stop(&mut disk, boot_id, &slots).map_err(fail)?;
    }
    let mut opened = start(
        disk,
        lock,
        boot_id,
        now,
        skew,
        OnStateError::Refuse,
        Bounds::default(),
    );
    if let Some(error) = opened.state.error() {
        return Err(error);
    }
    opened.cache.raise_floors(floor);
    let extra = extra_records(opened.holders, opened.pending_hooks);
    opened.state.rewrite(&opened.cache, extra)?;
    opened.state.clean_stop().map_err(fail)?;
    Ok(())
}

/// Prepares a disk as after a clean stop: only this horizon, no packet ever accepted.
fn write_clean_stop<D: Disk>(
    disk: &mut D,
    boot_id: [u8; 16],
    slots: &HorizonSlots,
) -> io::Result<()> {
    // The run directory may not exist yet.
    let proof = disk.read(FileName::Proof).unwrap_or_default();
    let proof = Proof::read(&proof, boot_id);
    let mut journal = Journal::resume(&read(&[], &[]), [0, 0]);
    journal.set_proof(true, boot_id, proof);
    journal.compact(disk, boot_id, [], true)?;
    if let Some(horizon) = slots.id() {
        disk.allocate(FileName::Clean, SINGLE_ENTRY_LEN)?;
        disk.write(FileName::Clean, 0, &journal.clean_mark(horizon))?;
    }
    Ok(())
}

/// Opens a state on any disk. If it cannot be written, it is in memory or refuses packets,
/// as `policy` says.
pub(super) fn start<D: Disk>(
    mut disk: D,
    lock: Option<Lock>,
    boot_id: [u8; 16],
    now: Now,
    skew: Duration,
    policy: OnStateError,
    bounds: Bounds,
) -> OpenedState<D> {
    let mut unreadable = None;
    let mut read_or_empty = |file: FileName| {
        disk.read(file).unwrap_or_else(|error| {
            unreadable.get_or_insert_with(|| format!("{}: {error}", file.as_str()));
            Vec::new()
        })
    };
    let (a, b) = (
        read_or_empty(FileName::JournalA),
        read_or_empty(FileName::JournalB),
    );
    let slots = HorizonSlots::read(&read_or_empty(FileName::Horizon));
    let (clean, memory) = (
        read_or_empty(FileName::Clean),
        read_or_empty(FileName::Memory),
    );
    let proof = Proof::read(&read_or_empty(FileName::Proof), boot_id);
    let contents = read(&a, &b);
    let mut journal = Journal::resume(&contents, [a.len(), b.len()]);
    for (file, length) in [
        (FileName::Horizon, FILE_LEN),
        (FileName::Clean, SINGLE_ENTRY_LEN),
        (FileName::Memory, SINGLE_ENTRY_LEN),
        (FileName::Proof, 2 * SINGLE_ENTRY_LEN),
    ] {
        // Without reserved space writes may fail later, on a full disk, which is handled there.
        let _ = disk.allocate(file, length);
    }
    let evidence = Evidence {
        contents,
        slots,
        clean,
        memory,
        proof,
        unreadable,
        boot_id,
    };
    let decision = evidence.decide(now.wall, skew);
    journal.set_proof(decision.trusted, boot_id, proof);

    let mut cache = ReplayCache::new(bounds);
    for record in &evidence.contents.records {
        cache.restore(record);
    }
    cache.raise_floors(decision.floor);
    let horizon = decision
        .horizon
        .map_or_else(Horizon::unknown, Horizon::at_start);
    let holders = if decision.same_boot {
        holders(&evidence.contents)
    } else {
        Vec::new()
    };

    let state = StateDir {
        disk,
        lock,
        boot_id,
        policy,
        journal,
        slots,
        in_force: horizon.in_force(),
        mode: StateMode::OnDisk,
        floors_unknown: !decision.trusted && decision.horizon.is_none(),
        compaction_failed: false,
        recovered: false,
        used_mark: used_mark(&evidence.contents),
        distrust_reason: decision.reason.clone().filter(|_| !decision.trusted),
        run_dir_error: None,
        run_write_error: None,
        compaction_error: None,
        events: events(&decision),
    };
    let mut opened = OpenedState {
        state,
        cache,
        horizon,
        holders,
        pending_hooks: pending_hooks(&evidence.contents),
    };
    if let Err(error) = opened.write_initial(now, skew) {
        // Reported by an event and by `mode`.
        let _refusing = opened.state.on_disk_error(error);
    }
    opened.horizon.set_writable(opened.state.accepts_packets());
    let ahead = opened.horizon.ahead_of(now.wall);
    opened
        .state
        .events
        .extend(ahead.map(|by| StateEvent::HorizonAhead { ahead: by }));
    opened
}

impl<D: Disk> OpenedState<D> {
    fn write_initial(&mut self, now: Now, skew: Duration) -> io::Result<()> {
        let state = &mut self.state;
        let holders = self
            .holders
            .iter()
            .copied()
            .filter(|holder| holder.ends > now.boot);
        let extra = extra_records(holders, self.pending_hooks.iter().copied());
        if let Err(error) = state.try_rewrite(&self.cache, extra) {
            state.on_disk_error(error).map_err(StateError::into_io)?;
        }
        state
            .advance_horizon(now, skew, &mut self.horizon)
            .map_err(StateError::into_io)?;
        // Even if it reads as wiped: an earlier start may have died before its sync.
        if let Err(error) = wipe(&mut state.disk, FileName::Clean) {
            state.on_disk_error(error).map_err(StateError::into_io)?;
        }
        if !state.is_in_memory()
            && let Err(error) = state.clear_marks()
        {
            state.on_disk_error(error).map_err(StateError::into_io)?;
        }
        Ok(())
    }
}

/// The holders at the end of the journal.
fn holders(contents: &JournalContents) -> Vec<HolderRecord> {
    let mut holders: BTreeMap<HolderKey, BootTime> = BTreeMap::new();
    for record in &contents.records {
        match record {
            JournalRecord::Holder(holder) => {
                holders.insert(holder.key, holder.ends);
            }
            JournalRecord::HolderRemoved(key) => {
                holders.remove(key);
            }
            _ => {}
        }
    }
    holders
        .into_iter()
        .map(|(key, ends)| HolderRecord { key, ends })
        .collect()
}

/// The grants with a pending close hook at the end of the journal.
fn pending_hooks(contents: &JournalContents) -> Vec<HolderKey> {
    let mut pending = BTreeSet::new();
    for record in &contents.records {
        match record {
            JournalRecord::HookPending(key) => {
                pending.insert(*key);
            }
            JournalRecord::HookDone(key) => {
                pending.remove(key);
            }
            _ => {}
        }
    }
    pending.into_iter().collect()
}

/// The journal's records besides the cache.
fn extra_records(
    holders: impl IntoIterator<Item = HolderRecord>,
    pending: impl IntoIterator<Item = HolderKey>,
) -> impl Iterator<Item = JournalRecord> {
    let holders = holders.into_iter().map(JournalRecord::Holder);
    holders.chain(pending.into_iter().map(JournalRecord::HookPending))
}

/// The last extent of the file of used one-time sequences in the journal.
fn used_mark(contents: &JournalContents) -> Option<UsedMark> {
    let mut records = contents.records.iter().rev();
    records.find_map(|record| match record {
        JournalRecord::OneTime { count, sum } => Some(UsedMark {
            count: *count,
            sum: *sum,
        }),
        _ => None,
    })
}

fn events(decision: &StartDecision) -> Vec<StateEvent> {
    let unclean = (!decision.trusted).then_some(StateEvent::UncleanStart {
        floor: decision.floor,
        reason: decision.reason.clone(),
    });
    let unknown = decision
        .horizon
        .is_none()
        .then(|| StateEvent::HorizonUnknown {
            because: match &decision.reason {
                Some(DistrustReason::Unreadable(unreadable)) => Some(unreadable.clone()),
                _ => None,
            },
        });
    unclean.into_iter().chain(unknown).collect()
}
