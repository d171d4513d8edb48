//! [IO] What the engine's process gives away before it reads a stranger's byte.
//!
//! Takes the user to become and the directories it needs; leaves a process
//! without capabilities that can gain none and sees only those directories.
//! The order matters: the user first (it needs the capabilities), then the
//! capabilities, then the file system, last the system calls. Any step that fails ends the start.
#![forbid(unsafe_code)]

mod seccomp;

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// Who the engine becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group, also the group that may read the configuration.
    pub gid: u32,
    /// Whether the user `spad` was missing and `nobody` stands in.
    pub stand_in: bool,
}

/// Why the privileges could not be given away.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Neither `spad` nor `nobody` exists.
    #[error(
        "there is neither a user `spad` nor `nobody`\n  help: adduser --system --group --no-create-home spad"
    )]
    MissingUser,
    /// The kernel refused a step.
    #[error("cannot {step}: {reason}\n  help: start spad as root, from systemd or a root shell")]
    Syscall {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
}

fn syscall_error(step: &'static str) -> impl Fn(&dyn std::fmt::Display) -> SandboxError {
    move |reason| SandboxError::Syscall {
        step,
        reason: reason.to_string(),
    }
}

/// The user of the engine: `spad`, or `nobody` where that does not exist.
///
/// # Errors
/// Where neither exists, or nobody can tell.
pub fn engine_identity() -> Result<Identity, SandboxError> {
    for (name, stand_in) in [("spad", false), ("nobody", true)] {
        let found = spad_sys::users::user(name)
            .map_err(|error| syscall_error("look up the user of the engine")(&error))?;
        if let Some(user) = found {
            return Ok(Identity {
                uid: user.uid,
                gid: user.gid,
                stand_in,
            });
        }
    }
    Err(SandboxError::MissingUser)
}

/// Directories that remain visible.
#[derive(Debug, Clone, Default)]
pub struct AllowedPaths {
    /// Read, and list.
    pub read: Vec<PathBuf>,
    /// Read and write, make and remove files.
    pub write: Vec<PathBuf>,
}

/// How far Landlock confines the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LandlockCoverage {
    /// Everything that was asked for.
    Full,
    /// What this kernel knows of it, and what that leaves out.
    Partial(Missing),
    /// Nothing, for this reason.
    None(&'static str),
}

/// What an older Landlock leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing(ABI);

/// What each version of Landlock added to the one before, of what is asked for.
const ADDED_BY_ABI: [(ABI, &str); 5] = [
    (ABI::V2, "moving files between directories (Linux 5.19)"),
    (ABI::V3, "cutting files short (6.2)"),
    (ABI::V4, "TCP connections (6.7)"),
    (ABI::V5, "requests to devices (6.10)"),
    (ABI::V6, "signals and abstract sockets (6.12)"),
];

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left_out = ADDED_BY_ABI.iter().filter(|(since, _)| *since > self.0);
        let left_out: Vec<&str> = left_out.map(|(_, what)| *what).collect();
        f.write_str(&left_out.join(", "))
    }
}

/// Gives away user, groups, capabilities and the file system, for good.
///
/// # Errors
/// Where any step fails; the process must end then.
pub fn enter(
    identity: &Identity,
    allowed: &AllowedPaths,
) -> Result<LandlockCoverage, SandboxError> {
    spad_sys::process::become_user(identity.uid, identity.gid, &[])
        .map_err(|error| syscall_error("become the engine's user")(&error))?;
    for set in [
        caps::CapSet::Ambient,
        caps::CapSet::Inheritable,
        caps::CapSet::Effective,
        caps::CapSet::Permitted,
    ] {
        caps::clear(None, set)
            .map_err(|error| syscall_error("give up every capability")(&error))?;
    }
    spad_sys::process::set_no_new_privs()
        .map_err(|error| syscall_error("refuse new privileges")(&error))?;
    spad_sys::process::set_undumpable()
        .map_err(|error| syscall_error("forbid core dumps")(&error))?;
    // An older kernel is no worse off: the forbidden calls below hold there too.
    spad_sys::process::set_memory_deny_write_execute();
    apply_landlock(allowed).map_err(|error| syscall_error("confine the file system")(&error))
}

/// Forbids what the engine never needs again, in every thread. Comes last: what needs a
/// socket has it already.
///
/// Says whether this is a processor whose calls are known.
///
/// # Errors
/// Where the kernel refuses; the process must end then.
pub fn deny_syscalls() -> Result<bool, SandboxError> {
    install_filter(seccomp::install_engine_filter)
}

/// Forbids what the firewall writer and `nft`, which it runs, never need.
///
/// Says whether this is a processor whose calls are known.
///
/// # Errors
/// Where the kernel refuses; the process must end then.
pub fn deny_writer_syscalls() -> Result<bool, SandboxError> {
    install_filter(seccomp::install_writer_filter)
}

fn install_filter(
    install: impl FnOnce(seccompiler::TargetArch) -> Result<(), seccompiler::Error>,
) -> Result<bool, SandboxError> {
    let Some(arch) = seccomp::architecture() else {
        return Ok(false);
    };
    install(arch).map_err(|error| syscall_error("forbid system calls")(&error))?;
    Ok(true)
}

fn apply_landlock(allowed: &AllowedPaths) -> Result<LandlockCoverage, LandlockError> {
    let abi = ABI::V6;
    let everything = AccessFs::from_all(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    for (paths, access) in [
        (&allowed.read, AccessFs::from_read(abi)),
        (&allowed.write, everything),
    ] {
        for path in paths {
            if let Some(directory) = open_path(path)? {
                rules = rules.add_rule(PathBeneath::new(directory, access))?;
            }
        }
    }
    let status = rules.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => LandlockCoverage::Full,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            LandlockCoverage::Partial(Missing(effective_abi))
        }
        (_, LandlockStatus::NotEnabled) => {
            LandlockCoverage::None("it has Landlock, which is not switched on")
        }
        _ => LandlockCoverage::None("it has no Landlock"),
    })
}

/// A path that does not exist, or that this user cannot reach, needs no rule: it stays invisible.
fn open_path(path: &Path) -> Result<Option<PathFd>, LandlockError> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match PathFd::new(path) {
        Ok(opened) => Ok(Some(opened)),
        Err(PathFdError::OpenCall { source, .. })
            if matches!(source.kind(), NotFound | PermissionDenied | NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Why the file system could not be confined.
#[derive(Debug, thiserror::Error)]
enum LandlockError {
    #[error(transparent)]
    Rules(#[from] landlock::RulesetError),
    /// Without its rule it would be invisible, and nobody would know why.
    #[error(transparent)]
    Path(#[from] PathFdError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_needs_no_rule_and_one_that_cannot_be_opened_is_an_error() {
        assert!(open_path(Path::new("/")).unwrap().is_some());
        for absent in ["/no/such/directory", "/etc/passwd/x"] {
            assert!(open_path(Path::new(absent)).unwrap().is_none(), "{absent}");
        }
        // As where no descriptor is left.
        assert!(open_path(Path::new(&"x".repeat(300))).is_err());
    }

    #[test]
    fn what_an_older_kernel_leaves_out_is_said_exactly() {
        let debian_12 = Missing(ABI::V2).to_string();
        assert_eq!(
            debian_12,
            "cutting files short (6.2), TCP connections (6.7), requests to devices (6.10), signals and abstract sockets (6.12)"
        );
        assert_eq!(
            Missing(ABI::V5).to_string(),
            "signals and abstract sockets (6.12)"
        );
        assert_eq!(Missing(ABI::V6).to_string(), "");
    }
}
