//! The client: library behind the `spa` binary.
#![forbid(unsafe_code)]
