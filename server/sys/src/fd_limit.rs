//! [IO] How many files a process may have open at once (`RLIMIT_NOFILE`).
//!
//! Whoever hides ports raises the limit first: what is to be hidden must not depend on a limit
//! that was set for something else. The processes that it starts inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Twice what any process of ours has at its most: the engine 16 capture threads with three
/// each, 16 connections of the control socket and some forty files; the command runner 16
/// programs with two each. Clients' files are opened one after the other, and services and
/// grants need none, so no configuration needs more.
const NEEDED: u64 = 256;

/// The limit is lower than what is needed, and stays so.
#[derive(Debug, thiserror::Error)]
#[error(
    "a process of spad may have {limit} files open at once (RLIMIT_NOFILE), and needs up to {NEEDED}; the limit cannot be raised: {error}\n  help: set LimitNOFILE={NEEDED} in the unit (systemctl edit spad spad-guard), or raise the hard limit of whoever starts it (ulimit -Hn)"
)]
pub struct FdLimitError {
    limit: u64,
    error: rustix::io::Errno,
}

/// Raises the limit to what is needed: within the hard one always, above that where this process
/// may (CAP_SYS_RESOURCE).
///
/// # Errors
/// It stays lower; it is as high as it may be.
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
        // Refused again where there is nothing to gain.
        let _ = set(limits.maximum);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        FdLimitError { limit, error }
    })
}
