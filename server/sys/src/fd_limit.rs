//! [IO] The limit on open files of a process (`RLIMIT_NOFILE`).
//!
//! Processes that hide ports raise it first: hiding must not depend on a limit that was set
//! for something else. Child processes inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Twice the maximum of any process of ours. The engine has 16 capture threads with three
/// files each, 16 control connections and about forty files; the command runner has 16
/// programs with two each. Clients' files are opened one at a time, and services and grants
/// need none, so no configuration needs more.
const NEEDED: u64 = 256;

/// The limit is too low and could not be raised.
#[derive(Debug, thiserror::Error)]
#[error(
    "a process of spad may have {limit} files open at once (RLIMIT_NOFILE), and needs up to {NEEDED}; the limit cannot be raised: {error}\n  help: set LimitNOFILE={NEEDED} in the unit (systemctl edit spad spad-guard), or raise the hard limit of whoever starts it (ulimit -Hn)"
)]
pub struct FdLimitError {
    limit: u64,
    error: rustix::io::Errno,
}

/// Raises the limit to what is needed, above the hard limit if this process may
/// (CAP_SYS_RESOURCE).
///
/// # Errors
/// The limit stays too low; it is as high as this process may set it.
pub fn raise() -> Result<(), FdLimitError> {
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|soft| soft >= NEEDED) {
        return Ok(());
    }
    let set = |maximum: Option<u64>| {
        let current = Some(maximum.unwrap_or(NEEDED).min(NEEDED));
        setrlimit(Resource::Nofile, Rlimit { current, maximum })
    };
    let wanted = limits.maximum.map(|hard| hard.max(NEEDED));
    set(wanted).map_err(|error| {
        // Fails again if nothing can be gained.
        let _ = set(limits.maximum);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        FdLimitError { limit, error }
    })
}
