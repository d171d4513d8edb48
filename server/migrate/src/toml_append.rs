//! What is added to a `spad.toml` that is there, byte for byte the rest as it was.
//!
//! Pure. Tables are put at the end, where they cannot fall into another one; every
//! addition is judged by the loader itself, together with all that stands there already.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spa_findings::{Finding, Findings, Severity, Source};
use spa_proto::Timestamp;
use spad_config::{Config, Files, SERVER_LIMIT};

/// A `spad.toml` that grows.
#[derive(Clone, Debug)]
pub(super) struct TomlAppender {
    /// Without its clients: spad.toml, and the files of sequences that it names.
    files: Files,
    text: String,
    /// What came behind the end of the old file.
    pub(super) added: String,
    now: Timestamp,
    /// As it is with all that was added so far.
    pub(super) config: Config,
}

impl TomlAppender {
    /// Nothing added yet.
    ///
    /// # Errors
    /// What is wrong with the file as it is.
    pub(super) fn new(
        source: &Source,
        one_time: &BTreeMap<PathBuf, String>,
        now: Timestamp,
    ) -> Result<Self, Findings> {
        let directory = source.path().parent().unwrap_or(source.path());
        let mut files = Files::empty(directory);
        files.server = Some(source.clone());
        files.one_time.clone_from(one_time);
        let loaded = spad_config::check(&files, now)?;
        Ok(Self {
            files,
            config: loaded.config,
            text: source.text().to_owned(),
            added: String::new(),
            now,
        })
    }

    /// The whole file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file as data; it was read without a fault.
    pub(super) fn table(&self) -> toml::Table {
        self.text.parse().unwrap_or_default()
    }

    /// Puts tables at the end; `file` is one of sequences that they name.
    ///
    /// # Errors
    /// What the loader says against it; then nothing is added.
    pub(super) fn append(
        &mut self,
        tables: &str,
        file: Option<(&str, &str)>,
    ) -> Result<(), Vec<Finding>> {
        let gap = if self.text.is_empty() || self.text.ends_with('\n') {
            "\n"
        } else {
            "\n\n"
        };
        let file = file.map(|(name, text)| (self.files.directory.join(name), text.to_owned()));
        self.try_apply(format!("{}{gap}{tables}", self.text), file)?;
        self.added.push_str(gap);
        self.added.push_str(tables);
        Ok(())
    }

    fn try_apply(
        &mut self,
        text: String,
        file: Option<(PathBuf, String)>,
    ) -> Result<(), Vec<Finding>> {
        let mut files = self.files.clone();
        let path = files.directory.join("spad.toml");
        if text.len() > SERVER_LIMIT {
            let limit = SERVER_LIMIT >> 10;
            let message = format!("spad.toml would be longer than {limit} KiB");
            return Err(vec![
                Finding::error(&path, message).help("shorten it first"),
            ]);
        }
        files.server = Some(Source::new(&path, text.clone()));
        files.one_time.extend(file);
        match spad_config::check(&files, self.now) {
            Ok(loaded) => {
                (self.files, self.text, self.config) = (files, text, loaded.config);
                Ok(())
            }
            Err(findings) => {
                let errors = findings
                    .iter()
                    .filter(|finding| finding.severity == Severity::Error);
                Err(errors.cloned().collect())
            }
        }
    }
}
