//! [IO] The writer at work: messages in, the kernel changed, answers out; and
//! the table put back when somebody else touched it.
//!
//! One loop; only the files of a reload are read beside it. Parses nothing that came from the
//! network.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::WriterError;
use super::emergency::{self, Stands};
use super::guard::{Guard, Loaded};
use super::kernel::Kernel;
use super::limits::Limits;
use super::netlink::{Events, Touched};
use super::others::Others;
use super::reading::Reading;
use super::restores::Restores;
use super::socket::{Came, Engine};
use crate::clock::{self, BootTime};
use crate::config::{Loaded as Read, Texts};
use crate::firewall::closed_ports::ClosedPorts;
use crate::firewall::message::{Cut, MAX_LISTED};
use crate::firewall::{Answer, Change, FirewallRefusal, FromWriter, KernelElement, Step, ToWriter};
use crate::sys::memory;

/// How often a running trial is looked at, and a failed repair tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often `spad firewall load` is looked for that loads the table just now, and how long it
/// is waited for.
const PUT_OFF: Duration = Duration::from_millis(50);
const PUT_OFF_LIMIT: Duration = Duration::from_secs(15);
/// A reload, which somebody waits for, waits so long for it.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

/// What goes through every connection is given so long. While `nft` runs it is announced
/// again and again.
const LOADING: Duration = Duration::from_secs(5);

/// Steps of changes that are made in one transaction when they came together.
const TOGETHER: usize = 256;

/// When the table, which could not be loaded or put back, is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    next: BootTime,
    pause: Duration,
}

impl Broken {
    /// The longest pause: by then somebody is at it.
    const LONGEST_PAUSE: Duration = Duration::from_secs(60);

    /// It was put back often lately, and is again then.
    pub(super) const fn until(next: BootTime) -> Self {
        let pause = Duration::ZERO;
        Self { next, pause }
    }

    /// Whether it failed before, rather than being left for a while.
    const fn is_reported(&self) -> bool {
        !self.pause.is_zero()
    }

    /// It failed now; twice as long a pause as before.
    pub(super) fn again(before: Option<Self>) -> Self {
        let pause = before.map_or(PAUSE, |before| {
            before
                .pause
                .saturating_mul(2)
                .clamp(PAUSE, Self::LONGEST_PAUSE)
        });
        let next = boot().saturating_add(pause);
        Self { next, pause }
    }
}

/// Everything the writer has.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) engine: Engine,
    pub(super) kernel: Kernel,
    pub(super) guard: Guard,
    pub(super) limits: Limits,
    pub(super) events: Events,
    pub(super) configuration: std::path::PathBuf,
    /// Since the table could not be loaded or put back.
    pub(super) broken: Option<Broken>,
    /// Since when `spad firewall load` is left to load the table.
    pub(super) put_off: Option<BootTime>,
    /// What others touched that is not dealt with yet.
    pub(super) touched: Touched,
    /// The configuration, where a reload reads it.
    pub(super) reading: Option<Reading>,
    /// How often the table was put back lately.
    pub(super) restores: Restores,
    /// The rules of others, and what closed ports answer by them.
    pub(super) others: Others,
}

impl Keeper {
    /// Works until the engine ends or says so. The table stays.
    pub(super) fn run(&mut self) -> Result<(), WriterError> {
        loop {
            if self.wait()? {
                self.read_events(None);
            }
            let touched = std::mem::take(&mut self.touched);
            match self.broken {
                Some(broken) if broken.next <= boot() => self.repair()?,
                // Hidden at once; `nft` has its time.
                Some(_) if touched.ours => self.stand_in(),
                None if touched.ours => self.touched()?,
                Some(_) | None => {}
            }
            if touched.others {
                self.others.changed(boot());
            }
            if let Some(found) = self.others.work(boot()) {
                self.answer_as(found)?;
            }
            // First what a knock waits for.
            let came = self.obey_all()?;
            let report = self.guard.watch_trials(&mut self.kernel, boot());
            self.settle(report)?;
            if let Came::End = came {
                return Ok(());
            }
            if let Some(read) = Reading::take(&mut self.reading) {
                let result = match read {
                    Ok((read, texts)) => self.load(read, &texts)?,
                    Err(why) => Err(why),
                };
                self.engine.send(&FromWriter::Reloaded(result))?;
                memory::give_back();
            }
        }
    }

