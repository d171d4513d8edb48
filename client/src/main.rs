//! `spa`, the client's command.
#![forbid(unsafe_code)]
fn main() {}
