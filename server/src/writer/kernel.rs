//! [IO] Grants in the kernel: one change, one transaction.
//!
//! Takes changes that passed the limits; gives what the kernel said. Keeps in
//! mind what it put in, so that it can be put back. Never loads rules.

use std::collections::HashMap;
use std::time::Duration;

use rustix::io::Errno;

use super::held::Held;
use super::keys::{self, GRANTS};
use super::netlink::{Action, Failed, Lasts, Listed, Netlink, Operation};
use crate::clock::BootTime;
use crate::firewall::table::SetName;
use crate::firewall::{Element, FirewallRefusal, KernelElement, Step};

/// How far the kernel's end of a grant may be from ours before somebody else must have moved it.
const TOLERANCE: Duration = Duration::from_secs(2);

/// So many elements are remembered before those that have ended are looked for.
const MANY_HELD: usize = 1024;

/// Elements in one transaction where there are many.
const PAGE: usize = 512;

/// How often a change is tried that the kernel is too busy for, and the first pause
/// between two tries; each is twice the one before.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// What makes changes of sets, whole or not at all, and lists them: the kernel.
pub(super) trait Sets {
    /// Does all of this, or nothing.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed>;

    /// Every element of a set.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno>;
}

/// The kernel's sets of grants, and our memory of them.
#[derive(Debug)]
pub(super) struct Kernel<S = Netlink> {
    pub(super) netlink: S,
    held: Held,
}

/// Whether grants for one connection that are gone may be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Once {
    /// They were there a moment ago, and we took them away ourselves.
    StillThere,
    /// A connection may have used them.
    MayBeUsed,
}

/// One step on its way: what it still needs.
struct Attempt<'a> {
    step: &'a Step,
    delete: bool,
}

impl<S: Sets> Kernel<S> {
    pub(super) fn new(netlink: S) -> Self {
        Self {
            netlink,
            held: Held::default(),
        }
    }

    /// Whether we asked for this element and it has not ended.
    pub(super) fn has(&self, element: &Element, now: BootTime) -> bool {
        self.held.has(element, now)
    }

    /// Makes a change: all of it or nothing.
    ///
    /// # Errors
    /// `TableMissing` where the table or a set is gone; nothing was done then, nor after any other error.
    pub(super) fn change(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallRefusal> {
        let mut attempts: Vec<Attempt<'_>> = steps
            .iter()
            .map(|step| Attempt {
                step,
                delete: matches!(step, Step::Remove { .. }) || self.held.has(step.element(), now),
            })
            .collect();
        // Each round learns at least one thing about one step, so this ends; a set that
        // somebody else keeps changing meanwhile must not keep us either.
        let rounds = steps.len().saturating_mul(2).saturating_add(2);
        for _ in 0..rounds {
            let operations = operations(&attempts);
            let flat: Vec<Operation> = operations.iter().map(|(_, one)| one.clone()).collect();
            match self.transaction(&flat) {
                Ok(()) => {
                    self.remember(steps, now);
                    let forgotten = self.forget_used(steps, now);
                    // Beside what is open now: refused, the change would leave that open for
                    // nobody. What a used grant let in is over in seconds.
                    let opens = steps.iter().any(|step| matches!(step, Step::Put { .. }));
                    return if opens { Ok(()) } else { forgotten };
                }
                Err(Failed::Whole(error)) => return Err(refusal(error)),
                Err(Failed::Unknown) => return self.read_back(steps, now),
                Err(Failed::Refused(refused)) => learn(&refused, &operations, &mut attempts)?,
            }
        }
        Err(FirewallRefusal::Kernel(Errno::BUSY.raw_os_error()))
    }

    /// A grant for one connection that is taken away may have been used: what the rules
    /// then put in for its source port goes as well, or it would admit others from there.
    fn forget_used(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallRefusal> {
        let removed = |step: &Step| match step {
            Step::Remove { element } if element.once => Some((element.address, element.service)),
            _ => None,
        };
        let removed: Vec<_> = steps.iter().filter_map(removed).collect();
        if removed.is_empty() {
            return Ok(());
        }
        let mut operations = Vec::new();
        for set in [SetName::Flow4, SetName::Flow6] {
            for (key, _) in self.netlink.list(set).map_err(refusal)? {
                let used = keys::to_element(set, &key).filter(|element| {
                    removed.contains(&(element.address, element.service))
                        && !self.held.has(element, now)
                });
                operations.extend(used.map(|_| Operation {
                    set,
                    key,
                    action: Action::Delete,
                }));
            }
        }
        self.in_pages(&operations).map_err(refusal)
    }

    /// The transaction, again where the kernel was too busy for it: nothing was done then.
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.netlink.transaction(operations) {
                Err(failed) if failed.is_busy() => std::thread::sleep(pause),
                other => return other,
            }
            pause = pause.saturating_mul(2);
        }
        self.netlink.transaction(operations)
    }

