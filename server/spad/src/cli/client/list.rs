//! `spad client list` and `show`: what the files say, whatever state they are in.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use spa_keys::{ClientPublic, KeyId};
use spa_proto::Timestamp;
use spad_config::{ClientSummaries, ClientSummary};
use spad_model::ClientName;

use crate::cli::output::{note, print, print_json, table_row, write_result};
use crate::cli::{CliResult, Failure, Options, key};

pub(super) fn list(options: &Options) -> CliResult {
    let directory = &options.paths().config;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut rows = Rows::new(options.json, directory);
    let mut faulty = false;
    let summaries = ClientSummaries::new(directory);
    let mut written = rows.begin(&mut out);
    let findings = spad_config::each_client(directory, None, |name, source| {
        let client = summaries.summarise(name, source);
        faulty |= client.faulty;
        if written.is_ok() {
            written = rows.row(&client, &mut out);
        }
    });
    let written = written.and_then(|()| rows.end(&mut out));
    write_result(written.and_then(|()| out.flush()))?;
    if rows.count == 0 && !options.json && !findings.has_errors() {
        note("no clients yet");
    }
    if !findings.is_empty() {
        note(&findings);
    }
    if findings.has_errors() || faulty {
        note("not everything could be read; spad check says why");
        return Err(Failure::AlreadyReported);
    }
    Ok(())
}

/// The longest word for the state of a client.
const STATE_WIDTH: usize = "disabled".len();

/// Rows as they are read: a hundred thousand clients never stand in memory together.
struct Rows {
    json: bool,
    count: usize,
    width: usize,
}

impl Rows {
    fn new(json: bool, directory: &Path) -> Self {
        // The names alone first, so that columns line up.
        let names = if json {
            Vec::new()
        } else {
            spad_config::client_names(directory)
        };
        let width = names.iter().map(|name| name.as_str().len()).max();
        Self {
            json,
            count: 0,
            width: width.unwrap_or(0),
        }
    }

    fn begin(&self, out: &mut impl Write) -> io::Result<()> {
        match self.json {
            true => write!(out, "{{\"clients\":["),
            false => Ok(()),
        }
    }

    fn row(&mut self, client: &ClientSummary, out: &mut impl Write) -> io::Result<()> {
        self.count = self.count.saturating_add(1);
        if self.json {
            let comma = if self.count > 1 { "," } else { "" };
            return write!(out, "{comma}{}", as_json(client, &[]));
        }
        let (name, state) = (client.name.as_str(), state(client));
        let note = client.note.as_deref().unwrap_or_default();
        let gap = if note.is_empty() { "" } else { "  # " };
        let rest = format!("{}{gap}{note}", client.allow.join(", "));
        let line = table_row(&[self.width, STATE_WIDTH], &[name, state, &rest]);
        writeln!(out, "{line}")
    }

    fn end(&self, out: &mut impl Write) -> io::Result<()> {
        match self.json {
            true => writeln!(out, "]}}"),
            false => Ok(()),
        }
    }
}

pub(super) fn show(options: &Options, name: &ClientName) -> CliResult {
    let paths = options.paths();
    let source =
        spad_config::client(&paths.config, name).ok_or_else(|| super::unknown(&paths, name))?;
    let client = &ClientSummaries::new(&paths.config).summarise(name, &source);
    // Key ids stand in the audit lines; without the server's key they cannot be computed.
    let ids: Vec<String> = match key::public(&paths) {
        Ok(server) => {
            let keys = client
                .keys
                .iter()
                .filter_map(|key| key.parse::<ClientPublic>().ok());
            keys.map(|key| KeyId::for_client(&server, &key).to_string())
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
        for (key, until) in client.keys.iter().zip(&client.keys_until) {
            let until = instant(*until).map(|until| format!(" until {until}"));
            row("key", format!("{key}{}", until.unwrap_or_default()))?;
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
        row("groups", client.groups.join(", "))?;
        row("allow", client.allow.join(", "))?;
        row("commands", client.commands.join(", "))?;
        for (key, prefix) in [
            ("ipv4_prefix", client.ipv4_prefix),
            ("ipv6_prefix", client.ipv6_prefix),
        ] {
            row(
                key,
                prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
            )?;
        }
        for list in &client.sources {
            row("sources", list.join(", "))?;
        }
        for hours in &client.hours {
            row("hours", hours.clone())?;
        }
        row("expires", instant(client.expires).unwrap_or_default())?;
        row(
            "max_ttl",
            client
                .max_ttl_s
                .map(|seconds| format!("{seconds}s"))
                .unwrap_or_default(),
        )?;
        let most = client.max_grants.map(|most| most.to_string());
        row("max_grants", most.unwrap_or_default())?;
        let most = client.max_connections.map(|most| most.to_string());
        row("max_connections", most.unwrap_or_default())?;
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
        return Err(Failure::AlreadyReported);
    }
    Ok(())
}

fn state(client: &ClientSummary) -> &'static str {
    let now = spad_sys::clock::now().wall;
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

fn instant(at: Option<Timestamp>) -> Option<String> {
    let micros = i64::try_from(at?.as_micros()).ok()?;
    jiff::Timestamp::from_microsecond(micros)
        .ok()
        .map(|at| at.to_string())
}

fn as_json(client: &ClientSummary, ids: &[String]) -> Value {
    json!({
        "name": client.name.as_str(),
        "state": state(client),
        "keys": client.keys,
        "key_ids": ids,
        "pre_shared_key": client.pre_shared_key,
        "allow": client.allow,
        "commands": client.commands,
        "ipv4_prefix": client.ipv4_prefix,
        "ipv6_prefix": client.ipv6_prefix,
        "sources": client.sources,
        "groups": client.groups,
        "hours": client.hours,
        "expires": instant(client.expires),
        "keys_until": client.keys_until.iter().map(|until| instant(*until)).collect::<Vec<_>>(),
        "max_grants": client.max_grants,
        "max_connections": client.max_connections,
        "max_ttl_s": client.max_ttl_s,
        "require_address": client.require_address,
        "note": client.note,
    })
}
