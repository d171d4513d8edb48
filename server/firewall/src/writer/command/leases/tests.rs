//! What is open and must be closed, with programs that do as they are told, or do not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use spa_proto::Timestamp;

use super::*;

/// A firewall that others run, a disk, and what both do wrong.
#[derive(Debug, Default)]
struct FakeFirewall {
    open: BTreeSet<String>,
    runs: Vec<String>,
    warned: Vec<String>,
    /// Programs that fail for these addresses, though they may have done it.
    fails: BTreeMap<String, bool>,
    disk: Vec<(Element, BootTime)>,
    disk_fails: bool,
}

type Shared = Rc<RefCell<FakeFirewall>>;

#[derive(Clone, Debug)]
struct Fake(Shared);

impl Programs for Fake {
    fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), String> {
        let mut outside = self.0.borrow_mut();
        let said = format!("{} {}", program.display(), arguments.join(" "));
        outside.runs.push(said.clone());
        let what = arguments[..3].join(" ");
        let fails = outside.fails.get(&said).copied();
        if fails.is_none_or(|done| done) {
            if program.ends_with("open") {
                // Nothing may be open that a crash now would leave open for good.
                let on_disk = |(element, _): &(Element, BootTime)| {
                    what == format!(
                        "{} {} {}",
                        element.address,
                        element.service.protocol.as_str(),
                        element.service.port
                    )
                };
                assert!(outside.disk.iter().any(on_disk), "{said} before the file");
                outside.open.insert(what);
            } else {
                outside.open.remove(&what);
            }
        }
        if fails.is_some() {
            Err("no".to_owned())
        } else {
            Ok(())
        }
    }

    fn warn(&mut self, text: &str) {
        self.0.borrow_mut().warned.push(text.to_owned());
    }
}

impl Store for Fake {
    fn read(&mut self, _: Duration, _: Now) -> std::io::Result<Vec<(Element, BootTime)>> {
        Ok(self.0.borrow().disk.clone())
    }

    fn write(&mut self, open: &[(Element, BootTime)], _: Now) -> std::io::Result<()> {
        let mut outside = self.0.borrow_mut();
        if outside.disk_fails {
            return Err(std::io::Error::other("full"));
        }
        outside.disk = open.to_vec();
        Ok(())
    }
}

fn external(extra: &str) -> ExternalFirewall {
    let text = format!(
        "[guard]\nmode = \"command\"\n[firewall]\nopen = {{ argv = [\"/open\", \"{{address}}\", \"{{protocol}}\", \"{{port}}\"{extra}] }}\nclose = {{ argv = [\"/close\", \"{{address}}\", \"{{protocol}}\", \"{{port}}\"] }}\n"
    );
    let mut files = spad_config::Files::empty(Path::new("/etc/spad"));
    files.server = Some(spa_findings::Source::new(
        Path::new("/etc/spad/spad.toml"),
        text,
    ));
    let now = Timestamp::from_micros(0);
    let loaded = spad_config::check(&files, now).unwrap();
    loaded.config.external.unwrap()
}

struct LeaseHarness {
    outside: Shared,
    ledger: LeaseTable<Fake, Fake>,
    now: Now,
}

impl LeaseHarness {
    fn new() -> Self {
        Self::with("")
    }

    fn with(extra: &str) -> Self {
        let now = Now {
            wall: Timestamp::from_micros(1_800_000_000_000_000),
            boot: BootTime::from_micros(1_000_000_000),
        };
        let outside = Shared::default();
        let fake = || Fake(Rc::clone(&outside));
        let max_ttl = Duration::from_secs(300);
        let ledger = LeaseTable::new(external(extra), fake(), fake(), max_ttl, now).unwrap();
        Self {
            ledger,
            outside,
            now,
        }
    }

    fn put(&mut self, last: &[u8], seconds: u64) -> Result<(), FirewallError> {
        let ttl = Duration::from_secs(seconds);
        let steps: Vec<Step> = last
            .iter()
            .map(|last| Step::Put {
                element: element(*last),
                ttl,
            })
            .collect();
        self.ledger.change(&steps, self.now)
    }

