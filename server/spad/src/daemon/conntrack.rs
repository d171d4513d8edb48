//! [IO] The fill level of the kernel's connection table.
//!
//! Every packet that this host answers creates an entry, even with a forged source. Once the
//! table is full, the kernel drops new connections, those of granted clients included. The
//! files are opened before the sandbox restricts the engine; they belong to this network
//! namespace.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::time::Duration;

use spad_model::BootTime;

/// Nearly full from this percentage on.
const FULL_PERCENT: u64 = 90;

/// No longer full below this percentage.
const RECOVERED_PERCENT: u64 = 80;

/// Time without drops before the table counts as recovered, because floods come in waves.
const QUIET_PERIOD: Duration = Duration::from_secs(60);

/// Maximum length of the kernel's files, enough for thousands of processors.
const MAX_FILE_LEN: u64 = 1 << 20;

/// The kernel's files.
#[derive(Debug)]
pub(super) struct ProcFiles {
    count: File,
    max: File,
    /// Counters of each processor.
    drops: Option<File>,
}

/// What there is to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConntrackEvent {
    /// It became nearly full, or the kernel gave something up for want of room.
    NearlyFull(String),
    /// It has room again.
    Recovered(String),
}

/// One look at the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    count: u64,
    max: u64,
    /// Packets that the kernel dropped, and entries that it gave up early, since it started.
    dropped: u64,
    early_dropped: u64,
}

/// The table, looked at now and then.
#[derive(Debug, Default)]
pub(super) struct ConntrackMonitor {
    files: Option<ProcFiles>,
    last: Sample,
    /// What was counted when it became full.
    full_since: Option<Sample>,
    /// When the kernel was last seen to give something up.
    last_early_drop: Option<BootTime>,
}

impl ConntrackMonitor {
    /// None of it where this kernel tracks no connections.
    pub(super) fn open() -> Self {
        let open = |path| File::open(path).ok();
        let files = || {
            Some(ProcFiles {
                count: open("/proc/sys/net/netfilter/nf_conntrack_count")?,
                max: open("/proc/sys/net/netfilter/nf_conntrack_max")?,
                drops: open("/proc/net/stat/nf_conntrack"),
            })
        };
        let files = files();
        let last = files
            .as_ref()
            .and_then(ProcFiles::sample)
            .unwrap_or_default();
        Self {
            files,
            last,
            ..Self::default()
        }
    }

    /// Samples the table; returns the start or the end of a shortage.
    pub(super) fn poll(&mut self, at: BootTime) -> Option<ConntrackEvent> {
        let now = self.files.as_ref()?.sample()?;
        self.update(now, at)
    }

    fn update(&mut self, now: Sample, at: BootTime) -> Option<ConntrackEvent> {
        let before = std::mem::replace(&mut self.last, now);
        let gave_up = now.dropped > before.dropped || now.early_dropped > before.early_dropped;
        if gave_up {
            self.last_early_drop = Some(at);
        }
        let gave_up_lately = |gave_up| at.saturating_since(gave_up) < QUIET_PERIOD;
        let gave_up_lately = self.last_early_drop.is_some_and(gave_up_lately);
        match self.full_since {
            None if gave_up || now.exceeds(FULL_PERCENT) => {
                self.full_since = Some(before);
                Some(ConntrackEvent::NearlyFull(self.warning()?))
            }
            Some(since) if !gave_up_lately && !now.exceeds(RECOVERED_PERCENT) => {
                self.full_since = None;
                Some(ConntrackEvent::Recovered(format!(
                    "the kernel's table of connections has room again ({} of {}){}",
                    now.count,
                    now.max,
                    now.lost_since(since)
                )))
            }
            _ => None,
        }
    }

    /// While it is nearly full: that, and what helps.
    pub(super) fn warning(&self) -> Option<String> {
        let since = self.full_since?;
        let Sample {
            count, max: most, ..
        } = self.last;
        Some(format!(
            "the kernel's table of connections is nearly full ({count} of {most}){}: then new connections are dropped, also of whoever was let in; see \"Keep connection tracking from filling up\" in docs/operating.md",
            self.last.lost_since(since)
        ))
    }
}

impl Sample {
    /// Never, where `nf_conntrack_max` is 0: then the kernel sets no limit.
    const fn exceeds(&self, percent: u64) -> bool {
        self.max > 0 && self.count.saturating_mul(100) >= self.max.saturating_mul(percent)
    }

    fn lost_since(&self, since: Self) -> String {
        let dropped = self.dropped.saturating_sub(since.dropped);
        let early_dropped = self.early_dropped.saturating_sub(since.early_dropped);
        format!(
            ", {dropped} packets dropped for it and {early_dropped} entries given up since then"
        )
    }
}

impl ProcFiles {
    fn sample(&self) -> Option<Sample> {
        let (dropped, given_up) = self.drops.as_ref().and_then(drops).unwrap_or_default();
        Some(Sample {
            count: number(&self.count)?,
            max: number(&self.max)?,
            dropped,
            early_dropped: given_up,
        })
    }
}

