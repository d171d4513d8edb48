//! [IO] A connection → whoever started this program: the socket itself, as ssh's
//! ProxyUseFdpass takes it, or its bytes both ways.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::io::{dup, ioctl_fionbio};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt,
};
use rustix::stdio::dup2_stdout;

/// Whether stdout is a socket through which another one can be passed. ssh makes
/// it one for ProxyUseFdpass, and a pipe otherwise.
#[must_use]
pub fn stdout_is_unix_socket() -> bool {
    sockopt::socket_domain(io::stdout()).is_ok_and(|family| family == AddressFamily::UNIX)
}

/// Passes the socket itself.
///
/// # Errors
/// Whoever waits for it is gone.
pub fn send_fd(socket: &OwnedFd) -> io::Result<()> {
    // The other side expects what it would have made itself.
    ioctl_fionbio(socket, false)?;
    let passed = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&passed));
    // A message needs a byte to travel with.
    let byte = [IoSlice::new(&[0])];
    sendmsg(io::stdout(), &byte, &mut message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Carries bytes from stdin to the socket and from the socket to stdout, until
/// both sides have ended. One side's end is told to the other at once.
///
/// # Errors
/// One of them is gone.
pub fn relay(socket: OwnedFd) -> io::Result<()> {
    ioctl_fionbio(&socket, false)?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    let mut stdin = File::from(dup(io::stdin())?);
    let mut up = socket.try_clone()?;
    let upwards = thread::spawn(move || {
        // Where this side is gone, nothing more will come, and that is its end.
        let copied = copy(&mut stdin, &mut up);
        let _ = up.shutdown(Shutdown::Write);
        copied
    });
    let mut down = socket.try_clone()?;
    let mut stdout = File::from(dup(io::stdout())?);
    let copied = copy(&mut down, &mut stdout);
    // Its reader sees the end only when the last descriptor is closed.
    drop(stdout);
    dup2_stdout(File::open("/dev/null")?)?;
    if copied.is_err() {
        // Nobody reads, or the connection broke: stdin may never end.
        let _ = socket.shutdown(Shutdown::Both);
        return copied;
    }
    match upwards.join() {
        Ok(carried) => carried,
        Err(_) => Err(io::Error::other("a part of this program failed")),
    }
}

/// Carries bytes until `from` ends. Not `io::copy`, which splices in the kernel:
/// from a pipe to a socket, what came last could wait there for more (ssh hung).
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(bytes.get(..length).unwrap_or_default())?;
    }
}
