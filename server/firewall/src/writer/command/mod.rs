//! [IO] The writer in the mode "command": programs open and close, and we keep the time.
//!
//! No table of ours, no netlink. Messages in, programs run, answers out, the same
//! messages as in the other modes: the engine need not know. What is open ends with
//! this process, for nobody would close it later; what could not be closed then is
//! closed at the next start.

mod leases;
mod program;
mod state_file;

use std::os::fd::AsFd;
use std::time::Duration;

use leases::LeaseTable;
use program::ProgramRunner;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spad_config::{ConfigTexts, ExternalFirewall, Loaded};
use spad_ipc::Incoming;
use spad_model::{Change, ChangeResult};
use spad_sys::{clock, malloc};
use state_file::StateFile;

use super::announcer::Announcer;
use super::config_loader::ConfigLoader;
use super::limits::Limits;
use super::trial_file::GuardDir;
use super::{Endpoint, Unprivileged, WriterError};
use crate::message::MAX_LISTED;
use crate::{FromWriter, ToWriter};

/// How long the engine may read nothing. What is to be closed must not wait for it longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything the writer has in this mode.
pub(super) struct CommandWriterLoop {
    engine: Endpoint,
    leases: LeaseTable<ProgramRunner, StateFile>,
    limits: Limits,
    external: ExternalFirewall,
    configuration: std::path::PathBuf,
    config_loader: Option<ConfigLoader>,
    announcer: Announcer,
}

/// Works until the engine ends or says so.
pub(super) fn run(
    engine: Endpoint,
    unprivileged: Unprivileged,
    external: ExternalFirewall,
) -> Result<(), WriterError> {
    engine.set_send_timeout(SEND_TIMEOUT)?;
    let limits = Limits::from_config(&unprivileged.usable.loaded.config);
    let now = clock::now();
    let announcer = Announcer::new(&engine)?;
    let runner = ProgramRunner::new(external.time_limit, announcer.clone());
    let ledger = LeaseTable::new(
        external.clone(),
        runner,
        StateFile::in_working_dir(),
        limits.max_ttl(),
        now,
    );
    let ledger = match ledger {
        Ok(ledger) => ledger,
        Err(error) => {
            return Ok(engine.send(&FromWriter::Failed(format!(
                "the file of what [firewall] has open (command.json) cannot be read: {error}\n  help: check the disk; what programs left open stays so until spad starts"
            )))?);
        }
    };
    if unprivileged.usable.file_errors.is_none() {
        unprivileged.guard_dir.save_last_good(&unprivileged.texts);
    }
    let mut writer = CommandWriterLoop {
        engine,
        leases: ledger,
        limits,
        external,
        configuration: unprivileged.configuration,
        config_loader: None,
        announcer,
    };
    writer.send(&FromWriter::Ready)?;
    let ended = writer.serve();
    writer.leases.close_all(clock::now());
    ended
}

/// What programs may have left open that nobody closes in another mode; for a warning.
pub(super) fn leftover_count() -> usize {
    StateFile::in_working_dir().count()
}

impl CommandWriterLoop {
    fn serve(&mut self) -> Result<(), WriterError> {
        loop {
            self.close_expired()?;
            self.wait()?;
            loop {
                match self.engine.receive()? {
                    Incoming::Closed | Incoming::Message(ToWriter::Stop) => return Ok(()),
                    Incoming::Nothing => break,
                    Incoming::Message(message) => self.handle_message(message)?,
                }
                // A long row of messages must neither keep anything open nor a reload waiting.
                self.close_expired()?;
                self.apply_loaded_config()?;
            }
            self.apply_loaded_config()?;
        }
    }

    /// Sends a message to the engine.
    fn send(&self, message: &FromWriter) -> Result<(), WriterError> {
        Ok(self.engine.send(message)?)
    }

