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

use super::args::OpenOptions;
use super::given;
use super::say::{Failure, Say};
use crate::ask::{Patience, Wish};
use crate::clock;
use crate::close::close;
use crate::config::HostName;
use crate::knock::{Knocker, Want};
use crate::open::open;
use crate::outcome::{End, Outcome};
use crate::report;
use crate::target::Ask;

/// How often, where nothing says it: three times in the time that servers grant by default.
const USUAL: Duration = Duration::from_secs(10);

/// More often than this would only use up what the server allows one client.
const SHORTEST: Duration = Duration::from_millis(100);

/// How often packets are sent.
///
/// # Errors
/// Too often, or so seldom that what each opens would be over before the next one.
pub(super) fn interval(options: &OpenOptions) -> Result<Option<Duration>, Failure> {
    let Some(said) = options.hold else {
        return Ok(None);
    };
    let ttl = options.request.grant.ttl;
    let ttl = ttl.map(|ttl| Duration::from_secs(ttl.into()));
    match (said, ttl) {
        (Some(said), _) if said < SHORTEST => Err(Failure::usage(
            "servers refuse packets that come so often; say a --hold of 100ms or more",
        )),
        (Some(said), Some(ttl)) if said >= ttl => Err(Failure::usage(
            "what a packet opens would be over before the next one; say a --ttl longer than --hold",
        )),
        (Some(said), _) => Ok(Some(said)),
        (None, Some(ttl)) => Ok(Some((ttl / 3).min(USUAL))),
        (None, None) => Ok(Some(USUAL)),
    }
}

/// Whoever ends this program, from here on.
pub(super) struct Ending(UnixStream);

impl Ending {
    /// Signals no longer end it at once. Where the terminal's end is ignored, as under
    /// nohup, it stays so.
    pub(super) fn await_signals() -> Result<Self, Failure> {
        let (read, write) = UnixStream::pair().map_err(Failure::local)?;
        let hangup = (!hangup_is_ignored()).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            let write = write.try_clone().map_err(Failure::local)?;
            pipe::register(signal, write).map_err(Failure::local)?;
        }
        Ok(Self(read))
    }

    /// Waits so long; true where it was ended meanwhile.
    fn within(&self, span: Duration) -> bool {
        let until = clock::monotonic().saturating_add(span);
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
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of signal 1, SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Holds open what `want` asks of each, until it is ended.
pub(super) fn hold(
    asks: &[(Ask<'_>, Knocker)],
    options: &OpenOptions,
    every: Duration,
    ending: &Ending,
    want: impl Fn(&Ask<'_>) -> Want,
    say: &Say,
) {
    let names: Vec<_> = asks.iter().map(|(ask, _)| ask.name.to_string()).collect();
    let names = names.join(", ");
    say.note(&format!(
        "{names}: held open, by a packet every {}; Ctrl-C ends it",
        report::span(every)
    ));
    let tell = |line: &str| say.detail(line);
    let mut fails = Fails::default();
    while !ending.within(every) {
        let Some(wish) = fails.wish(asks, options, say) else {
            continue;
        };
        for (ask, knocker) in asks {
            let outcome = open(ask, knocker, &want(ask), &wish, &tell);
            fails.note(ask.name, &outcome, say);
        }
    }
    if !options.close {
        return say.note(&format!(
            "{names}: held no longer; what is open ends by itself"
        ));
    }
    let Some(wish) = fails.wish(asks, options, say) else {
        return;
    };
    for (ask, knocker) in asks {
        let services = ask.services.clone();
        let outcome = close(ask, knocker, &Want::Close { services }, &wish, &tell);
        let text = match outcome.end {
            End::Sent => format!("{}: asked to close", outcome.host),
            _ => report::text(&outcome),
        };
        say.note(&text);
    }
}

/// What could not be sent, or learned, and is said already.
#[derive(Default)]
struct Fails<'c> {
    hosts: BTreeSet<&'c HostName>,
    stun: bool,
}

impl<'c> Fails<'c> {
    /// What packets are like now; none where a STUN server does not tell.
    fn wish(
        &mut self,
        asks: &[(Ask<'_>, Knocker)],
        options: &OpenOptions,
        say: &Say,
    ) -> Option<Wish> {
        let family = options.way.families.family();
        let addresses = &options.request.grant.addresses;
        let asked = asks.iter().map(|(ask, _)| ask);
        let learned = given::learned(addresses, asked, family, say);
        let given: Option<Addresses> = match learned {
            Ok(given) => Some(given),
            Err(failure) => {
                if !std::mem::replace(&mut self.stun, true) {
                    say.note(&format!("spa: {}; trying again", failure.message));
                }
                None
            }
        };
        if given.is_some() && std::mem::take(&mut self.stun) {
            say.note("spa: this machine's address is known again");
        }
        Some(Wish {
            given: given?,
            via: options.way.via,
            family,
            patience: Patience::None,
        })
    }

    fn note(&mut self, host: &'c HostName, outcome: &Outcome, say: &Say) {
        match &outcome.end {
            End::NoRoute(why) if self.hosts.insert(host) => {
                say.note(&format!("{host}: {why}; trying again"));
            }
            End::NoRoute(_) => {}
            _ if self.hosts.remove(host) => say.note(&format!("{host}: packets are sent again")),
            _ => {}
        }
    }
}
