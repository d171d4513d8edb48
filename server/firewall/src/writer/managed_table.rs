//! [IO] The table in the kernel: loaded, put back, its trials watched.
//!
//! Takes configurations and times; gives what happened to trials. The guard is
//! what `spad firewall load` sets up at boot and what the writer keeps standing.

mod loading;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::io::Errno;
use spa_proto::Service;
use spad_config::{Answer, Config, ConfigTexts, Mode};
use spad_model::{BootTime, Element, PortState, TrialEvent, TrialRow};

use super::announcer::Announcer;
use super::emergency::{self, EstablishedPolicy, Existing, HiddenBy, Plan, TableState};
use super::flush_watch::FlushWatch;
use super::grant_sets::{GrantSets, OncePolicy};
use super::hidden_file::{self, HiddenState};
use super::load_lock::LoadLock;
use super::netlink::{Action, Netlink, Operation, Timeout, TransactionError};
use super::trial_file::{self, GuardDir, TrialFile};
use super::{
    WriterError, early_hiding, element_key, existing_connections, nft, other_tables, set_mode,
};
use crate::closed_ports::ClosedPorts;
use crate::table::answers::{Answers, Reply};
use crate::table::{HostFacts, PrintError, SetLocation, SetName, Table, removal};
use crate::trial::{BootMoment, Trials};

/// The table that should stand.
#[derive(Debug)]
pub(super) struct ManagedTable {
    config: Config,
    trials: Trials,
    guard_dir: GuardDir,
    boot: String,
    host_facts: HostFacts,
    /// What closed ports answer by the rules of others, once somebody has looked.
    closed_ports: Option<ClosedPorts>,
    /// What our table hid in this boot: who connected there while it was away slipped in.
    hidden: BTreeSet<Service>,
    /// That cannot be written down, and it is said already.
    write_failed: bool,
    /// Connections that were there before their port was hidden, each with its source port.
    existing: BTreeSet<Element>,
    /// Who else loads this table.
    pub(super) load_lock: LoadLock,
    /// Where a daemon waits meanwhile.
    announcer: Option<Announcer>,
    /// The process of `nft` that loaded the table last, until its events were read.
    pub(super) loader: Option<u32>,
}

/// What a table is made of.
struct LoadRequest<'a> {
    config: &'a Config,
    port_states: &'a BTreeMap<Service, PortState>,
    existing: Vec<Element>,
    settling: bool,
    once_policy: OncePolicy,
}

/// What a load found and did.
#[derive(Debug, Default)]
pub(super) struct LoadReport {
    /// What happened to trials.
    pub(super) events: Vec<TrialEvent>,
    /// Something that somebody should know.
    pub(super) warnings: Vec<String>,
    /// Whether the table is to be loaded again for it.
    pub(super) reload: bool,
}

impl ManagedTable {
    /// A guard for this configuration, not loaded yet.
    pub(super) fn new(config: Config, guard_dir: GuardDir) -> (Self, Vec<String>) {
        let TrialFile { trials, problem } = trial_file::read(&guard_dir, &config.hidden_ports());
        let boot = boot_id();
        let hidden = guard_dir.directory().map(|at| hidden_file::read(at, &boot));
        let hidden = hidden.unwrap_or_default();
        let load_lock = LoadLock::new(guard_dir.directory().ok());
        let guard = Self {
            config,
            trials,
            guard_dir,
            boot,
            host_facts: host_facts(),
            closed_ports: None,
            hidden: hidden.ports,
            write_failed: false,
            existing: hidden.existing,
            load_lock,
            announcer: None,
            loader: None,
        };
        (guard, problem.into_iter().collect())
    }

    /// Announces from now on that it is busy while `nft` runs.
    pub(super) fn set_announcer(&mut self, announcer: Announcer) {
        self.announcer = Some(announcer);
    }

    /// Whether our sets stand in a table of the administrator's, without rules of ours.
    pub(super) fn is_foreign(&self) -> bool {
        self.config.guard.mode != Mode::Guard
    }