    fn remember(&mut self, steps: &[Step], now: BootTime) {
        for step in steps {
            match step {
                Step::Put { element, ttl } => self.held.put(*element, now.saturating_add(*ttl)),
                Step::Remove { element } => self.held.remove(element),
            }
        }
        self.held.prune_when_large(MANY_HELD, now);
    }

    /// The answer was lost: what the kernel holds is the answer.
    fn read_back(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallRefusal> {
        let lost = FirewallRefusal::Kernel(Errno::NOBUFS.raw_os_error());
        let before: Vec<Option<Duration>> = steps
            .iter()
            .map(|step| self.held.remaining(step.element(), now))
            .collect();
        self.adopt(now).map_err(refusal)?;
        let done = steps.iter().zip(before).all(|(step, before)| {
            let after = self.held.remaining(step.element(), now);
            match step {
                Step::Remove { .. } => after.is_none(),
                // A renewal that was not made leaves an end nearer to the one before.
                Step::Put { ttl, .. } => after.is_some_and(|after| {
                    before.is_none_or(|before| after.abs_diff(*ttl) <= after.abs_diff(before))
                }),
            }
        });
        if done { Ok(()) } else { Err(lost) }
    }

    /// Takes what the kernel holds for what we asked for.
    ///
    /// # Errors
    /// `NOENT` where the table is not there.
    pub(super) fn adopt(&mut self, now: BootTime) -> Result<Vec<KernelElement>, Errno> {
        let elements = self.list()?;
        self.held = Held::default();
        for one in &elements {
            self.held
                .put(one.element, now.saturating_add(one.remaining));
        }
        Ok(elements)
    }

    /// Every grant that the kernel holds.
    ///
    /// # Errors
    /// `NOENT` where the table is not there.
    pub(super) fn list(&mut self) -> Result<Vec<KernelElement>, Errno> {
        let mut elements = Vec::new();
        let mut missing: usize = 0;
        for set in GRANTS {
            let listed = match self.netlink.list(set) {
                // A table of an older version may lack one of them, not all.
                Err(Errno::NOENT) => {
                    missing = missing.saturating_add(1);
                    continue;
                }
                listed => listed?,
            };
            for (key, remaining) in listed {
                // An element without an end is not ours; it is put right by `put_back`.
                let (Some(element), Some(remaining)) = (keys::to_element(set, &key), remaining)
                else {
                    continue;
                };
                elements.push(KernelElement { element, remaining });
            }
        }
        if missing == GRANTS.len() {
            return Err(Errno::NOENT);
        }
        Ok(elements)
    }

    /// Makes the kernel's grants what they were before somebody else touched
    /// them; gives how many were put in.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn put_back(&mut self, now: BootTime, once: Once) -> Result<u32, Errno> {
        self.held.prune(now);
        let mut operations = Vec::new();
        let mut put_in: u32 = 0;
        let mut found: HashMap<Element, Option<Duration>> = HashMap::new();
        for set in GRANTS {
            for (key, remaining) in self.netlink.list(set)? {
                let element = keys::to_element(set, &key);
                let ours = element.and_then(|element| self.held.remaining(&element, now));
                if let Some(element) = element {
                    found.insert(element, remaining);
                }
                // Rules put elements into these sets themselves, with an end.
                let by_rules =
                    matches!(set, SetName::Flow4 | SetName::Flow6) && remaining.is_some();
                if ours.is_none() && !by_rules {
                    operations.push(Operation {
                        set,
                        key,
                        action: Action::Delete,
                    });
                }
            }
        }
        for KernelElement { element, remaining } in self.held.all(now) {
            let (set, key) = (keys::set_of(&element), keys::of_element(&element));
            let kept = found.get(&element);
            if let Some(Some(there)) = kept
                && there.abs_diff(remaining) < TOLERANCE
            {
                continue;
            }
            if kept.is_none() && element.once && once == Once::MayBeUsed {
                continue;
            }
            if kept.is_some() {
                operations.push(Operation {
                    set,
                    key: key.clone(),
                    action: Action::Delete,
                });
            }
            operations.push(Operation {
                set,
                key,
                action: Action::Add(Lasts::For(remaining)),
            });
            put_in = put_in.saturating_add(1);
        }
        self.in_pages(&operations)?;
        Ok(put_in)
    }

