//! `[IO]` The start of the state: made, taken over, or opened again.
//!
//! In this order, and nothing is accepted before its end: read everything;
//! decide whether the journal can be trusted; raise floors; write the journal
//! anew, durably; raise the horizon, durably; wipe the clean mark, durably.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use spa_proto::Timestamp;

use super::cache::{Bounds, ReplayCache};
use super::disk::{Directory, Disk, FileName};
use super::error::{Because, StateError, StateEvent};
use super::horizon::Horizon;
use super::journal::Journal;
use super::machine::{self, Lock};
use super::one_time::UsedMark;
use super::peek;
use super::proof::Proof;
use super::reading::{Reading, read};
use super::record::{Holder, HolderKey, JournalRecord};
use super::slots::{HorizonSlots, LENGTH};
use super::standing::Standing;
use super::start::{Evidence, Ruling};
use super::state::{State, wipe};
use crate::clock::{BootTime, Now};
use crate::config::OnStateError;
use crate::paths::Paths;

/// Length of a file of one entry.
const SMALL: u64 = 64;

/// An opened state, and what it remembers.
#[derive(Debug)]
pub struct Opened<D = Directory> {
    /// The files.
    pub state: State<D>,
    /// Used packets, floors and last closes.
    pub cache: ReplayCache,
    /// How far packets may be accepted.
    pub horizon: Horizon,
    /// Who held which grant, if this is still the same boot.
    pub holders: Vec<Holder>,
    /// Grants whose close hook is owed, from whatever boot.
    pub owed: Vec<HolderKey>,
}

impl State {
    /// Locks and opens the state directory for a server's run. `now` need not be right.
    /// Whatever is wrong with the directory or its disk, there is a state afterwards:
    /// [`State::standing`] says what becomes of packets.
    ///
    /// # Errors
    /// Another process holds it.
    pub fn open(
        paths: &Paths,
        now: Now,
        max_skew: Duration,
        policy: OnStateError,
    ) -> Result<Opened, StateError> {
        // Without an id this is no boot that any journal knows.
        let boot_id = machine::boot_id().unwrap_or(machine::NO_BOOT);
        let held = made(paths)
            .or_else(|problem| match peek::horizon(&paths.run, boot_id) {
                // Its files are lost, and how far packets were accepted is not.
                Some(_) => Ok(()),
                None => Err(problem),
            })
            .and_then(|()| machine::lock(&paths.state))
            .and_then(|lock| machine::check(&paths.state).map(|()| lock));
        let lock = match held {
            Ok(lock) => lock,
            Err(locked @ StateError::Locked { .. }) => return Err(locked),
            Err(problem) => return Ok(Opened::closed(&problem, policy)),
        };
        let disk = Directory::open(&paths.state, &paths.run);
        let (lock, bounds) = (Some(lock), Bounds::default());
        Ok(start(disk, lock, boot_id, now, max_skew, policy, bounds))
    }

    /// Asks whether no process holds the state directory.
    ///
    /// # Errors
    /// Another process holds it.
    pub fn nobody_holds(paths: &Paths) -> Result<(), StateError> {
        match made(paths).and_then(|()| machine::lock(&paths.state)) {
            Err(locked @ StateError::Locked { .. }) => Err(locked),
            _ => Ok(()),
        }
    }

    /// `spad init` with a new key: nothing was ever accepted, no floor is needed.
    ///
    /// # Errors
    /// There is a state already, or it cannot be written.
    pub fn create(paths: &Paths, now: Now, max_skew: Duration) -> Result<(), StateError> {
        if is_made(&paths.state) {
            return Err(StateError::AlreadyThere {
                path: paths.state.clone(),
            });
        }
        make(paths, now, max_skew, Timestamp::default())
    }

    /// `spad init` with an existing key, and `spad key adopt`: what the key was
    /// used for elsewhere is unknown, so nothing up to now + 2 × skew is accepted.
    /// What is here already is kept.
    ///
    /// # Errors
    /// A server runs on it, or it cannot be written.
    pub fn adopt(paths: &Paths, now: Now, max_skew: Duration) -> Result<(), StateError> {
        make(
            paths,
            now,
            max_skew,
            now.wall.saturating_add(max_skew).saturating_add(max_skew),
        )
    }
}

/// Was this state directory made? What the disk does not let us see is not missing.
fn made(paths: &Paths) -> Result<(), StateError> {
    if is_made(&paths.state) {
        Ok(())
    } else {
        Err(StateError::NotInitialised {
            path: paths.state.clone(),
        })
    }
}

