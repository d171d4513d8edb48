//! The real `spa` over loopback, in directories of its own.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod closing;
mod common;
mod connecting;
mod hosts;
mod local;
mod opening;
mod packets;
mod running;
mod secrets;
mod stun;
