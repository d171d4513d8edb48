//! [IO] The way of one connection to a hidden port: knock, connect, hand over the
//! very socket that connected. Nothing else is tried, so one connection is enough.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use spa_proto::{Addresses, Service};

use crate::ask::{Asking, Tell, Wish};
use crate::knock::{Admits, Knocker, Want};
use crate::open::until_open;
use crate::outcome::Outcome;
use crate::probe::{Reserved, Watch};
use crate::report;
use crate::resolve::resolve;
use crate::send::route;
use crate::stated;
use crate::target::Ask;

/// What to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Dial<'a> {
    /// The service.
    pub service: Service,
    /// At these addresses.
    pub servers: &'a [SocketAddr],
    /// For how many seconds; 0: as the policy says.
    pub ttl: u32,
    /// Whether to ask for one connection only.
    pub once: bool,
}

/// Knocks at the host and connects.
///
/// # Errors
/// What became of it, where nothing connected.
pub fn dial(
    ask: &Ask<'_>,
    knocker: &Knocker,
    dial: &Dial<'_>,
    wish: &Wish,
    tell: Tell<'_>,
) -> Result<OwnedFd, Box<Outcome>> {
    let own = if dial.once {
        None
    } else {
        own(ask, dial, wish)
    };
    let (admits, wish) = match &own {
        Some((reserved, stated)) => (
            Admits::From(reserved.port()),
            Wish {
                given: *stated,
                ..*wish
            },
        ),
        None if dial.once => (Admits::Once, *wish),
        None => (Admits::All, *wish),
    };
    let want = |admits| Want::Open {
        services: ask.services.clone(),
        ttl: dial.ttl,
        admits,
    };
    let (want, wider) = (want(admits), want(Admits::All));
    let mut asking = Asking::start(ask, knocker, &want, &wish, tell)?;
    if own.is_some() {
        // Some routers keep the address and change the port. Nothing tells that from a packet
        // that was lost, so the next ones ask for the address.
        asking.later(&wider);
    }
    let from = own.as_ref().map(|(reserved, _)| reserved.port());
    let mut watch = Watch::keeping(dial.service, from);
    until_open(&mut asking, &mut watch, &ask.watched, Some(dial.servers));
    let Some(socket) = watch.into_kept() else {
        return Err(Box::new(asking.outcome));
    };
    if let Some((_, stated)) = own
        && asking.outcome.asked_port.is_none()
    {
        tell(&report::only_by_address(&asking.outcome.host, stated));
    }
    Ok(socket)
}

/// This machine's own addresses and a port, where nothing on the way is expected
/// to change them. The command line's addresses are somebody else's, or are needed
/// because something does.
fn own(ask: &Ask<'_>, dial: &Dial<'_>, wish: &Wish) -> Option<(Reserved, Addresses)> {
    if !wish.given.is_empty() {
        return None;
    }
    let knocked = resolve(&ask.host.address, ask.host.port, wish.family).ok()?;
    let sources: Vec<_> = knocked
        .iter()
        .chain(dial.servers)
        .filter_map(|server| route(*server).ok())
        .map(|(_, source)| source)
        .collect();
    Some((Reserved::take()?, stated::unchanged(&sources)?))
}
