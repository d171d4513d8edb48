//! The control socket: how the command line asks the running daemon.
//!
//! One request and one answer a connection, each one line of JSON. The types
//! of `message` are shared by both ends; nothing here knows the engine.

pub mod client;

pub mod message;

pub mod server;

pub use message::{Request, Response};