    /// What closed ports of this host answer, by the rules of others; says whether our table
    /// has to be loaded for it.
    pub(super) fn update_closed_ports(&mut self, found: ClosedPorts) -> bool {
        let found = found.or_last(self.closed_ports.take());
        let is_new = self.host_facts.closed_ports != found.answers;
        self.host_facts.closed_ports = found.answers.clone();
        self.closed_ports = Some(found);
        is_new && self.config.guard.answer == Answer::Auto && !self.is_foreign()
    }

    /// Whether nobody knows yet what closed ports answer.
    pub(super) fn closed_ports_unknown(&self) -> bool {
        self.closed_ports
            .as_ref()
            .is_none_or(|found| !found.is_read)
    }

    /// What strangers get at hidden ports, in words; lines behind the first say what cannot be
    /// told for sure. None where our own rules do not answer, or nobody has looked yet.
    pub(super) fn stranger_reply(&self) -> Option<String> {
        let found = self.closed_ports.as_ref().filter(|_| !self.is_foreign())?;
        Some(found.describe(self.config.guard.answer))
    }

    /// How each hidden port stands.
    pub(super) fn trials(&self, now: BootTime) -> Vec<TrialRow> {
        self.trials.list(now)
    }

    /// Prints what would be loaded.
    pub(super) fn text(&self, now: BootTime) -> Result<String, PrintError> {
        match self.config.guard.mode {
            Mode::Guard => self.table(now).text(),
            Mode::Set(_) => {
                Ok(SetLocation::from_config(&self.config).declarations(&SetName::GRANTS))
            }
        }
    }

    /// The table as it should stand now.
    fn table(&self, now: BootTime) -> Table {
        Table::new(
            &self.config,
            &self.trials.port_states(now),
            &self.host_facts,
        )
    }

    /// The same guard after its hidden ports were taken up; nothing is loaded or written.
    pub(super) fn preview(mut self, now: BootTime) -> Self {
        let length = self.config.guard.trial;
        let moment = BootMoment {
            boot: &self.boot,
            now,
        };
        self.trials
            .hide(&self.config.hidden_ports(), length, moment);
        self
    }

