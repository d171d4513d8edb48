//! Where the sets of grants stand, and how they are called there.
//!
//! Pure. In our own table by their names; in a table of the administrator's
//! (`[guard] mode = "set"`) with ours before them, and nothing else of ours is there.

use crate::config::{Config, Mode};

use super::TABLE;
use super::sets::SetName;

/// A table of the family `inet`, and what the names of our sets begin with there.
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

    /// Where this configuration wants them.
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

    /// What a set is called there.
    #[must_use]
    pub fn name(&self, set: SetName) -> String {
        [self.prefix, set.as_str()].concat()
    }

    /// Our rules as they refer to the sets there.
    pub(super) fn qualify_sets(&self, text: &str) -> String {
        // In these rules the sign begins nothing but a set's name.
        text.replace(" @", &format!(" @{}", self.prefix))
    }

    /// The declarations of these sets, as nftables' own language says it. What the
    /// table has besides stays as it is.
    #[must_use]
    pub fn declarations(&self, sets: &[SetName]) -> String {
        let sets: String = sets
            .iter()
            .map(|set| set.text(&self.name(*set), &[]))
            .collect();
        format!("table inet {} {{\n{sets}}}\n", self.table)
    }

    /// A command about each of these sets.
    #[must_use]
    pub fn command_for_sets(&self, command: &str, sets: &[SetName]) -> String {
        let line =
            |set: &SetName| format!("{command} set inet {} {}\n", self.table, self.name(*set));
        sets.iter().map(line).collect()
    }
}