    fn remove(&mut self, last: u8) -> Result<(), FirewallError> {
        let step = Step::Remove {
            element: element(last),
        };
        self.ledger.change(&[step], self.now)
    }

    fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let second = Duration::from_secs(1);
            self.now.boot = self.now.boot.saturating_add(second);
            self.now.wall = self.now.wall.saturating_add(second);
            self.ledger.close_expired(self.now);
        }
    }

    fn restart(&mut self) {
        let fake = || Fake(Rc::clone(&self.outside));
        let max_ttl = Duration::from_secs(300);
        self.ledger = LeaseTable::new(external(""), fake(), fake(), max_ttl, self.now).unwrap();
    }

    fn open(&self) -> Vec<u8> {
        let outside = self.outside.borrow();
        let last = outside
            .open
            .iter()
            .map(|what| what.split([' ', '.']).nth(3).unwrap().parse().unwrap());
        last.collect()
    }

    fn runs(&self, what: &str) -> usize {
        self.outside
            .borrow()
            .runs
            .iter()
            .filter(|run| run.starts_with(what))
            .count()
    }

    /// This program fails from now on; it may have done what it was told all the same.
    fn fail(&self, what: &str, last: u8, done: bool) {
        let said = format!("{what} 192.0.2.{last} tcp 22");
        self.outside.borrow_mut().fails.insert(said, done);
    }

    fn clear_failures(&self) {
        self.outside.borrow_mut().fails.clear();
    }
}

fn element(last: u8) -> Element {
    Element {
        address: [192, 0, 2, last].into(),
        prefix: None,
        service: "tcp/22".parse().unwrap(),
        source_port: None,
        once: false,
    }
}

#[test]
fn what_is_open_is_closed_when_its_time_is_over() {
    let mut world = LeaseHarness::new();
    assert_eq!(world.put(&[1], 30), Ok(()));
    assert_eq!(world.put(&[2], 60), Ok(()));
    assert_eq!(world.ledger.list(world.now.boot).len(), 2);
    world.advance(29);
    assert_eq!(world.open(), [1, 2]);
    world.advance(1);
    assert_eq!(world.open(), [2]);
    world.advance(30);
    assert!(world.open().is_empty() && world.outside.borrow().disk.is_empty());
    assert_eq!(world.ledger.next_due(), None);
}

#[test]
fn where_one_of_several_cannot_be_opened_all_are_closed_again() {
    for done in [false, true] {
        let mut world = LeaseHarness::new();
        assert_eq!(world.put(&[1], 100), Ok(()));
        world.fail("/open", 3, done);
        assert_eq!(world.put(&[1, 2, 3, 4], 60), Err(FirewallError::Command));
        assert_eq!(world.open(), [1], "what was open before stays");
        assert_eq!(world.runs("/open 192.0.2.4"), 0);
        world.advance(99);
        assert_eq!(world.open(), [1], "until its own end");
        world.advance(1);
        assert!(world.open().is_empty());
    }
}

#[test]
fn a_close_that_fails_is_said_and_tried_again_until_it_succeeds() {
    let mut world = LeaseHarness::new();
    assert_eq!(world.put(&[1, 2], 10), Ok(()));
    world.fail("/close", 1, false);
    assert_eq!(world.remove(1), Err(FirewallError::Command));
    assert_eq!(
        world.remove(1),
        Err(FirewallError::Command),
        "its turn has not come"
    );
    assert_eq!(world.runs("/close"), 1);
    assert_eq!(
        world.ledger.list(world.now.boot).len(),
        1,
        "nobody is told that it is open"
    );
    world.advance(600);
    assert_eq!(world.open(), [1]);
    let tries = world.runs("/close 192.0.2.1");
    assert!(
        (12..=20).contains(&tries),
        "{tries}: rarer and rarer, at most a minute apart"
    );
    let warned = world.outside.borrow().warned.len();
    assert!(warned <= tries, "{warned}");
    assert!(world.outside.borrow().warned[0].contains("STILL OPEN"));
    world.clear_failures();
    world.advance(60);
    assert!(world.open().is_empty() && world.outside.borrow().disk.is_empty());
    assert_eq!(world.remove(1), Ok(()));
}

