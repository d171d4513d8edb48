//! `[IO]` The audit file: lines appended on a thread of its own.
//!
//! Takes events, never makes its caller wait: where the queue is full, or the
//! disk is, lines are dropped, counted, and the next line that gets through is
//! followed by one that says how many. The file is opened anew when asked, and
//! when it was renamed or removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use spad_engine::audit::event::{AuditEvent, Event};

use super::line::render;
use super::repair::repair;

/// Events that wait for the disk, at most.
const QUEUE_LEN: usize = 4096;

/// The engine's end.
#[derive(Debug)]
pub struct AuditLog {
    queue: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
    /// Why lines are being lost, while they are.
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Event(Box<AuditEvent>),
    Reopen,
}

impl AuditLog {
    /// Opens or makes the file (mode 0640, never through a link) and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread started.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // On a disk that takes nothing it fails, and so will the lines.
        let repaired = repair(path).unwrap_or_default();
        let (queue, events) = sync_channel(QUEUE_LEN);
        let dropped = Arc::new(AtomicU64::new(0));
        let problem = Arc::<Mutex<_>>::default();
        let audit_thread = AuditThread {
            path: path.to_owned(),
            file: Some(file),
            partial: repaired.ends_within_a_line,
            reopen_error: None,
            seq: 0,
            drops_reported: 0,
            dropped: Arc::clone(&dropped),
            problem: Arc::clone(&problem),
        };
        // Now: later the engine may open no socket any more.
        let names = InterfaceNames::new();
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || audit_thread.run(&events, &names))?;
        Ok(Self {
            queue: Some(queue),
            dropped,
            problem,
            thread: Some(thread),
        })
    }

    /// Why lines are being lost, since the last one that was tried.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.map_or(None, |problem| problem.clone())
    }

    /// Queues a line; drops and counts it where the queue is full.
    pub fn write(&self, event: AuditEvent) {
        self.send(Message::Event(Box::new(event)));
    }

    /// Opens the file anew, after the lines that are queued.
    pub fn reopen(&self) {
        // A full queue checks for a renamed file soon enough.
        if let Some(queue) = &self.queue {
            let _ = queue.try_send(Message::Reopen);
        }
    }

    /// Lines that were never written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn send(&self, message: Message) {
        let sent = self.queue.as_ref().map(|queue| queue.try_send(message));
        if !matches!(sent, Some(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AuditLog {
    /// Waits until what is queued is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(i32::try_from(flags).unwrap_or(0))
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("the audit file is not a regular file"));
    }
    Ok(file)
}

/// The thread's end.
struct AuditThread {
    path: PathBuf,
    file: Option<File>,
    /// The last write ended within a line.
    partial: bool,
    /// Why the file at its path is not the one in use.
    reopen_error: Option<String>,
    seq: u64,
    /// Dropped lines that a line told of.
    drops_reported: u64,
    dropped: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<String>>>,
}

impl AuditThread {
    fn run(mut self, events: &Receiver<Message>, names: &InterfaceNames) {
        while let Ok(message) = events.recv() {
            match message {
                Message::Reopen => self.reopen(),
                Message::Event(event) => {
                    if self.was_renamed() {
                        self.reopen();
                    }
                    self.event(&event, names);
                }
            }
        }
    }

