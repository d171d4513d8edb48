//! `spa proxy`: knocks, connects and hands the connection to ssh. stdout is the
//! connection's, so that nothing else is said there.

use std::num::NonZeroU16;
use std::path::Path;

use spa_proto::{Protocol, Service};

use super::address_source;
use super::args::ProxyOptions;
use super::output::{Failure, Output};
use super::run_all::{checked_targets, with_keys};
use crate::config::file;
use crate::dial::{Dial, dial};
use crate::exit::Exit;
use crate::handover;
use crate::report;
use crate::request::{SendOptions, WaitMode};
use crate::resolve::resolve;

pub(super) fn run(
    options: &ProxyOptions,
    directory: &Path,
    output: &Output,
) -> Result<Exit, Failure> {
    if output.is_json() {
        return Err(Failure::usage(
            "stdout belongs to the connection; leave out --json",
        ));
    }
    let how = &options.dial;
    let port = NonZeroU16::new(options.port).ok_or_else(|| Failure::usage("port 0 is none"))?;
    let service = Service {
        protocol: Protocol::Tcp,
        port,
    };
    let config = file::load(directory).map_err(Failure::local)?;
    let targets = checked_targets(&config, &[format!("{}:{service}", options.host)])?;
    let family = how.carrier.families.family();
    let targets = with_keys(directory, targets)?;
    let addresses = address_source::resolve_addresses(
        &how.grant.addresses,
        targets.iter().map(|(target, _)| target),
        family,
        output,
    )?;
    for (target, builder) in targets {
        // ssh turns capital letters into small ones.
        let is_own_name = options.address.eq_ignore_ascii_case(target.name.as_str());
        let address = if is_own_name {
            &target.host.address
        } else {
            &options.address
        };
        let servers = resolve(address, port, family).map_err(Failure::route)?;
        let to = Dial {
            service,
            servers: &servers,
            ttl: how.grant.ttl.unwrap_or(0),
            once: how.once,
        };
        let send_options = SendOptions {
            addresses,
            via: how.carrier.via,
            family,
            wait: WaitMode::Wait(how.timeout),
        };
        let socket = match dial(&target, &builder, &to, &send_options, &|line| {
            output.detail(line)
        }) {
            Ok(socket) => socket,
            Err(outcome) => {
                output.note(&report::text(&outcome));
                return Ok(outcome.exit());
            }
        };
        let handed = if !options.relay && handover::stdout_is_unix_socket() {
            handover::send_fd(&socket)
        } else {
            handover::relay(socket)
        };
        // Connections that break are told by whoever uses them.
        handed.unwrap_or_else(|error| output.detail(&format!("{}: {error}", target.name)));
    }
    Ok(Exit::Open)
}
