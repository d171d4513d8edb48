//! `spa packet`: the datagram on stdout, for other carriers and for tests.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::json;

use super::address_source;
use super::args::PacketOptions;
use super::output::{Failure, Output, stdout};
use super::run_all::{checked_targets, with_keys};
use crate::clock;
use crate::config::file;
use crate::exit::Exit;
use crate::packet::{self, ConnectionLimit, RequestKind};

pub(super) fn run(
    options: &PacketOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    let addresses =
        address_source::literal_addresses_only(&options.request.grant.addresses, "`spa packet`")?;
    let as_text = options.hex || output.is_json();
    if !as_text && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a packet is no text for a terminal; say `--hex`, or send stdout elsewhere",
        ));
    }
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, &options.request.targets)?;
    if targets.len() > 1 {
        return Err(Failure::usage("one packet is for one host; name one"));
    }
    for (target, builder) in with_keys(directory, targets)? {
        let ttl = options.request.grant.ttl.unwrap_or(0);
        let kind = RequestKind::Open {
            services: target.services.clone(),
            ttl,
            limit: ConnectionLimit::All,
        };
        let request = kind.with_addresses(addresses);
        let randomness = packet::randomness().map_err(Failure::local)?;
        let datagram = builder
            .datagram(&request, clock::wall(), &randomness)
            .map_err(Failure::local)?;
        if as_text {
            let hex = hex(&datagram);
            let object = json!({ "exit": 0, "host": target.name.as_str(), "packet": hex });
            output.result(&hex, &object);
        } else {
            stdout(&datagram);
        }
    }
    Ok(Exit::Open)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
