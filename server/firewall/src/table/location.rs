//! The table that contains our sets, and the names of the sets in it.
//!
//! Pure. Usually it is our own table. With `[guard] mode = "set"` it is a table of the
//! administrator's, where our sets have a prefix and nothing else is ours.

use spad_config::{Config, Mode};

use super::TABLE;
use super::names::Names;
use super::sets::SetName;

/// A table of the family `inet`, and the prefix of our names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLocation {
    table: String,
    prefix: &'static str,
}

impl SetLocation {
    /// Our own table.
    #[must_use]
    pub fn own_table() -> Self {
        let table = TABLE.to_owned();
        Self { table, prefix: "" }
    }

    /// The table that this configuration names.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        match &config.guard.mode {
            Mode::Guard => Self::own_table(),
            Mode::Set(table) => Self {
                table: table.clone(),
                prefix: "spad_",
            },
        }
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Whether it is our own table.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.prefix.is_empty()
    }

    /// The name of a set there.
    #[must_use]
    pub fn name(&self, set: SetName) -> String {
        self.names().set(set)
    }

    /// The names that rules there use.
    pub(super) fn names(&self) -> Names<'_> {
        Names {
            table: &self.table,
            set_prefix: self.prefix,
            chain_prefix: self.prefix,
        }
    }

    /// The declarations of these sets in nft's language. They leave the rest of the table alone.
    #[must_use]
    pub fn declarations(&self, sets: &[SetName]) -> String {
        let sets = sets.iter().map(|set| set.text(self.names(), &[]));
        let sets: String = sets.collect();
        format!("table inet {} {{\n{sets}}}\n", self.table)
    }

    /// Runs this command of nft's language on each of these sets.
    #[must_use]
    pub fn command_for_sets(&self, command: &str, sets: &[SetName]) -> String {
        let line =
            |set: &SetName| format!("{command} set inet {} {}\n", self.table, self.name(*set));
        sets.iter().map(line).collect()
    }
}