/// From its beginning: the kernel writes such a file anew for who reads there.
fn text(mut file: &File) -> Option<String> {
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(MAX_FILE_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}

fn number(file: &File) -> Option<u64> {
    text(file)?.trim().parse().ok()
}

fn drops(file: &File) -> Option<(u64, u64)> {
    sums(&text(file)?)
}

/// The sums of all processors: a line of names, then one of hexadecimal numbers each.
fn sums(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = |name| names.iter().position(|known| *known == name);
    let (drop, early) = (column("drop")?, column("early_drop")?);
    let mut sums = (0_u64, 0_u64);
    for line in lines {
        let mut words = line.split_whitespace();
        let mut words = words.by_ref().map(|word| u64::from_str_radix(word, 16));
        let numbers: Vec<u64> = words.by_ref().collect::<Result<_, _>>().ok()?;
        sums.0 = sums.0.saturating_add(*numbers.get(drop)?);
        sums.1 = sums.1.saturating_add(*numbers.get(early)?);
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00000010  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000000a 00000001 00000000  00000000 00000000 00000000 00000000
00000010  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000010 00000002 00000000  00000000 00000000 00000000 00000000
";

    #[test]
    fn the_counters_of_all_processors_are_summed_whatever_stands_beside_them() {
        assert_eq!(sums(STAT), Some((26, 3)));
        assert_eq!(sums("early_drop drop\n01 02\n"), Some((2, 1)));
        for odd in [
            "",
            "entries\n00\n",
            "drop early_drop\nzz 00\n",
            "drop early_drop\n00\n",
        ] {
            assert_eq!(sums(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_line_for_each_of_a_thousand_processors_is_read_again_and_again() {
        let mut file = tempfile::tempfile().unwrap();
        let (names, lines) = STAT.split_once('\n').unwrap();
        let line = lines.lines().next().unwrap();
        let text = format!("{names}\n{}", format!("{line}\n").repeat(1000));
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        assert_eq!(drops(&file), Some((10_000, 1000)));
        assert_eq!(drops(&file), Some((10_000, 1000)));
    }

    fn sample(count: u64, dropped: u64) -> Sample {
        Sample {
            count,
            max: 1000,
            dropped,
            early_dropped: 0,
        }
    }

    fn event_name(tracking: &mut ConntrackMonitor, sample: Sample, seconds: u64) -> &'static str {
        match tracking.update(sample, BootTime::from_micros(seconds * 1_000_000)) {
            None => "nothing",
            Some(ConntrackEvent::NearlyFull(_)) => "full",
            Some(ConntrackEvent::Recovered(_)) => "room",
        }
    }

    #[test]
    fn it_is_told_when_it_begins_and_when_it_ends_and_warned_of_meanwhile() {
        let mut tracking = ConntrackMonitor::default();
        let all = [
            (10, 899, 0, "nothing"),
            (20, 900, 0, "full"),
            (30, 1000, 5, "nothing"),
            (40, 850, 5, "nothing"),
            (50, 799, 7, "nothing"),
            (60, 799, 7, "nothing"),
            (109, 799, 7, "nothing"),
            (110, 799, 7, "room"),
            (120, 850, 7, "nothing"),
            (130, 900, 7, "full"),
            // Nothing was dropped meanwhile.
            (140, 799, 7, "room"),
        ];
        for (at, count, dropped, what) in all {
            let told = event_name(&mut tracking, sample(count, dropped), at);
            assert_eq!(told, what, "{at}");
            let between = matches!(what, "full") || tracking.full_since.is_some();
            assert_eq!(tracking.warning().is_some(), between, "{count}");
        }
    }

    #[test]
    fn drops_between_two_looks_tell_that_it_was_full() {
        let mut tracking = ConntrackMonitor {
            last: sample(10, 100),
            ..ConntrackMonitor::default()
        };
        assert_eq!(event_name(&mut tracking, sample(10, 103), 10), "full");
        let warning = tracking.warning().unwrap();
        assert!(
            warning.contains("(10 of 1000), 3 packets dropped"),
            "{warning}"
        );
        // Waves of it are one flood.
        for at in [20, 69] {
            assert_eq!(event_name(&mut tracking, sample(10, 103), at), "nothing");
        }
        assert_eq!(event_name(&mut tracking, sample(10, 104), 69), "nothing");
        assert_eq!(event_name(&mut tracking, sample(10, 104), 128), "nothing");
        assert_eq!(event_name(&mut tracking, sample(10, 104), 129), "room");
    }

    #[test]
    fn a_table_without_a_limit_is_never_full() {
        let mut tracking = ConntrackMonitor::default();
        let unlimited = Sample {
            max: 0,
            ..sample(1_000_000, 0)
        };
        assert_eq!(event_name(&mut tracking, unlimited, 1), "nothing");
    }

    #[test]
    fn without_a_table_nothing_is_said() {
        assert_eq!(ConntrackMonitor::default().poll(BootTime::default()), None);
        assert_eq!(ConntrackMonitor::default().warning(), None);
    }
}
