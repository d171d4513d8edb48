//! [IO] The writer at work: messages in, the kernel changed, answers out; and
//! the table put back when somebody else touched it.
//!
//! One loop; only the files of a reload are read beside it. Parses nothing that came from the
//! network.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spad_config::{ConfigTexts, Loaded as Read};
use spad_ipc::Incoming;
use spad_model::{
    BootTime, Change, ChangeResult, ConnectionFilter, FirewallError, KernelElement, Step,
};
use spad_sys::{clock, malloc};

use super::config_loader::ConfigLoader;
use super::emergency::{self, TableState};
use super::grant_sets::GrantSets;
use super::limits::Limits;
use super::managed_table::{LoadReport, ManagedTable};
use super::netlink::{Events, TableChanges};
use super::other_tables::OtherTables;
use super::restores::Restores;
use super::{Endpoint, WriterError};
use crate::closed_ports::ClosedPorts;
use crate::message::MAX_LISTED;
use crate::{FromWriter, ToWriter};

/// How often a running trial is looked at, and a failed repair tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often `spad firewall load` is looked for that loads the table just now, and how long it
/// is waited for.
const POSTPONEMENT: Duration = Duration::from_millis(50);
const MAX_POSTPONEMENT: Duration = Duration::from_secs(15);
/// A reload, which somebody waits for, waits so long for it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// What goes through every connection is given so long. While `nft` runs it is announced
/// again and again.
const LOAD_ESTIMATE: Duration = Duration::from_secs(5);

/// Steps of changes that are made in one transaction when they came together.
const MAX_BATCH_STEPS: usize = 256;

/// When the table, which could not be loaded or put back, is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepairBackoff {
    next: BootTime,
    pause: Duration,
}

impl RepairBackoff {
    /// The longest pause: by then somebody is at it.
    const MAX_PAUSE: Duration = Duration::from_secs(60);

    /// It was put back often lately, and is again then.
    pub(super) const fn at(next: BootTime) -> Self {
        let pause = Duration::ZERO;
        Self { next, pause }
    }

    /// Whether it failed before, rather than being left for a while.
    const fn is_reported(&self) -> bool {
        !self.pause.is_zero()
    }

    /// It failed now; twice as long a pause as before.
    pub(super) fn following(before: Option<Self>) -> Self {
        let pause = before.map_or(PAUSE, |before| {
            before.pause.saturating_mul(2).clamp(PAUSE, Self::MAX_PAUSE)
        });
        let next = boot().saturating_add(pause);
        Self { next, pause }
    }
}

/// Everything the writer has.
#[derive(Debug)]
pub(super) struct WriterLoop {
    pub(super) engine: Endpoint,
    pub(super) kernel: GrantSets,
    pub(super) guard: ManagedTable,
    pub(super) limits: Limits,
    pub(super) events: Events,
    pub(super) configuration: std::path::PathBuf,
    /// Since the table could not be loaded or put back.
    pub(super) backoff: Option<RepairBackoff>,
    /// Since when `spad firewall load` is left to load the table.
    pub(super) postponed_since: Option<BootTime>,
    /// What others touched that is not dealt with yet.
    pub(super) changes: TableChanges,
    /// The configuration, where a reload reads it.
    pub(super) config_loader: Option<ConfigLoader>,
    /// How often the table was put back lately.
    pub(super) restores: Restores,
    /// The rules of others, and what closed ports answer by them.
    pub(super) other_tables: OtherTables,
}

impl WriterLoop {
    /// Works until the engine ends or says so. The table stays.
    pub(super) fn run(&mut self) -> Result<(), WriterError> {
        loop {
            if self.wait()? {
                self.read_events(None);
            }
            let changes = std::mem::take(&mut self.changes);
            match self.backoff {
                Some(broken) if broken.next <= boot() => self.repair()?,
                // Hidden at once; `nft` has its time.
                Some(_) if changes.ours => self.load_emergency(),
                None if changes.ours => self.on_external_change()?,
                Some(_) | None => {}
            }
            if changes.others {
                self.other_tables.changed(boot());
            }
            if let Some(found) = self.other_tables.poll(boot()) {
                self.update_answers(found)?;
            }
            // First what a knock waits for.
            let incoming = self.drain_messages()?;
            let report = self.guard.watch_trials(&mut self.kernel, boot());
            self.apply_report(report)?;
            if let Incoming::Closed = incoming {
                return Ok(());
            }
            self.finish_reload()?;
        }
    }