    /// Closes what is due, and says that it was busy with that, where it was.
    fn close_expired(&mut self) -> Result<(), WriterError> {
        self.leases.close_expired(clock::now());
        match self.announcer.take_announced() {
            true => self.send(&FromWriter::Pong),
            false => Ok(()),
        }
    }

    fn apply_loaded_config(&mut self) -> Result<(), WriterError> {
        let Some(read) = ConfigLoader::take_result(&mut self.config_loader) else {
            return Ok(());
        };
        let result = read.and_then(|(read, texts)| self.load(read, &texts));
        self.send(&FromWriter::Reloaded(result))?;
        malloc::malloc_trim();
        Ok(())
    }

    /// Waits for a message, or until something must be closed.
    fn wait(&self) -> Result<(), WriterError> {
        let due = self.leases.next_due();
        let timeout = due.map(|due| due.saturating_since(clock::now().boot));
        // A moment more: the end must be past when it is looked at.
        let timeout = timeout.map(|left| left.saturating_add(std::time::Duration::from_millis(1)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // Without a reload the second is the first, and not looked at.
        let reading = self.config_loader.as_ref();
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

    fn handle_message(&mut self, message: ToWriter) -> Result<(), WriterError> {
        match message {
            ToWriter::Change(change) => self.change(&change),
            ToWriter::List => self.list(),
            ToWriter::Reload => match ConfigLoader::start(&mut self.config_loader, &self.configuration) {
                Ok(()) => Ok(()),
                Err(why) => self.send(&FromWriter::Reloaded(Err(why))),
            },
            ToWriter::Ping => self.send(&FromWriter::Pong),
            ToWriter::Cut(_) => self.send(&FromWriter::Cut(Err(
                "connections are the other firewall's to cut\n  help: end them there; what was open is closed".to_owned(),
            ))),
            // Nothing is hidden, so nothing is on trial.
            ToWriter::Confirm => self.send(&FromWriter::Confirmed(Ok(0))),
            ToWriter::Trials => self.send(&FromWriter::Trials(Vec::new())),
            // It has begun; at a stop the caller ends the loop.
            ToWriter::Begin | ToWriter::Stop => Ok(()),
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), WriterError> {
        if self.engine.peer_closed() {
            return Ok(());
        }
        let result = self.limits.check(change);
        let result = result.and_then(|()| self.leases.change(&change.steps, clock::now()));
        let id = change.id;
        self.send(&FromWriter::Answer(ChangeResult { id, result }))
    }

    fn list(&self) -> Result<(), WriterError> {
        let elements = self.leases.list(clock::now().boot);
        let mut pages = elements.chunks(MAX_LISTED).peekable();
        if pages.peek().is_none() {
            let (elements, last) = (Vec::new(), true);
            return self.send(&FromWriter::Listed { elements, last });
        }
        while let Some(page) = pages.next() {
            let (elements, last) = (page.to_vec(), pages.peek().is_none());
            self.send(&FromWriter::Listed { elements, last })?;
        }
        Ok(())
    }

    /// Takes a configuration that was read anew; the error leaves everything as it was.
    fn load(&mut self, read: Loaded, texts: &ConfigTexts) -> Result<(), String> {
        let external = read.config.external.clone().ok_or_else(restart_required)?;
        let identity =
            |external: &ExternalFirewall| (external.user.clone(), external.keep_net_admin);
        if identity(&external) != identity(&self.external) {
            return Err("another `user` or `keep_net_admin` of [firewall] needs a restart\n  help: systemctl restart spad".to_owned());
        }
        self.limits = Limits::from_config(&read.config);
        self.leases.reconfigure(
            external.clone(),
            ProgramRunner::new(external.time_limit, self.announcer.clone()),
        );
        self.external = external;
        GuardDir::Present(".".into()).save_last_good(texts);
        Ok(())
    }
}

/// The kernel's firewall and another one are different processes.
pub(super) fn restart_required() -> String {
    "a change of [guard] mode to or from \"command\" needs a restart\n  help: systemctl restart spad".to_owned()
}
