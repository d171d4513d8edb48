//! Other programs' configuration, turned into ours. One folder a program.
//!
//! Pure: texts go in, texts and findings come out. Nothing is run, read or written here.
#![forbid(unsafe_code)]

mod toml_append;

pub mod knockd;

pub mod rules_export;
