//! knockd.conf of knockd 0.8, turned into doors of ours.
//!
//! ```text
//! lines → door (what is knocked), effect (what it did) → tables → the loader's judgement
//! ```
//!
//! Pure. What stands in spad.toml is left alone: services with the same ports are used again, and
//! whatever does not pass the loader is not added.

mod action;
mod grant;
mod importer;
mod names;
mod one_time;
mod parser;
mod section;
mod services;
mod shell_words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use parser::Key;
use spa_findings::{Finding, Findings, Source};
use spa_proto::Timestamp;

/// What is turned into what.
#[derive(Clone, Copy, Debug)]
pub struct ImportInput<'a> {
    /// knockd.conf.
    pub knockd: &'a Source,
    /// spad.toml as it is.
    pub spad: &'a Source,
    /// The files that [`one_time_files`] names, or why one cannot be read.
    pub one_time: &'a BTreeMap<String, Result<Source, Finding>>,
    /// The files of sequences that spad.toml names already.
    pub existing_sequences: &'a BTreeMap<PathBuf, String>,
    /// The user that commands run as.
    pub run_as: &'a str,
    /// For what is judged by the time.
    pub now: Timestamp,
}

/// What came of it. With an error among the findings none of it is to be used.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The whole spad.toml.
    pub spad: String,
    /// What is new at its end.
    pub added: String,
    /// Files to be made, by their path below the configuration's directory.
    pub files: BTreeMap<String, String>,
    /// New doors.
    pub doors: Vec<String>,
    /// Doors that stand in spad.toml already, the same.
    pub already: Vec<String>,
    /// How many doors have no counterpart; each has its finding.
    pub left_out: usize,
    /// The services that the doors open.
    pub services: Vec<String>,
    /// What was found.
    pub findings: Findings,
}

/// The files of sequences that it names, in their order.
#[must_use]
pub fn one_time_files(knockd: &Source) -> Vec<String> {
    let lines = parser::read(knockd, &mut Vec::new());
    let entries = lines
        .doors
        .iter()
        .filter_map(|door| door.get(Key::OneTimeSequences));
    entries
        .map(|entry| entry.value.to_owned())
        .filter(|path| path.starts_with('/'))
        .collect()
}

/// Turns it into ours.
#[must_use]
pub fn import(input: ImportInput<'_>) -> Imported {
    importer::run(input)
}
