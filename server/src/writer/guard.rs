//! [IO] The table in the kernel: loaded, put back, its trials watched.
//!
//! Takes configurations and times; gives what happened to trials. The guard is
//! what `spad firewall load` sets up at boot and what the writer keeps standing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::io::Errno;
use spa_proto::Service;

use super::emergency::{self, Existing, Going, Hides, Plan, Stands};
use super::flush_watch::FlushWatch;
use super::hidden_file::{self, Hidden};
use super::load_lock::LoadLock;
use super::netlink::{Action, Failed, Lasts, Netlink, Operation};
use super::socket::Announcer;
use super::trial_file::{self, Kept, Memory};
use super::{WriterError, before, first, keys, nft, others, sets};
use crate::clock::BootTime;
use crate::config::{Answer, Config, Mode, Texts};
use crate::firewall::closed_ports::ClosedPorts;
use crate::firewall::table::answers::{Answers, Reply};
use crate::firewall::table::{Place, SetName, Surroundings, Table, removal};
use crate::firewall::trial::{Moment, Trials};
use crate::firewall::{Element, Standing, TrialEvent, TrialRow};

use super::kernel::{Kernel, Once};

/// The table that should stand.
#[derive(Debug)]
pub(super) struct Guard {
    config: Config,
    trials: Trials,
    memory: Memory,
    boot: String,
    surroundings: Surroundings,
    /// What closed ports answer by the rules of others, once somebody has looked.
    closed_ports: Option<ClosedPorts>,
    /// What our table hid in this boot: who connected there while it was away slipped in.
    hid: BTreeSet<Service>,
    /// That cannot be written down, and it is said already.
    unwritten: bool,
    /// Connections that were there before their port was hidden, each with its source port.
    before: BTreeSet<Element>,
    /// Who else loads this table.
    pub(super) load_lock: LoadLock,
    /// Where a daemon waits meanwhile.
    announcer: Option<Announcer>,
    /// The process of `nft` that loaded the table last, until its events were read.
    pub(super) loader: Option<u32>,
}

/// What a table is made of.
struct Load<'a> {
    config: &'a Config,
    standings: &'a BTreeMap<Service, Standing>,
    before: Vec<Element>,
    settling: bool,
    once: Once,
}

/// What a load found and did.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// What happened to trials.
    pub(super) events: Vec<TrialEvent>,
    /// Something that somebody should know.
    pub(super) warnings: Vec<String>,
    /// Whether the table is to be loaded again for it.
    pub(super) reload: bool,
}

impl Guard {
    /// A guard for this configuration, not loaded yet.
    pub(super) fn new(config: Config, memory: Memory) -> (Self, Vec<String>) {
        let Kept { trials, problem } = trial_file::read(&memory, &config.hidden_ports());
        let boot = boot_id();
        let hidden = memory.directory().map(|at| hidden_file::read(at, &boot));
        let hidden = hidden.unwrap_or_default();
        let load_lock = LoadLock::new(memory.directory().ok());
        let guard = Self {
            config,
            trials,
            memory,
            boot,
            surroundings: surroundings(),
            closed_ports: None,
            hid: hidden.ports,
            unwritten: false,
            before: hidden.before,
            load_lock,
            announcer: None,
            loader: None,
        };
        (guard, problem.into_iter().collect())
    }

    /// Announces from now on that it is busy while `nft` runs.
    pub(super) fn announce_to(&mut self, announcer: Announcer) {
        self.announcer = Some(announcer);
    }

    /// Whether our sets stand in a table of the administrator's, without rules of ours.
    pub(super) fn is_anothers(&self) -> bool {
        self.config.guard.mode != Mode::Guard
    }

    /// What closed ports of this host answer, by the rules of others; says whether our table
    /// has to be loaded for it.
    pub(super) fn closed_ports_answer(&mut self, found: ClosedPorts) -> bool {
        let found = found.after(self.closed_ports.take());
        let is_new = self.surroundings.closed_ports != found.answers;
        self.surroundings.closed_ports = found.answers.clone();
        self.closed_ports = Some(found);
        is_new && self.config.guard.answer == Answer::Auto && !self.is_anothers()
    }

