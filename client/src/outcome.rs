//! What became of one host's request, as facts. Pure.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Service};

use crate::carrier::Carrier;
use crate::exit::Exit;
use crate::probe::{ProbeResult, Reachable};

/// What became of one host's request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The host's name.
    pub host: String,
    /// The port its server looks for packets at.
    pub port: u16,
    /// What carries the packets.
    pub via: Carrier,
    /// How it ended.
    pub result: RequestResult,
    /// Each address and what was sent to it.
    pub deliveries: Vec<Delivery>,
    /// What became of each service that was waited for.
    pub services: Vec<(Service, State)>,
    /// The only source port that the last packets asked for.
    pub requested_port: Option<NonZeroU16>,
    /// From the first packet to the end.
    pub elapsed: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// The name has no address, or no address has a way to it. Why.
    NoRoute(String),
    /// Nothing was to be sent.
    DryRun,
    /// Sent, and nobody waited.
    Sent,
    /// Sent, and nothing there can be probed.
    NotProbed,
    /// Everything that can be probed answers.
    Open,
    /// Something does not answer.
    Closed,
    /// Sent, and there is nothing that could tell what became of it.
    Unanswered,
    /// Asked to close, and nothing that can be probed answers any more.
    Withdrawn,
    /// Asked to close, and something still answers.
    StillOpen,
}

/// The packets to one address.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where to.
    pub server: SocketAddr,
    /// What the last one stated.
    pub stated: Addresses,
    /// How many were sent.
    pub packets: u32,
    /// Why the last one was not.
    pub error: Option<String>,
}

/// What became of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Open(Reachable),
    /// It does not; what was met at each address.
    Closed(Vec<(IpAddr, ProbeResult)>),
    /// There is no way to tell.
    NotProbed,
}

impl Outcome {
    /// The exit code of `spa` if this was the only host.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self.result {
            RequestResult::NoRoute(_) => Exit::Route,
            RequestResult::DryRun
            | RequestResult::Sent
            | RequestResult::Open
            | RequestResult::Withdrawn => Exit::Open,
            RequestResult::NotProbed | RequestResult::Unanswered => Exit::NotProbed,
            RequestResult::Closed | RequestResult::StillOpen => Exit::Closed,
        }
    }
}
