//! `spad client add`: checks everything as if the file stood there, then writes it,
//! then tells the running daemon.

use std::num::NonZeroU16;
use std::path::PathBuf;

use spa_keys::file::{
    AllowedOwner, FileProblem, WriteOptions, read_secret_file, write_secret_file_with,
};
use spa_keys::{ClientPublic, KeyError, KeyId, PreSharedKey, ServerPublic, SharedKey};
use spad_config::{ClientKey, Config, client_path};
use spad_model::{ClientName, Paths, ServiceName};

use crate::cli::atomic_file::{self, Existing};
use crate::cli::output::{note, print};
use crate::cli::ownership::Owners;
use crate::cli::{CliResult, Failure, Options, daemon_client, key};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("proof").required(true).args(["key", "shared_key_file"])))]
pub(crate) struct Arguments {
    /// The client's name
    name: ClientName,
    /// The client's public key, as `spa key show` prints it there
    #[arg(long, value_name = "spa-pub-…")]
    key: Option<String>,
    /// A file with a shared key, mode 0600, for devices without a key pair; it is copied
    #[arg(long, value_name = "FILE")]
    shared_key_file: Option<PathBuf>,
    /// A file with a pre-shared key, mode 0600, to be mixed in; it is copied
    #[arg(long, value_name = "FILE", conflicts_with = "shared_key_file")]
    psk_file: Option<PathBuf>,
    /// The services it may open
    #[arg(long, required = true, value_name = "SERVICE", value_delimiter = ',')]
    allow: Vec<ServiceName>,
    /// From when on it is refused, such as 2027-01-31T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    expires: Option<jiff::Timestamp>,
    /// For people
    #[arg(long)]
    note: Option<String>,
}

/// The client's proof, read and checked.
enum Proof {
    Public(ClientPublic),
    Shared(SharedKey),
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let paths = options.paths();
    let name = &arguments.name;
    let server = key::public(&paths)?;
    let proof = proof(arguments, &server)?;
    let pre_shared = match &arguments.psk_file {
        Some(path) => {
            let text = read_secret_file(path, AllowedOwner::CurrentUser)?;
            Some(PreSharedKey::from_text(&text).map_err(|error| with_path(path, error))?)
        }
        None => None,
    };
    let path = client_path(&paths.config, name);
    if path.symlink_metadata().is_ok() {
        return Err(Failure::with_help(
            format_args!("there is a client `{name}` already"),
            format_args!(
                "to change what it may open, edit {} and say spad reload; or choose another name, or first say spad client remove {name}",
                path.display()
            ),
        ));
    }
    if arguments
        .expires
        .is_some_and(|expires| micros(expires) <= spad_sys::clock::now().wall.as_micros())
    {
        return Err(Failure::with_help(
            "the client would be expired at once",
            "give --expires a time to come",
        ));
    }
    let text = file_text(arguments, &proof, pre_shared.is_some());
    let with_client = spad_config::load_with(
        &paths.config,
        Some((name.clone(), text.clone())),
        spad_sys::clock::now().wall,
    );
    let loaded = with_client.map_err(|findings| {
        note(&findings);
        Failure::new("nothing was changed".to_owned())
    })?;
    if let Proof::Shared(shared) = &proof {
        check_key_unused(
            &paths,
            &loaded.config,
            name,
            &server,
            shared.key_id(&server),
        )?;
    }
    super::show_findings(&loaded.warnings);
    let owners = Owners::find();
    let secrets = secrets(&paths, name, &proof, pre_shared.as_ref(), owners)?;
    let mode = owners.file_mode();
    let written = atomic_file::write(
        &path,
        text.as_bytes(),
        mode,
        owners.configuration(),
        Existing::Refuse,
    );
    if let Err(error) = written {
        // Without the client file they belong to nobody.
        for secret in &secrets {
            atomic_file::remove(secret)?;
        }
        return Err(error.into());
    }
    note(format_args!("made {}", path.display()));
    report(
        options,
        arguments,
        &arguments.allow,
        &loaded.config,
        &server,
    )?;
    daemon_client::report(daemon_client::reload_running_daemon(&paths))
}

fn proof(arguments: &Arguments, server: &ServerPublic) -> Result<Proof, Failure> {
    if let Some(path) = &arguments.shared_key_file {
        let text = read_secret_file(path, AllowedOwner::CurrentUser)?;
        return SharedKey::from_text(&text)
            .map(Proof::Shared)
            .map_err(|error| with_path(path, error));
    }
    // The argument itself is never shown: somebody may have given a secret.
    let text = arguments.key.as_deref().unwrap_or_default();
    let key: ClientPublic = text
        .parse()
        .map_err(|error: KeyError| Failure::new(format!("--key: {error}")))?;
    key.check_for(server)
        .map_err(|error| Failure::new(format!("--key: {error}")))?;
    Ok(Proof::Public(key))
}

fn with_path(path: &std::path::Path, error: KeyError) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

fn micros(at: jiff::Timestamp) -> u64 {
    u64::try_from(at.as_microsecond()).unwrap_or(0)
}

