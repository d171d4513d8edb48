//! [IO] What `spad firewall` does without the daemon: show, load, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::io::Errno;
use spa_proto::Service;

use super::emergency::{self, Stands};
use super::guard::{self, Guard};
use super::kernel::Kernel;
use super::keys;
use super::netlink::Netlink;
use super::nft::TIME_LIMIT;
use super::trial_file::Memory;
use super::{
    Prepared, WriterError, first, hidden_file, others, prepare, privileges, read, sets, step_down,
    warn,
};
use crate::clock;
use crate::config::{self, Mode};
use crate::descriptors;
use crate::firewall::table::{Place, SetName, snippet};
use crate::firewall::{TrialEvent, TrialRow};
use crate::paths::Paths;

/// What `spad firewall show` has to show.
#[derive(Debug)]
pub struct Shown {
    /// Where it would be loaded.
    pub place: Place,
    /// The table that would be loaded.
    pub text: String,
    /// What strangers get at hidden ports, in words; none where our own rules do not answer.
    pub strangers_get: Option<String>,
    /// How each hidden port stands by the writer's memory.
    pub standings: Vec<TrialRow>,
    /// What the kernel holds: elements by set, and the ports hidden there.
    pub kernel: InKernel,
}

/// The table in the kernel.
#[derive(Debug)]
pub enum InKernel {
    /// It does not stand: nothing is hidden.
    Missing,
    /// It cannot be seen, for this reason.
    Unseen(Errno),
    /// An emergency table stands, in which nobody has a grant.
    Emergency {
        /// The hidden ports, with the rest of their trial.
        hidden: BTreeMap<Service, Option<Duration>>,
    },
    /// It stands.
    Stands {
        /// How many elements each set of grants has.
        grants: BTreeMap<&'static str, usize>,
        /// The hidden ports, with the rest of their trial.
        hidden: BTreeMap<Service, Option<Duration>>,
    },
}

/// The table that would be loaded, and the one that stands. Changes nothing.
///
/// # Errors
/// Where the configuration does not load.
pub fn show(paths: &Paths) -> Result<Shown, WriterError> {
    let now = clock::now();
    let (usable, _) = config::for_firewall(paths, now.wall).map_err(WriterError::Configuration)?;
    let place = Place::of(&usable.loaded.config);
    let is_ours = usable.loaded.config.external.is_none();
    let (guard, warnings) = Guard::new(usable.loaded.config, Memory::of(paths));
    warnings.iter().for_each(|warning| warn(warning));
    let mut guard = guard.after_hiding(now.boot);
    guard.closed_ports_answer(others::read(TIME_LIMIT));
    let kernel = in_kernel(&place);
    let strangers_get = guard.strangers_get();
    Ok(Shown {
        text: match is_ours {
            true => guard.text(now.boot),
            false => "# the mode is \"command\": no table, the programs of [firewall] are run\n"
                .to_owned(),
        },
        strangers_get: match kernel {
            InKernel::Emergency { .. } => Some(emergency::STRANGERS_GET.to_owned()),
            _ => strangers_get,
        },
        standings: guard.rows(now.boot),
        kernel,
        place,
    })
}

/// What the administrator pastes into his own ruleset.
///
/// # Errors
/// Where the configuration does not load.
pub fn snippet(paths: &Paths, dialect: Dialect) -> Result<Option<String>, WriterError> {
    let now = clock::now().wall;
    let (usable, _) = config::for_firewall(paths, now).map_err(WriterError::Configuration)?;
    let config = usable.loaded.config;
    Ok(match (dialect, &config.guard.mode) {
        (Dialect::Iptables, Mode::Guard) => Some(snippet::iptables(&config)),
        (Dialect::Nftables, Mode::Set(_)) => Some(snippet::nftables(&config, &keys::GRANTS)),
        (Dialect::Ipset, _) => Some(snippet::ipset(&config)),
        (Dialect::Iptables, Mode::Set(_)) | (Dialect::Nftables, Mode::Guard) => None,
    })
}

/// For whose rules a snippet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Rules of nftables that refer to our sets.
    Nftables,
    /// Rules of iptables beside our own table.
    Iptables,
    /// Rules of iptables that refer to sets of ipset.
    Ipset,
}

fn in_kernel(place: &Place) -> InKernel {
    let listed = Netlink::open(place.clone())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|mut netlink| {
            let hidden = match place.is_own() {
                true => netlink.list(SetName::Hidden)?,
                false => Vec::new(),
            };
            let hidden = hidden
                .into_iter()
                .filter_map(|(key, rest)| Some((keys::to_service(&key)?, rest)))
                .collect();
            if place.is_own() && emergency::stands(&mut netlink)? == Stands::Emergency {
                return Ok(InKernel::Emergency { hidden });
            }
            let mut grants = BTreeMap::new();
            for set in keys::GRANTS {
                grants.insert(set.as_str(), netlink.list(set)?.len());
            }
            Ok(InKernel::Stands { grants, hidden })
        });
    match listed {
        Ok(stands) => stands,
        Err(Errno::NOENT) => InKernel::Missing,
        Err(error) => InKernel::Unseen(error),
    }
}

