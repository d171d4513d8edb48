//! [IO] Grants in the kernel: one change, one transaction.
//!
//! Takes changes that passed the limits; gives what the kernel said. Keeps in
//! mind what it put in, so that it can be put back. Never loads rules.

use std::collections::HashMap;
use std::time::Duration;

use rustix::io::Errno;
use spad_model::{BootTime, Element, FirewallError, KernelElement, Step};

use super::element_key;
use super::expected::ExpectedElements;
use super::netlink::{Action, Listed, Netlink, Operation, Timeout, TransactionError};
use crate::table::SetName;

/// How far the kernel's end of a grant may be from ours before somebody else must have moved it.
const TOLERANCE: Duration = Duration::from_secs(2);

/// So many elements are remembered before those that have ended are looked for.
const PRUNE_THRESHOLD: usize = 1024;

/// Elements in one transaction where there are many.
const BATCH: usize = 512;

/// How often a change is tried that the kernel is too busy for, and the first pause
/// between two tries; each is twice the one before.
const MAX_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// What makes changes of sets, whole or not at all, and lists them: the kernel.
pub(super) trait SetBackend {
    /// Does all of this, or nothing.
    ///
    /// # Errors
    /// Why nothing was done, or that nobody knows.
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), TransactionError>;

    /// Every element of a set.
    ///
    /// # Errors
    /// `NOENT` where table or set are not there.
    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno>;
}

/// The kernel's sets of grants, and our memory of them.
#[derive(Debug)]
pub(super) struct GrantSets<S = Netlink> {
    pub(super) netlink: S,
    expected: ExpectedElements,
}

/// Whether grants for one connection that are gone may be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OncePolicy {
    /// They were there a moment ago, and we took them away ourselves.
    Restore,
    /// A connection may have used them.
    Skip,
}

/// One step on its way: what it still needs.
struct Attempt<'a> {
    step: &'a Step,
    delete: bool,
}

impl<S: SetBackend> GrantSets<S> {
    pub(super) fn new(netlink: S) -> Self {
        Self {
            netlink,
            expected: ExpectedElements::default(),
        }
    }

    /// Whether we asked for this element and it has not ended.
    pub(super) fn expects(&self, element: &Element, now: BootTime) -> bool {
        self.expected.contains(element, now)
    }

    /// Makes a change: all of it or nothing.
    ///
    /// # Errors
    /// `TableMissing` where the table or a set is gone; nothing was done then, nor after any other error.
    pub(super) fn change(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallError> {
        let mut attempts: Vec<Attempt<'_>> = steps
            .iter()
            .map(|step| Attempt {
                step,
                delete: matches!(step, Step::Remove { .. })
                    || self.expected.contains(step.element(), now),
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
                    self.record(steps, now);
                    let removed = self.remove_used(steps, now);
                    // Beside what is open now: refused, the change would leave that open for
                    // nobody. What a used grant let in is over in seconds.
                    let opens = steps.iter().any(|step| matches!(step, Step::Put { .. }));
                    return if opens { Ok(()) } else { removed };
                }
                Err(TransactionError::Transaction(error)) => return Err(firewall_error(error)),
                Err(TransactionError::Unconfirmed) => return self.verify(steps, now),
                Err(TransactionError::Refused(refused)) => {
                    adjust(&refused, &operations, &mut attempts)?
                }
            }
        }
        Err(FirewallError::Kernel(Errno::BUSY.raw_os_error()))
    }

