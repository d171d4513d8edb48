//! [IO] What the engine's thread waits for, in two epoll sets: one of everything but
//! packets, and one of packets and that set.
//!
//! A packet that comes after a silence meets cold caches, and poll(2) would look at
//! every descriptor again before it tells of the one; of an epoll set only what is ready
//! is looked at.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Who can have something for the engine's thread; each a bit of [`Ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Packets = 1,
    Writer = 2,
    Runner = 4,
    Tasks = 8,
    Deadline = 16,
    ClockSet = 32,
}

/// What the set of packets has of the set of everything else.
const OTHERS: u64 = 64;

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Who has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready(u64);

impl Ready {
    pub(super) const fn contains(self, source: Source) -> bool {
        self.0 & source as u64 != 0
    }

    pub(super) const fn only_packets(self) -> bool {
        self.0 == Source::Packets as u64
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How long to wait, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until anybody calls.
    Block,
    /// Not at all: who has called already?
    Poll,
    /// So long, unless another than packets calls.
    Pause(Duration),
}

/// The two sets.
#[derive(Debug)]
pub(super) struct Poller {
    all: OwnedFd,
    others: OwnedFd,
    /// Those of whom it waits that they take something, too.
    want_write: u64,
}

impl Poller {
    /// For nobody yet.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub(super) fn new() -> std::io::Result<Self> {
        let all = epoll::create(CreateFlags::CLOEXEC)?;
        let others = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&all, &others, EventData::new_u64(OTHERS), EventFlags::IN)?;
        Ok(Self {
            all,
            others,
            want_write: 0,
        })
    }

    /// Waits for what comes by this descriptor too, while it is open.
    ///
    /// # Errors
    /// What the kernel reports.
    pub(super) fn add(&self, source: Source, descriptor: impl AsFd) -> std::io::Result<()> {
        let set = match source {
            Source::Packets => &self.all,
            _ => &self.others,
        };
        Ok(epoll::add(set, descriptor, data(source), EventFlags::IN)?)
    }

    /// Waits, or no longer, until something can be sent by this descriptor, too. It was
    /// added, and packets come by another.
    ///
    /// # Errors
    /// What the kernel reports.
    pub(super) fn set_want_write(
        &mut self,
        source: Source,
        descriptor: impl AsFd,
        want_write: bool,
    ) -> std::io::Result<()> {
        if want_write == (self.want_write & source as u64 != 0) {
            return Ok(());
        }
        let flags = if want_write {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        epoll::modify(&self.others, descriptor, data(source), flags)?;
        self.want_write ^= source as u64;
        Ok(())
    }

    /// Says who called: nobody where the time is over or a signal came.
    ///
    /// # Errors
    /// What the kernel reports.
    pub(super) fn wait(&self, wait: Wait) -> std::io::Result<Ready> {
        let called = match wait {
            Wait::Block => self.wait_all(None),
            Wait::Poll => self.wait_all(Some(&NO_TIME)),
            Wait::Pause(pause) => self.wait_others(pause),
        };
        match called {
            Err(Errno::INTR) => Ok(Ready::default()),
            called => Ok(called?),
        }
    }

    fn wait_all(&self, timeout: Option<&Timespec>) -> Result<Ready, Errno> {
        let Ready(mut called) = ready(&self.all, timeout)?;
        if called & OTHERS != 0 {
            called = called ^ OTHERS | ready(&self.others, Some(&NO_TIME))?.0;
        }
        Ok(Ready(called))
    }

    /// By poll(2), which counts in less than milliseconds on every kernel.
    fn wait_others(&self, pause: Duration) -> Result<Ready, Errno> {
        let pause = Timespec::try_from(pause).unwrap_or(NO_TIME);
        poll(
            &mut [PollFd::new(&self.others, PollFlags::IN)],
            Some(&pause),
        )?;
        ready(&self.others, Some(&NO_TIME))
    }
}

const fn data(source: Source) -> EventData {
    EventData::new_u64(source as u64)
}

/// Who is ready in one set.
fn ready(set: &OwnedFd, timeout: Option<&Timespec>) -> Result<Ready, Errno> {
    let mut events = [const { MaybeUninit::<Event>::uninit() }; 8];
    let (ready, _) = epoll::wait(set, &mut events, timeout)?;
    let bits = |called, event: &Event| called | event.data.u64();
    Ok(Ready(ready.iter().fold(0, bits)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn who_called_is_told_and_nobody_else() {
        let (packets, mut sender) = pair();
        let (orders, mut administrator) = pair();
        let waiting = Poller::new().unwrap();
        waiting.add(Source::Packets, &packets).unwrap();
        waiting.add(Source::Tasks, &orders).unwrap();
        assert!(waiting.wait(Wait::Poll).unwrap().is_empty());
        send(&mut sender);
        let called = waiting.wait(Wait::Block).unwrap();
        assert!(called.contains(Source::Packets) && !called.contains(Source::Tasks));
        assert!(called.only_packets());
        send(&mut administrator);
        let called = waiting.wait(Wait::Block).unwrap();
        assert!(called.contains(Source::Packets) && called.contains(Source::Tasks));
        assert!(!called.contains(Source::Writer) && !called.only_packets());
    }

    #[test]
    fn a_pause_is_not_ended_by_packets_but_by_everybody_else() {
        let (packets, mut sender) = pair();
        let (writer, mut answering) = pair();
        let waiting = Poller::new().unwrap();
        waiting.add(Source::Packets, &packets).unwrap();
        waiting.add(Source::Writer, &writer).unwrap();
        send(&mut sender);
        let pause = Wait::Pause(Duration::from_micros(150));
        assert!(waiting.wait(pause).unwrap().is_empty());
        send(&mut answering);
        let called = waiting
            .wait(Wait::Pause(Duration::from_secs(3600)))
            .unwrap();
        assert!(called.contains(Source::Writer) && !called.contains(Source::Packets));
    }

    #[test]
    fn room_to_send_is_waited_for_while_something_waits_to_be_sent() {
        let (writer, _answering) = pair();
        let mut waiting = Poller::new().unwrap();
        waiting.add(Source::Writer, &writer).unwrap();
        for (behind, called) in [(false, false), (true, true), (true, true), (false, false)] {
            waiting
                .set_want_write(Source::Writer, &writer, behind)
                .unwrap();
            let told = waiting.wait(Wait::Poll).unwrap();
            assert_eq!(told.contains(Source::Writer), called, "behind: {behind}");
        }
    }

    #[test]
    fn one_who_has_ended_calls() {
        let (runner, gone) = pair();
        let waiting = Poller::new().unwrap();
        waiting.add(Source::Runner, &runner).unwrap();
        drop(gone);
        assert!(waiting.wait(Wait::Block).unwrap().contains(Source::Runner));
    }

    fn send(to: &mut UnixStream) {
        std::io::Write::write_all(to, b"1").unwrap();
    }
}