    /// Does many operations, in several transactions.
    ///
    /// # Errors
    /// The first fault that is not about one element that came or went meanwhile.
    pub(super) fn in_pages(&mut self, operations: &[Operation]) -> Result<(), Errno> {
        for page in operations.chunks(PAGE) {
            match self.transaction(page) {
                Ok(()) => {}
                Err(Failed::Whole(error)) => return Err(error),
                Err(Failed::Unknown) => return Err(Errno::NOBUFS),
                // One by one, then, and each that does not fit is passed over.
                Err(Failed::Refused(_)) => self.one_by_one(page)?,
            }
        }
        Ok(())
    }

    fn one_by_one(&mut self, operations: &[Operation]) -> Result<(), Errno> {
        for operation in operations {
            match self.transaction(std::slice::from_ref(operation)) {
                Ok(()) => {}
                Err(Failed::Whole(error)) => return Err(error),
                Err(Failed::Unknown) => return Err(Errno::NOBUFS),
                Err(Failed::Refused(refused)) => {
                    let passed_over = [Errno::NOENT, Errno::EXIST];
                    if let Some((_, error)) = refused
                        .iter()
                        .find(|(_, error)| !passed_over.contains(error))
                    {
                        return Err(*error);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Sets for Netlink {
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        Netlink::transaction(self, operations)
    }

    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        Netlink::list(self, set)
    }
}

impl Failed {
    /// Somebody else was at it: nothing was done, and a moment later it may be.
    fn is_busy(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.iter().any(|(_, error)| *error == Errno::BUSY),
            Self::Whole(error) => *error == Errno::BUSY,
            Self::Unknown => false,
        }
    }
}

/// The operations that the attempts need, each with its attempt's place.
fn operations(attempts: &[Attempt<'_>]) -> Vec<(usize, Operation)> {
    let mut operations = Vec::with_capacity(attempts.len().saturating_mul(2));
    for (place, attempt) in attempts.iter().enumerate() {
        let element = attempt.step.element();
        let (set, key) = (keys::set_of(element), keys::of_element(element));
        if attempt.delete {
            let operation = Operation {
                set,
                key: key.clone(),
                action: Action::Delete,
            };
            operations.push((place, operation));
        }
        // Before kernel 6.12 a second add does not move an element's end, so renewal deletes first.
        if let Step::Put { ttl, .. } = attempt.step {
            let action = Action::Add(Lasts::For(*ttl));
            operations.push((place, Operation { set, key, action }));
        }
    }
    operations
}

/// What a refused transaction tells about the steps; an error where it cannot be mended.
fn learn(
    refused: &[(usize, Errno)],
    operations: &[(usize, Operation)],
    attempts: &mut [Attempt<'_>],
) -> Result<(), FirewallRefusal> {
    // Where everything is missing that can be, the table is.
    let adds_fail = refused.iter().any(|(place, error)| {
        let action = operations.get(*place).map(|(_, one)| one.action);
        *error == Errno::NOENT && matches!(action, Some(Action::Add(_)))
    });
    if adds_fail {
        return Err(FirewallRefusal::TableMissing);
    }
    for (place, error) in refused {
        let Some((attempt, operation)) = operations.get(*place) else {
            return Err(refusal(*error));
        };
        let Some(attempt) = attempts.get_mut(*attempt) else {
            return Err(refusal(*error));
        };
        match (operation.action, *error) {
            // It ended in between, or the first connection used it up.
            (Action::Delete, Errno::NOENT) => attempt.delete = false,
            // It is there though we did not know.
            (Action::Add(_), Errno::EXIST) if !attempt.delete => attempt.delete = true,
            (_, error) => return Err(refusal(error)),
        }
    }
    Ok(())
}

fn refusal(error: Errno) -> FirewallRefusal {
    match error {
        Errno::NFILE => FirewallRefusal::SetFull,
        Errno::NOENT => FirewallRefusal::TableMissing,
        error => FirewallRefusal::Kernel(error.raw_os_error()),
    }
}

#[cfg(test)]
mod tests;
