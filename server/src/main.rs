//! `spad`, the server's command.
#![forbid(unsafe_code)]
fn main() {}