    /// Obeys what came, changes that came together in one transaction, until nothing more is
    /// there or a reload is to be ended; says whether the end came too.
    fn obey_all(&mut self) -> Result<Came, WriterError> {
        let (mut changes, mut steps) = (Vec::new(), 0_usize);
        loop {
            let came = self.engine.receive()?;
            if let Came::Message(ToWriter::Change(change)) = came {
                steps = steps.saturating_add(change.steps.len());
                changes.push(change);
                if steps < TOGETHER {
                    continue;
                }
            } else {
                // Nothing came behind these, so not the engine's end either.
                let lives = matches!(came, Came::Nothing);
                self.change_all(&std::mem::take(&mut changes), lives)?;
                match came {
                    Came::Message(ToWriter::Stop) | Came::End => return Ok(Came::End),
                    Came::Message(message) => self.obey(message)?,
                    Came::Nothing => return Ok(Came::Nothing),
                }
            }
            self.change_all(&std::mem::take(&mut changes), false)?;
            steps = 0;
            // A long row of messages must not keep a reload waiting.
            if self.reading.as_ref().is_some_and(Reading::is_over) {
                return Ok(Came::Nothing);
            }
        }
    }

    /// Waits for a message, an event, or the time to look again; says whether there
    /// are events.
    fn wait(&self) -> Result<bool, WriterError> {
        let now = boot();
        let again = self.broken.map(|broken| broken.next.saturating_since(now));
        let trial = self.guard.next_trial_end();
        let trial = trial.map(|end| end.saturating_since(now).min(PAUSE));
        let others = self.others.next();
        let others = others.map(|next| next.saturating_since(now));
        let touched = (self.touched != Touched::default()).then_some(Duration::ZERO);
        let timeout = [again, trial, others, touched].into_iter().flatten().min();
        let timeout = timeout.and_then(|timeout| {
            // Never zero: a trial's end is a moment, not a reason to spin.
            Timespec::try_from(timeout.max(Duration::from_millis(1))).ok()
        });
        let reading = self.reading.as_ref().map(AsFd::as_fd);
        let beside = [reading, self.others.is_read()].into_iter().flatten();
        let mut ready = vec![
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(&self.engine, PollFlags::IN),
        ];
        ready.extend(beside.map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)));
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WriterError::Socket(error.into())),
        }
        let events = ready.first();
        Ok(events.is_some_and(|events| !events.revents().is_empty()))
    }

    fn obey(&mut self, message: ToWriter) -> Result<(), WriterError> {
        match message {
            ToWriter::Change(change) => self.change_all(&[change], false),
            ToWriter::List => self.list(),
            ToWriter::Reload => match Reading::begin_in(&mut self.reading, &self.configuration) {
                Ok(()) => Ok(()),
                Err(why) => self.engine.send(&FromWriter::Reloaded(Err(why))),
            },
            ToWriter::Ping => self.engine.send(&FromWriter::Pong),
            ToWriter::Confirm => {
                self.announce()?;
                let report = self.guard.confirm(&mut self.kernel, boot());
                let result = match report.warnings.first() {
                    Some(warning) => Err(warning.clone()),
                    None => Ok(u32::try_from(report.events.len()).unwrap_or(u32::MAX)),
                };
                self.settle(report)?;
                self.engine.send(&FromWriter::Confirmed(result))
            }
            ToWriter::Cut(cuts) => {
                self.announce()?;
                let result = self.cut(&cuts);
                self.engine.send(&FromWriter::Cut(result))
            }
            ToWriter::Trials => {
                let mut rows = self.guard.rows(boot());
                rows.truncate(MAX_LISTED);
                self.engine.send(&FromWriter::Trials(rows))
            }
            // It has begun; at a stop the caller ends the loop.
            ToWriter::Begin | ToWriter::Stop => Ok(()),
        }
    }

    /// Ends connections to services that the configuration declares.
    fn cut(&mut self, cuts: &[Cut]) -> Result<u32, String> {
        if self.guard.is_anothers() {
            return Err("in the mode \"set\" no rule of ours keeps a connection cut\n  help: end it by your own rules, or by ending its process; what was open is closed".to_owned());
        }
        let declared = |cut: &Cut| self.limits.declares(cut.service);
        if let Some(cut) = cuts.iter().find(|cut| !declared(cut)) {
            return Err(format!("no service has the port {}", cut.service));
        }
        super::cut::cut(&mut self.kernel, cuts, boot())
            .map_err(|error| format!("the kernel said: {error}\n  help: say it again"))
    }

    /// Makes changes, each whole or not at all, and answers each in its turn; asks whether the
    /// engine has ended, unless it is known that it `lives`.
    fn change_all(&mut self, changes: &[Change], lives: bool) -> Result<(), WriterError> {
        if !lives && !changes.is_empty() && self.engine.has_ended() {
            return self.close_all(changes);
        }
        let together = match changes {
            [] | [_] => false,
            _ => self.made_together(changes),
        };
        for change in changes {
            let result = match self.limits.check(change) {
                Ok(()) if together => Ok(()),
                Ok(()) => self.change(change)?,
                Err(refusal) => Err(refusal),
            };
            let id = change.id;
            self.engine
                .send(&FromWriter::Answer(Answer { id, result }))?;
        }
        Ok(())
    }

    /// What an engine that has ended asked to open stays closed: nobody would tell of it, nor
    /// know whose it is when it is to be taken away. What it asked to take away is.
    fn close_all(&mut self, changes: &[Change]) -> Result<(), WriterError> {
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
    fn made_together(&mut self, changes: &[Change]) -> bool {
        let within = changes
            .iter()
            .filter(|change| self.limits.check(change).is_ok());
        let steps: Vec<Step> = within.flat_map(|change| change.steps.clone()).collect();
        !steps.is_empty() && self.kernel.change(&steps, boot()).is_ok()
    }

    fn change(&mut self, change: &Change) -> Result<Result<(), FirewallRefusal>, WriterError> {
        let mut result = self.kernel.change(&change.steps, boot());
        if result == Err(FirewallRefusal::TableMissing) && self.broken.is_none() {
            self.repair()?;
            if self.broken.is_none() {
                result = self.kernel.change(&change.steps, boot());
            }
        }
        Ok(result)
    }

    fn list(&mut self) -> Result<(), WriterError> {
        let mut listed = self.kernel.list();
        if listed.is_err() && self.broken.is_none() {
            self.repair()?;
            listed = self.kernel.list();
        }
        let elements = listed.unwrap_or_default();
        let mut pages = elements.chunks(MAX_LISTED).peekable();
        if pages.peek().is_none() {
            return self.page(&[], true);
        }
        while let Some(page) = pages.next() {
            self.page(page, pages.peek().is_none())?;
        }
        Ok(())
    }

    fn page(&self, elements: &[KernelElement], last: bool) -> Result<(), WriterError> {
        let elements = elements.to_vec();
        self.engine.send(&FromWriter::Listed { elements, last })
    }

    /// Loads what a configuration asks for that was read anew; the inner error leaves everything
    /// as it was.
    fn load(&mut self, read: Read, texts: &Texts) -> Result<Result<(), String>, WriterError> {
        if read.config.external.is_some() {
            return Ok(Err(super::command::needs_a_restart()));
        }
        let limits = Limits::of(&read.config);
        self.announce()?;
        let _lock = self.guard.load_lock.take_within(LOCK_LIMIT);
        match self.guard.load(read.config, &mut self.kernel, boot()) {
            Ok(report) => {
                self.read_own_events();
                self.limits = limits;
                self.report(report)?;
                self.guard.keep(texts);
                let was_broken = self.broken.take().is_some();
                self.tell_strangers_get()?;
                if was_broken {
                    let listed = self.kernel.list().unwrap_or_default();
                    let grants = u32::try_from(listed.len()).unwrap_or(u32::MAX);
                    self.engine.send(&FromWriter::Restored { grants })?;
                }
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// What follows may keep the engine waiting.
    fn announce(&self) -> Result<(), WriterError> {
        self.engine.send(&FromWriter::Busy(LOADING))
    }

    fn read_events(&mut self, loader: Option<u32>) {
        let own = self.kernel.netlink.port();
        let table = self.kernel.netlink.place().table();
        let found = self.events.others_touched(table, own, loader);
        // What was found before is put right by a load.
        self.touched.ours = found.ours || (self.touched.ours && loader.is_none());
        self.touched.others |= found.others;
    }

    /// To be called after each load: what the loader itself did is not what others touched.
    pub(super) fn read_own_events(&mut self) {
        let loader = self.guard.loader.take();
        self.read_events(loader);
    }

    /// Somebody touched our table: it is put back at once, or where that was done often
    /// lately, after a pause in which the emergency table hides.
    fn touched(&mut self) -> Result<(), WriterError> {
        match self.restores.next().filter(|next| *next > boot()) {
            None => self.repair(),
            Some(next) => {
                self.broken = Some(Broken::until(next));
                self.stand_in();
                Ok(())
            }
        }
    }

    /// Answers strangers as closed ports are answered by the rules of others.
    fn answer_as(&mut self, found: ClosedPorts) -> Result<(), WriterError> {
        if !found.is_read {
            self.others.try_again(boot());
        }
        if self.guard.closed_ports_answer(found) {
            self.load_again()?;
        }
        self.tell_strangers_get()
    }

    /// Loads the table as it should be now; one that is to be put back is so by that.
    fn load_again(&mut self) -> Result<(), WriterError> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.announce()?;
        let _lock = self.guard.load_lock.take_within(LOCK_LIMIT);
        match self.guard.reload(&mut self.kernel, boot()) {
            Ok(_) => self.read_own_events(),
            Err(error) => {
                self.broken = Some(Broken::again(None));
                self.not_loaded(&error)?;
            }
        }
        self.engine.send(&FromWriter::Pong)
    }

    /// Tells what strangers get, which is nothing where an emergency table hides for longer
    /// than a pause.
    pub(super) fn tell_strangers_get(&mut self) -> Result<(), WriterError> {
        let is_known = self.broken.as_ref().is_some_and(Broken::is_reported);
        let by_emergency = is_known
            && !self.guard.is_anothers()
            && emergency::stands(&mut self.kernel.netlink) == Ok(Stands::Emergency);
        let text = match by_emergency {
            true => Some(emergency::STRANGERS_GET.to_owned()),
            false => self.guard.strangers_get(),
        };
        text.map_or(Ok(()), |text| {
            self.engine.send(&FromWriter::StrangersGet(text))
        })
    }

    /// Puts the table back, and what it held; a moment later where another process of ours
    /// loads it just now.
    fn repair(&mut self) -> Result<(), WriterError> {
        let lock = self.guard.load_lock.take();
        if lock.is_none() {
            let since = *self.put_off.get_or_insert_with(boot);
            if boot().saturating_since(since) < PUT_OFF_LIMIT {
                self.hide();
                self.broken = Some(Broken::until(boot().saturating_add(PUT_OFF)));
                return Ok(());
            }
        }
        self.put_off = None;
        self.announce()?;
        self.put_table_back()?;
        self.engine.send(&FromWriter::Pong)
    }

    fn put_table_back(&mut self) -> Result<(), WriterError> {
        let now = boot();
        let result = self.guard.reload(&mut self.kernel, now);
        let before = self.broken;
        self.broken = result.is_err().then(|| Broken::again(before));
        match result {
            // Somebody changed what is his own in a table of his own.
            Ok((false, 0)) if before.is_none() => {
                self.read_own_events();
                Ok(())
            }
            Ok((_, grants)) => {
                self.read_own_events();
                self.restores.count(boot());
                if self.guard.has_not_read_others() {
                    self.others.changed(boot());
                }
                self.engine.send(&FromWriter::Restored { grants })?;
                self.tell_strangers_get()
            }
            Err(error) => {
                self.replace();
                match before.filter(Broken::is_reported) {
                    Some(_) => Ok(()),
                    None => self.not_loaded(&error),
                }
            }
        }
    }

    /// Hides without `nft` where nothing does.
    fn hide(&mut self) {
        if !self.guard.is_anothers() {
            let _ = self.guard.hide_alone(&mut self.kernel, boot());
        }
    }

    /// Hides without `nft` where the table does not; what keeps the kernel from it is told
    /// with the table.
    fn stand_in(&mut self) {
        // What another process of ours is loading just now must not be replaced.
        match self.guard.load_lock.take() {
            Some(_lock) => self.replace(),
            None => self.hide(),
        }
    }

    fn replace(&mut self) {
        if !self.guard.is_anothers() {
            let _ = self.guard.stand_in(&mut self.kernel, boot());
        }
    }

    /// Tells once that the table could not be loaded, and what hides meanwhile.
    pub(super) fn not_loaded(&mut self, error: &WriterError) -> Result<(), WriterError> {
        let hides = match self.guard.is_anothers() {
            true => "the sets in your table are not ours now: nobody has a grant",
            false => emergency::stands(&mut self.kernel.netlink).map_or("", Stands::in_words),
        };
        let text = format!("{error}\n  note: {hides}");
        self.engine.send(&FromWriter::NotRestored(text))?;
        self.tell_strangers_get()
    }

    /// Loads the table again where the end of trials asks for it, and reports that end.
    fn settle(&mut self, report: Loaded) -> Result<(), WriterError> {
        if report.reload {
            self.load_again()?;
        }
        self.report(report)
    }

    /// Tells what happened to trials.
    pub(super) fn report(&self, report: Loaded) -> Result<(), WriterError> {
        for warning in &report.warnings {
            super::warn(warning);
        }
        for event in report.events {
            self.engine.send(&FromWriter::Trial(event))?;
        }
        Ok(())
    }
}

fn boot() -> BootTime {
    clock::now().boot
}