    /// Whether nobody knows yet what closed ports answer.
    pub(super) fn has_not_read_others(&self) -> bool {
        self.closed_ports
            .as_ref()
            .is_none_or(|found| !found.is_read)
    }

    /// What strangers get at hidden ports, in words; lines behind the first say what cannot be
    /// told for sure. None where our own rules do not answer, or nobody has looked yet.
    pub(super) fn strangers_get(&self) -> Option<String> {
        let found = self.closed_ports.as_ref().filter(|_| !self.is_anothers())?;
        Some(found.in_words(self.config.guard.answer))
    }

    /// How each hidden port stands.
    pub(super) fn rows(&self, now: BootTime) -> Vec<TrialRow> {
        self.trials.rows(now)
    }

    /// What would be loaded, as text.
    pub(super) fn text(&self, now: BootTime) -> String {
        match self.config.guard.mode {
            Mode::Guard => self.table(now).text(),
            Mode::Set(_) => Place::of(&self.config).declarations(&keys::GRANTS),
        }
    }

    /// The table as it should stand now.
    fn table(&self, now: BootTime) -> Table {
        Table::of(
            &self.config,
            &self.trials.standings(now),
            &self.surroundings,
        )
    }

    /// The same guard after its hidden ports were taken up; nothing is loaded or written.
    pub(super) fn after_hiding(mut self, now: BootTime) -> Self {
        let length = self.config.guard.trial;
        let moment = Moment {
            boot: &self.boot,
            now,
        };
        self.trials
            .hide(&self.config.hidden_ports(), length, moment);
        self
    }

