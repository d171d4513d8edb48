//! [IO] What `spad firewall` does without the daemon: show, load, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::io::Errno;
use spa_proto::Service;
use spad_config::Mode;
use spad_model::{Paths, TrialEvent, TrialRow};
use spad_sys::{clock, fd_limit};

use super::emergency::{self, TableState};
use super::grant_sets::GrantSets;
use super::managed_table::{self, ManagedTable};
use super::netlink::Netlink;
use super::nft::TIME_LIMIT;
use super::trial_file::GuardDir;
use super::{
    Prepared, WriterError, become_unprivileged, early_hiding, hidden_file, other_tables, prepare,
    privileges, read_config, set_mode, warn,
};
use crate::table::{SetLocation, SetName, snippet};

/// What `spad firewall show` has to show.
#[derive(Debug)]
pub struct FirewallView {
    /// Where it would be loaded.
    pub location: SetLocation,
    /// The table that would be loaded.
    pub text: String,
    /// What strangers get at hidden ports, in words; none where our own rules do not answer.
    pub stranger_reply: Option<String>,
    /// How each hidden port stands by the writer's memory.
    pub trials: Vec<TrialRow>,
    /// What the kernel holds: elements by set, and the ports hidden there.
    pub kernel: KernelState,
}

/// The table in the kernel.
#[derive(Debug)]
pub enum KernelState {
    /// It does not stand: nothing is hidden.
    Missing,
    /// It cannot be seen, for this reason.
    Unreadable(Errno),
    /// An emergency table stands, in which nobody has a grant.
    Emergency {
        /// The hidden ports, with the rest of their trial.
        hidden: BTreeMap<Service, Option<Duration>>,
    },
    /// It stands.
    Present {
        /// How many elements each set of grants has.
        grants: BTreeMap<&'static str, usize>,
        /// The hidden ports, with the rest of their trial.
        hidden: BTreeMap<Service, Option<Duration>>,
    },
}

/// The table that would be loaded, and the one that stands. Changes nothing.
///
/// # Errors
/// Where the configuration does not load, or a rule cannot be printed.
pub fn show(paths: &Paths) -> Result<FirewallView, WriterError> {
    let now = clock::now();
    let (usable, _) =
        spad_config::for_firewall(paths, now.wall).map_err(WriterError::Configuration)?;
    let location = SetLocation::from_config(&usable.loaded.config);
    let is_ours = usable.loaded.config.external.is_none();
    let (guard, warnings) = ManagedTable::new(usable.loaded.config, GuardDir::for_paths(paths));
    warnings.iter().for_each(|warning| warn(warning));
    let mut guard = guard.preview(now.boot);
    guard.update_closed_ports(other_tables::read_closed_ports(TIME_LIMIT));
    let kernel = kernel_state(&location);
    let stranger_reply = guard.stranger_reply();
    Ok(FirewallView {
        text: match is_ours {
            true => guard.text(now.boot)?,
            false => "# the mode is \"command\": no table, the programs of [firewall] are run\n"
                .to_owned(),
        },
        stranger_reply: match kernel {
            KernelState::Emergency { .. } => Some(emergency::STRANGER_REPLY.to_owned()),
            _ => stranger_reply,
        },
        trials: guard.trials(now.boot),
        kernel,
        location,
    })
}

