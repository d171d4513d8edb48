//! What the external firewall lets in, until when; and what it must be told next.
//!
//! Pure but for the two things it is given: programs that run, a file that is
//! written. Nothing is opened before the file says so, and nothing is forgotten
//! before a program has closed it. A program that failed to open may have done so
//! all the same, so what it was to open is closed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use spad_config::ExternalFirewall;
use spad_model::{BootTime, Element, FirewallError, KernelElement, Now, Step};

/// The longest pause between two tries to close.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Words about failures: one in so long, and how many there were since.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// What runs a program.
pub(super) trait Programs {
    /// Runs it to its end.
    ///
    /// # Errors
    /// That it was not done, and what it said.
    fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), String>;

    /// Tells whoever reads the log.
    fn warn(&mut self, text: &str);
}

/// Where what is open is kept.
pub(super) trait Store {
    /// What was kept, brought to this boot; nothing is longer than `longest`.
    ///
    /// # Errors
    /// It cannot be read: nobody knows what is open.
    fn read(&mut self, longest: Duration, now: Now) -> std::io::Result<Vec<(Element, BootTime)>>;

    /// Keeps this, on the disk when it returns.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, open: &[(Element, BootTime)], now: Now) -> std::io::Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenElement {
    ends: BootTime,
    /// A program said that it is open. Of what an earlier process kept nobody knows: that
    /// may have ended before its program did, and another boot may have emptied the firewall.
    confirmed: bool,
    /// It must be closed: when that is tried next, after how many failures.
    closing: Option<(BootTime, u32)>,
}

/// Everything that may be open.
#[derive(Debug)]
pub(super) struct LeaseTable<P, S> {
    external: ExternalFirewall,
    programs: P,
    store: S,
    open: BTreeMap<Element, OpenElement>,
    last_warning: Option<BootTime>,
    suppressed: u32,
}

impl<P: Programs, S: Store> LeaseTable<P, S> {
    pub(super) fn new(
        external: ExternalFirewall,
        programs: P,
        mut store: S,
        max_ttl: Duration,
        now: Now,
    ) -> std::io::Result<Self> {
        let stored = store.read(max_ttl, now)?;
        let entry = |(element, ends)| {
            (
                element,
                OpenElement {
                    ends,
                    confirmed: false,
                    closing: None,
                },
            )
        };
        Ok(Self {
            external,
            programs,
            store,
            open: stored.into_iter().map(entry).collect(),
            last_warning: None,
            suppressed: 0,
        })
    }

    /// From now on these programs.
    pub(super) fn reconfigure(&mut self, external: ExternalFirewall, programs: P) {
        self.external = external;
        self.programs = programs;
    }

    /// What is open, but for what is to be closed.
    pub(super) fn list(&self, now: BootTime) -> Vec<KernelElement> {
        let open = self.open.iter();
        let open = open.filter(|(_, entry)| entry.closing.is_none() && entry.ends > now);
        open.map(|(element, entry)| KernelElement {
            element: *element,
            remaining: entry.ends.saturating_since(now),
        })
        .collect()
    }

    /// When [`Self::close_expired`] has something to do next.
    pub(super) fn next_due(&self) -> Option<BootTime> {
        self.open.values().map(OpenElement::due).min()
    }

