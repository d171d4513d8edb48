//! `spa knock`: plain port knocking, with knock(1)'s options.

use std::num::NonZeroU16;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::Families;
use super::output::{Failure, Output};
use crate::exit::Exit;
use crate::port_knock::Knock;
use crate::resolve::resolve;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  spa knock server.example 7000 8000:udp 9000 && ssh server.example\n\nWhoever sees the knocks go by can send them again; a packet of `spa open` cannot be sent again."
)]
pub(super) struct KnockOptions {
    /// The server's name or address
    host: String,
    /// Ports in their order, with :udp behind those that are knocked at by UDP
    #[arg(value_name = "PORT[:tcp|udp]", required = true)]
    knocks: Vec<Knock>,
    /// Every knock by UDP, whatever stands behind its port
    #[arg(short, long)]
    udp: bool,
    /// Milliseconds to wait after each knock
    #[arg(short, long, value_name = "MS", default_value_t = 0)]
    delay: u32,
    #[command(flatten)]
    families: Families,
}

pub(super) fn run(options: &KnockOptions, output: &Output) -> Result<Exit, Failure> {
    let family = options.families.family();
    // All knocks at one address: the server counts them by their source's.
    let servers = resolve(&options.host, NonZeroU16::MIN, family).map_err(Failure::route)?;
    let Some(server) = servers.first() else {
        return Err(Failure::route("no address"));
    };
    let address = server.ip();
    for knock in &options.knocks {
        let knock = Knock {
            udp: knock.udp || options.udp,
            ..*knock
        };
        let protocol = if knock.udp { "udp" } else { "tcp" };
        output.detail(&format!("hitting {protocol} {address}:{}", knock.port));
        knock.send(*server).map_err(|error| {
            Failure::route(format!(
                "cannot knock at {address}, {protocol} port {}: {error}",
                knock.port
            ))
        })?;
        thread::sleep(Duration::from_millis(options.delay.into()));
    }
    output.object(
        || json!({ "exit": Exit::Open.code(), "address": address, "knocks": options.knocks.len() }),
    );
    Ok(Exit::Open)
}
