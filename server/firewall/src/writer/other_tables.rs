//! [IO] The rules of others on this host, read beside the work, for what closed ports answer.
//!
//! A long ruleset takes `nft` a second to print, and no packet waits for that. What the
//! kernel tells of changes is gathered until it has been still for a moment: whoever changes
//! rules in a loop does not have us read them in one.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use spad_model::BootTime;

use super::listing;
use super::nft::TIME_LIMIT;
use crate::closed_ports::{ClosedPorts, closed_ports};

/// How long others' rules must be still before they are read.
const QUIET_PERIOD: Duration = Duration::from_millis(500);
/// So long a start waits for them before it answers without.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that a first change waits for others to end, and the longest pause between two
/// readings.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// When they are read again where that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Where others' rules are read, and when next.
#[derive(Debug, Default)]
pub(super) struct OtherTables {
    reader: Option<ClosedPortsReader>,
    /// Since when a change is unread, and until when it waits.
    pending: Option<(BootTime, BootTime)>,
    /// When they are read although nobody changed them.
    retry_at: Option<BootTime>,
    last_read: Option<BootTime>,
    /// How long after the last reading the next one may come: longer the more often they come.
    pause: Duration,
}

#[derive(Debug)]
struct ClosedPortsReader {
    thread: JoinHandle<ClosedPorts>,
    /// The other end is closed when the thread ends, however that comes.
    done: PipeReader,
}

impl OtherTables {
    /// Somebody changed rules that are not ours.
    pub(super) fn changed(&mut self, now: BootTime) {
        let since = self.pending.map_or(now, |(since, _)| since);
        let latest = since.saturating_add(MAX_WAIT);
        let until = now.saturating_add(QUIET_PERIOD).min(latest);
        let until = match self.last_read {
            Some(last) => until.max(last.saturating_add(self.pause)),
            None => until,
        };
        self.pending = Some((since, until));
    }

    /// They could not be read: later they may be, though nobody changes them.
    pub(super) fn schedule_retry(&mut self, now: BootTime) {
        self.retry_at = Some(now.saturating_add(RETRY_INTERVAL));
    }

    /// When there is something to do at the latest; none where nothing is to be read.
    pub(super) fn next(&self) -> Option<BootTime> {
        match self.reader {
            Some(_) => None,
            None => {
                let changed = self.pending.map(|(_, until)| until);
                [changed, self.retry_at].into_iter().flatten().min()
            }
        }
    }

    /// Readable once rules were read.
    pub(super) fn reader_fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(|reading| reading.done.as_fd())
    }

    /// Begins to read where that is due; gives what was read, where it was.
    pub(super) fn poll(&mut self, now: BootTime) -> Option<ClosedPorts> {
        if self.next().is_some_and(|next| next <= now) {
            self.note_read(now);
            // Without a thread nothing is read, and what was found last goes on.
            self.reader = ClosedPortsReader::spawn().ok();
        }
        let finished = self
            .reader
            .take_if(|reading| reading.thread.is_finished())?;
        finished.thread.join().ok()
    }
}

impl OtherTables {
    /// All that changed until now is read.
    fn note_read(&mut self, now: BootTime) {
        let quiet = self.last_read.map(|last| now.saturating_since(last));
        let in_a_row = quiet.is_some_and(|quiet| quiet < MAX_WAIT.saturating_mul(2));
        self.pause = match in_a_row {
            true => self.pause.saturating_mul(2).min(MAX_WAIT),
            false => QUIET_PERIOD,
        };
        (self.pending, self.retry_at) = (None, None);
        self.last_read = Some(now);
    }
}

impl ClosedPortsReader {
    fn spawn() -> io::Result<Self> {
        let (ended, end) = io::pipe()?;
        let thread = Builder::new().name("others".to_owned()).spawn(move || {
            let _open_until_the_end = end;
            read_closed_ports(TIME_LIMIT)
        })?;
        Ok(Self {
            thread,
            done: ended,
        })
    }
}

/// What closed ports answer by the rules that stand now.
pub(super) fn read_closed_ports(limit: Duration) -> ClosedPorts {
    let mut found = match listing::ruleset(limit) {
        Ok(ruleset) => closed_ports(&ruleset, default_interface().as_deref()),
        Err(error) => ClosedPorts::unreadable(&error.to_string()),
    };
    if has_legacy_rules() {
        found.doubts.insert(
            "this kernel has tables of iptables-legacy, whose rules nft does not show".to_owned(),
        );
    }
    found
}

/// The interface of the default route, by which strangers come.
fn default_interface() -> Option<String> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    default_interface4(&read("/proc/self/net/route"))
        .or_else(|| default_interface6(&read("/proc/self/net/ipv6_route")))
}

fn default_interface4(routes: &str) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| fields.first().map(|name| (*name).to_owned()))?
    })
}

fn default_interface6(routes: &str) -> Option<String> {
    routes.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let to_all = fields.first()?.bytes().all(|digit| digit == b'0');
        let name = fields.last().filter(|name| **name != "lo")?;
        (to_all && fields.get(1) == Some(&"00")).then(|| (*name).to_owned())
    })
}

/// Whether there are rules of iptables-legacy: these files name its tables in use. Only root
/// may read them; nobody else is told of what may not be.
fn has_legacy_rules() -> bool {
    ["ip_tables_names", "ip6_tables_names"].iter().any(|file| {
        let names = std::fs::read_to_string(format!("/proc/self/net/{file}"));
        names.is_ok_and(|names| !names.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_when_they_have_ended_and_never_in_a_loop() {
        let at = |millis: u64| BootTime::from_micros(millis * 1000);
        let mut others = OtherTables::default();
        assert_eq!(others.next(), None);
        others.changed(at(0));
        assert_eq!(others.next(), Some(at(500)));
        for millis in (100..20_000).step_by(100) {
            others.changed(at(millis));
        }
        assert_eq!(others.next(), Some(at(5_000)), "they never end");
        others.note_read(at(20_000));
        others.changed(at(20_001));
        assert_eq!(others.next(), Some(at(20_501)), "as a stop and a start");
        let mut now = 20_501;
        for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
            others.note_read(at(now));
            others.changed(at(now + 1));
            assert_eq!(others.next(), Some(at(now + pause)), "in a loop");
            now += pause;
        }
        others.note_read(at(now + 10_000));
        others.changed(at(now + 10_001));
        assert_eq!(others.next(), Some(at(now + 10_501)), "the loop has ended");
        others.note_read(at(0));
        others.schedule_retry(at(1));
        assert_eq!(others.next(), Some(at(60_001)), "it failed");
        others.changed(at(30_000));
        assert_eq!(others.next(), Some(at(30_500)));
    }

    #[test]
    fn strangers_come_by_the_default_route() {
        let four = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_interface4(four).as_deref(), Some("eth0"));
        assert_eq!(default_interface4("x\n1\n"), None);
        let zero = "0".repeat(32);
        let six = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n{zero} 00 {zero} 00 {zero} 400 1 0 3 eth2\n"
        );
        assert_eq!(default_interface6(&six).as_deref(), Some("eth2"));
    }
}