    /// Handles the first half of a reload: reads the files on a thread.
    fn start_reload(&mut self) -> Result<(), WriterError> {
        match ConfigLoader::start(&mut self.config_loader, &self.configuration) {
            Ok(()) => Ok(()),
            Err(why) => self.send(&FromWriter::Reloaded(Err(why))),
        }
    }

    /// Handles the second half: once the files are read, loads them and reports the result.
    fn finish_reload(&mut self) -> Result<(), WriterError> {
        let Some(read) = ConfigLoader::take_result(&mut self.config_loader) else {
            return Ok(());
        };
        let result = match read {
            Ok((read, texts)) => self.load(read, &texts)?,
            Err(why) => Err(why),
        };
        self.send(&FromWriter::Reloaded(result))?;
        malloc::malloc_trim();
        Ok(())
    }

    /// Obeys what came, changes that came together in one transaction, until nothing more is
    /// there or a reload is to be ended; says whether the end came too.
    fn drain_messages(&mut self) -> Result<Incoming<ToWriter>, WriterError> {
        let (mut changes, mut steps) = (Vec::new(), 0_usize);
        loop {
            let incoming = self.engine.receive()?;
            if let Incoming::Message(ToWriter::Change(change)) = incoming {
                steps = steps.saturating_add(change.steps.len());
                changes.push(change);
                if steps < MAX_BATCH_STEPS {
                    continue;
                }
            } else {
                // Nothing came behind these, so not the engine's end either.
                let engine_alive = matches!(incoming, Incoming::Nothing);
                self.apply_changes(&std::mem::take(&mut changes), engine_alive)?;
                match incoming {
                    Incoming::Message(ToWriter::Stop) | Incoming::Closed => {
                        return Ok(Incoming::Closed);
                    }
                    Incoming::Message(message) => self.handle_message(message)?,
                    Incoming::Nothing => return Ok(Incoming::Nothing),
                }
            }
            self.apply_changes(&std::mem::take(&mut changes), false)?;
            steps = 0;
            // A long row of messages must not keep a reload waiting.
            if self
                .config_loader
                .as_ref()
                .is_some_and(ConfigLoader::is_finished)
            {
                return Ok(Incoming::Nothing);
            }
        }
    }

