//! `spad check`: everything that is wrong with the configuration.

use serde_json::json;
use spa_keys::file::{Owner, read_secret_file};
use spa_keys::{PreSharedKey, SharedKey};

use super::owners::Owners;
use super::{Failure, Options, Run, outcome};
use crate::config::{self, ClientConfig, ClientKey, Finding, Findings, Occasion, Severity};
use crate::paths::Paths;

pub(crate) fn run(options: &Options) -> Run {
    let paths = options.paths();
    let result = config::load_for(&paths.config, Occasion::Change, crate::clock::now().wall);
    let (counts, findings) = match result {
        Ok(loaded) => {
            let mut findings = loaded.warnings;
            findings.extend(
                loaded
                    .config
                    .clients
                    .iter()
                    .flat_map(|client| key_files(&paths, client)),
            );
            (
                Some((loaded.config.services.len(), loaded.config.clients.len())),
                findings,
            )
        }
        Err(findings) => (None, findings),
    };
    if options.json {
        outcome::print_json(&as_json(&findings))?;
    } else if !findings.is_empty() {
        outcome::note(&findings);
    }
    match counts {
        Some((services, clients)) if !findings.has_errors() => {
            if options.json {
                return Ok(());
            }
            outcome::print(format_args!("ok: {services} services, {clients} clients"))
        }
        _ if options.json => Err(Failure::Said),
        _ => {
            let errors = findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .count();
            outcome::note(format_args!("{errors} to be mended"));
            Err(Failure::Said)
        }
    }
}

/// What is wrong with the secrets that a client's file speaks of.
fn key_files(paths: &Paths, client: &ClientConfig) -> Vec<Finding> {
    let owner = Owners::find()
        .engine
        .map_or(Owner::Me, |(uid, _)| Owner::Also(uid));
    let mut found = Vec::new();
    let mut look = |kind: &str, ending: &str, parse: fn(&str) -> Result<(), spa_keys::KeyError>| {
        let path = paths
            .client_keys()
            .join(format!("{}.{ending}", client.name));
        let text = read_secret_file(&path, owner).map_err(|error| error.problem.to_string());
        let result = text.and_then(|text| parse(&text).map_err(|error| error.to_string()));
        if let Err(what) = result {
            let finding = Finding::error(&path, format!("the {kind} of `{}`: {what}", client.name));
            found.push(finding.help(format!(
                "add the client anew: spad client remove {0}; spad client add {0} …",
                client.name
            )));
        }
    };
    if client.keys.contains(&ClientKey::Shared) {
        look("shared key", "shared", |text| {
            SharedKey::from_text(text).map(drop)
        });
    }
    if client.pre_shared_key {
        look("pre-shared key", "psk", |text| {
            PreSharedKey::from_text(text).map(drop)
        });
    }
    found
}

/// The findings as data; texts are the same as those printed.
fn as_json(findings: &Findings) -> serde_json::Value {
    let one = |finding: &Finding| {
        json!({
            "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "file": config::redact::line(&finding.file.display().to_string(), false),
            "line": finding.place.as_ref().map(|place| place.line),
            "column": finding.place.as_ref().map(|place| place.column),
            "message": finding.message,
            "help": finding.help,
            "notes": finding.notes,
        })
    };
    json!({ "ok": !findings.has_errors(), "findings": findings.iter().map(one).collect::<Vec<_>>() })
}
