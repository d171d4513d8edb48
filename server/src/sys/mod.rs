//! The only unsafe code of the workspace: system calls that no crate we use
//! wraps, as safe functions.
//!
//! One file a matter. Nothing here decides anything; every block says why it is sound.

pub mod child;
pub mod memory;
pub mod network;
pub mod packet;
pub mod probe;
pub mod process;
pub mod ring;
pub mod scheduling;
pub mod users;