    fn moment(&self, now: BootTime) -> BootMoment<'_> {
        let boot = &self.boot;
        BootMoment { boot, now }
    }

    /// Loads the table that `config` asks for; keeps everything as it was where that fails.
    /// Where another place is asked for, the grants move there.
    pub(super) fn load(
        &mut self,
        config: Config,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<LoadReport, WriterError> {
        let to = SetLocation::from_config(&config);
        if to == *kernel.netlink.location() {
            return self.load_in_place(config, kernel, now);
        }
        let from = kernel.netlink.set_location(to);
        let mut loaded = match self.load_in_place(config, kernel, now) {
            Ok(loaded) => loaded,
            Err(error) => {
                kernel.netlink.set_location(from);
                return Err(error);
            }
        };
        if let Err(error) = kernel.restore(now, OncePolicy::Restore) {
            let warning = format!("what was open could not be moved: the kernel said {error}");
            loaded.warnings.push(warning);
        }
        if !from.is_own()
            && let Err(error) = set_mode::flush(&mut kernel.netlink, &from)
        {
            loaded.warnings.push(error.to_string());
        }
        Ok(loaded)
    }

    fn load_in_place(
        &mut self,
        config: Config,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<LoadReport, WriterError> {
        let mut trials = self.trials.clone();
        let mut loaded = LoadReport {
            events: self.update_trials(&mut trials, &config, kernel, now),
            ..LoadReport::default()
        };
        self.apply(&config, &trials, kernel, now, &mut loaded.warnings)?;
        self.config = config;
        self.save_trials(trials, &mut loaded.warnings);
        Ok(loaded)
    }

    /// Loads the table at a start, whatever happens: where that fails, what is hidden is
    /// hidden all the same, by the table that stands or by an emergency table, and the reason
    /// is given with the rest. Not even that can be done where there is an error. The rules of
    /// others are read first: something hides by now, and no stranger must get another answer
    /// for a moment.
    pub(super) fn start(
        &mut self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<(LoadReport, Option<WriterError>), WriterError> {
        if self.config.guard.answer == Answer::Auto && !self.is_foreign() {
            self.update_closed_ports(other_tables::read_closed_ports(other_tables::START_TIMEOUT));
        }
        let (mut trials, config) = (self.trials.clone(), self.config.clone());
        let mut loaded = LoadReport {
            events: self.update_trials(&mut trials, &config, kernel, now),
            ..LoadReport::default()
        };
        let problem = self.apply(&config, &trials, kernel, now, &mut loaded.warnings);
        let problem = problem.err();
        self.save_trials(trials, &mut loaded.warnings);
        match problem {
            None => Ok((loaded, None)),
            Some(problem) if self.is_foreign() => Err(problem),
            Some(problem) => match self.hide_by_emergency(kernel, now, Existing::Keep) {
                Ok(_) => Ok((loaded, Some(problem))),
                Err(worse) => Err(WriterError::NothingHidden {
                    reason: problem.to_string(),
                    kernel: worse.to_string(),
                }),
            },
        }
    }

    /// Makes the kernel hold what this configuration asks for.
    fn apply(
        &mut self,
        config: &Config,
        trials: &Trials,
        kernel: &mut GrantSets,
        now: BootTime,
        warnings: &mut Vec<String>,
    ) -> Result<(), WriterError> {
        if config.guard.mode != Mode::Guard {
            self.load_sets(kernel)?;
            set_mode::remove_own_table(&mut kernel.netlink)?;
            self.record_hidden(BTreeSet::new(), warnings);
            return Ok(());
        }
        let port_states = trials.port_states(now);
        let table = Table::new(config, &port_states, &self.host_facts);
        let hidden = table.hidden().keys().copied().collect();
        let existing = self.connections_before_hiding(&hidden, kernel);
        loading::ensure_hidden(&table, config, self.established_policy(&table), kernel);
        let load = LoadRequest {
            config,
            port_states: &port_states,
            existing: existing.iter().copied().collect(),
            settling: false,
            once_policy: OncePolicy::Restore,
        };
        // Also where this fails: it is tried again.
        self.existing = existing;
        self.load_table(&load, kernel, now, warnings)?;
        self.record_hidden(hidden, warnings);
        Ok(())
    }

    /// What goes on at ports that are hidden from now on.
    fn established_policy(&self, table: &Table) -> EstablishedPolicy {
        match table.hidden().keys().all(|port| self.hidden.contains(port)) {
            true => EstablishedPolicy::AdmittedOnly,
            false => EstablishedPolicy::Any,
        }
    }

    /// Remembers what the table hides.
    fn record_hidden(&mut self, hidden: BTreeSet<Service>, warnings: &mut Vec<String>) {
        self.hidden = hidden;
        let Ok(directory) = self.guard_dir.directory() else {
            return;
        };
        let hidden = HiddenState {
            ports: self.hidden.clone(),
            existing: self.existing.clone(),
        };
        // Another process of ours may have written it, or taken it away.
        if hidden_file::read(directory, &self.boot) == hidden {
            return;
        }
        let written = hidden_file::write(directory, &self.boot, &hidden);
        let was_reported = std::mem::replace(&mut self.write_failed, written.is_err());
        if let Err(error) = written
            && !was_reported
        {
            warnings.push(format!(
                "cannot write down what is hidden: {error}\n  note: where others flush the table while spad is stopped, connections that are made meanwhile go on\n  help: check the disk"
            ));
        }
    }

    /// Keeps the texts of a configuration that is in force for a start with a broken one.
    pub(super) fn save_last_good(&self, texts: &ConfigTexts) {
        self.guard_dir.save_last_good(texts);
    }

    /// Hides without `nft` where nothing does; a full table that stands stays, and hides what
    /// trials say.
    pub(super) fn hide_only(
        &self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<HiddenBy, TransactionError> {
        self.hide_by_emergency(kernel, now, Existing::Keep)
    }

    /// Hides without `nft`, where that cannot be used.
    fn hide_by_emergency(
        &self,
        kernel: &mut GrantSets,
        now: BootTime,
        existing: Existing,
    ) -> Result<HiddenBy, TransactionError> {
        let table = self.table(now);
        let policy = self.established_policy(&table);
        let plan = Plan::new(&table, &self.config.guard.always_allow, policy);
        let hides = emergency::load(&mut kernel.netlink, &plan, existing)?;
        if hides == HiddenBy::FullTable {
            let operations = early_hiding::unhide_operations(&self.config, &plan);
            kernel
                .in_batches(&operations)
                .map_err(TransactionError::Transaction)?;
        }
        Ok(hides)
    }

    /// Hides without `nft` until that works: a table that has all its rules stays, any other
    /// is replaced, for nobody knows what became of it.
    pub(super) fn load_emergency(
        &self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<HiddenBy, TransactionError> {
        let is_intact = emergency::is_intact(&mut kernel.netlink, &self.table(now));
        let existing = match is_intact {
            true => Existing::Keep,
            false => Existing::Replace,
        };
        self.hide_by_emergency(kernel, now, existing)
    }

    /// Makes the sets in the administrator's table that are missing; says whether any was.
    fn load_sets(&mut self, kernel: &mut GrantSets) -> Result<bool, WriterError> {
        let process = set_mode::load(&mut kernel.netlink)?;
        if let Some(process) = process {
            self.loader = Some(process);
        }
        Ok(process.is_some())
    }

    /// Loads the same table again, after somebody else touched it, and puts back what it held;
    /// says whether anything had to be made, and how many grants went back in.
    pub(super) fn reload(
        &mut self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Result<(bool, u32), WriterError> {
        let (loaded, replaced) = match self.is_foreign() {
            true => (self.load_sets(kernel)?, 0),
            false => (true, self.reload_table(kernel, now)?),
        };
        let put_back = kernel.restore(now, OncePolicy::Skip);
        let put_back = put_back.map_err(|error| WriterError::Kernel(error.into()))?;
        Ok((loaded, replaced.saturating_add(put_back)))
    }

    fn reload_table(&mut self, kernel: &mut GrantSets, now: BootTime) -> Result<u32, WriterError> {
        let was_flushed = kernel
            .netlink
            .set_layout(SetName::Settling)
            .map_err(kernel_error)?
            .is_none();
        // Whoever comes while the table is away has no label.
        let table = self.table(now);
        loading::ensure_hidden(
            &table,
            &self.config,
            self.established_policy(&table),
            kernel,
        );
        // Nor is it among these.
        self.existing = self.surviving_connections(&mut kernel.netlink);
        let config = self.config.clone();
        let port_states = self.trials.port_states(now);
        let load = LoadRequest {
            config: &config,
            port_states: &port_states,
            existing: self.existing.iter().copied().collect(),
            settling: was_flushed,
            once_policy: OncePolicy::Skip,
        };
        let mut warnings = Vec::new();
        let put_back = self.load_table(&load, kernel, now, &mut warnings)?;
        let hidden = table.hidden().keys().copied().collect();
        self.record_hidden(hidden, &mut warnings);
        warnings.iter().for_each(|warning| super::warn(warning));
        Ok(put_back)
    }

    fn write(&self, warnings: &mut Vec<String>) {
        if let Err(error) = trial_file::write(&self.guard_dir, &self.trials) {
            warnings.push(format!(
                "cannot write down how trials stand, so at the next start one may begin anew, or a port stay hidden without one: {error}"
            ));
        }
    }
}

fn kernel_error(error: Errno) -> WriterError {
    WriterError::Kernel(error.into())
}

/// Whether `nft` refused the table for something that the kernel does not have.
fn is_unsupported(error: &WriterError) -> bool {
    matches!(error, WriterError::Nft(nft::NftError::Rejected { said, .. }) if said.contains("not supported"))
}

/// Takes the table away.
pub(super) fn remove() -> Result<(), WriterError> {
    nft::load(&removal())?;
    Ok(())
}

/// The kernel's name of this boot; empty where it cannot be read, so that a
/// trial goes on rather than begins anew.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// What the kernel does by itself.
pub(super) fn host_facts() -> HostFacts {
    let labels = std::fs::read_to_string("/proc/sys/net/ipv6/auto_flowlabels");
    let by_default = matches!(labels.unwrap_or_default().trim(), "1" | "3");
    let seed = by_default.then(|| spa_keys::random_bytes().map_or(1, u32::from_ne_bytes));
    HostFacts {
        flow_label_seed: seed,
        labels: true,
        // As the emergency table, until somebody has looked.
        closed_ports: Answers::all(Reply::Nothing),
    }
}