    fn event(&mut self, event: &AuditEvent, names: &InterfaceNames) {
        let name = event.interface.map(|index| names.lookup(index));
        if !self.append(event, name.as_deref()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.drops_reported {
            let mut report = AuditEvent::new(Event::State, event.at);
            report.detail = Some("audit lines were lost");
            report.counts = vec![("dropped", dropped.saturating_sub(self.drops_reported))];
            if self.append(&report, None) {
                self.drops_reported = dropped;
            }
        }
    }

    /// Appends one line; says whether all of it was written.
    fn append(&mut self, event: &AuditEvent, interface: Option<&str>) -> bool {
        let seq = self.seq.saturating_add(1);
        let mut line = render(event, seq, interface);
        if self.partial {
            line.insert(0, '\n');
        }
        let Some(file) = &mut self.file else {
            return false;
        };
        let problem = match file.write(line.as_bytes()) {
            Ok(written) if written == line.len() => {
                self.partial = false;
                self.seq = seq;
                // A line in a file that nobody finds any more is as good as lost.
                self.reopen_error.clone()
            }
            Ok(written) => {
                self.partial = self.partial || written > 0;
                Some(format!("{} is full", self.path.display()))
            }
            Err(error) => Some(format!("{}: {error}", self.path.display())),
        };
        let written = self.seq == seq;
        if let Ok(mut shared) = self.problem.lock() {
            *shared = problem;
        }
        written
    }

    fn reopen(&mut self) {
        // A failed attempt keeps the old file: a line in a renamed file is better than none.
        match open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.partial = false;
                self.reopen_error = None;
            }
            Err(error) => self.reopen_error = Some(format!("{}: {error}", self.path.display())),
        }
    }

    fn was_renamed(&self) -> bool {
        let Some(Ok(ours)) = self.file.as_ref().map(File::metadata) else {
            return true;
        };
        match std::fs::symlink_metadata(&self.path) {
            Ok(current) => (current.dev(), current.ino()) != (ours.dev(), ours.ino()),
            Err(_) => true,
        }
    }
}

/// Names of interfaces; the number where there is no name (any more).
///
/// Any socket of a network knows its interfaces. This one is local and has no peer, and the
/// sandbox lets no socket send to an address: it leads nowhere.
struct InterfaceNames(Option<UnixDatagram>);

impl InterfaceNames {
    fn new() -> Self {
        Self(UnixDatagram::unbound().ok())
    }

    fn lookup(&self, index: u32) -> String {
        let name = self
            .0
            .as_ref()
            .and_then(|fd| rustix::net::netdevice::index_to_name(fd, index).ok());
        name.unwrap_or_else(|| index.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use spa_proto::Timestamp;

    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn event() -> AuditEvent {
        AuditEvent::new(Event::State, Timestamp::from_micros(1))
    }

    #[test]
    fn lines_are_appended_numbered_and_not_for_everybody_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        log.write(event());
        log.write(event());
        drop(log);
        let sequence: Vec<_> = lines(&path)
            .iter()
            .map(|line| line["seq"].as_u64())
            .collect();
        assert_eq!(sequence, [Some(1), Some(2)]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn a_renamed_file_is_left_and_a_new_one_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a"), folder.path().join("a.1"));
        let log = AuditLog::open(&path).unwrap();
        log.write(event());
        log.reopen();
        while std::fs::read(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &old).unwrap();
        log.write(event());
        drop(log);
        assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    }

    #[test]
    fn after_a_power_cut_the_file_is_text_and_what_was_cut_ends_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for rest in ["{\"seq\":2", ""] {
            let cut = ["{\"seq\":1}\n", rest, &"\0".repeat(4096)].concat();
            std::fs::write(&path, cut).unwrap();
            let log = AuditLog::open(&path).unwrap();
            log.write(event());
            drop(log);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains('\0'), "{text:?}");
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("{\"seq\":1}"));
            if !rest.is_empty() {
                assert_eq!(lines.next(), Some(rest));
            }
            let last: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
            assert_eq!((&last["event"], lines.next()), (&"state".into(), None));
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(AuditLog::open(&path).is_err());
    }

    #[test]
    fn lines_that_the_disk_does_not_take_are_counted_and_told_of() {
        // Every write to /dev/full fails with ENOSPC.
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let dropped = Arc::new(AtomicU64::new(0));
        let mut audit_thread = AuditThread {
            path: path.clone(),
            file: Some(full),
            partial: false,
            reopen_error: None,
            seq: 0,
            drops_reported: 0,
            dropped: Arc::clone(&dropped),
            problem: Arc::default(),
        };
        let names = InterfaceNames::new();
        audit_thread.event(&event(), &names);
        audit_thread.event(&event(), &names);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        let problem = |sink: &AuditThread| sink.problem.lock().unwrap().clone();
        let said = problem(&audit_thread).unwrap();
        assert!(said.contains("No space left"), "{said}");
        audit_thread.reopen();
        audit_thread.event(&event(), &names);
        assert_eq!(problem(&audit_thread), None);
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["counts"]["dropped"], 2);
    }
}