/// The client's file; checked by the loader before it is written.
fn file_text(arguments: &Arguments, proof: &Proof, pre_shared: bool) -> String {
    let mut text = match proof {
        Proof::Public(key) => format!("key = \"{key}\"\n"),
        Proof::Shared(_) => "shared_key = true\n".to_owned(),
    };
    if pre_shared {
        text.push_str("pre_shared_key = true\n");
    }
    let allow: Vec<String> = arguments
        .allow
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    text.push_str(&format!("allow = [{}]\n", allow.join(", ")));
    if let Some(expires) = arguments.expires {
        text.push_str(&format!("expires = {expires}\n"));
    }
    if let Some(note) = &arguments.note {
        text.push_str(&format!("note = {}\n", toml::Value::String(note.clone())));
    }
    text
}

/// Refuses a shared key that another client has.
fn check_key_unused(
    paths: &Paths,
    config: &Config,
    name: &ClientName,
    server: &ServerPublic,
    id: KeyId,
) -> CliResult {
    let owner = Owners::find()
        .engine
        .map_or(AllowedOwner::CurrentUser, |(uid, _)| {
            AllowedOwner::CurrentUserOr(uid)
        });
    for client in config.clients.iter().filter(|client| client.name != *name) {
        for key in &client.keys {
            let other = match &key.key {
                ClientKey::Public(public) => KeyId::for_client(server, public),
                ClientKey::Shared => {
                    let text = read_secret_file(
                        &paths
                            .client_keys_dir()
                            .join(format!("{}.shared", client.name)),
                        owner,
                    )?;
                    SharedKey::from_text(&text)?.key_id(server)
                }
            };
            if other == id {
                let message = format!("the client `{}` has this key already", client.name);
                return Err(Failure::with_help(
                    message,
                    "give each client a key of its own",
                ));
            }
        }
    }
    Ok(())
}

/// Copies the secrets to where the daemon reads them; gives the files written.
fn secrets(
    paths: &Paths,
    name: &ClientName,
    proof: &Proof,
    pre_shared: Option<&PreSharedKey>,
    owners: Owners,
) -> Result<Vec<PathBuf>, Failure> {
    let mut created = Vec::new();
    let shared = match proof {
        Proof::Shared(key) => Some((key.to_text(), "shared")),
        Proof::Public(_) => None,
    };
    for (text, ending) in shared
        .into_iter()
        .chain(pre_shared.map(|key| (key.to_text(), "psk")))
    {
        let path = paths.client_keys_dir().join(format!("{name}.{ending}"));
        let writing = WriteOptions {
            replace: false,
            owner: owners.engine,
        };
        write_secret_file_with(&path, &text, writing).map_err(|error| match error.problem {
            FileProblem::Exists => Failure::with_help(
                format_args!(
                    "{}: a key is left of an earlier client of this name",
                    path.display()
                ),
                format_args!("spad client remove {name}"),
            ),
            _ => error.into(),
        })?;
        created.push(path);
    }
    Ok(created)
}

/// Prints the line that makes this server known to the client.
fn report(
    options: &Options,
    arguments: &Arguments,
    allow: &[ServiceName],
    config: &Config,
    server: &ServerPublic,
) -> CliResult {
    let address = config.listen.address.as_deref();
    // Where any will do, this one needs no explanation.
    let port = config.listen.ports.first().map_or(62_201, NonZeroU16::get);
    if options.json {
        let services: serde_json::Map<_, _> = named_ports(allow, config)
            .map(|(name, ports)| (name.to_string(), ports.into()))
            .collect();
        let report = serde_json::json!({
            "address": address,
            "port": port,
            "server_key": server.to_string(),
            "services": services,
        });
        return crate::cli::output::print_json(&report);
    }
    note("on the client:");
    if address.is_none() {
        note(
            "(put this machine's name or address in place of ADDRESS; [listen] address = \"…\" fills it in)",
        );
    }
    let host = host_name(address);
    let address = address.unwrap_or("ADDRESS");
    // With their names `spa open HOST:NAME` works, and `spa` knows which ports to wait for.
    let services: String = named_ports(allow, config)
        .map(|(name, ports)| format!(" --service {name}={}", ports.join(",")))
        .collect();
    // Without it the client would seal with another key than this server opens with.
    let secret = if arguments.shared_key_file.is_some() {
        " --shared-key-file FILE"
    } else if arguments.psk_file.is_some() {
        " --psk-file FILE"
    } else {
        ""
    };
    if !secret.is_empty() {
        note("(FILE: where the same secret lies on the client, mode 0600)");
    }
    print(format_args!(
        "spa host add {host} --address {address} --port {port} --key {server}{services}{secret}"
    ))
}

/// The services that the client may open, each with its ports as `tcp/22`.
fn named_ports<'a>(
    allow: &'a [ServiceName],
    config: &'a Config,
) -> impl Iterator<Item = (&'a ServiceName, Vec<String>)> {
    config
        .services
        .iter()
        .filter(|(name, _)| allow.contains(name))
        .map(|(name, service)| {
            (
                name,
                service.ports.iter().map(ToString::to_string).collect(),
            )
        })
}

/// What the client may call this server: the first part of its name.
fn host_name(address: Option<&str>) -> String {
    let node = rustix::system::uname();
    let own_name = address.filter(|address| address.parse::<std::net::IpAddr>().is_err());
    let name = own_name.map_or_else(
        || node.nodename().to_string_lossy().into_owned(),
        str::to_owned,
    );
    let first = name
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    // Only what is a name on the other side as well.
    first
        .parse::<ClientName>()
        .map_or_else(|_| "gw".to_owned(), |name| name.to_string())
}