/// What the administrator pastes into his own ruleset.
///
/// # Errors
/// Where the configuration does not load, or a rule cannot be printed.
pub fn snippet(paths: &Paths, dialect: Dialect) -> Result<Option<String>, WriterError> {
    let now = clock::now().wall;
    let (usable, _) = spad_config::for_firewall(paths, now).map_err(WriterError::Configuration)?;
    let config = usable.loaded.config;
    Ok(match (dialect, &config.guard.mode) {
        (Dialect::Iptables, Mode::Guard) => Some(snippet::iptables(&config)),
        (Dialect::Nftables, Mode::Set(_)) => Some(snippet::nftables(&config)?),
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

fn kernel_state(location: &SetLocation) -> KernelState {
    let listed = Netlink::open(location.clone())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|mut netlink| {
            let hidden = match location.is_own() {
                true => netlink.list_ports(SetName::Hidden)?,
                false => BTreeMap::new(),
            };
            if location.is_own() && emergency::table_state(&mut netlink)? == TableState::Emergency {
                return Ok(KernelState::Emergency { hidden });
            }
            let mut grants = BTreeMap::new();
            for set in SetName::GRANTS {
                grants.insert(set.as_str(), netlink.list(set)?.len());
            }
            Ok(KernelState::Present { grants, hidden })
        });
    match listed {
        Ok(stands) => stands,
        Err(Errno::NOENT) => KernelState::Missing,
        Err(error) => KernelState::Unreadable(error),
    }
}

/// So long a daemon that loads the table is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Loads the table, as the boot does before the network is up; keeps every grant
/// of one that stands. Gives where it stands, and what happened to trials; none where the
/// mode is "command", which has no table.
///
/// # Errors
/// Why it was not loaded, and what hides all the same.
pub fn load(paths: &Paths) -> Result<Option<(SetLocation, Vec<TrialEvent>)>, WriterError> {
    let too_few = fd_limit::raise().err();
    // Before anything is said: nobody may read it.
    let _hidden = early_hiding::hide(paths);
    if let Some(too_few) = too_few {
        warn(&too_few.to_string());
    }
    load_table(paths).map_err(|error| match error {
        WriterError::Configuration(_)
        | WriterError::NotLoaded { .. }
        | WriterError::NothingHidden { .. } => error,
        // The memory of trials may be readable.
        error => match hide_only(paths) {
            Ok(Some(hides)) => WriterError::Hidden {
                reason: error.to_string(),
                hides,
            },
            _ => error,
        },
    })
}

fn load_table(paths: &Paths) -> Result<Option<(SetLocation, Vec<TrialEvent>)>, WriterError> {
    let Prepared {
        mut kernel,
        mut guard,
        usable,
        texts,
        problem: without_user,
        ..
    } = match become_unprivileged(paths, read_config(paths)?)? {
        stepped if stepped.usable.loaded.config.external.is_some() => return Ok(None),
        stepped => prepare(stepped)?,
    };
    if let Some(findings) = &usable.file_errors {
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
    let lock = guard.load_lock.acquire_within(LOCK_TIMEOUT);
    let (report, problem) = guard.start(&mut kernel, now)?;
    report.warnings.iter().for_each(|warning| warn(warning));
    drop(lock);
    let mut reason = problem.map(|problem| problem.to_string());
    let state = emergency::table_state(&mut kernel.netlink);
    if !guard.is_foreign() && state != Ok(TableState::Full) {
        // Others flushed it again; a daemon would see that, and here there may be none.
        reason.get_or_insert_with(|| "the table was taken away while it was loaded".to_owned());
    }
    if let Some(reason) = reason {
        let hides = state.map_or("", TableState::describe);
        return Err(WriterError::NotLoaded { reason, hides });
    }
    if let Some(problem) = without_user {
        warn(&format!(
            "{problem}\n  note: the table was loaded by root with CAP_NET_ADMIN alone"
        ));
    }
    if usable.file_errors.is_none() {
        guard.save_last_good(&texts);
    }
    Ok(Some((kernel.netlink.location().clone(), report.events)))
}

/// Hides what the configuration hides where nothing does, as trials say, by the kernel alone
/// and in this process; tells what hides now, or nothing in the modes that have no table of
/// ours. [`early_hiding::hide`] comes before it: what is read here may hang.
///
/// # Errors
/// Why nothing could be hidden.
pub fn hide_only(paths: &Paths) -> Result<Option<&'static str>, WriterError> {
    let (usable, _) = read_config(paths)?;
    let config = usable.loaded.config;
    if !early_hiding::has_own_table(&config) {
        return Ok(None);
    }
    let (guard, _) = ManagedTable::new(config, GuardDir::for_paths(paths));
    let guard = guard.preview(clock::now().boot);
    let netlink = Netlink::open(SetLocation::own_table()).map_err(WriterError::Kernel)?;
    let mut kernel = GrantSets::new(netlink);
    guard
        .hide_only(&mut kernel, clock::now().boot)
        .map_err(|failed| WriterError::Kernel(std::io::Error::other(failed.to_string())))?;
    let state = emergency::table_state(&mut kernel.netlink);
    Ok(Some(state.map_or("", TableState::describe)))
}

/// Takes the table away, or our sets where they stand in the administrator's; gives
/// where, and the ports that anybody can reach now. A daemon that runs puts it back:
/// stop that first. No fault of the configuration keeps our own table.
///
/// # Errors
/// Why it still stands.
pub fn remove(paths: &Paths) -> Result<(SetLocation, Vec<Service>), WriterError> {
    privileges::require_net_admin()?;
    let place = match spad_config::for_firewall(paths, clock::now().wall) {
        Ok((usable, _)) => SetLocation::from_config(&usable.loaded.config),
        Err(_) => SetLocation::own_table(),
    };
    if !place.is_own() {
        let mut netlink = Netlink::open(place.clone()).map_err(WriterError::Kernel)?;
        set_mode::remove(&mut netlink)?;
        set_mode::remove_own_table(&mut netlink)?;
        delete_hidden_file(paths);
        return Ok((place, Vec::new()));
    }
    let hidden = match kernel_state(&place) {
        KernelState::Present { hidden, .. } | KernelState::Emergency { hidden } => {
            hidden.into_keys().collect()
        }
        KernelState::Missing | KernelState::Unreadable(_) => Vec::new(),
    };
    managed_table::remove()?;
    delete_hidden_file(paths);
    Ok((place, hidden))
}

/// Who connects from now on did not slip in.
fn delete_hidden_file(paths: &Paths) {
    if let Err(error) = hidden_file::delete(&paths.guard_state()) {
        warn(&format!(
            "cannot forget what was hidden: {error}\n  note: connections that are made now are ended when the table is loaded again"
        ));
    }
}
