//! `spad check`: everything that is wrong with the configuration.

use std::os::fd::AsFd as _;

use rustix::process::geteuid;
use serde_json::json;
use spa_findings::{Finding, Findings, Severity, redact};
use spad_capture::{InterfaceSetting, missing_interfaces};
use spad_config::Config;
use spad_firewall::writer::closed_ports;
use spad_model::Paths;
use spad_replay::read_used;

use super::{CliResult, Failure, Options, key_checks, output};
use crate::daemon;

pub(crate) fn run(options: &Options) -> CliResult {
    let paths = options.paths();
    let result = spad_config::load(&paths.config, spad_sys::clock::now().wall);
    let mut findings = Findings::default();
    findings.extend(daemon::readers().unreadable(&paths.config));
    let config = match result {
        Ok(loaded) => {
            findings.append(loaded.warnings);
            findings.extend(daemon::forwarding(&loaded.config, &paths.config));
            findings.append(spad_config::check_programs(&paths.config));
            findings.extend(key_checks::check(&paths, &loaded.config));
            findings.extend(interfaces(&paths, &loaded.config));
            findings.append(closed_port_warnings(&paths, &loaded.config));
            findings.append(sequences(&paths, &loaded.config));
            Some(loaded.config)
        }
        Err(wrong) => {
            findings.append(wrong);
            None
        }
    };
    if options.json {
        output::print_json(&as_json(&findings))?;
    } else if !findings.is_empty() {
        output::note(&findings);
    }
    match config {
        Some(config) if !findings.has_errors() => {
            if options.json {
                return Ok(());
            }
            output::print(summary(&config))
        }
        _ if options.json => Err(Failure::AlreadyReported),
        _ => {
            let errors = findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .count();
            output::note(output::counted(errors, "error"));
            Err(Failure::AlreadyReported)
        }
    }
}

/// What a configuration without an error has.
fn summary(config: &Config) -> String {
    let mut parts = vec![
        output::counted(config.services.len(), "service"),
        output::counted(config.clients.len(), "client"),
    ];
    if !config.knock.is_empty() {
        parts.push(output::counted(config.knock.len(), "door"));
    }
    format!("ok: {}", parts.join(", "))
}

/// Interfaces that this machine does not have; as for keys, nothing is said where
/// another machine's configuration is checked.
fn interfaces(paths: &Paths, config: &Config) -> Vec<Finding> {
    if !paths.state.is_dir() {
        return Vec::new();
    }
    let kind = rustix::net::SocketType::DGRAM;
    let Ok(socket) = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None) else {
        return Vec::new();
    };
    let named = config.listen.interfaces.iter().flatten();
    let listened = named.map(String::as_str);
    let absent = [
        missing_interfaces(listened, InterfaceSetting::Listen, socket.as_fd()),
        missing_interfaces(
            config.allowed_interfaces(),
            InterfaceSetting::AlwaysAllow,
            socket.as_fd(),
        ),
    ];
    let found = absent.into_iter().flatten().map(|told| {
        let finding = Finding::warning(&paths.config_file(), told);
        finding.help("write a name as `ip link` shows it, if it is not to come later")
    });
    found.collect()
}

/// Whether hidden ports answer as closed ones do, by the rules of this host's own firewall;
/// nothing is said where another machine's configuration is checked, nor to who cannot see.
fn closed_port_warnings(paths: &Paths, config: &Config) -> Findings {
    let mut findings = Findings::default();
    let is_ours = config.guard.mode == spad_config::Mode::Guard && config.external.is_none();
    if !is_ours || config.hidden_ports().is_empty() || !paths.state.is_dir() || !geteuid().is_root()
    {
        return findings;
    }
    let text = closed_ports().describe(config.guard.answer);
    for line in text.lines().skip(1) {
        let finding = Finding::warning(
            &paths.config_file(),
            format!("strangers at hidden ports: {line}"),
        );
        findings
            .push(finding.help("`spad firewall show` tells what they get; [guard] answer sets it"));
    }
    findings
}

/// Sequences that are used, as far as who asks may know.
fn sequences(paths: &Paths, config: &Config) -> Findings {
    let mut lists = config.knock.iter().map(|door| &door.pattern.sequences);
    if !lists.any(|sequences| sequences.one_time().is_some()) {
        return Findings::default();
    }
    match read_used(&paths.state) {
        Ok(used) => spad_config::check_used_sequences(config, &used),
        Err(error) => {
            let mut findings = Findings::default();
            let message = "it cannot be told which sequences for one use are used";
            let finding = Finding::warning(&paths.state, message);
            findings.push(finding.help("run this as root").note(error.to_string()));
            findings
        }
    }
}

/// The findings as data; texts are the same as those printed.
fn as_json(findings: &Findings) -> serde_json::Value {
    let one = |finding: &Finding| {
        json!({
            "severity": finding.severity.to_string(),
            "file": redact::line(&finding.file.display().to_string(), false),
            "line": finding.location.as_ref().map(|place| place.line),
            "column": finding.location.as_ref().map(|place| place.column),
            "message": finding.message,
            "help": finding.help,
            "notes": finding.notes,
        })
    };
    json!({ "ok": !findings.has_errors(), "findings": findings.iter().map(one).collect::<Vec<_>>() })
}
