//! `spad client list` and `show`: what the files say, whatever state they are in.

use serde_json::{Value, json};
use spa_keys::{ClientPublic, KeyId};

use crate::cli::outcome::{note, print, print_json};
use crate::cli::{Failure, Options, Run, key};
use crate::config::{ClientName, Files, Surveyed, survey};

pub(super) fn list(options: &Options) -> Run {
    let files = Files::read(&options.paths().config);
    let clients = survey(&files);
    if options.json {
        let rows: Vec<Value> = clients.iter().map(|client| as_json(client, &[])).collect();
        print_json(&json!({ "clients": rows }))?;
    } else if clients.is_empty() && !files.findings.has_errors() {
        note("no clients yet");
    } else {
        let width = clients
            .iter()
            .map(|client| client.name.as_str().len())
            .max()
            .unwrap_or(0);
        for client in &clients {
            print(format_args!(
                "{:width$}  {:8}  {}",
                client.name,
                state(client),
                client.allow.join(", ")
            ))?;
        }
    }
    if !files.findings.is_empty() {
        note(&files.findings);
    }
    if files.findings.has_errors() || clients.iter().any(|client| client.faulty) {
        note("not everything could be read; spad check says why");
        return Err(Failure::Said);
    }
    Ok(())
}

pub(super) fn show(options: &Options, name: &ClientName) -> Run {
    let paths = options.paths();
    let files = Files::read(&paths.config);
    let clients = survey(&files);
    let client = clients
        .iter()
        .find(|client| client.name == *name)
        .ok_or_else(|| super::unknown(&files, name))?;
    // Key ids stand in the audit lines; without the server's key they cannot be computed.
    let ids: Vec<String> = match key::public(&paths) {
        Ok(server) => {
            let keys = client
                .keys
                .iter()
                .filter_map(|key| key.parse::<ClientPublic>().ok());
            keys.map(|key| KeyId::of_client(&server, &key).to_string())
                .collect()
        }
        Err(_) => Vec::new(),
    };
    if options.json {
        print_json(&as_json(client, &ids))?;
    } else {
        let row = |word: &str, text: String| {
            if text.is_empty() {
                Ok(())
            } else {
                print(format_args!("{word:16}{text}"))
            }
        };
        row("name", client.name.to_string())?;
        row("state", state(client).to_owned())?;
        for key in &client.keys {
            row("key", key.clone())?;
        }
        row("key id", ids.join(", "))?;
        row(
            "pre-shared key",
            if client.pre_shared_key {
                "yes".to_owned()
            } else {
                String::new()
            },
        )?;
        row("allow", client.allow.join(", "))?;
        row("sources", client.sources.join(", "))?;
        row("expires", expires(client).unwrap_or_default())?;
        row(
            "max_ttl",
            client
                .max_ttl_s
                .map(|seconds| format!("{seconds}s"))
                .unwrap_or_default(),
        )?;
        row(
            "require_address",
            client
                .require_address
                .map(|yes| yes.to_string())
                .unwrap_or_default(),
        )?;
        row("note", client.note.clone().unwrap_or_default())?;
    }
    if client.faulty {
        note("not everything could be read; spad check says why");
        return Err(Failure::Said);
    }
    Ok(())
}

fn state(client: &Surveyed) -> &'static str {
    let now = crate::clock::now().wall;
    if client.faulty {
        "faulty"
    } else if !client.enabled {
        "disabled"
    } else if client.expires.is_some_and(|expires| expires <= now) {
        "expired"
    } else {
        "active"
    }
}

fn expires(client: &Surveyed) -> Option<String> {
    let micros = i64::try_from(client.expires?.as_micros()).ok()?;
    jiff::Timestamp::from_microsecond(micros)
        .ok()
        .map(|at| at.to_string())
}

fn as_json(client: &Surveyed, ids: &[String]) -> Value {
    json!({
        "name": client.name.as_str(),
        "state": state(client),
        "keys": client.keys,
        "key_ids": ids,
        "pre_shared_key": client.pre_shared_key,
        "allow": client.allow,
        "sources": client.sources,
        "expires": expires(client),
        "max_ttl_s": client.max_ttl_s,
        "require_address": client.require_address,
        "note": client.note,
    })
}
