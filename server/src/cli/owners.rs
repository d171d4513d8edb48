//! Who owns what `spad init` and `spad client add` make.
//!
//! Root gives the state to the engine's user and lets its group read the
//! configuration. Anyone else keeps what he makes.

use crate::sys::users;

/// Users and groups by number; `None` where this process cannot give anything away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owners {
    /// The engine's user and group.
    pub(crate) engine: Option<(u32, u32)>,
    /// The group that may read the configuration.
    pub(crate) readers: Option<u32>,
    /// The user `spad` is missing, and `nobody` stands in.
    pub(crate) stand_in: bool,
}

impl Owners {
    /// As they are on this machine.
    pub(crate) fn find() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::default();
        }
        let of = |name: &str| {
            users::user(name)
                .ok()
                .flatten()
                .map(|user| (user.uid, user.gid))
        };
        let spad = of("spad");
        let readers = users::group("spad").ok().flatten().map(|group| group.gid);
        Self {
            engine: spad.or_else(|| of("nobody")),
            readers,
            stand_in: spad.is_none(),
        }
    }

    /// The mode of a directory of the configuration.
    pub(crate) fn directory_mode(self) -> u32 {
        if self.readers.is_some() { 0o750 } else { 0o755 }
    }

    /// The mode of a file of the configuration.
    pub(crate) fn file_mode(self) -> u32 {
        if self.readers.is_some() { 0o640 } else { 0o644 }
    }

    /// Owner and group of the configuration.
    pub(crate) fn configuration(self) -> Option<(u32, u32)> {
        self.readers.map(|group| (0, group))
    }
}
