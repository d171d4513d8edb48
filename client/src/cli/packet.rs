//! `spa packet`: the datagram on stdout, for other carriers and for tests.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::json;

use super::args::PacketOptions;
use super::asking::{checked, with_keys};
use super::given;
use super::say::{Failure, Say, stdout};
use crate::clock;
use crate::config::file;
use crate::exit::Exit;
use crate::knock::{self, Admits, Want};

pub(super) fn run(options: &PacketOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    let given = given::written_alone(&options.request.grant.addresses, "`spa packet`")?;
    let as_text = options.hex || say.is_json();
    if !as_text && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a packet is no text for a terminal; say `--hex`, or send stdout elsewhere",
        ));
    }
    let config = file::load(directory).map_err(Failure::local)?;
    let asks = checked(&config, &options.request.targets)?;
    if asks.len() > 1 {
        return Err(Failure::usage("one packet is for one host; name one"));
    }
    for (ask, knocker) in with_keys(directory, asks)? {
        let ttl = options.request.grant.ttl.unwrap_or(0);
        let want = Want::Open {
            services: ask.services.clone(),
            ttl,
            admits: Admits::All,
        };
        let request = want.stating(given);
        let randomness = knock::randomness().map_err(Failure::local)?;
        let datagram = knocker
            .datagram(&request, clock::wall(), &randomness)
            .map_err(Failure::local)?;
        if as_text {
            let hex = hex(&datagram);
            let object = json!({ "exit": 0, "host": ask.name.as_str(), "packet": hex });
            say.result(&hex, &object);
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
