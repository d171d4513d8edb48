//! [IO] The first step of a boot and of a start: hides all that `spad.toml` hides.
//!
//! By the kernel alone and in this process, with nothing but that file: users, the state
//! directory, its lock, the memory of trials, the sandbox and whoever reads standard error may
//! hang or fail, and all of them come later. Nothing is said here for that reason; what keeps
//! the kernel from it keeps the table from being loaded too, and is told then.
//!
//! What trials say is not known yet, so a port on trial, or shown after its trial, is hidden as
//! well, until the memory of trials was read.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use spad_config::{Config, Mode};
use spad_model::{Paths, PortState};
use spad_sys::clock;

use super::emergency::{self, EstablishedPolicy, Existing, Plan, TableState};
use super::grant_sets::GrantSets;
use super::netlink::{Action, Netlink, Operation};
use super::{element_key, existing_connections};
use crate::table::answers::{Answers, Reply};
use crate::table::{HostFacts, SetLocation, SetName, Table};

/// What was hidden in a table that stood already.
#[derive(Debug, Default)]
pub struct EarlyHiding {
    added: Vec<Operation>,
}

impl EarlyHiding {
    /// The table that stood is that of a daemon at work: it is to be as it was.
    pub fn undo(self) {
        let removals = self.added.into_iter().map(|one| Operation {
            action: Action::Delete,
            ..one
        });
        let operations: Vec<Operation> = removals.collect();
        if let Ok(netlink) = Netlink::open(SetLocation::own_table()) {
            // Where it fails more is hidden than the daemon hides.
            let _ = GrantSets::new(netlink).in_batches(&operations);
        }
    }
}

/// Hides all that the configuration hides: by an emergency table where nothing hides, in the
/// table that stands otherwise.
pub fn hide(paths: &Paths) -> EarlyHiding {
    let config = spad_config::for_hiding(paths, clock::now().wall);
    let hidden = config.map(|config| hide_all(&config));
    hidden.and_then(Result::ok).unwrap_or_default()
}

fn hide_all(config: &Config) -> Result<EarlyHiding, Errno> {
    if !has_own_table(config) {
        return Ok(EarlyHiding::default());
    }
    let netlink = Netlink::open(SetLocation::own_table());
    let netlink = netlink.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut kernel = GrantSets::new(netlink);
    let plan = full_plan(config);
    let table_state = emergency::table_state(&mut kernel.netlink)?;
    if table_state != TableState::Missing {
        let (added, lacks_a_set) = missing_elements(&mut kernel.netlink, &plan)?;
        // What a full table has no set for comes with the next one: grants are in this one.
        if table_state == TableState::Full || !lacks_a_set {
            kernel.in_batches(&added)?;
            return Ok(EarlyHiding { added });
        }
    }
    // What stands was looked at.
    let loaded = emergency::load(&mut kernel.netlink, &plan, Existing::Replace);
    loaded.map_err(|_| Errno::IO)?;
    Ok(EarlyHiding::default())
}

/// Whether what is hidden is hidden by a table of ours.
pub(super) fn has_own_table(config: &Config) -> bool {
    config.external.is_none() && config.guard.mode == Mode::Guard
}

/// The plan that hides all that this configuration hides, whatever trials say.
fn full_plan(config: &Config) -> Plan {
    let ports = config.hidden_ports().into_iter();
    let port_states: BTreeMap<_, _> = ports.map(|port| (port, PortState::Hidden)).collect();
    // Of no matter for what is hidden; and at boot there may be no random number yet.
    let facts = HostFacts {
        flow_label_seed: None,
        labels: true,
        closed_ports: Answers::all(Reply::Closed),
    };
    let table = Table::new(config, &port_states, &facts);
    Plan::new(&table, &config.guard.always_allow, EstablishedPolicy::Any)
}

/// What puts in what the table that stands does not hide yet, and whether it has no set for
/// some of it.
fn missing_elements(netlink: &mut Netlink, plan: &Plan) -> Result<(Vec<Operation>, bool), Errno> {
    let (mut missing, mut lacks_a_set) = (Vec::new(), false);
    for (set, elements) in plan.elements() {
        let listed = match netlink.list(set) {
            Err(Errno::NOENT) => {
                lacks_a_set = true;
                continue;
            }
            listed => listed?,
        };
        let hidden: BTreeSet<Vec<u8>> = listed.into_iter().map(|(key, _)| key).collect();
        let new = elements
            .into_iter()
            .filter(|(key, _)| !hidden.contains(key));
        let new: Vec<_> = new.collect();
        if set == SetName::Hidden {
            let ports = new
                .iter()
                .filter_map(|(key, _)| element_key::to_service(key));
            // What is connected there goes on, and is let in by name for that.
            missing.extend(existing_connections::elements(netlink, &ports.collect()).1);
        }
        missing.extend(new.into_iter().map(|(key, lasts)| Operation {
            set,
            key,
            action: Action::Add(lasts),
        }));
    }
    Ok((missing, lacks_a_set))
}

/// What takes all that `plan` does not hide, for its trial is over, out of the table that stands.
pub(super) fn unhide_operations(config: &Config, plan: &Plan) -> Vec<Operation> {
    let mut operations = Vec::new();
    let hidden: BTreeMap<_, _> = plan.elements().into_iter().collect();
    for (set, elements) in full_plan(config).elements() {
        let hidden = hidden.get(&set).into_iter().flatten();
        let hidden: BTreeSet<&[u8]> = hidden.map(|(key, _)| key.as_slice()).collect();
        let shown = elements
            .into_iter()
            .filter(|(key, _)| !hidden.contains(key.as_slice()));
        operations.extend(shown.map(|(key, _)| Operation {
            set,
            key,
            action: Action::Delete,
        }));
    }
    operations
}
