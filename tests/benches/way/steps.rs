//! Steps through a thread by ptrace(2): from its waking by a knock until its part is done.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use spa_tests::wait;

use crate::who::Who;

/// A part of a knock takes some ten thousand.
const MOST: usize = 200_000;
/// Steps until it waits again for what comes, where it was in the midst of something.
const UNTIL_REST: usize = 20 * MOST;
/// How long a knock may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// A thread that does not come back from a call for this long waits for something.
const REST: Duration = Duration::from_millis(100);
/// The instruction that calls the kernel on x86_64.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// The numbers of sendto and sendmsg there.
const SENDS: [u64; 2] = [44, 46];

/// Where it executes, and two of its registers: number and first argument of a call.
#[derive(Clone, Copy)]
struct State {
    rip: u64,
    rax: u64,
    rdi: u64,
}

/// Knocks while the thread waits. Gives the address of each instruction that it then executed.
pub(crate) fn follow(who: &Who, knock: impl FnOnce()) -> Result<Vec<u64>, String> {
    let mut stepped = Stepped::attach(who)?;
    stepped.rest()?;
    knock();
    stepped.stop(Some(PATIENCE))?;
    let mut steps = Vec::new();
    while steps.len() < MOST {
        let state = stepped.state()?;
        // An instruction that repeats itself stops at each turn.
        if steps.last() != Some(&state.rip) {
            steps.push(state.rip);
        }
        let call = stepped.call(state);
        if call.is_some_and(|number| SENDS.contains(&number)) && who.ends_by(state.rdi) {
            return Ok(steps);
        }
        stepped.step()?;
        stepped.stop(call.and(Some(PATIENCE)))?;
    }
    Err(format!("the {} sent nothing in {MOST} steps", who.name))
}

/// A thread that is let go when dropped, whatever happened.
struct Stepped {
    name: &'static str,
    thread: Pid,
    memory: File,
    runs: bool,
    /// A signal that came between, which it must still get.
    signal: Option<Signal>,
}

impl Stepped {
    fn attach(who: &Who) -> Result<Self, String> {
        let memory = File::open(who.proc("mem"))
            .map_err(|error| format!("cannot read the {}'s memory: {error}", who.name))?;
        let thread = Pid::from_raw(who.thread);
        ptrace::seize(thread, ptrace::Options::empty())
            .map_err(|error| format!("cannot trace the {}: {error}", who.name))?;
        let mut stepped = Self {
            name: who.name,
            thread,
            memory,
            runs: true,
            signal: None,
        };
        ptrace::interrupt(thread).map_err(|error| stepped.cannot("stop", error))?;
        stepped.stop(Some(PATIENCE))?;
        Ok(stepped)
    }

    /// Steps until it waits for what comes.
    fn rest(&mut self) -> Result<(), String> {
        // It was stopped in the call by which it waits, and may begin that anew.
        let mut calls = true;
        for _ in 0..UNTIL_REST {
            self.step()?;
            if !calls {
                self.stop(None)?;
            } else if !self.has_stopped(Some(REST))? {
                return Ok(());
            }
            calls = self.call(self.state()?).is_some();
        }
        Err(format!("the {} never waits", self.name))
    }

    /// The number of the call to the kernel that comes next, if one does.
    fn call(&self, state: State) -> Option<u64> {
        let mut code = [0; SYSCALL.len()];
        let read = self.memory.read_exact_at(&mut code, state.rip);
        (read.is_ok() && code == SYSCALL).then_some(state.rax)
    }

    fn step(&mut self) -> Result<(), String> {
        ptrace::step(self.thread, self.signal.take())
            .map_err(|error| self.cannot("step through", error))?;
        self.runs = true;
        Ok(())
    }

    /// Waits for its stop; fails where there is none for so long.
    fn stop(&mut self, patience: Option<Duration>) -> Result<(), String> {
        if self.has_stopped(patience)? {
            return Ok(());
        }
        Err(format!("the {} was not woken", self.name))
    }

    /// Waits for its stop so long, or as long as it takes.
    fn has_stopped(&mut self, patience: Option<Duration>) -> Result<bool, String> {
        let began = wait::now();
        let mut flags = WaitPidFlag::__WALL;
        flags.set(WaitPidFlag::WNOHANG, patience.is_some());
        loop {
            match waitpid(self.thread, Some(flags)) {
                Ok(WaitStatus::StillAlive)
                    if patience.is_some_and(|most| began.elapsed() < most) =>
                {
                    wait::until_after(wait::now(), Duration::from_millis(1));
                }
                Ok(WaitStatus::StillAlive) => return Ok(false),
                Ok(WaitStatus::Stopped(_, signal)) => {
                    self.signal = (signal != Signal::SIGTRAP).then_some(signal);
                    break;
                }
                Ok(WaitStatus::PtraceEvent(..)) => break,
                Ok(other) => return Err(format!("the {} ended: {other:?}", self.name)),
                Err(error) => return Err(self.cannot("wait for", error)),
            }
        }
        self.runs = false;
        Ok(true)
    }

    #[cfg(target_arch = "x86_64")]
    fn state(&self) -> Result<State, String> {
        let registers = ptrace::getregs(self.thread);
        let registers = registers.map_err(|error| self.cannot("look into", error))?;
        Ok(State {
            rip: registers.rip,
            rax: registers.rax,
            rdi: registers.rdi,
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn state(&self) -> Result<State, String> {
        Err(self.cannot("look into", nix::Error::ENOSYS))
    }

    fn cannot(&self, what: &str, error: nix::Error) -> String {
        format!("cannot {what} the {}: {error}", self.name)
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        // Only one that has stopped can be let go.
        if self.runs && ptrace::interrupt(self.thread).is_ok() {
            let _ = self.has_stopped(Some(PATIENCE));
        }
        let _ = ptrace::detach(self.thread, self.signal.take());
    }
}
