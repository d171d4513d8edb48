//! [IO] Who reads the configuration at a reload: the engine, the command runner, then
//! the firewall writer.

use crate::runner;
use spad_config::ConfigReaders;
use spad_firewall::writer;

/// All of them, as root starts them; nobody where this process is not root and stays who it is.
pub(crate) fn readers() -> ConfigReaders {
    if !rustix::process::geteuid().is_root() {
        return ConfigReaders::default();
    }
    // Where neither the user nor his stand-in exists, the start says so.
    let engine = spad_sandbox::engine_identity().ok();
    let engine = engine.map(|identity| (identity.uid, vec![identity.gid]));
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
