//! [IO] The socket between the engine and a helper. One message is one datagram.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};

use super::Message;

/// Room for messages that wait to be read, in bytes: hundreds of the longest.
const SOCKET_BUFFER: usize = 1 << 20;

/// What a socket holds for its reader.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// Nothing for now.
    Nothing,
    /// The other process has closed its end, or has exited.
    Closed,
}

/// Makes the two ends of a socket.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for end in [&ours, &theirs] {
        // A smaller buffer works too, so a kernel that gives less is not an error.
        if sockopt::set_socket_send_buffer_size_force(end, SOCKET_BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(end, SOCKET_BUFFER)?;
        }
    }
    Ok((ours, theirs))
}

/// A buffer for any message of this type. It has one byte more than the longest, so a longer
/// datagram cannot pass for a message.
pub(super) fn buffer_for<M: Message>() -> Vec<u8> {
    vec![0; M::MAX.saturating_add(1)]
}

/// Receives the next datagram; never blocks.
pub(super) fn receive<'a>(
    socket: &OwnedFd,
    buffer: &'a mut [u8],
) -> Result<Incoming<&'a [u8]>, Errno> {
    match retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::DONTWAIT)) {
        // No message is empty, so this is the end of the socket.
        Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Incoming::Closed),
        Ok((len, _)) => Ok(Incoming::Message(buffer.get(..len).unwrap_or_default())),
        Err(Errno::AGAIN) => Ok(Incoming::Nothing),
        Err(error) => Err(error),
    }
}

/// Sends a message; blocks until there is room.
pub(super) fn send_blocking(socket: &OwnedFd, message: &impl Message) -> Result<(), Errno> {
    send_with(socket, message, SendFlags::NOSIGNAL)
}

/// Sends a message; never blocks.
///
/// # Errors
/// [`Errno::AGAIN`] where there is no room; otherwise what the kernel says.
pub fn try_send(socket: &OwnedFd, message: &impl Message) -> Result<(), Errno> {
    send_with(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(socket: &OwnedFd, message: &impl Message, flags: SendFlags) -> Result<(), Errno> {
    let bytes = message.to_bytes();
    retry_on_intr(|| send(socket, &bytes, flags)).map(drop)
}

/// Waits until the socket holds a message or its end; false where neither came in time. No
/// timeout waits for ever.
pub(super) fn wait_readable(socket: &OwnedFd, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut ready = [PollFd::new(socket, PollFlags::IN)];
    let count = retry_on_intr(|| poll(&mut ready, timeout.as_ref()))?;
    Ok(count > 0)
}
