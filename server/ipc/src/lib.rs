//! [IO] What the engine needs to talk to its helper processes.
//!
//! A helper is the same binary, executed with a hidden subcommand. Its standard input is a
//! socket to the engine that keeps messages apart.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use spad_model::Paths;

/// Room for messages that wait to be read, in bytes: hundreds of the longest.
const SOCKET_BUFFER: usize = 1 << 20;

/// Executes `binary` as a helper of the engine with this socket as its standard input.
///
/// # Errors
/// Why it could not be executed.
pub fn spawn(
    binary: &Path,
    subcommand: &str,
    paths: &Paths,
    socket: OwnedFd,
) -> Result<Child, String> {
    let stdout = OpenOptions::new().read(true).write(true).open("/dev/null");
    let stdout = stdout.map_err(|error| format!("cannot open /dev/null: {error}"))?;
    Command::new(binary)
        .arg(subcommand)
        .arg("--config")
        .arg(&paths.config)
        .arg("--state")
        .arg(&paths.state)
        .arg("--run")
        .arg(&paths.run)
        .stdin(Stdio::from(socket))
        .stdout(stdout)
        .spawn()
        .map_err(|error| format!("cannot execute {}: {error}", binary.display()))
}

/// Waits until a message or the end of the socket can be read; false where neither came
/// before the timeout.
///
/// # Errors
/// What the kernel says.
pub fn wait_readable(socket: &OwnedFd, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).ok();
    let mut ready = [PollFd::new(socket, PollFlags::IN)];
    let count = rustix::io::retry_on_intr(|| poll(&mut ready, timeout.as_ref()))?;
    Ok(count > 0)
}

/// Makes the two ends of a socket that keeps messages apart.
///
/// # Errors
/// What the kernel says.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for end in [&ours, &theirs] {
        // A smaller buffer serves too, so a kernel that gives less is no error.
        if sockopt::set_socket_send_buffer_size_force(end, SOCKET_BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(end, SOCKET_BUFFER)?;
        }
    }
    Ok((ours, theirs))
}
