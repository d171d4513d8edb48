//! [IO] Who reads the configuration at a reload: the engine, the command runner, then
//! the firewall writer.

use crate::config::Readers;
use crate::{runner, sandbox, sys, writer};

/// All of them, as root starts them; nobody where this process is not root and stays who it is.
pub(crate) fn readers() -> Readers {
    if !rustix::process::geteuid().is_root() {
        return Readers::default();
    }
    // Where neither the user nor his stand-in exists, the start says so.
    let engine = sandbox::engine_identity().ok();
    let engine = engine.map(|identity| (identity.uid, vec![identity.gid]));
    Readers {
        users: engine
            .into_iter()
            .chain(writer::config_reader())
            .chain(runner::reads_as())
            .collect(),
        group: sys::users::group("spad")
            .ok()
            .flatten()
            .map(|group| group.gid),
    }
}
