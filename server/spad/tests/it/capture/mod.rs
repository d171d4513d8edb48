//! Capture against the real kernel, each test in a network namespace of its own.
//!
//! Needs root, `unshare` and `ip`; without them a test fails and says so.

#[path = "../../../../capture/src/craft.rs"]
mod craft;
mod from_hosts;
#[path = "../../../../capture/src/interpreter.rs"]
mod interpreter;
mod on_the_wire;
mod own_network;
mod prefilter;
mod several_rings;
mod the_socket;
