//! `spa proxy`: knocks, connects and hands the connection to ssh. stdout is the
//! connection's, so that nothing else is said there.

use std::num::NonZeroU16;
use std::path::Path;

use spa_proto::{Protocol, Service};

use super::args::ProxyOptions;
use super::asking::{checked, with_keys};
use super::given;
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::config::file;
use crate::dial::{Dial, dial};
use crate::exit::Exit;
use crate::handover;
use crate::report;
use crate::resolve::resolve;

pub(super) fn run(options: &ProxyOptions, directory: &Path, say: &Say) -> Result<Exit, Failure> {
    if say.is_json() {
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
    let asks = checked(&config, &[format!("{}:{service}", options.host)])?;
    let family = how.way.families.family();
    let asks = with_keys(directory, asks)?;
    let given = given::learned(
        &how.grant.addresses,
        asks.iter().map(|(ask, _)| ask),
        family,
        say,
    )?;
    for (ask, knocker) in asks {
        // ssh turns capital letters into small ones.
        let is_own_name = options.address.eq_ignore_ascii_case(ask.name.as_str());
        let address = if is_own_name {
            &ask.host.address
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
        let wish = Wish {
            given,
            via: how.way.via,
            family,
            patience: Patience::Wait(how.timeout),
        };
        let socket = match dial(&ask, &knocker, &to, &wish, &|line| say.detail(line)) {
            Ok(socket) => socket,
            Err(outcome) => {
                say.note(&report::text(&outcome));
                return Ok(outcome.exit());
            }
        };
        let handed = if !options.relay && handover::is_wanted() {
            handover::pass(&socket)
        } else {
            handover::relay(socket)
        };
        // Connections that break are told by whoever uses them.
        handed.unwrap_or_else(|error| say.detail(&format!("{}: {error}", ask.name)));
    }
    Ok(Exit::Open)
}
