//! `spa open --hold`: a fresh packet again and again until somebody ends it.
//!
//! Each looks its host up anew and states the addresses of that moment, so that what is
//! open follows this machine through changes of its network. What cannot be sent is said
//! when that begins and when it is over.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use spa_proto::Addresses;

use super::address_source;
use super::args::OpenOptions;
use super::output::{Failure, Output};
use crate::clock;
use crate::close::close;
use crate::config::HostName;
use crate::open::open;
use crate::outcome::{Outcome, RequestResult};
use crate::packet::{PacketBuilder, RequestKind};
use crate::report;
use crate::request::{SendOptions, WaitMode};
use crate::target::Target;

/// How often, where nothing says it: three times in the time that servers grant by default.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// More often than this would only use up what the server allows one client.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// How often packets are sent.
///
/// # Errors
/// Too often, or so seldom that what each opens would be over before the next one.
pub(super) fn interval(options: &OpenOptions) -> Result<Option<Duration>, Failure> {
    let Some(explicit) = options.hold else {
        return Ok(None);
    };
    let seconds = options.request.grant.ttl;
    let ttl = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match (explicit, ttl) {
        (Some(said), _) if said < MIN_INTERVAL => Err(Failure::usage(
            "servers refuse packets that come so often; say a --hold of 100ms or more",
        )),
        (Some(said), Some(ttl)) if said >= ttl => Err(Failure::usage(
            "what a packet opens would be over before the next one; say a --ttl longer than --hold",
        )),
        (Some(said), _) => Ok(Some(said)),
        (None, Some(ttl)) => Ok(Some((ttl / 3).min(DEFAULT_INTERVAL))),
        (None, None) => Ok(Some(DEFAULT_INTERVAL)),
    }
}

/// Whoever ends this program, from here on.
pub(super) struct StopSignal(UnixStream);

impl StopSignal {
    /// Signals no longer end it at once. Where the terminal's end is ignored, as under
    /// nohup, it stays so.
    pub(super) fn install() -> Result<Self, Failure> {
        let (read, write) = UnixStream::pair().map_err(Failure::local)?;
        let hangup = (!hangup_is_ignored()).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            let write = write.try_clone().map_err(Failure::local)?;
            pipe::register(signal, write).map_err(Failure::local)?;
        }
        Ok(Self(read))
    }

    /// Waits so long; true where it was ended meanwhile.
    fn wait(&self, duration: Duration) -> bool {
        let until = clock::monotonic().saturating_add(duration);
        loop {
            let left = until.saturating_sub(clock::monotonic());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) if left.is_zero() => return false,
                // The signal itself interrupts, before or after its byte is there.
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }
}

/// False where the kernel does not tell.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of signal 1, SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Holds open what `want` asks of each, until it is ended.
pub(super) fn hold(
    targets: &[(Target<'_>, PacketBuilder)],
    options: &OpenOptions,
    every: Duration,
    stop: &StopSignal,
    kind: impl Fn(&Target<'_>) -> RequestKind,
    output: &Output,
) {
    let hosts: Vec<_> = targets
        .iter()
        .map(|(target, _)| target.name.to_string())
        .collect();
    let names = hosts.join(", ");
    output.note(&format!(
        "{names}: held open, by a packet every {}; Ctrl-C ends it",
        report::format_duration(every)
    ));
    let progress = |line: &str| output.detail(line);
    let mut fails = FailureTracker::default();
    while !stop.wait(every) {
        let Some(send_options) = fails.send_options(targets, options, output) else {
            continue;
        };
        for (target, builder) in targets {
            let outcome = open(target, builder, &kind(target), &send_options, &progress);
            fails.record(target.name, &outcome, output);
        }
    }
    if !options.close {
        return output.note(&format!(
            "{names}: held no longer; what is open ends by itself"
        ));
    }
    let Some(send_options) = fails.send_options(targets, options, output) else {
        return;
    };
    for (target, builder) in targets {
        let services = target.services.clone();
        let outcome = close(
            target,
            builder,
            &RequestKind::Close { services },
            &send_options,
            &progress,
        );
        let text = match outcome.result {
            RequestResult::Sent => format!("{}: asked to close", outcome.host),
            _ => report::text(&outcome),
        };
        output.note(&text);
    }
}

/// What could not be sent, or learned, and is said already.
#[derive(Default)]
struct FailureTracker<'c> {
    hosts: BTreeSet<&'c HostName>,
    stun: bool,
}

impl<'c> FailureTracker<'c> {
    /// What packets are like now; none where a STUN server does not tell.
    fn send_options(
        &mut self,
        targets: &[(Target<'_>, PacketBuilder)],
        options: &OpenOptions,
        output: &Output,
    ) -> Option<SendOptions> {
        let family = options.carrier.families.family();
        let addresses = &options.request.grant.addresses;
        let all_targets = targets.iter().map(|(target, _)| target);
        let resolved = address_source::resolve_addresses(addresses, all_targets, family, output);
        let stated: Option<Addresses> = match resolved {
            Ok(given) => Some(given),
            Err(failure) => {
                if !std::mem::replace(&mut self.stun, true) {
                    output.note(&format!("spa: {}; trying again", failure.message));
                }
                None
            }
        };
        if stated.is_some() && std::mem::take(&mut self.stun) {
            output.note("spa: this machine's address is known again");
        }
        Some(SendOptions {
            addresses: stated?,
            via: options.carrier.via,
            family,
            wait: WaitMode::NoWait,
        })
    }

    fn record(&mut self, host: &'c HostName, outcome: &Outcome, output: &Output) {
        match &outcome.result {
            RequestResult::NoRoute(why) if self.hosts.insert(host) => {
                output.note(&format!("{host}: {why}; trying again"));
            }
            RequestResult::NoRoute(_) => {}
            _ if self.hosts.remove(host) => output.note(&format!("{host}: packets are sent again")),
            _ => {}
        }
    }
}
