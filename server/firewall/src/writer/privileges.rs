//! [IO] What the writer keeps: the user `spad-fw` and CAP_NET_ADMIN, nothing else.
//!
//! The capability is ambient, so that `nft` has it too. uid 0 with only that
//! capability would still own root's files, so the user changes as well. A
//! failed step ends the start.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use caps::{CapSet, Capability};
use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::WriterError;

/// Who the writer becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
    /// The group that may read the configuration.
    readers: Vec<u32>,
    /// The user `spad-fw` is missing, and `nobody` stands in.
    pub(super) is_fallback: bool,
}

fn syscall_error<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> WriterError {
    move |reason| WriterError::Syscall {
        step,
        reason: reason.to_string(),
    }
}

/// Fails with the name of the capability where it is missing.
pub(super) fn require_net_admin() -> Result<(), WriterError> {
    match caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN) {
        Ok(true) => Ok(()),
        _ => Err(WriterError::MissingCapability),
    }
}

/// The user to become; none where this process is not root and stays who it is.
///
/// `asked` is whose name the configuration gives, in place of `spad-fw`.
pub(super) fn identity(asked: Option<&str>) -> Result<Option<Identity>, WriterError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let readers = spad_sys::users::group("spad").ok().flatten();
    let usual = [("spad-fw", false), ("nobody", true)];
    let asked = asked.map(|name| [(name, false)]);
    let names = asked
        .as_ref()
        .map_or(usual.as_slice(), |name| name.as_slice());
    for (name, stand_in) in names.iter().copied() {
        let found = spad_sys::users::user(name)
            .map_err(syscall_error("look up the user of the firewall writer"))?;
        if let Some(user) = found {
            return Ok(Some(Identity {
                uid: user.uid,
                gid: user.gid,
                readers: readers.iter().map(|group| group.gid).collect(),
                is_fallback: stand_in,
            }));
        }
    }
    Err(match names {
        [(name, _)] => WriterError::UnknownUser((*name).to_owned()),
        _ => WriterError::MissingUser,
    })
}

/// The writer's user and groups, by number, where it can be told.
pub fn config_reader() -> Option<(u32, Vec<u32>)> {
    let identity = identity(None).ok().flatten()?;
    let groups = [identity.gid].into_iter().chain(identity.readers);
    Some((identity.uid, groups.collect()))
}

/// Makes the writer's own directory and works in it from then on: the directory
/// above may be closed to the writer's user.
pub(super) fn enter_directory(
    directory: &Path,
    identity: Option<&Identity>,
) -> Result<(), WriterError> {
    let failed = |reason: std::io::Error| WriterError::Directory {
        directory: directory.to_owned(),
        reason: reason.to_string(),
    };
    if let Some(above) = directory.parent() {
        std::fs::create_dir_all(above).map_err(failed)?;
    }
    match rustix::fs::mkdir(directory, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(failed(error.into())),
    }
    // The directory above belongs to the engine: what stands here may be a link of its making.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(directory, flags, Mode::empty())
        .map(std::fs::File::from)
        .map_err(|error| failed(error.into()))?;
    let owner = open.metadata().map_err(failed)?.uid();
    if let Some(identity) = identity {
        let named = |name| {
            spad_sys::users::user(name)
                .ok()
                .flatten()
                .map(|user| user.uid)
        };
        let known = [
            Some(0),
            Some(identity.uid),
            named("spad-fw"),
            named("nobody"),
        ];
        if !known.contains(&Some(owner)) {
            return Err(failed(std::io::Error::other(format!(
                "it belongs to the user number {owner}, who is not the firewall writer; look why, then remove it"
            ))));
        }
        match chown_to(&open, identity) {
            // It has been the writer's own since before, or nothing in it can be read.
            Ok(()) | Err(rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    rustix::process::fchdir(&open).map_err(|error| failed(error.into()))
}

/// Gives the directory, and the plain files in it, to the writer's user.
fn chown_to(directory: &std::fs::File, identity: &Identity) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::fs::fchown(directory, Some(uid), Some(gid))?;
    rustix::fs::fchmod(directory, Mode::RWXU)?;
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(directory, entry.file_name(), flags, Mode::empty())
        else {
            continue;
        };
        let status = rustix::fs::fstat(&file)?;
        let plain = rustix::fs::FileType::from_raw_mode(status.st_mode).is_file();
        if plain && status.st_nlink == 1 {
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// Gives away everything but CAP_NET_ADMIN, and that too unless `net_admin`, for good.
pub(super) fn drop_privileges(
    identity: Option<&Identity>,
    net_admin: bool,
) -> Result<(), WriterError> {
    let retained: HashSet<_> = net_admin
        .then_some(Capability::CAP_NET_ADMIN)
        .into_iter()
        .collect();
    if let Some(identity) = identity {
        rustix::thread::set_keep_capabilities(true).map_err(syscall_error("keep CAP_NET_ADMIN"))?;
        spad_sys::process::become_user(identity.uid, identity.gid, &identity.readers)
            .map_err(syscall_error("become the writer's user"))?;
    }
    for set in [
        CapSet::Effective,
        CapSet::Inheritable,
        CapSet::Permitted,
        CapSet::Ambient,
    ] {
        caps::set(None, set, &retained).map_err(syscall_error("keep CAP_NET_ADMIN alone"))?;
    }
    spad_sys::process::set_no_new_privs().map_err(syscall_error("refuse new privileges"))?;
    spad_sys::process::set_undumpable().map_err(syscall_error("forbid core dumps"))
}
