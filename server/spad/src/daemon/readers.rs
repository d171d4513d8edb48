//! [IO] The users that read the configuration at a reload: the engine's, the command runner's and
//! the firewall writer's.

use spad_config::ConfigReaders;
use spad_firewall::writer;

use crate::runner;

/// Looks up all of them. Returns none if this process is not root, because then all are one user.
pub(crate) fn readers() -> ConfigReaders {
    if !rustix::process::geteuid().is_root() {
        return ConfigReaders::default();
    }
    // If neither `spad` nor `nobody` exists, the start fails with that.
    let identity = spad_sandbox::engine_identity().ok();
    let engine = identity.map(|identity| (identity.uid, vec![identity.gid]));
    ConfigReaders {
        users: engine
            .into_iter()
            .chain(writer::config_reader())
            .chain(runner::config_reader())
            .collect(),
        group: spad_sys::users::group("spad")
            .ok()
            .flatten()
            .map(|group| group.gid),
    }
}