    fn moment(&self, now: BootTime) -> Moment<'_> {
        let boot = &self.boot;
        Moment { boot, now }
    }

    /// Loads the table that `config` asks for; keeps everything as it was where that fails.
    /// Where another place is asked for, the grants move there.
    pub(super) fn load(
        &mut self,
        config: Config,
        kernel: &mut Kernel,
        now: BootTime,
    ) -> Result<Loaded, WriterError> {
        let to = Place::of(&config);
        if to == *kernel.netlink.place() {
            return self.load_here(config, kernel, now);
        }
        let from = kernel.netlink.go_to(to);
        let mut loaded = match self.load_here(config, kernel, now) {
            Ok(loaded) => loaded,
            Err(error) => {
                kernel.netlink.go_to(from);
                return Err(error);
            }
        };
        if let Err(error) = kernel.put_back(now, Once::StillThere) {
            let warning = format!("what was open could not be moved: the kernel said {error}");
            loaded.warnings.push(warning);
        }
        if !from.is_own()
            && let Err(error) = sets::empty(&mut kernel.netlink, &from)
        {
            loaded.warnings.push(error.to_string());
        }
        Ok(loaded)
    }

    fn load_here(
        &mut self,
        config: Config,
        kernel: &mut Kernel,
        now: BootTime,
    ) -> Result<Loaded, WriterError> {
        let mut trials = self.trials.clone();
        let mut loaded = Loaded {
            events: self.take_up(&mut trials, &config, kernel, now),
            ..Loaded::default()
        };
        self.put_in_place(&config, &trials, kernel, now, &mut loaded.warnings)?;
        self.config = config;
        self.adopt(trials, &mut loaded.warnings);
        Ok(loaded)
    }

    /// Loads the table at a start, whatever happens: where that fails, what is hidden is
    /// hidden all the same, by the table that stands or by an emergency table, and the reason
    /// is given with the rest. Not even that can be done where there is an error. The rules of
    /// others are read first: something hides by now, and no stranger must get another answer
    /// for a moment.
    pub(super) fn begin(
        &mut self,
        kernel: &mut Kernel,
        now: BootTime,
    ) -> Result<(Loaded, Option<WriterError>), WriterError> {
        if self.config.guard.answer == Answer::Auto && !self.is_anothers() {
            self.closed_ports_answer(others::read(others::AT_A_START));
        }
        let (mut trials, config) = (self.trials.clone(), self.config.clone());
        let mut loaded = Loaded {
            events: self.take_up(&mut trials, &config, kernel, now),
            ..Loaded::default()
        };
        let problem = self.put_in_place(&config, &trials, kernel, now, &mut loaded.warnings);
        let problem = problem.err();
        self.adopt(trials, &mut loaded.warnings);
        match problem {
            None => Ok((loaded, None)),
            Some(problem) if self.is_anothers() => Err(problem),
            Some(problem) => match self.hide_by_emergency(kernel, now, Existing::Keep) {
                Ok(_) => Ok((loaded, Some(problem))),
                Err(worse) => Err(WriterError::NothingHides {
                    reason: problem.to_string(),
                    kernel: worse.to_string(),
                }),
            },
        }
    }

    /// Takes up what this configuration hides; gives what happened to trials.
    fn take_up(
        &self,
        trials: &mut Trials,
        config: &Config,
        kernel: &mut Kernel,
        now: BootTime,
    ) -> Vec<TrialEvent> {
        // Before any trial's end is judged: nobody may have looked since the last life.
        let mut events = trials.reached(&self.reached(kernel));
        let length = config.guard.trial;
        events.extend(trials.hide(&config.hidden_ports(), length, self.moment(now)));
        events
    }

    fn adopt(&mut self, trials: Trials, warnings: &mut Vec<String>) {
        if trials != self.trials {
            self.trials = trials;
            self.write(warnings);
        }
    }

    /// Makes the kernel hold what this configuration asks for.
    fn put_in_place(
        &mut self,
        config: &Config,
        trials: &Trials,
        kernel: &mut Kernel,
        now: BootTime,
        warnings: &mut Vec<String>,
    ) -> Result<(), WriterError> {
        if config.guard.mode != Mode::Guard {
            self.load_sets(kernel)?;
            sets::leave_guard(&mut kernel.netlink)?;
            self.has_hidden(BTreeSet::new(), warnings);
            return Ok(());
        }
        let standings = trials.standings(now);
        let table = Table::of(config, &standings, &self.surroundings);
        let hidden = table.hidden().keys().copied().collect();
        let before = self.before_hiding(&hidden, kernel);
        hide_first(&table, config, self.going(&table), kernel);
        let load = Load {
            config,
            standings: &standings,
            before: before.iter().copied().collect(),
            settling: false,
            once: Once::StillThere,
        };
        // Also where this fails: it is tried again.
        self.before = before;
        self.load_table(&load, kernel, now, warnings)?;
        self.has_hidden(hidden, warnings);
        Ok(())
    }

    /// What goes on at ports that are hidden from now on.
    fn going(&self, table: &Table) -> Going {
        match table.hidden().keys().all(|port| self.hid.contains(port)) {
            true => Going::Admitted,
            false => Going::Established,
        }
    }

    /// Remembers what the table hides.
    fn has_hidden(&mut self, hidden: BTreeSet<Service>, warnings: &mut Vec<String>) {
        self.hid = hidden;
        let Ok(directory) = self.memory.directory() else {
            return;
        };
        let hidden = Hidden {
            ports: self.hid.clone(),
            before: self.before.clone(),
        };
        // Another process of ours may have written it, or taken it away.
        if hidden_file::read(directory, &self.boot) == hidden {
            return;
        }
        let written = hidden_file::write(directory, &self.boot, &hidden);
        let is_said = std::mem::replace(&mut self.unwritten, written.is_err());
        if let Err(error) = written
            && !is_said
        {
            warnings.push(format!(
                "cannot write down what is hidden: {error}\n  note: where others flush the table while spad is stopped, connections that are made meanwhile go on\n  help: check the disk"
            ));
        }
    }

    /// Keeps the texts of a configuration that is in force for a start with a broken one.
    pub(super) fn keep(&self, texts: &Texts) {
        self.memory.keep(texts);
    }

    /// Hides without `nft` where nothing does; a full table that stands stays, and hides what
    /// trials say.
    pub(super) fn hide_alone(&self, kernel: &mut Kernel, now: BootTime) -> Result<Hides, Failed> {
        self.hide_by_emergency(kernel, now, Existing::Keep)
    }

    /// Hides without `nft`, where that cannot be used.
    fn hide_by_emergency(
        &self,
        kernel: &mut Kernel,
        now: BootTime,
        existing: Existing,
    ) -> Result<Hides, Failed> {
        let table = self.table(now);
        let going = self.going(&table);
        let plan = Plan::new(&table, &self.config.guard.always_allow, going);
        let hides = emergency::load(&mut kernel.netlink, &plan, existing)?;
        if hides == Hides::FullTable {
            let shown = first::shown_again(&self.config, &plan);
            kernel.in_pages(&shown).map_err(Failed::Whole)?;
        }
        Ok(hides)
    }

    /// Hides without `nft` until that works: a table that has all its rules stays, any other
    /// is replaced, for nobody knows what became of it.
    pub(super) fn stand_in(&self, kernel: &mut Kernel, now: BootTime) -> Result<Hides, Failed> {
        let is_whole = emergency::is_whole(&mut kernel.netlink, &self.table(now));
        let existing = match is_whole {
            true => Existing::Keep,
            false => Existing::Replace,
        };
        self.hide_by_emergency(kernel, now, existing)
    }

    /// Makes the sets in the administrator's table that are missing; says whether any was.
    fn load_sets(&mut self, kernel: &mut Kernel) -> Result<bool, WriterError> {
        let process = sets::load(&mut kernel.netlink)?;
        if let Some(process) = process {
            self.loader = Some(process);
        }
        Ok(process.is_some())
    }

    /// Loads the same table again, after somebody else touched it, and puts back what it held;
    /// says whether anything had to be made, and how many grants went back in.
    pub(super) fn reload(
        &mut self,
        kernel: &mut Kernel,
        now: BootTime,
    ) -> Result<(bool, u32), WriterError> {
        let (made, replaced) = match self.is_anothers() {
            true => (self.load_sets(kernel)?, 0),
            false => (true, self.reload_table(kernel, now)?),
        };
        let put_back = kernel.put_back(now, Once::MayBeUsed);
        let put_back = put_back.map_err(|error| WriterError::Kernel(error.into()))?;
        Ok((made, replaced.saturating_add(put_back)))
    }

    fn reload_table(&mut self, kernel: &mut Kernel, now: BootTime) -> Result<u32, WriterError> {
        let was_away = kernel
            .netlink
            .make_of(SetName::Settling)
            .map_err(refused)?
            .is_none();
        // Whoever comes while the table is away has no label.
        let table = self.table(now);
        hide_first(&table, &self.config, self.going(&table), kernel);
        // Nor is it among these.
        self.before = self.still_there(&mut kernel.netlink);
        let config = self.config.clone();
        let standings = self.trials.standings(now);
        let load = Load {
            config: &config,
            standings: &standings,
            before: self.before.iter().copied().collect(),
            settling: was_away,
            once: Once::MayBeUsed,
        };
        let mut warnings = Vec::new();
        let put_back = self.load_table(&load, kernel, now, &mut warnings)?;
        let hidden = table.hidden().keys().copied().collect();
        self.has_hidden(hidden, &mut warnings);
        warnings.iter().for_each(|warning| super::warn(warning));
        Ok(put_back)
    }

    /// Loads the table; where the kernel has no labels for connections, the one that does
    /// without them. Gives how many grants went into it, where one was replaced.
    fn load_table(
        &mut self,
        load: &Load<'_>,
        kernel: &mut Kernel,
        now: BootTime,
        warnings: &mut Vec<String>,
    ) -> Result<u32, WriterError> {
        let table = |surroundings: &Surroundings| {
            let table = Table::of(load.config, load.standings, surroundings);
            let table = table.letting_live_on(load.before.clone());
            if load.settling {
                table.settling()
            } else {
                table
            }
        };
        let error = match self.load_this(&table(&self.surroundings), kernel, now, load.once) {
            Ok(put_back) => return Ok(put_back),
            Err(error) => error,
        };
        if !self.surroundings.labels || !is_unsupported(&error) {
            return Err(error);
        }
        let without = Surroundings {
            labels: false,
            ..self.surroundings.clone()
        };
        let Ok(put_back) = self.load_this(&table(&without), kernel, now, load.once) else {
            return Err(error);
        };
        self.surroundings = without;
        warnings.push(
            "this kernel has no labels for connections (CONFIG_NF_CONNTRACK_LABELS): strangers are answered before the rules of this host's own firewall, and whoever connects while others flush our table stays connected"
                .to_owned(),
        );
        Ok(put_back)
    }

    fn load_this(
        &mut self,
        table: &Table,
        kernel: &mut Kernel,
        now: BootTime,
        once: Once,
    ) -> Result<u32, WriterError> {
        let stands = emergency::stands(&mut kernel.netlink).map_err(refused)?;
        // Its chains are others.
        let (mut missing, mut alike) = (Vec::new(), stands != Stands::Emergency);
        let sets = table.sets();
        for set in &sets {
            let set = *set;
            match kernel.netlink.make_of(set).map_err(refused)? {
                None => missing.push(set),
                Some(make) => alike &= make == set.make(),
            }
        }
        // Chains and sets that it has too many cannot be taken out of it by name alone.
        for set in SetName::GATEWAY {
            let make = kernel.netlink.make_of(set).map_err(refused)?;
            alike &= sets.contains(&set) || make.is_none();
        }
        // A chain of an older version may have another place, and then cannot be changed.
        alike &= missing.len() == sets.len() || !missing.contains(&SetName::Settling);
        let mut was_away = false;
        if alike {
            match self.run_nft(&table.transaction(&missing), table, kernel, &mut was_away) {
                Ok(()) => return Ok(0),
                Err(error) if missing.len() == sets.len() => return Err(error),
                Err(_) => {}
            }
        }
        // A table of another version cannot be changed, only replaced; what it held is put in again.
        let everything = joined(&removal(), &table.transaction(&sets));
        self.run_nft(&everything, table, kernel, &mut was_away)?;
        kernel.put_back(now, once).map_err(refused)
    }

    /// Loads these commands, which make this table. Where somebody flushes meanwhile it hides
    /// again at once, and notes that the table was away.
    fn run_nft(
        &mut self,
        commands: &serde_json::Value,
        table: &Table,
        kernel: &mut Kernel,
        was_away: &mut bool,
    ) -> Result<(), WriterError> {
        let allowed = &self.config.guard.always_allow;
        let plan = Plan::new(table, allowed, self.going(table));
        let announcer = self.announcer.as_ref();
        let watch = FlushWatch::open(&mut kernel.netlink, &plan, was_away, announcer);
        let mut watch = watch.map_err(WriterError::Kernel)?;
        watch.hide();
        self.loader = Some(nft::load_while(commands, &mut watch)?);
        if !watch.is_hidden(table) {
            return Err(WriterError::NotThere);
        }
        if *was_away {
            kernel.in_pages(&settling(table)).map_err(refused)?;
        }
        Ok(())
    }

    /// The connections that were there before their port was hidden: those that the kernel
    /// lets in by that, and those of ports that are hidden from now on for the first time in
    /// this boot.
    fn before_hiding(&self, hidden: &BTreeSet<Service>, kernel: &mut Kernel) -> BTreeSet<Element> {
        let netlink = &mut kernel.netlink;
        let mut before = self.still_there(netlink);
        for set in [SetName::Before4, SetName::Before6] {
            let listed = netlink.list(set).unwrap_or_default();
            before.extend(
                listed
                    .iter()
                    .filter_map(|(key, _)| keys::to_element(set, key)),
            );
        }
        let new = hidden
            .difference(&self.were_hidden(netlink))
            .copied()
            .collect();
        before.extend(before::connections(netlink, &new));
        before
    }

    /// The connections from before their port was hidden that have not ended.
    fn still_there(&self, netlink: &mut Netlink) -> BTreeSet<Element> {
        let ports = self.before.iter().map(|one| one.service).collect();
        let alive = before::connections(netlink, &ports);
        self.before.intersection(&alive).copied().collect()
    }

    /// The ports that were hidden in this boot before now.
    fn were_hidden(&self, netlink: &mut Netlink) -> BTreeSet<Service> {
        if self.memory.directory().is_ok() {
            // Not what the kernel lists: the first step of a start may have put it in just now.
            return self.hid.clone();
        }
        // Who is connected where nothing but an emergency table stands was so before it.
        if emergency::stands(netlink) != Ok(Stands::Full) {
            return BTreeSet::new();
        }
        let listed = netlink.list(SetName::Hidden).unwrap_or_default();
        let listed = listed.iter().filter_map(|(key, _)| keys::to_service(key));
        listed.collect()
    }

    /// When trials must be looked at again at the latest; none where none runs.
    pub(super) fn next_trial_end(&self) -> Option<BootTime> {
        self.trials.next_end()
    }

    /// Ends the trials of ports that were reached, or whose time is over.
    pub(super) fn watch_trials(&mut self, kernel: &mut Kernel, now: BootTime) -> Loaded {
        let reached = self.reached(kernel);
        let mut loaded = Loaded {
            events: self.trials.reached(&reached),
            ..Loaded::default()
        };
        let moment = Moment {
            boot: &self.boot,
            now,
        };
        let over = self.trials.expire(moment);
        loaded.events.extend(over);
        self.settle(&mut loaded, kernel, now);
        loaded
    }

    /// The ports on trial that the kernel saw reached; it is asked only while a trial runs.
    fn reached(&self, kernel: &mut Kernel) -> BTreeSet<Service> {
        if self.trials.next_end().is_none() {
            return BTreeSet::new();
        }
        let listed = kernel.netlink.list(SetName::Reached).unwrap_or_default();
        let services = listed.iter().filter_map(|(key, _)| keys::to_service(key));
        services.collect()
    }

    /// Hides every port for good.
    pub(super) fn confirm(&mut self, kernel: &mut Kernel, now: BootTime) -> Loaded {
        let mut loaded = Loaded {
            events: self.trials.confirm(),
            ..Loaded::default()
        };
        if loaded.events.is_empty() {
            // The file may be damaged or lost all the same.
            self.write(&mut loaded.warnings);
        }
        self.settle(&mut loaded, kernel, now);
        loaded
    }

    /// Writes down what changed and tells the kernel.
    fn settle(&mut self, loaded: &mut Loaded, kernel: &mut Kernel, now: BootTime) {
        if loaded.events.is_empty() {
            return;
        }
        self.write(&mut loaded.warnings);
        let standings = self.trials.standings(now);
        let leads = |port: &Service| self.config.inner_of(*port).is_some();
        // The inner host's port stands as the one that leads there.
        loaded.reload = loaded.events.iter().any(|event| leads(&event.service));
        let hidden = standings
            .iter()
            .filter(|(_, standing)| **standing != Standing::Shown);
        let hidden: BTreeSet<Service> = hidden.map(|(port, _)| *port).collect();
        if let Err(error) = self.let_go_on(&hidden, kernel) {
            let warning = format!("connections to what was shown may be cut: {error}");
            loaded.warnings.push(warning);
        }
        for event in &loaded.events {
            let standing = standings.get(&event.service).copied();
            if let Err(error) = settle_port(kernel, event.service, standing) {
                loaded
                    .warnings
                    .push(format!("{}: the kernel said {error}", event.service));
            }
        }
        self.has_hidden(hidden, &mut loaded.warnings);
    }

    /// Lets in by name the connections of ports that were shown until now.
    fn let_go_on(&mut self, hidden: &BTreeSet<Service>, kernel: &mut Kernel) -> Result<(), Errno> {
        let new = hidden.difference(&self.hid).copied().collect();
        let (before, operations) = before::elements(&mut kernel.netlink, &new);
        kernel.in_pages(&operations)?;
        self.before.extend(before);
        Ok(())
    }

    fn write(&self, warnings: &mut Vec<String>) {
        if let Err(error) = trial_file::write(&self.memory, &self.trials) {
            warnings.push(format!(
                "cannot write down how trials stand, so at the next start one may begin anew, or a port stay hidden without one: {error}"
            ));
        }
    }
}

