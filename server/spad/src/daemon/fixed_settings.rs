//! Settings that hold from the start to the end of the daemon.
//!
//! The packet sockets are open and their filters locked, and so is the audit file. A
//! configuration that changes them needs a restart.

use std::path::PathBuf;

use spad_config::{Config, Listen};

/// The settings of the start.
#[derive(Debug)]
pub(super) struct FixedSettings {
    pub(super) listen: Listen,
    audit: PathBuf,
}

impl FixedSettings {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            audit: config.log.audit.clone(),
        }
    }

    /// The changes in `config` that wait for a restart.
    pub(super) fn restart_warnings(
        &self,
        config: &Config,
    ) -> impl Iterator<Item = &'static str> + use<> {
        let listen = &config.listen;
        // The address is only printed.
        let listen_changed = self.listen.ports != listen.ports
            || self.listen.carriers != listen.carriers
            || self.listen.interfaces != listen.interfaces
            || self.listen.threads != listen.threads;
        let audit_changed = self.audit != config.log.audit;
        let listen = listen_changed.then_some(
            "a change of [listen], or of where [[knock]] hears, needs a restart: systemctl restart spad",
        );
        let audit = audit_changed
            .then_some("a change of [log] audit needs a restart: systemctl restart spad");
        listen.into_iter().chain(audit)
    }
}
