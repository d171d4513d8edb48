//! [IO] The part of a start that needs privileges, and the drop of the privileges.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use spa_keys::file::AllowedOwner;
use spad_capture::{Capture, CaptureOptions, InterfaceSetting, RING_FRAMES, missing_interfaces};
use spad_config::Config;
use spad_engine::clients::Clients;
use spad_firewall::WriterClient;
use spad_model::Paths;
use spad_sandbox::{AllowedPaths, Identity, LandlockCoverage};
use tracing::{info, warn};

use super::conntrack::ConntrackMonitor;
use super::directories::make_audit_directory;
use super::load_config::load_keys;
use super::start_error::StartError;
use crate::audit::AuditLog;
use crate::control::server::bind;
use crate::runner::link::RunnerClient;

/// The capabilities that a start needs.
const REQUIRED_CAPABILITIES: [(caps::Capability, &str); 4] = [
    (
        caps::Capability::CAP_NET_RAW,
        "CAP_NET_RAW (to see packets)",
    ),
    (
        caps::Capability::CAP_NET_ADMIN,
        "CAP_NET_ADMIN (to write nftables)",
    ),
    (
        caps::Capability::CAP_SETUID,
        "CAP_SETUID (to become the user spad)",
    ),
    (
        caps::Capability::CAP_SETGID,
        "CAP_SETGID (to become the user spad)",
    ),
];

/// Checks that this process has the capabilities of a start.
pub(super) fn check_privileges() -> Result<(), StartError> {
    let effective = caps::read(None, caps::CapSet::Effective).unwrap_or_default();
    let missing: Vec<_> = REQUIRED_CAPABILITIES
        .iter()
        .filter(|(capability, _)| !effective.contains(capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(StartError::Privilege {
            missing: missing.join(", "),
        })
    }
}

/// Everything that needed a privilege to open.
pub(super) struct Privileged {
    pub(super) clients: Clients,
    pub(super) writer: WriterClient,
    pub(super) runner: Option<RunnerClient>,
    pub(super) captures: Vec<Capture>,
    pub(super) control: UnixListener,
    pub(super) audit: AuditLog,
    pub(super) conntrack: ConntrackMonitor,
}

/// Opens everything that needs a privilege, then drops the privileges.
pub(super) fn start_privileged(
    paths: &Paths,
    config: &Arc<Config>,
    identity: &Identity,
    writer: WriterClient,
    binary: &Path,
) -> Result<Privileged, StartError> {
    let clients = load_keys(
        paths,
        Arc::clone(config),
        AllowedOwner::CurrentUserOr(identity.uid),
    )?;
    let runner = match config.needs_runner() {
        true => Some(RunnerClient::start(binary, paths)?),
        false => None,
    };
    let options = CaptureOptions {
        carriers: config.listen.carriers.clone(),
        interfaces: config.listen.interfaces.clone(),
        ring_frames: RING_FRAMES,
    };
    let captures = match config.listen.threads {
        1 => vec![Capture::open(&options)?],
        threads => Capture::open_fanout_group(&options, threads)?,
    };
    if let Some(capture) = captures.first() {
        warn_of_missing_interfaces(config, capture);
    }
    let group = spad_sys::users::group("spad-admin")
        .ok()
        .flatten()
        .map(|group| group.gid);
    let control = bind(&paths.control_socket(), group)?;
    make_audit_directory(&config.log.audit, identity)?;
    let conntrack = ConntrackMonitor::open();
    let coverage = spad_sandbox::enter(identity, &allowed_paths(paths, config))?;
    report_confinement(&coverage);
    let audit = AuditLog::open(&config.log.audit).map_err(|source| StartError::Audit {
        path: config.log.audit.clone(),
        source,
    })?;
    Ok(Privileged {
        clients,
        writer,
        runner,
        captures,
        control,
        audit,
        conntrack,
    })
}

fn warn_of_missing_interfaces(config: &Config, capture: &Capture) {
    let listen_interfaces = config.listen.interfaces.iter().flatten();
    let listened = missing_interfaces(
        listen_interfaces.map(String::as_str),
        InterfaceSetting::Listen,
        capture.as_fd(),
    );
    let allowed = missing_interfaces(
        config.allowed_interfaces(),
        InterfaceSetting::AlwaysAllow,
        capture.as_fd(),
    );
    for warning in [listened, allowed].into_iter().flatten() {
        warn!("{warning}\n  help: correct it in spad.toml if it is misspelt (ip link lists them)");
    }
}

/// Logs how far Landlock confines the engine. An older Landlock gets no warning, because the
/// forbidden calls and the file modes refuse what it leaves out.
fn report_confinement(coverage: &LandlockCoverage) {
    match coverage {
        LandlockCoverage::Full => {}
        LandlockCoverage::Partial(missing) => info!(
            "the engine sees its own directories only; this kernel's Landlock does not restrict {missing}"
        ),
        LandlockCoverage::None(why) => warn!(
            "this kernel does not confine the engine to its own directories ({why}): it can read what every user can; the rest of its confinement is in force\n  help: see that `landlock` is in /sys/kernel/security/lsm: add it to lsm= on the kernel's command line, or use a kernel that has it"
        ),
    }
}

fn allowed_paths(paths: &Paths, config: &Config) -> AllowedPaths {
    // An editor replaces a file by another, so the engine must see the directory.
    let doors = config.knock.iter();
    let one_time = doors.filter_map(|door| door.pattern.sequences.one_time()?.file.parent());
    // A reload reads keys in the state directory. The files that the engine writes there are open
    // already. `[policy] time_zone` needs the rules of time zones.
    let always = [&*paths.config, &*paths.state]
        .into_iter()
        .chain([Path::new("/usr/share/zoneinfo"), Path::new("/etc/zoneinfo")]);
    AllowedPaths {
        read: always.chain(one_time).map(Path::to_owned).collect(),
        write: config
            .log
            .audit
            .parent()
            .into_iter()
            .map(Path::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use spad_sys::clock;

    use super::*;

    #[test]
    fn the_engine_may_change_nothing_in_the_state_directory_but_what_it_has_open() {
        let config = spad_config::check(&files(), clock::now().wall);
        let config = config.unwrap().config;
        let paths = Paths {
            config: "/etc/spad".into(),
            state: "/var/lib/spad".into(),
            run: "/run/spad".into(),
        };
        let visible = allowed_paths(&paths, &config);
        assert!(visible.read.contains(&paths.state));
        assert_eq!(visible.write, [PathBuf::from("/var/log/spad")]);
    }

    fn files() -> spad_config::Files {
        let mut files = spad_config::Files::empty(Path::new("/etc/spad"));
        let text = "hide = []\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";
        files.server = Some(spa_findings::Source::new(
            Path::new("/etc/spad/spad.toml"),
            text.to_owned(),
        ));
        files
    }
}
