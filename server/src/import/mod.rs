//! Other programs' configuration, turned into ours. One folder a program.
//!
//! Pure: texts go in, texts and findings come out. Nothing is run, read or written here.

mod toml_append;

pub mod knockd;
