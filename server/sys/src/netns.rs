//! Creates a network namespace.
#![expect(unsafe_code, reason = "rustix's call takes flags that are not sound")]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread, and no other, into a new and empty network namespace. It
/// disappears with the last thread or file that refers to it.
///
/// # Errors
/// What the kernel reports; it needs CAP_SYS_ADMIN.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: only tables of files that are not shared any more would be unsound; the one
    // flag given is for the network.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}
