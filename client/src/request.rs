//! [IO] What every request begins with: look up, send to every address, note
//! what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use spa_proto::Addresses;

use crate::carrier::Carrier;
use crate::clock;
use crate::outcome::{Delivery, Outcome, RequestResult};
use crate::packet::{PacketBuilder, RequestKind};
use crate::report;
use crate::resolve::{Family, resolve};
use crate::send::{SendContext, Sent};
use crate::target::Target;

/// What the command line says about every host.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// The addresses to state; none: this machine's own.
    pub addresses: Addresses,
    /// What carries the packets; none: as the host's configuration says.
    pub via: Option<Carrier>,
    /// The families to use.
    pub family: Family,
    /// What to do after the first packet.
    pub wait: WaitMode,
}

/// What to do after the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitMode {
    /// Send nothing at all, say what would be sent.
    DryRun,
    /// Do not wait.
    NoWait,
    /// Wait for the services, at most so long.
    Wait(Duration),
}

/// Is given a line about every packet.
pub type ProgressFn<'a> = &'a (dyn Fn(&str) + Sync);

/// A request on its way to one host.
pub struct PendingRequest<'a> {
    builder: &'a PacketBuilder,
    kind: &'a RequestKind,
    /// What the packets after the first ask for, if that is something else.
    followup: Option<&'a RequestKind>,
    requires_address: bool,
    addresses: Addresses,
    servers: Vec<SocketAddr>,
    progress: ProgressFn<'a>,
    start: Duration,
    /// How long to wait.
    pub timeout: Duration,
    /// What is known so far.
    pub outcome: Outcome,
}

impl<'a> PendingRequest<'a> {
    /// Looks the host up and sends the first packet to each of its addresses.
    ///
    /// # Errors
    /// How it ended, where nothing was sent or nobody waits.
    pub fn start(
        target: &Target<'_>,
        builder: &'a PacketBuilder,
        kind: &'a RequestKind,
        send_options: &SendOptions,
        progress: ProgressFn<'a>,
    ) -> Result<Self, Box<Outcome>> {
        let mut outcome = Outcome {
            host: target.name.to_string(),
            port: target.host.port.get(),
            via: send_options.via.unwrap_or(target.host.via),
            result: RequestResult::Sent,
            deliveries: Vec::new(),
            services: Vec::new(),
            requested_port: kind.source_port(),
            elapsed: Duration::ZERO,
        };
        let servers = match resolve(&target.host.address, target.host.port, send_options.family) {
            Ok(servers) => servers,
            Err(error) => {
                outcome.result = RequestResult::NoRoute(error.to_string());
                return Err(Box::new(outcome));
            }
        };
        let mut request = Self {
            builder,
            kind,
            followup: None,
            requires_address: target.host.require_address
                && matches!(kind, RequestKind::Open { .. }),
            addresses: send_options.addresses,
            servers,
            progress,
            start: clock::monotonic(),
            timeout: Duration::ZERO,
            outcome,
        };
        match send_options.wait {
            WaitMode::DryRun => request.send_each(|round| round.dry_run(), &|_| ()),
            WaitMode::NoWait | WaitMode::Wait(_) => request.send(),
        }
        request.outcome.result = if request.reached_servers().is_empty() {
            RequestResult::NoRoute(report::no_route(&request.outcome.deliveries))
        } else {
            match send_options.wait {
                WaitMode::DryRun => RequestResult::DryRun,
                WaitMode::NoWait => RequestResult::Sent,
                WaitMode::Wait(timeout) => {
                    request.timeout = timeout;
                    return Ok(request);
                }
            }
        };
        Err(Box::new(request.outcome))
    }

    /// The time since the first packet.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_sub(self.start)
    }

    /// What was asked for did not help, where it did not: the next packets ask for this.
    pub const fn set_followup(&mut self, kind: &'a RequestKind) {
        self.followup = Some(kind);
    }

    /// Sends a fresh packet to every address; where packets count, to one, and to
    /// the next one the next time.
    pub fn send(&mut self) {
        if let Some(later) = self.followup.take() {
            self.kind = later;
            self.outcome.requested_port = self.kind.source_port();
        }
        self.send_each(|round| round.send(), self.progress);
    }

    /// Whether each packet counts by itself.
    #[must_use]
    pub const fn is_single_use(&self) -> bool {
        self.kind.is_single_use()
    }

    fn send_each(
        &mut self,
        send: impl Fn(&SendContext<'_>) -> Vec<Sent>,
        progress: ProgressFn<'_>,
    ) {
        if !self.kind.is_single_use() {
            let sent = send(&self.context(&self.servers));
            return record_deliveries(&mut self.outcome, sent, progress);
        }
        for _ in 0..self.servers.len() {
            let sent = send(&self.context(self.servers.get(..1).unwrap_or_default()));
            let done = sent.iter().any(|sent| sent.result.is_ok());
            record_deliveries(&mut self.outcome, sent, progress);
            self.servers.rotate_left(1);
            if done {
                break;
            }
        }
    }

    fn context<'s>(&'s self, servers: &'s [SocketAddr]) -> SendContext<'s> {
        SendContext {
            builder: self.builder,
            servers,
            kind: self.kind,
            requires_address: self.requires_address,
            addresses: self.addresses,
            via: self.outcome.via,
        }
    }

    /// The addresses that could be sent to.
    #[must_use]
    pub fn reached_servers(&self) -> Vec<SocketAddr> {
        let deliveries = self.outcome.deliveries.iter();
        let reached = deliveries.filter(|to| to.error.is_none());
        reached.map(|to| to.server).collect()
    }
}

/// Adds a round of packets to what is known of each address. An address that
/// was reached once stays so: a later failure may be the way changing.
fn record_deliveries(outcome: &mut Outcome, sent: Vec<Sent>, progress: ProgressFn<'_>) {
    for sent in sent {
        progress(&report::packet(&outcome.host, outcome.via, &sent));
        let known = outcome
            .deliveries
            .iter_mut()
            .find(|to| to.server == sent.server);
        let error = sent.result.as_ref().err().map(ToString::to_string);
        let packet = u32::from(error.is_none());
        match known {
            Some(known) => {
                known.packets = known.packets.saturating_add(packet);
                if error.is_none() {
                    known.stated = sent.stated;
                    known.error = None;
                }
            }
            None => outcome.deliveries.push(Delivery {
                server: sent.server,
                stated: sent.stated,
                packets: packet,
                error,
            }),
        }
    }
}
