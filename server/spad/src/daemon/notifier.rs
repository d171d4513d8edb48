//! [IO] Notifies the service manager that the daemon is ready, that it is alive, and of its state
//! in one line.
//!
//! The socket is connected before the sandbox, which allows no new one. Without a service manager
//! there are no notifications.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager's notification socket.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    status: String,
}

impl Notifier {
    /// The one that the environment names, if any.
    pub(super) fn connect() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let socket = name.and_then(|name| connected(&name).ok());
        let watchdog = sd_notify::watchdog_enabled().filter(|_| socket.is_some());
        Self {
            socket,
            watchdog,
            status: String::new(),
        }
    }

    /// How often to notify that the daemon is alive: twice in the watchdog's time.
    pub(super) fn period(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// The daemon serves.
    pub(super) fn ready(&self) {
        self.send(&NotifyState::Ready);
    }

    /// The daemon and all its processes are alive.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            self.send(&NotifyState::Watchdog);
        }
    }

    /// Notifies of the daemon's state, if it changed.
    pub(super) fn status(&mut self, line: String) {
        if self.status != line {
            self.send(&NotifyState::Status(&line));
            self.status = line;
        }
    }

    fn send(&self, state: &NotifyState<'_>) {
        if let Some(socket) = &self.socket {
            // A failure cannot be reported to the service manager either.
            let _gone = socket.send(format!("{state}\n").as_bytes());
        }
    }
}

/// A socket to this path or, behind an `@`, this abstract name; never waits.
fn connected(name: &std::ffi::OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