/// Hides at once where nothing does, before `nft` is even started. What keeps the kernel
/// from it keeps the table from being loaded too, and is told then.
fn hide_first(table: &Table, config: &Config, going: Going, kernel: &mut Kernel) {
    if emergency::stands(&mut kernel.netlink) == Ok(Stands::Nothing) {
        let plan = Plan::new(table, &config.guard.always_allow, going);
        let _ = emergency::load(&mut kernel.netlink, &plan, Existing::Keep);
    }
}

/// What puts the table's hidden UDP ports among those whose answers let nobody in.
fn settling(table: &Table) -> Vec<Operation> {
    let set = SetName::Settling;
    let lasts = Lasts::For(Duration::from_millis(set.make().timeout));
    table
        .settling_ports()
        .map(|port| Operation {
            set,
            key: keys::of_service(port),
            action: Action::Add(lasts),
        })
        .collect()
}

/// Makes one port's place in the kernel what it should be now that its trial is over.
fn settle_port(
    kernel: &mut Kernel,
    port: Service,
    standing: Option<Standing>,
) -> Result<(), Errno> {
    let key = keys::of_service(port);
    let operation = |set, action| Operation {
        set,
        key: key.clone(),
        action,
    };
    // A port that is hidden for good must not be open between two transactions.
    let hidden = match standing {
        Some(Standing::Hidden) => vec![
            operation(SetName::Hidden, Action::Delete),
            operation(SetName::Hidden, Action::Add(Lasts::Forever)),
        ],
        _ => vec![operation(SetName::Hidden, Action::Delete)],
    };
    kernel.in_pages(&hidden)?;
    for set in [SetName::Trial, SetName::Reached] {
        kernel.in_pages(&[operation(set, Action::Delete)])?;
    }
    Ok(())
}