fn is_made(state: &Path) -> bool {
    [FileName::JournalA, FileName::JournalB, FileName::Horizon]
        .iter()
        .any(|file| state.join(file.as_str()).try_exists().unwrap_or(true))
}

fn make(paths: &Paths, now: Now, skew: Duration, floor: Timestamp) -> Result<(), StateError> {
    let lock = machine::lock(&paths.state)?;
    let boot_id = machine::boot_id()?;
    let disk = Directory::open(&paths.state, &paths.run);
    create_on(disk, Some(lock), boot_id, now, skew, floor)?;
    machine::adopt(&paths.state)
}

/// Makes a state, or takes over what is there, with this floor for everyone.
pub(super) fn create_on<D: Disk>(
    mut disk: D,
    lock: Option<Lock>,
    boot_id: [u8; 16],
    now: Now,
    skew: Duration,
    floor: Timestamp,
) -> Result<(), StateError> {
    let fail = StateError::NotWritten;
    let mut is_new = true;
    for file in [FileName::JournalA, FileName::JournalB, FileName::Horizon] {
        is_new &= disk.read(file).map_err(fail)?.is_empty();
    }
    disk.allocate(FileName::Horizon, LENGTH).map_err(fail)?;
    // A horizon that nobody knows counts for nothing here: the floor stands in for it.
    let mut slots = HorizonSlots::read(&disk.read(FileName::Horizon).map_err(fail)?);
    let horizon = slots.timestamp().unwrap_or_default().max(floor);
    let marked = slots.is_marked();
    slots.write(&mut disk, horizon, marked).map_err(fail)?;
    if is_new {
        stop_cleanly_on(&mut disk, boot_id, &slots).map_err(fail)?;
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
    if let Some(error) = opened.state.trouble() {
        return Err(error);
    }
    opened.cache.raise_all(floor);
    let kept = kept(opened.holders, opened.owed);
    opened.state.rewrite(&opened.cache, kept)?;
    opened.state.clean_stop().map_err(fail)?;
    Ok(())
}

/// Makes a disk with nothing on it but this horizon one of a clean stop: no packet was ever accepted.
fn stop_cleanly_on<D: Disk>(
    disk: &mut D,
    boot_id: [u8; 16],
    slots: &HorizonSlots,
) -> io::Result<()> {
    // There need not be a run directory yet.
    let proof = disk.read(FileName::Proof).unwrap_or_default();
    let proof = Proof::read(&proof, boot_id);
    let mut journal = Journal::after(&read(&[], &[]), [0, 0]);
    journal.proven(true, boot_id, proof);
    journal.compact(disk, boot_id, [], true)?;
    if let Some(horizon) = slots.id() {
        disk.allocate(FileName::Clean, SMALL)?;
        disk.write(FileName::Clean, 0, &journal.clean_mark(horizon))?;
    }
    Ok(())
}

/// Opens a state on any disk. Where it cannot be written, it is in memory or refuses packets,
/// as `policy` says.
pub(super) fn start<D: Disk>(
    mut disk: D,
    lock: Option<Lock>,
    boot_id: [u8; 16],
    now: Now,
    skew: Duration,
    policy: OnStateError,
    bounds: Bounds,
) -> Opened<D> {
    let mut unreadable = None;
    let mut bytes_of = |file: FileName| {
        disk.read(file).unwrap_or_else(|error| {
            unreadable.get_or_insert_with(|| format!("{}: {error}", file.as_str()));
            Vec::new()
        })
    };
    let (a, b) = (bytes_of(FileName::JournalA), bytes_of(FileName::JournalB));
    let slots = HorizonSlots::read(&bytes_of(FileName::Horizon));
    let (clean, memory) = (bytes_of(FileName::Clean), bytes_of(FileName::Memory));
    let proof = Proof::read(&bytes_of(FileName::Proof), boot_id);
    let reading = read(&a, &b);
    let mut journal = Journal::after(&reading, [a.len(), b.len()]);
    for (file, length) in [
        (FileName::Horizon, LENGTH),
        (FileName::Clean, SMALL),
        (FileName::Memory, SMALL),
        (FileName::Proof, 2 * SMALL),
    ] {
        // Without room set aside they fail later, on a full disk only, and are handled there.
        let _ = disk.allocate(file, length);
    }
    let evidence = Evidence {
        reading,
        slots,
        clean,
        memory,
        proof,
        unreadable,
        boot_id,
    };
    let ruling = evidence.rule(now.wall, skew);
    journal.proven(ruling.trusted, boot_id, proof);

    let mut cache = ReplayCache::new(bounds);
    for record in &evidence.reading.records {
        cache.restore(record);
    }
    cache.raise_all(ruling.floor);
    let horizon = ruling
        .horizon
        .map_or_else(Horizon::unknown, Horizon::at_start);
    let holders = if ruling.same_boot {
        holders(&evidence.reading)
    } else {
        Vec::new()
    };

    let state = State {
        disk,
        lock,
        boot_id,
        policy,
        journal,
        slots,
        in_force: horizon.used(),
        standing: Standing::OnDisk,
        lost: !ruling.trusted && ruling.horizon.is_none(),
        compaction_failed: false,
        written_again: false,
        one_time: one_time(&evidence.reading),
        distrusted: ruling.because.clone().filter(|_| !ruling.trusted),
        run_lost: None,
        not_noted: None,
        not_compacted: None,
        events: events(&ruling),
    };
    let mut opened = Opened {
        state,
        cache,
        horizon,
        holders,
        owed: owed(&evidence.reading),
    };
    if let Err(error) = opened.bring_to_disk(now, skew) {
        // Said by an event, and by `standing`.
        let _refusing = opened.state.disk_failed(error);
    }
    opened.horizon.set_writable(opened.state.takes_packets());
    let ahead = opened.horizon.ahead_of(now.wall);
    opened
        .state
        .events
        .extend(ahead.map(|by| StateEvent::HorizonAhead { by }));
    opened
}

impl<D: Disk> Opened<D> {
    fn bring_to_disk(&mut self, now: Now, skew: Duration) -> io::Result<()> {
        let state = &mut self.state;
        let holders = self
            .holders
            .iter()
            .copied()
            .filter(|holder| holder.ends > now.boot);
        let kept = kept(holders, self.owed.iter().copied());
        if let Err(error) = state.write_anew(&self.cache, kept) {
            state.disk_failed(error).map_err(StateError::into_io)?;
        }
        state
            .tick(now, skew, &mut self.horizon)
            .map_err(StateError::into_io)?;
        // Even where it reads as wiped: an earlier start may have died before its sync.
        if let Err(error) = wipe(&mut state.disk, FileName::Clean) {
            state.disk_failed(error).map_err(StateError::into_io)?;
        }
        if !state.is_in_memory()
            && let Err(error) = state.unmark()
        {
            state.disk_failed(error).map_err(StateError::into_io)?;
        }
        Ok(())
    }
}

/// Who held what at the end of the journal.
fn holders(reading: &Reading) -> Vec<Holder> {
    let mut holders: BTreeMap<HolderKey, BootTime> = BTreeMap::new();
    for record in &reading.records {
        match record {
            JournalRecord::Holder(holder) => {
                holders.insert(holder.key, holder.ends);
            }
            JournalRecord::HolderGone(key) => {
                holders.remove(key);
            }
            _ => {}
        }
    }
    holders
        .into_iter()
        .map(|(key, ends)| Holder { key, ends })
        .collect()
}

/// Whose close hook was owed at the end of the journal.
fn owed(reading: &Reading) -> Vec<HolderKey> {
    let mut owed = BTreeSet::new();
    for record in &reading.records {
        match record {
            JournalRecord::HookOwed(key) => {
                owed.insert(*key);
            }
            JournalRecord::HookDone(key) => {
                owed.remove(key);
            }
            _ => {}
        }
    }
    owed.into_iter().collect()
}

/// What a journal keeps besides the cache.
fn kept(
    holders: impl IntoIterator<Item = Holder>,
    owed: impl IntoIterator<Item = HolderKey>,
) -> impl Iterator<Item = JournalRecord> {
    let holders = holders.into_iter().map(JournalRecord::Holder);
    holders.chain(owed.into_iter().map(JournalRecord::HookOwed))
}

/// What the journal says of the one-time sequences, last.
fn one_time(reading: &Reading) -> Option<UsedMark> {
    let mut records = reading.records.iter().rev();
    records.find_map(|record| match record {
        JournalRecord::OneTime { count, sum } => Some(UsedMark {
            count: *count,
            sum: *sum,
        }),
        _ => None,
    })
}

fn events(ruling: &Ruling) -> Vec<StateEvent> {
    let unclean = (!ruling.trusted).then_some(StateEvent::UncleanStart {
        floor: ruling.floor,
        because: ruling.because.clone(),
    });
    let unknown = ruling
        .horizon
        .is_none()
        .then(|| StateEvent::HorizonUnknown {
            because: match &ruling.because {
                Some(Because::Unreadable(unreadable)) => Some(unreadable.clone()),
                _ => None,
            },
        });
    unclean.into_iter().chain(unknown).collect()
}
