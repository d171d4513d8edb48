//! [IO] The writer in the mode "command": programs open and close, and we keep the time.
//!
//! No table of ours, no netlink. Messages in, programs run, answers out, the same
//! messages as in the other modes: the engine need not know. What is open ends with
//! this process, for nobody would close it later; what could not be closed then is
//! closed at the next start.

mod ledger;
mod program;
mod state_file;

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::limits::Limits;
use super::reading::Reading;
use super::socket::{Announcer, Came, Engine};
use super::trial_file::Memory;
use super::{SteppedDown, WriterError};
use crate::clock;
use crate::config::{External, Loaded, Texts};
use crate::firewall::message::MAX_LISTED;
use crate::firewall::{Answer, Change, FromWriter, ToWriter};
use crate::sys::memory;

use ledger::Ledger;
use program::Runner;
use state_file::StateFile;

/// Everything the writer has in this mode.
pub(super) struct Commander {
    engine: Engine,
    ledger: Ledger<Runner, StateFile>,
    limits: Limits,
    external: External,
    configuration: std::path::PathBuf,
    reading: Option<Reading>,
    announcer: Announcer,
}

/// Works until the engine ends or says so.
pub(super) fn run(
    engine: Engine,
    stepped: SteppedDown,
    external: External,
) -> Result<(), WriterError> {
    engine.be_impatient()?;
    let limits = Limits::of(&stepped.usable.loaded.config);
    let now = clock::now();
    let announcer = engine.announcer()?;
    let runner = Runner::new(external.time_limit, announcer.clone());
    let ledger = Ledger::new(
        external.clone(),
        runner,
        StateFile::here(),
        limits.longest(),
        now,
    );
    let ledger = match ledger {
        Ok(ledger) => ledger,
        Err(error) => {
            return engine.send(&FromWriter::Failed(format!(
                "the file of what [firewall] has open (command.json) cannot be read: {error}\n  help: check the disk; what programs left open stays so until spad starts"
            )));
        }
    };
    if stepped.usable.instead_of.is_none() {
        stepped.memory.keep(&stepped.texts);
    }
    let mut commander = Commander {
        engine,
        ledger,
        limits,
        external,
        configuration: stepped.configuration,
        reading: None,
        announcer,
    };
    commander.engine.send(&FromWriter::Ready)?;
    let ended = commander.work();
    commander.ledger.close_all(clock::now());
    ended
}

/// What programs may have left open that nobody closes in another mode; for a warning.
pub(super) fn left_over() -> usize {
    StateFile::here().count()
}

impl Commander {
    fn work(&mut self) -> Result<(), WriterError> {
        loop {
            self.close_due()?;
            self.wait()?;
            loop {
                match self.engine.receive()? {
                    Came::End | Came::Message(ToWriter::Stop) => return Ok(()),
                    Came::Nothing => break,
                    Came::Message(message) => self.obey(message)?,
                }
                // A long row of messages must neither keep anything open nor a reload waiting.
                self.close_due()?;
                self.take_what_was_read()?;
            }
            self.take_what_was_read()?;
        }
    }

    /// Closes what is due, and says that it was busy with that, where it was.
    fn close_due(&mut self) -> Result<(), WriterError> {
        self.ledger.close_due(clock::now());
        match self.announcer.take() {
            true => self.engine.send(&FromWriter::Pong),
            false => Ok(()),
        }
    }

    fn take_what_was_read(&mut self) -> Result<(), WriterError> {
        let Some(read) = Reading::take(&mut self.reading) else {
            return Ok(());
        };
        let result = read.and_then(|(read, texts)| self.load(read, &texts));
        self.engine.send(&FromWriter::Reloaded(result))?;
        memory::give_back();
        Ok(())
    }

    /// Waits for a message, or until something must be closed.
    fn wait(&self) -> Result<(), WriterError> {
        let due = self.ledger.next_due();
        let timeout = due.map(|due| due.saturating_since(clock::now().boot));
        // A moment more: the end must be past when it is looked at.
        let timeout = timeout.map(|left| left.saturating_add(std::time::Duration::from_millis(1)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // Without a reload the second is the first, and not looked at.
        let reading = self.reading.as_ref();
        let second = reading.map_or(self.engine.as_fd(), AsFd::as_fd);
        let mut ready = [
            PollFd::new(&self.engine, PollFlags::IN),
            PollFd::from_borrowed_fd(second, PollFlags::IN),
        ];
        let count = if reading.is_some() { 2 } else { 1 };
        let ready = ready.get_mut(..count).unwrap_or_default();
        match poll(ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(WriterError::Socket(error.into())),
        }
    }

    fn obey(&mut self, message: ToWriter) -> Result<(), WriterError> {
        match message {
            ToWriter::Change(change) => self.change(&change),
            ToWriter::List => self.list(),
            ToWriter::Reload => match Reading::begin_in(&mut self.reading, &self.configuration) {
                Ok(()) => Ok(()),
                Err(why) => self.engine.send(&FromWriter::Reloaded(Err(why))),
            },
            ToWriter::Ping => self.engine.send(&FromWriter::Pong),
            ToWriter::Cut(_) => self.engine.send(&FromWriter::Cut(Err(
                "connections are the other firewall's to cut\n  help: end them there; what was open is closed".to_owned(),
            ))),
            // Nothing is hidden, so nothing is on trial.
            ToWriter::Confirm => self.engine.send(&FromWriter::Confirmed(Ok(0))),
            ToWriter::Trials => self.engine.send(&FromWriter::Trials(Vec::new())),
            // It has begun; at a stop the caller ends the loop.
            ToWriter::Begin | ToWriter::Stop => Ok(()),
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), WriterError> {
        if self.engine.has_ended() {
            return Ok(());
        }
        let result = self.limits.check(change);
        let result = result.and_then(|()| self.ledger.change(&change.steps, clock::now()));
        let id = change.id;
        self.engine.send(&FromWriter::Answer(Answer { id, result }))
    }

    fn list(&self) -> Result<(), WriterError> {
        let elements = self.ledger.list(clock::now().boot);
        let mut pages = elements.chunks(MAX_LISTED).peekable();
        if pages.peek().is_none() {
            let (elements, last) = (Vec::new(), true);
            return self.engine.send(&FromWriter::Listed { elements, last });
        }
        while let Some(page) = pages.next() {
            let (elements, last) = (page.to_vec(), pages.peek().is_none());
            self.engine.send(&FromWriter::Listed { elements, last })?;
        }
        Ok(())
    }

    /// Takes a configuration that was read anew; the error leaves everything as it was.
    fn load(&mut self, read: Loaded, texts: &Texts) -> Result<(), String> {
        let external = read.config.external.clone().ok_or_else(needs_a_restart)?;
        let who = |external: &External| (external.user.clone(), external.keep_net_admin);
        if who(&external) != who(&self.external) {
            return Err("another `user` or `keep_net_admin` of [firewall] needs a restart\n  help: systemctl restart spad".to_owned());
        }
        self.limits = Limits::of(&read.config);
        self.ledger.take(
            external.clone(),
            Runner::new(external.time_limit, self.announcer.clone()),
        );
        self.external = external;
        Memory::In(".".into()).keep(texts);
        Ok(())
    }
}

/// The kernel's firewall and another one are different processes.
pub(super) fn needs_a_restart() -> String {
    "a change of [guard] mode to or from \"command\" needs a restart\n  help: systemctl restart spad".to_owned()
}