    /// A grant for one connection that is taken away may have been used: what the rules
    /// then put in for its source port goes as well, or it would admit others from there.
    fn remove_used(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallError> {
        let removed = |step: &Step| match step {
            Step::Remove { element } if element.once => Some((element.address, element.service)),
            _ => None,
        };
        let removed: Vec<_> = steps.iter().filter_map(removed).collect();
        if removed.is_empty() {
            return Ok(());
        }
        let mut operations = Vec::new();
        for set in [SetName::GrantsPort4, SetName::GrantsPort6] {
            for (key, _) in self.netlink.list(set).map_err(firewall_error)? {
                let used = element_key::to_element(set, &key).filter(|element| {
                    removed.contains(&(element.address, element.service))
                        && !self.expected.contains(element, now)
                });
                operations.extend(used.map(|_| Operation {
                    set,
                    key,
                    action: Action::Delete,
                }));
            }
        }
        self.in_batches(&operations).map_err(firewall_error)
    }

    /// The transaction, again where the kernel was too busy for it: nothing was done then.
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), TransactionError> {
        let mut pause = PAUSE;
        for _ in 1..MAX_TRIES {
            match self.netlink.transaction(operations) {
                Err(failed) if failed.is_busy() => std::thread::sleep(pause),
                other => return other,
            }
            pause = pause.saturating_mul(2);
        }
        self.netlink.transaction(operations)
    }

    fn record(&mut self, steps: &[Step], now: BootTime) {
        for step in steps {
            match step {
                Step::Put { element, ttl } => {
                    self.expected.insert(*element, now.saturating_add(*ttl))
                }
                Step::Remove { element } => self.expected.remove(element),
            }
        }
        self.expected.prune_when_large(PRUNE_THRESHOLD, now);
    }

    /// The answer was lost: what the kernel holds is the answer.
    fn verify(&mut self, steps: &[Step], now: BootTime) -> Result<(), FirewallError> {
        let lost = FirewallError::Kernel(Errno::NOBUFS.raw_os_error());
        let before: Vec<Option<Duration>> = steps
            .iter()
            .map(|step| self.expected.remaining(step.element(), now))
            .collect();
        self.adopt(now).map_err(firewall_error)?;
        let done = steps.iter().zip(before).all(|(step, before)| {
            let after = self.expected.remaining(step.element(), now);
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
        self.expected = ExpectedElements::default();
        for one in &elements {
            self.expected
                .insert(one.element, now.saturating_add(one.remaining));
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
        for set in SetName::GRANTS {
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
                let (Some(element), Some(remaining)) =
                    (element_key::to_element(set, &key), remaining)
                else {
                    continue;
                };
                elements.push(KernelElement { element, remaining });
            }
        }
        if missing == SetName::GRANTS.len() {
            return Err(Errno::NOENT);
        }
        Ok(elements)
    }

    /// Makes the kernel's grants what they were before somebody else touched
    /// them; gives how many were put in.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn restore(&mut self, now: BootTime, once: OncePolicy) -> Result<u32, Errno> {
        self.expected.prune(now);
        let mut operations = Vec::new();
        let mut restored: u32 = 0;
        let mut found: HashMap<Element, Option<Duration>> = HashMap::new();
        for set in SetName::GRANTS {
            for (key, remaining) in self.netlink.list(set)? {
                let element = element_key::to_element(set, &key);
                let ours = element.and_then(|element| self.expected.remaining(&element, now));
                if let Some(element) = element {
                    found.insert(element, remaining);
                }
                // Rules put elements into these sets themselves, with an end.
                let set_by_rules = matches!(set, SetName::GrantsPort4 | SetName::GrantsPort6)
                    && remaining.is_some();
                if ours.is_none() && !set_by_rules {
                    operations.push(Operation {
                        set,
                        key,
                        action: Action::Delete,
                    });
                }
            }
        }
        for KernelElement { element, remaining } in self.expected.iter(now) {
            let (set, key) = (
                element_key::set_for_element(&element),
                element_key::from_element(&element),
            );
            let present = found.get(&element);
            if let Some(Some(there)) = present
                && there.abs_diff(remaining) < TOLERANCE
            {
                continue;
            }
            if present.is_none() && element.once && once == OncePolicy::Skip {
                continue;
            }
            if present.is_some() {
                operations.push(Operation {
                    set,
                    key: key.clone(),
                    action: Action::Delete,
                });
            }
            operations.push(Operation {
                set,
                key,
                action: Action::Add(Timeout::For(remaining)),
            });
            restored = restored.saturating_add(1);
        }
        self.in_batches(&operations)?;
        Ok(restored)
    }

    /// Does many operations, in several transactions.
    ///
    /// # Errors
    /// The first fault that is not about one element that came or went meanwhile.
    pub(super) fn in_batches(&mut self, operations: &[Operation]) -> Result<(), Errno> {
        for page in operations.chunks(BATCH) {
            match self.transaction(page) {
                Ok(()) => {}
                Err(TransactionError::Transaction(error)) => return Err(error),
                Err(TransactionError::Unconfirmed) => return Err(Errno::NOBUFS),
                // One by one, then, and each that does not fit is passed over.
                Err(TransactionError::Refused(_)) => self.one_by_one(page)?,
            }
        }
        Ok(())
    }

    fn one_by_one(&mut self, operations: &[Operation]) -> Result<(), Errno> {
        for operation in operations {
            match self.transaction(std::slice::from_ref(operation)) {
                Ok(()) => {}
                Err(TransactionError::Transaction(error)) => return Err(error),
                Err(TransactionError::Unconfirmed) => return Err(Errno::NOBUFS),
                Err(TransactionError::Refused(refused)) => {
                    let ignored = [Errno::NOENT, Errno::EXIST];
                    if let Some((_, error)) =
                        refused.iter().find(|(_, error)| !ignored.contains(error))
                    {
                        return Err(*error);
                    }
                }
            }
        }
        Ok(())
    }
}

impl SetBackend for Netlink {
    fn transaction(&mut self, operations: &[Operation]) -> Result<(), TransactionError> {
        Netlink::transaction(self, operations)
    }