/// So long a daemon that loads the table is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Loads the table, as the boot does before the network is up; keeps every grant
/// of one that stands. Gives where it stands, and what happened to trials; none where the
/// mode is "command", which has no table.
///
/// # Errors
/// Why it was not loaded, and what hides all the same.
pub fn load(paths: &Paths) -> Result<Option<(Place, Vec<TrialEvent>)>, WriterError> {
    let too_few = descriptors::raise().err();
    // Before anything is said: nobody may read it.
    let _hidden = first::hide(paths);
    if let Some(too_few) = too_few {
        warn(&too_few.to_string());
    }
    load_whole(paths).map_err(|error| match error {
        WriterError::Configuration(_)
        | WriterError::NotLoaded { .. }
        | WriterError::NothingHides { .. } => error,
        // The memory of trials may be readable.
        error => match hide_alone(paths) {
            Ok(Some(hides)) => WriterError::Hidden {
                reason: error.to_string(),
                hides,
            },
            _ => error,
        },
    })
}

fn load_whole(paths: &Paths) -> Result<Option<(Place, Vec<TrialEvent>)>, WriterError> {
    let Prepared {
        mut kernel,
        mut guard,
        usable,
        texts,
        problem: without_user,
        ..
    } = match step_down(paths, read(paths)?)? {
        stepped if stepped.usable.loaded.config.external.is_some() => return Ok(None),
        stepped => prepare(stepped)?,
    };
    if let Some(findings) = &usable.instead_of {
        warn(&format!(
            "the configuration does not load: the last good one is used, or spad.toml alone\n{findings}"
        ));
    }
    let now = clock::now().boot;
    match kernel.adopt(now) {
        Ok(_) | Err(Errno::NOENT) => {}
        // What is open may be lost for it; what is hidden must not be shown for it.
        Err(error) => warn(&format!(
            "the grants in the table that stands cannot be listed: {error}"
        )),
    }
    // A daemon may be at it; it loads the table again after this.
    let lock = guard.load_lock.take_within(LOCK_LIMIT);
    let (report, problem) = guard.begin(&mut kernel, now)?;
    report.warnings.iter().for_each(|warning| warn(warning));
    drop(lock);
    let mut reason = problem.map(|problem| problem.to_string());
    let stands = emergency::stands(&mut kernel.netlink);
    if !guard.is_anothers() && stands != Ok(Stands::Full) {
        // Others flushed it again; a daemon would see that, and here there may be none.
        reason.get_or_insert_with(|| "the table was taken away while it was loaded".to_owned());
    }
    if let Some(reason) = reason {
        let hides = stands.map_or("", Stands::in_words);
        return Err(WriterError::NotLoaded { reason, hides });
    }
    if let Some(problem) = without_user {
        warn(&format!(
            "{problem}\n  note: the table was loaded by root with CAP_NET_ADMIN alone"
        ));
    }
    if usable.instead_of.is_none() {
        guard.keep(&texts);
    }
    Ok(Some((kernel.netlink.place().clone(), report.events)))
}

/// Hides what the configuration hides where nothing does, as trials say, by the kernel alone
/// and in this process; tells what hides now, or nothing in the modes that have no table of
/// ours. [`first::hide`] comes before it: what is read here may hang.
///
/// # Errors
/// Why nothing could be hidden.
pub(crate) fn hide_alone(paths: &Paths) -> Result<Option<&'static str>, WriterError> {
    let (usable, _) = read(paths)?;
    let config = usable.loaded.config;
    if !first::has_own_table(&config) {
        return Ok(None);
    }
    let (guard, _) = Guard::new(config, Memory::of(paths));
    let guard = guard.after_hiding(clock::now().boot);
    let netlink = Netlink::open(Place::own()).map_err(WriterError::Kernel)?;
    let mut kernel = Kernel::new(netlink);
    guard
        .hide_alone(&mut kernel, clock::now().boot)
        .map_err(|failed| WriterError::Kernel(std::io::Error::other(failed.to_string())))?;
    let stands = emergency::stands(&mut kernel.netlink);
    Ok(Some(stands.map_or("", Stands::in_words)))
}

/// Takes the table away, or our sets where they stand in the administrator's; gives
/// where, and the ports that anybody can reach now. A daemon that runs puts it back:
/// stop that first. No fault of the configuration keeps our own table.
///
/// # Errors
/// Why it still stands.
pub fn remove(paths: &Paths) -> Result<(Place, Vec<Service>), WriterError> {
    privileges::check()?;
    let place = match config::for_firewall(paths, clock::now().wall) {
        Ok((usable, _)) => Place::of(&usable.loaded.config),
        Err(_) => Place::own(),
    };
    if !place.is_own() {
        let mut netlink = Netlink::open(place.clone()).map_err(WriterError::Kernel)?;
        sets::remove(&mut netlink)?;
        sets::leave_guard(&mut netlink)?;
        forget_hidden(paths);
        return Ok((place, Vec::new()));
    }
    let hidden = match in_kernel(&place) {
        InKernel::Stands { hidden, .. } | InKernel::Emergency { hidden } => {
            hidden.into_keys().collect()
        }
        InKernel::Missing | InKernel::Unseen(_) => Vec::new(),
    };
    guard::remove()?;
    forget_hidden(paths);
    Ok((place, hidden))
}

/// Who connects from now on did not slip in.
fn forget_hidden(paths: &Paths) {
    if let Err(error) = hidden_file::forget(&paths.guard_state()) {
        warn(&format!(
            "cannot forget what was hidden: {error}\n  note: connections that are made now are ended when the table is loaded again"
        ));
    }
}
