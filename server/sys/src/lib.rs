//! The only unsafe code of the workspace: system calls that no crate we use
//! wraps, as safe functions.
//!
//! One file a matter. Nothing here decides anything; every block says why it is sound.

pub mod bpf;
pub mod child;
pub mod clock;
pub mod malloc;
pub mod netns;
pub mod packet_socket;
pub mod probe;
pub mod process;
pub mod rx_ring;
pub mod scheduling;
pub mod users;

pub mod fd_limit;

pub mod journald;

pub mod program;