    /// Waits for a message, an event, or the time to look again; says whether there
    /// are events.
    fn wait(&self) -> Result<bool, WriterError> {
        let now = boot();
        let retry = self.backoff.map(|broken| broken.next.saturating_since(now));
        let trial = self.guard.next_trial_end();
        let trial = trial.map(|end| end.saturating_since(now).min(PAUSE));
        let others = self.other_tables.next();
        let others = others.map(|next| next.saturating_since(now));
        let changed = (self.changes != TableChanges::default()).then_some(Duration::ZERO);
        let timeout = [retry, trial, others, changed].into_iter().flatten().min();
        let timeout = timeout.and_then(|timeout| {
            // Never zero: a trial's end is a moment, not a reason to spin.
            Timespec::try_from(timeout.max(Duration::from_millis(1))).ok()
        });
        let reading = self.config_loader.as_ref().map(AsFd::as_fd);
        let helper_fds = [reading, self.other_tables.reader_fd()]
            .into_iter()
            .flatten();
        let mut ready = vec![
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(&self.engine, PollFlags::IN),
        ];
        ready.extend(helper_fds.map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)));
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WriterError::Socket(error.into())),
        }
        let events = ready.first();
        Ok(events.is_some_and(|events| !events.revents().is_empty()))
    }

    fn handle_message(&mut self, message: ToWriter) -> Result<(), WriterError> {
        match message {
            ToWriter::Change(change) => self.apply_changes(&[change], false),
            ToWriter::List => self.list(),
            ToWriter::Reload => self.start_reload(),
            ToWriter::Ping => self.send(&FromWriter::Pong),
            ToWriter::Confirm => {
                self.announce_busy()?;
                let report = self.guard.confirm(&mut self.kernel, boot());
                let result = match report.warnings.first() {
                    Some(warning) => Err(warning.clone()),
                    None => Ok(u32::try_from(report.events.len()).unwrap_or(u32::MAX)),
                };
                self.apply_report(report)?;
                self.send(&FromWriter::Confirmed(result))
            }
            ToWriter::Cut(cuts) => {
                self.announce_busy()?;
                let result = self.cut(&cuts);
                self.send(&FromWriter::Cut(result))
            }
            ToWriter::Trials => {
                let mut rows = self.guard.trials(boot());
                rows.truncate(MAX_LISTED);
                self.send(&FromWriter::Trials(rows))
            }
            // It has begun; at a stop the caller ends the loop.
            ToWriter::Begin | ToWriter::Stop => Ok(()),
        }
    }

    /// Sends a message to the engine.
    pub(super) fn send(&self, message: &FromWriter) -> Result<(), WriterError> {
        Ok(self.engine.send(message)?)
    }

    /// Ends connections to services that the configuration declares.
    fn cut(&mut self, filters: &[ConnectionFilter]) -> Result<u32, String> {
        if self.guard.is_foreign() {
            return Err("in the mode \"set\" no rule of ours keeps a connection cut\n  help: end it by your own rules, or by ending its process; what was open is closed".to_owned());
        }
        let declared = |cut: &ConnectionFilter| self.limits.declares(cut.service);
        if let Some(cut) = filters.iter().find(|cut| !declared(cut)) {
            return Err(format!("no service has the port {}", cut.service));
        }
        super::cut::cut(&mut self.kernel, filters, boot())
            .map_err(|error| format!("the kernel said: {error}\n  help: say it again"))
    }

    /// Makes changes, each whole or not at all, and answers each in its turn; asks whether the
    /// engine has ended, unless it is known that it `lives`.
    fn apply_changes(&mut self, changes: &[Change], engine_alive: bool) -> Result<(), WriterError> {
        if !engine_alive && !changes.is_empty() && self.engine.peer_closed() {
            return self.apply_closes(changes);
        }
        let batched = match changes {
            [] | [_] => false,
            _ => self.try_batch(changes),
        };
        for change in changes {
            let result = match self.limits.check(change) {
                Ok(()) if batched => Ok(()),
                Ok(()) => self.change(change)?,
                Err(refusal) => Err(refusal),
            };
            let id = change.id;
            self.send(&FromWriter::Answer(ChangeResult { id, result }))?;
        }
        Ok(())
    }

    /// What an engine that has ended asked to open stays closed: nobody would tell of it, nor
    /// know whose it is when it is to be taken away. What it asked to take away is.
    fn apply_closes(&mut self, changes: &[Change]) -> Result<(), WriterError> {
        for change in changes {
            let opens = |step: &Step| matches!(step, Step::Put { .. });
            if self.limits.check(change).is_ok() && !change.steps.iter().any(opens) {
                let _nobody_hears = self.change(change)?;
            }
        }
        Ok(())
    }

    /// Makes all changes that are within the limits in one transaction. Where one of
    /// them fails none is made, and each has to be tried alone.
    fn try_batch(&mut self, changes: &[Change]) -> bool {
        let permitted = changes
            .iter()
            .filter(|change| self.limits.check(change).is_ok());
        let steps: Vec<Step> = permitted.flat_map(|change| change.steps.clone()).collect();
        !steps.is_empty() && self.kernel.change(&steps, boot()).is_ok()
    }

    fn change(&mut self, change: &Change) -> Result<Result<(), FirewallError>, WriterError> {
        let mut result = self.kernel.change(&change.steps, boot());
        if result == Err(FirewallError::TableMissing) && self.backoff.is_none() {
            self.repair()?;
            if self.backoff.is_none() {
                result = self.kernel.change(&change.steps, boot());
            }
        }
        Ok(result)
    }

    fn list(&mut self) -> Result<(), WriterError> {
        let mut listed = self.kernel.list();
        if listed.is_err() && self.backoff.is_none() {
            self.repair()?;
            listed = self.kernel.list();
        }
        let elements = listed.unwrap_or_default();
        let mut pages = elements.chunks(MAX_LISTED).peekable();
        if pages.peek().is_none() {
            return self.send_page(&[], true);
        }
        while let Some(page) = pages.next() {
            self.send_page(page, pages.peek().is_none())?;
        }
        Ok(())
    }

    fn send_page(&self, elements: &[KernelElement], last: bool) -> Result<(), WriterError> {
        let elements = elements.to_vec();
        self.send(&FromWriter::Listed { elements, last })
    }

    /// Loads what a configuration asks for that was read anew; the inner error leaves everything
    /// as it was.
    fn load(
        &mut self,
        config: Read,
        texts: &ConfigTexts,
    ) -> Result<Result<(), String>, WriterError> {
        if config.config.external.is_some() {
            return Ok(Err(super::command::restart_required()));
        }
        let limits = Limits::from_config(&config.config);
        self.announce_busy()?;
        let _lock = self.guard.load_lock.acquire_within(LOCK_TIMEOUT);
        match self.guard.load(config.config, &mut self.kernel, boot()) {
            Ok(report) => {
                self.read_own_events();
                self.limits = limits;
                self.report(report)?;
                self.guard.save_last_good(texts);
                let was_missing = self.backoff.take().is_some();
                self.report_stranger_reply()?;
                if was_missing {
                    let listed = self.kernel.list().unwrap_or_default();
                    let grants = u32::try_from(listed.len()).unwrap_or(u32::MAX);
                    self.send(&FromWriter::Restored { grants })?;
                }
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// What follows may keep the engine waiting.
    fn announce_busy(&self) -> Result<(), WriterError> {
        self.send(&FromWriter::Busy(LOAD_ESTIMATE))
    }

    fn read_events(&mut self, loader: Option<u32>) {
        let own = self.kernel.netlink.port();
        let table = self.kernel.netlink.location().table();
        let found = self.events.changed_by_others(table, own, loader);
        // What was found before is put right by a load.
        self.changes.ours = found.ours || (self.changes.ours && loader.is_none());
        self.changes.others |= found.others;
    }

    /// To be called after each load: what the loader itself did is not what others touched.
    pub(super) fn read_own_events(&mut self) {
        let loader = self.guard.loader.take();
        self.read_events(loader);
    }

    /// Somebody touched our table: it is put back at once, or where that was done often
    /// lately, after a pause in which the emergency table hides.
    fn on_external_change(&mut self) -> Result<(), WriterError> {
        match self.restores.next_allowed().filter(|next| *next > boot()) {
            None => self.repair(),
            Some(next) => {
                self.backoff = Some(RepairBackoff::at(next));
                self.load_emergency();
                Ok(())
            }
        }
    }

    /// Answers strangers as closed ports are answered by the rules of others.
    fn update_answers(&mut self, found: ClosedPorts) -> Result<(), WriterError> {
        if !found.is_read {
            self.other_tables.schedule_retry(boot());
        }
        if self.guard.update_closed_ports(found) {
            self.reload_table()?;
        }
        self.report_stranger_reply()
    }

    /// Loads the table as it should be now; one that is to be put back is so by that.
    fn reload_table(&mut self) -> Result<(), WriterError> {
        if self.backoff.is_some() {
            return Ok(());
        }
        self.announce_busy()?;
        let _lock = self.guard.load_lock.acquire_within(LOCK_TIMEOUT);
        match self.guard.reload(&mut self.kernel, boot()) {
            Ok(_) => self.read_own_events(),
            Err(error) => {
                self.backoff = Some(RepairBackoff::following(None));
                self.report_not_loaded(&error)?;
            }
        }
        self.send(&FromWriter::Pong)
    }

    /// Tells what strangers get, which is nothing where an emergency table hides for longer
    /// than a pause.
    pub(super) fn report_stranger_reply(&mut self) -> Result<(), WriterError> {
        let is_known = self
            .backoff
            .as_ref()
            .is_some_and(RepairBackoff::is_reported);
        let is_emergency = is_known
            && !self.guard.is_foreign()
            && emergency::table_state(&mut self.kernel.netlink) == Ok(TableState::Emergency);
        let text = match is_emergency {
            true => Some(emergency::STRANGER_REPLY.to_owned()),
            false => self.guard.stranger_reply(),
        };
        text.map_or(Ok(()), |text| self.send(&FromWriter::StrangerReply(text)))
    }

    /// Puts the table back, and what it held; a moment later where another process of ours
    /// loads it just now.
    fn repair(&mut self) -> Result<(), WriterError> {
        let lock = self.guard.load_lock.try_acquire();
        if lock.is_none() {
            let since = *self.postponed_since.get_or_insert_with(boot);
            if boot().saturating_since(since) < MAX_POSTPONEMENT {
                self.hide();
                self.backoff = Some(RepairBackoff::at(boot().saturating_add(POSTPONEMENT)));
                return Ok(());
            }
        }
        self.postponed_since = None;
        self.announce_busy()?;
        self.restore_table()?;
        self.send(&FromWriter::Pong)
    }

    fn restore_table(&mut self) -> Result<(), WriterError> {
        let now = boot();
        let result = self.guard.reload(&mut self.kernel, now);
        let before = self.backoff;
        self.backoff = result.is_err().then(|| RepairBackoff::following(before));
        match result {
            // Somebody changed what is his own in a table of his own.
            Ok((false, 0)) if before.is_none() => {
                self.read_own_events();
                Ok(())
            }
            Ok((_, grants)) => {
                self.read_own_events();
                self.restores.record(boot());
                if self.guard.closed_ports_unknown() {
                    self.other_tables.changed(boot());
                }
                self.send(&FromWriter::Restored { grants })?;
                self.report_stranger_reply()
            }
            Err(error) => {
                self.replace_by_emergency();
                match before.filter(RepairBackoff::is_reported) {
                    Some(_) => Ok(()),
                    None => self.report_not_loaded(&error),
                }
            }
        }
    }

    /// Hides without `nft` where nothing does.
    fn hide(&mut self) {
        if !self.guard.is_foreign() {
            let _ = self.guard.hide_only(&mut self.kernel, boot());
        }
    }

    /// Hides without `nft` where the table does not; what keeps the kernel from it is told
    /// with the table.
    fn load_emergency(&mut self) {
        // What another process of ours is loading just now must not be replaced.
        match self.guard.load_lock.try_acquire() {
            Some(_lock) => self.replace_by_emergency(),
            None => self.hide(),
        }
    }

    fn replace_by_emergency(&mut self) {
        if !self.guard.is_foreign() {
            let _ = self.guard.load_emergency(&mut self.kernel, boot());
        }
    }

    /// Tells once that the table could not be loaded, and what hides meanwhile.
    pub(super) fn report_not_loaded(&mut self, error: &WriterError) -> Result<(), WriterError> {
        let hides = match self.guard.is_foreign() {
            true => "the sets in your table are not ours now: nobody has a grant",
            false => {
                emergency::table_state(&mut self.kernel.netlink).map_or("", TableState::describe)
            }
        };
        let text = format!("{error}\n  note: {hides}");
        self.send(&FromWriter::NotRestored(text))?;
        self.report_stranger_reply()
    }

    /// Loads the table again where the end of trials asks for it, and reports that end.
    fn apply_report(&mut self, report: LoadReport) -> Result<(), WriterError> {
        if report.reload {
            self.reload_table()?;
        }
        self.report(report)
    }

    /// Tells what happened to trials.
    pub(super) fn report(&self, report: LoadReport) -> Result<(), WriterError> {
        for warning in &report.warnings {
            super::warn(warning);
        }
        for event in report.events {
            self.send(&FromWriter::Trial(event))?;
        }
        Ok(())
    }
}

fn boot() -> BootTime {
    clock::now().boot
}