    /// Makes a change. Opens are all made or none; what could not be closed is tried again.
    ///
    /// # Errors
    /// `Unsupported`, with nothing done; `Command`, with nothing open that was not before.
    pub(super) fn change(&mut self, steps: &[Step], now: Now) -> Result<(), FirewallError> {
        let puts: Vec<(Element, Duration)> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Put { element, ttl } => Some((*element, *ttl)),
                Step::Remove { .. } => None,
            })
            .collect();
        if !puts
            .iter()
            .all(|(element, _)| self.external.can_open(element))
        {
            return Err(FirewallError::Unsupported);
        }
        self.open_all(&puts, now)?;
        let mut closed = Ok(());
        for step in steps {
            if let Step::Remove { element } = step
                && !self.close(*element, now)
            {
                closed = Err(FirewallError::Command);
            }
        }
        if puts.len() < steps.len() {
            self.write(now);
        }
        // Beside what is open now, a close that failed is ours alone to try again: refused,
        // the change would leave it open for nobody.
        if puts.is_empty() { closed } else { Ok(()) }
    }

    fn open_all(&mut self, puts: &[(Element, Duration)], now: Now) -> Result<(), FirewallError> {
        if puts.is_empty() {
            return Ok(());
        }
        let before: Vec<Option<OpenElement>> = puts
            .iter()
            .map(|(element, _)| self.open.get(element).copied())
            .map(|entry| entry.filter(|entry| entry.closing.is_none()))
            .collect();
        for (element, ttl) in puts {
            let ends = now.boot.saturating_add(*ttl);
            self.open.insert(
                *element,
                OpenElement {
                    ends,
                    // Whatever fails puts back what was before.
                    confirmed: true,
                    closing: None,
                },
            );
        }
        // First the file: whatever comes now, the next start knows what to close.
        let mut done = self.write(now);
        for ((element, ttl), before) in puts.iter().zip(&before) {
            let open = before.is_some_and(|before| before.confirmed);
            let is_covered = open && !self.external.uses_ttl();
            if done && !is_covered {
                done = self.run_open(element, *ttl, now);
            }
        }
        if done {
            return Ok(());
        }
        for ((element, _), before) in puts.iter().zip(before) {
            match before {
                Some(before) => {
                    self.open.insert(*element, before);
                }
                None => {
                    self.close(*element, now);
                }
            }
        }
        self.write(now);
        Err(FirewallError::Command)
    }

    fn run_open(&mut self, element: &Element, ttl: Duration, now: Now) -> bool {
        let arguments = self.external.open.arguments(element, ttl);
        let result = self.programs.run(self.external.open.path(), &arguments);
        let done = result.is_ok();
        if let Err(why) = result {
            self.warn_limited(
                &format!("opening {} for {}: {why}", element.service, element.address),
                now,
            );
        }
        done
    }

    /// Closes it; true where it is closed. One whose turn to be tried again has not come is not.
    fn close(&mut self, element: Element, now: Now) -> bool {
        let Some(entry) = self.open.get(&element).copied() else {
            return true;
        };
        let (due, failures) = entry.closing.unwrap_or((now.boot, 0));
        if due > now.boot {
            return false;
        }
        let arguments = self.external.close.arguments(&element, Duration::ZERO);
        match self.programs.run(self.external.close.path(), &arguments) {
            Ok(()) => {
                self.open.remove(&element);
                true
            }
            Err(why) => {
                let pause = Duration::from_secs(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
                let next = now.boot.saturating_add(pause.min(MAX_PAUSE));
                let closing = Some((next, failures.saturating_add(1)));
                self.open.insert(element, OpenElement { closing, ..entry });
                self.warn_limited(
                    &format!(
                        "{} IS STILL OPEN for {}: closing failed, and is tried again: {why}",
                        element.service, element.address
                    ),
                    now,
                );
                false
            }
        }
    }

    /// Closes what is over, and tries again what failed.
    pub(super) fn close_expired(&mut self, now: Now) {
        let due = |(_, entry): &(&Element, &OpenElement)| entry.due() <= now.boot;
        let due: Vec<Element> = self
            .open
            .iter()
            .filter(due)
            .map(|(element, _)| *element)
            .collect();
        for element in &due {
            self.close(*element, now);
        }
        if !due.is_empty() {
            self.write(now);
        }
    }

    /// Closes everything, each tried once.
    pub(super) fn close_all(&mut self, now: Now) {
        for entry in self.open.values_mut() {
            let failures = entry.closing.map_or(0, |(_, failures)| failures);
            entry.closing = Some((now.boot, failures));
        }
        self.close_expired(now);
    }

    fn write(&mut self, now: Now) -> bool {
        let open: Vec<(Element, BootTime)> = self
            .open
            .iter()
            .map(|(element, entry)| match entry.closing {
                Some(_) => (*element, now.boot),
                None => (*element, entry.ends),
            })
            .collect();
        let written = self.store.write(&open, now);
        let done = written.is_ok();
        if let Err(error) = written {
            self.warn_limited(
                &format!("cannot write down what is open, so nothing more is opened: {error}"),
                now,
            );
        }
        done
    }

    fn warn_limited(&mut self, text: &str, now: Now) {
        let quiet = self
            .last_warning
            .is_some_and(|said| now.boot.saturating_since(said) < WARN_INTERVAL);
        if quiet {
            self.suppressed = self.suppressed.saturating_add(1);
            return;
        }
        self.last_warning = Some(now.boot);
        let more = std::mem::take(&mut self.suppressed);
        let more = if more > 0 {
            format!(" ({more} more like it since the last)")
        } else {
            String::new()
        };
        self.programs.warn(&format!("{text}{more}"));
    }
}

impl OpenElement {
    fn due(&self) -> BootTime {
        self.closing.map_or(self.ends, |(next, _)| next)
    }
}

#[cfg(test)]
mod tests;