fn refused(error: Errno) -> WriterError {
    WriterError::Kernel(error.into())
}

/// Whether `nft` refused the table for something that the kernel does not have.
fn is_unsupported(error: &WriterError) -> bool {
    matches!(error, WriterError::Nft(nft::NftError::Refused { said, .. }) if said.contains("not supported"))
}

/// Takes the table away.
pub(super) fn remove() -> Result<(), WriterError> {
    nft::load(&removal())?;
    Ok(())
}

/// The commands of both, in one transaction.
fn joined(first: &serde_json::Value, second: &serde_json::Value) -> serde_json::Value {
    let commands: Vec<&serde_json::Value> = [first, second]
        .iter()
        .filter_map(|part| part.get("nftables")?.as_array())
        .flatten()
        .collect();
    serde_json::json!({ "nftables": commands })
}

/// The kernel's name of this boot; empty where it cannot be read, so that a
/// trial goes on rather than begins anew.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// What the kernel does by itself.
pub(super) fn surroundings() -> Surroundings {
    let labels = std::fs::read_to_string("/proc/sys/net/ipv6/auto_flowlabels");
    let by_default = matches!(labels.unwrap_or_default().trim(), "1" | "3");
    let seed = by_default.then(|| spa_keys::random_bytes().map_or(1, u32::from_ne_bytes));
    Surroundings {
        flow_label_seed: seed,
        labels: true,
        // As the emergency table, until somebody has looked.
        closed_ports: Answers::all(Reply::Nothing),
    }
}