    fn list(&mut self, set: SetName) -> Result<Vec<Listed>, Errno> {
        Netlink::list(self, set)
    }
}

impl TransactionError {
    /// Somebody else was at it: nothing was done, and a moment later it may be.
    fn is_busy(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.iter().any(|(_, error)| *error == Errno::BUSY),
            Self::Transaction(error) => *error == Errno::BUSY,
            Self::Unconfirmed => false,
        }
    }
}

/// The operations that the attempts need, each with its attempt's place.
fn operations(attempts: &[Attempt<'_>]) -> Vec<(usize, Operation)> {
    let mut operations = Vec::with_capacity(attempts.len().saturating_mul(2));
    for (place, attempt) in attempts.iter().enumerate() {
        let element = attempt.step.element();
        let (set, key) = (
            element_key::set_for_element(element),
            element_key::from_element(element),
        );
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
            let action = Action::Add(Timeout::For(*ttl));
            operations.push((place, Operation { set, key, action }));
        }
    }
    operations
}

/// What a refused transaction tells about the steps; an error where it cannot be mended.
fn adjust(
    refused: &[(usize, Errno)],
    operations: &[(usize, Operation)],
    attempts: &mut [Attempt<'_>],
) -> Result<(), FirewallError> {
    // Where everything is missing that can be, the table is.
    let adds_fail = refused.iter().any(|(place, error)| {
        let action = operations.get(*place).map(|(_, one)| one.action);
        *error == Errno::NOENT && matches!(action, Some(Action::Add(_)))
    });
    if adds_fail {
        return Err(FirewallError::TableMissing);
    }
    for (place, error) in refused {
        let Some((attempt, operation)) = operations.get(*place) else {
            return Err(firewall_error(*error));
        };
        let Some(attempt) = attempts.get_mut(*attempt) else {
            return Err(firewall_error(*error));
        };
        match (operation.action, *error) {
            // It ended in between, or the first connection used it up.
            (Action::Delete, Errno::NOENT) => attempt.delete = false,
            // It is there though we did not know.
            (Action::Add(_), Errno::EXIST) if !attempt.delete => attempt.delete = true,
            (_, error) => return Err(firewall_error(error)),
        }
    }
    Ok(())
}

fn firewall_error(error: Errno) -> FirewallError {
    match error {
        Errno::NFILE => FirewallError::SetFull,
        Errno::NOENT => FirewallError::TableMissing,
        error => FirewallError::Kernel(error.raw_os_error()),
    }
}

#[cfg(test)]
mod tests;
