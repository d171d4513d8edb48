//! Configurations that are to be taken, one after the other; pure.
//!
//! The command runner keeps what it has read until the engine says that it is in use. Were
//! the next one read meanwhile, that word would put the next one's rights in force, and they
//! would stay where the firewall writer then refuses it.

use std::collections::VecDeque;

/// One that is under way between the processes, and those that wait for its end.
#[derive(Debug)]
pub(super) struct ReloadQueue<T> {
    active: Option<T>,
    queue: VecDeque<T>,
}

impl<T> ReloadQueue<T> {
    pub(super) const fn new() -> Self {
        Self {
            active: None,
            queue: VecDeque::new(),
        }
    }

    /// One more, behind those that wait. True where the first of them is under way from now on,
    /// so begin it.
    #[must_use]
    pub(super) fn add(&mut self, reload: T) -> bool {
        self.queue.push_back(reload);
        self.start_next()
    }

    /// The one that is under way, and those that wait.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.active.iter_mut().chain(&mut self.queue)
    }

    /// Whether one is under way.
    pub(super) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// The one that was under way: it is taken, or refused.
    pub(super) fn finish(&mut self) -> Option<T> {
        self.active.take()
    }

    /// True where the next one is under way from now on, so begin it.
    #[must_use]
    pub(super) fn start_next(&mut self) -> bool {
        if self.is_active() {
            return false;
        }
        self.active = self.queue.pop_front();
        self.is_active()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_begins_when_the_one_before_it_is_over_and_not_earlier() {
        let mut reloads = ReloadQueue::new();
        assert!(reloads.add(1), "nothing is before it");
        assert!(!reloads.add(2) && !reloads.add(3));
        assert!(!reloads.start_next(), "the first is under way");
        assert_eq!(reloads.finish(), Some(1));
        assert!(reloads.start_next() && !reloads.start_next());
        assert_eq!(reloads.finish(), Some(2));
        assert!(reloads.add(4), "the third, which was there before");
        assert!(reloads.is_active());
        assert_eq!(reloads.finish(), Some(3));
        assert!(reloads.start_next());
        assert_eq!((reloads.finish(), reloads.finish()), (Some(4), None));
        assert!(!reloads.start_next() && !reloads.is_active());
    }
}
