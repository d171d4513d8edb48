//! [IO] The way of one connection to a hidden port: knock, connect, hand over the
//! very socket that connected. Nothing else is tried, so one connection is enough.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use spa_proto::{Addresses, Service};

use crate::open::poll_until_open;
use crate::outcome::Outcome;
use crate::packet::{ConnectionLimit, PacketBuilder, RequestKind};
use crate::probe::{Prober, ReservedPort};
use crate::report;
use crate::request::{PendingRequest, ProgressFn, SendOptions};
use crate::resolve::resolve;
use crate::send::route;
use crate::stated_addresses;
use crate::target::Target;

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
    target: &Target<'_>,
    builder: &PacketBuilder,
    dial: &Dial<'_>,
    send_options: &SendOptions,
    progress: ProgressFn<'_>,
) -> Result<OwnedFd, Box<Outcome>> {
    let reservation = if dial.once {
        None
    } else {
        reserve_port(target, dial, send_options)
    };
    let (admits, send_options) = match &reservation {
        Some((reserved, stated)) => (
            ConnectionLimit::FromPort(reserved.port()),
            SendOptions {
                addresses: *stated,
                ..*send_options
            },
        ),
        None if dial.once => (ConnectionLimit::Once, *send_options),
        None => (ConnectionLimit::All, *send_options),
    };
    let kind = |admits| RequestKind::Open {
        services: target.services.clone(),
        ttl: dial.ttl,
        limit: admits,
    };
    let (kind, wider) = (kind(admits), kind(ConnectionLimit::All));
    let mut request = PendingRequest::start(target, builder, &kind, &send_options, progress)?;
    if reservation.is_some() {
        // Some routers keep the address and change the port. Nothing tells that from a packet
        // that was lost, so the next ones ask for the address.
        request.set_followup(&wider);
    }
    let from = reservation.as_ref().map(|(reserved, _)| reserved.port());
    let mut prober = Prober::keeping_connection(dial.service, from);
    poll_until_open(
        &mut request,
        &mut prober,
        &target.watched,
        Some(dial.servers),
    );
    let Some(socket) = prober.into_connection() else {
        return Err(Box::new(request.outcome));
    };
    if let Some((_, stated)) = reservation
        && request.outcome.requested_port.is_none()
    {
        progress(&report::only_by_address(&request.outcome.host, stated));
    }
    Ok(socket)
}

/// This machine's own addresses and a port, where nothing on the way is expected
/// to change them. The command line's addresses are somebody else's, or are needed
/// because something does.
fn reserve_port(
    target: &Target<'_>,
    dial: &Dial<'_>,
    send_options: &SendOptions,
) -> Option<(ReservedPort, Addresses)> {
    if !send_options.addresses.is_empty() {
        return None;
    }
    let spa_servers = resolve(&target.host.address, target.host.port, send_options.family).ok()?;
    let sources: Vec<_> = spa_servers
        .iter()
        .chain(dial.servers)
        .filter_map(|server| route(*server).ok())
        .map(|(_, source)| source)
        .collect();
    Some((
        ReservedPort::reserve()?,
        stated_addresses::unchanged(&sources)?,
    ))
}