#[test]
fn what_takes_the_place_of_one_that_does_not_close_is_open_and_the_close_is_tried_again() {
    let mut world = LeaseHarness::new();
    world.put(&[1], 30).unwrap();
    world.fail("/close", 1, false);
    let (new, old) = (element(2), element(1));
    let steps = [
        Step::Remove { element: old },
        Step::Put {
            element: new,
            ttl: Duration::from_secs(30),
        },
    ];
    assert_eq!(world.ledger.change(&steps, world.now), Ok(()));
    assert_eq!(world.open(), [1, 2]);
    world.clear_failures();
    world.advance(5);
    assert_eq!(world.open(), [2]);
}

#[test]
fn what_was_open_when_everything_was_killed_is_closed_at_its_time_by_the_next_start() {
    let mut world = LeaseHarness::new();
    assert_eq!(world.put(&[1], 10), Ok(()));
    assert_eq!(world.put(&[2], 60), Ok(()));
    world.now.boot = world.now.boot.saturating_add(Duration::from_secs(20));
    world.restart();
    assert_eq!(world.open(), [1, 2]);
    world.ledger.close_expired(world.now);
    assert_eq!(world.open(), [2]);
    let listed = world.ledger.list(world.now.boot);
    assert_eq!(
        (listed.len(), listed[0].remaining),
        (1, Duration::from_secs(40))
    );
    world.advance(40);
    assert!(world.open().is_empty());
}

#[test]
fn what_an_earlier_process_kept_is_opened_anew_when_it_is_asked_for_again() {
    let mut world = LeaseHarness::new();
    world.put(&[1], 60).unwrap();
    // Killed before its program had done it, or the firewall began anew with the machine.
    world.outside.borrow_mut().open.clear();
    world.restart();
    world.put(&[1], 60).unwrap();
    assert_eq!(world.open(), [1]);
    world.put(&[1], 60).unwrap();
    assert_eq!(world.runs("/open"), 2, "once is enough then");
}

#[test]
fn a_close_that_failed_is_tried_again_by_the_next_start() {
    let mut world = LeaseHarness::new();
    assert_eq!(world.put(&[1], 60), Ok(()));
    world.fail("/close", 1, false);
    assert_eq!(world.remove(1), Err(FirewallError::Command));
    world.clear_failures();
    world.restart();
    world.ledger.close_expired(world.now);
    assert!(world.open().is_empty());
}

#[test]
fn nothing_is_opened_that_cannot_be_written_down() {
    let mut world = LeaseHarness::new();
    world.outside.borrow_mut().disk_fails = true;
    assert_eq!(world.put(&[1], 60), Err(FirewallError::Command));
    assert_eq!(world.runs("/open"), 0);
}

#[test]
fn a_renewal_moves_the_end_and_runs_the_program_again_only_where_it_is_told_the_time() {
    for (extra, runs) in [("", 1), (", \"{ttl_s}\"", 2)] {
        let mut world = LeaseHarness::with(extra);
        assert_eq!(world.put(&[1], 10), Ok(()));
        world.advance(5);
        assert_eq!(world.put(&[1], 10), Ok(()));
        assert_eq!(world.runs("/open"), runs);
        world.advance(9);
        assert_eq!(world.open(), [1]);
        world.advance(1);
        assert!(world.open().is_empty());
    }
}

#[test]
fn what_this_firewall_cannot_narrow_down_is_not_opened_at_all() {
    let mut world = LeaseHarness::new();
    let once = Element {
        once: true,
        ..element(1)
    };
    let from_port = Element {
        source_port: std::num::NonZeroU16::new(4000),
        ..element(1)
    };
    for element in [once, from_port] {
        let ttl = Duration::from_secs(1);
        let steps = [Step::Put { element, ttl }];
        assert_eq!(
            world.ledger.change(&steps, world.now),
            Err(FirewallError::Unsupported)
        );
    }
    assert_eq!(world.runs("/open"), 0);
}

#[test]
fn the_end_closes_everything() {
    let mut world = LeaseHarness::new();
    assert_eq!(world.put(&[1, 2], 60), Ok(()));
    world.ledger.close_all(world.now);
    assert!(world.open().is_empty() && world.outside.borrow().disk.is_empty());
}
