//! `spa hosts`, `spa host add` and its inverse `spa host remove`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;
use spa_keys::ServerPublic;
use spa_proto::Service;

use super::args::AddOptions;
use super::implicit_open::is_command;
use super::output::{Failure, Output};
use crate::config::edit::{self, EditError, NewHost};
use crate::config::{Credential, Host, HostName, file, validate};
use crate::exit::Exit;
use crate::identity;

pub(super) fn list(directory: &Path, output: &Output) -> Result<Exit, Failure> {
    let config = file::load(directory).map_err(Failure::local)?;
    let mut lines = Vec::new();
    let mut objects = Vec::new();
    for (name, host) in &config.hosts {
        let services: Vec<_> = host
            .services
            .iter()
            .map(|(name, ports)| format!("{name}={}", joined(ports)))
            .collect();
        lines.push(format!(
            "{name}  {} port {}  {}",
            host.address,
            host.port,
            described(host, &services)
        ));
        objects.push(json!({
            "host": name.as_str(),
            "address": host.address,
            "port": host.port,
            "default": host.default.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "services": host.services.iter().map(|(name, ports)| {
                let ports = ports.iter().map(|port| json!(port.to_string())).collect();
                (name.clone(), serde_json::Value::Array(ports))
            }).collect::<serde_json::Map<_, _>>(),
            "require_address": host.require_address,
            "shared_key": matches!(host.credential, Credential::SharedKey { .. }),
        }));
    }
    if config.hosts.is_empty() {
        output
            .note("no hosts yet; `spad client add` on the server prints the `spa host add` to run");
    }
    output.result(&lines.join("\n"), &json!({ "exit": 0, "hosts": objects }));
    Ok(Exit::Open)
}

fn described(host: &Host, services: &[String]) -> String {
    let default = if host.default.is_empty() {
        "opens what the server allows".to_owned()
    } else {
        format!("opens {}", joined(&host.default))
    };
    if services.is_empty() {
        default
    } else {
        format!("{default}; knows {}", services.join(" "))
    }
}

fn joined(services: &[Service]) -> String {
    let services: Vec<_> = services.iter().map(ToString::to_string).collect();
    services.join(",")
}

pub(super) fn add(
    options: &AddOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let name: HostName = options.name.parse().map_err(Failure::usage)?;
    if is_command(OsStr::new(name.as_str())) {
        let why = format!("`{name}` is a command of spa; choose another name");
        return Err(Failure::usage(why));
    }
    let key: ServerPublic =
        (options.key.parse()).map_err(|error| Failure::usage(format!("--key: {error}")))?;
    // What `spad client add` prints where it does not know it.
    if options.address == "ADDRESS" {
        return Err(Failure::usage(
            "--address: put the server's name or IP address in place of ADDRESS",
        ));
    }
    validate::address(&options.address)
        .map_err(|error| Failure::usage(format!("--address: {error}")))?;
    let services = options
        .services
        .iter()
        .map(|service| named_service(service))
        .collect::<Result<Vec<_>, _>>()?;
    for default in &options.default {
        let named = services.iter().any(|(name, _)| name == default);
        if !named && default.parse::<Service>().is_err() {
            let why = "--default: name a service given with --service, or a port such as tcp/22";
            return Err(Failure::usage(why));
        }
    }
    // The files are read now, so that a wrong one shows here and not at a locked door.
    if let Some(path) = &options.psk_file {
        identity::load_pre_shared(path).map_err(Failure::local)?;
    }
    if let Some(path) = &options.shared_key_file {
        identity::load_shared(path).map_err(Failure::local)?;
    }
    let host = NewHost {
        address: options.address.clone(),
        port: options.port,
        key: key.to_string(),
        default: options.default.clone(),
        services,
        psk_file: options.psk_file.as_deref().map(absolute).transpose()?,
        shared_key_file: options
            .shared_key_file
            .as_deref()
            .map(absolute)
            .transpose()?,
        require_address: options.require_address,
    };
    file::change(directory, |path, text| edit::add(path, text, &name, &host)).map_err(failure)?;
    output.note(&format!("added {name}; `spa {name}` opens it"));
    let own_key = host.shared_key_file.is_none();
    if own_key && !identity::path_in(directory).exists() {
        output.note(
            "this machine has no key yet: `spa key new`, then give the server its public key",
        );
    }
    output.object(|| json!({ "exit": 0, "added": name.as_str() }));
    Ok(Exit::Open)
}

pub(super) fn remove(name: &str, directory: &Path, output: &Output) -> Result<Exit, Failure> {
    let name: HostName = name.parse().map_err(Failure::usage)?;
    // Not even the directory is made where there is nothing to remove.
    if !file::path_in(directory).exists() {
        return Err(failure(EditError::Missing(name)));
    }
    file::change(directory, |path, text| edit::remove(path, text, &name)).map_err(failure)?;
    output.note(&format!("removed {name}"));
    output.object(|| json!({ "exit": 0, "removed": name.as_str() }));
    Ok(Exit::Open)
}

fn failure(error: EditError) -> Failure {
    Failure::local(error)
}

/// `ssh=tcp/22`, `dns=tcp/53,udp/53`.
fn named_service(text: &str) -> Result<(String, Vec<String>), Failure> {
    let usage = |why: String| Failure::usage(format!("--service: {why}"));
    let (name, ports) = text
        .split_once('=')
        .ok_or_else(|| usage("a service is written NAME=PORTS, such as ssh=tcp/22".into()))?;
    validate::service_name(name).map_err(|error| usage(error.to_string()))?;
    let services = validate::ports(ports).map_err(|error| usage(error.to_string()))?;
    let texts = services.iter().map(ToString::to_string).collect();
    Ok((name.to_owned(), texts))
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path: PathBuf = std::path::absolute(path).map_err(Failure::local)?;
    path.into_os_string()
        .into_string()
        .map_err(|_| Failure::usage("a key file's path must be UTF-8 text"))
}
