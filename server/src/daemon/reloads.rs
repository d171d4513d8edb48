//! Configurations that are to be taken, one after the other; pure.
//!
//! The command runner keeps what it has read until the engine says that it is in use. Were
//! the next one read meanwhile, that word would put the next one's rights in force, and they
//! would stay where the firewall writer then refuses it.

use std::collections::VecDeque;

/// One that is under way between the processes, and those that wait for its end.
#[derive(Debug)]
pub(super) struct Reloads<T> {
    under_way: Option<T>,
    waiting: VecDeque<T>,
}

impl<T> Reloads<T> {
    pub(super) const fn none() -> Self {
        Self {
            under_way: None,
            waiting: VecDeque::new(),
        }
    }

    /// One more, behind those that wait. True where the first of them is under way from now on,
    /// so begin it.
    #[must_use]
    pub(super) fn add(&mut self, reload: T) -> bool {
        self.waiting.push_back(reload);
        self.begin()
    }

    /// The one that is under way, and those that wait.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.under_way.iter_mut().chain(&mut self.waiting)
    }

    /// Whether one is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The one that was under way: it is taken, or refused.
    pub(super) fn end(&mut self) -> Option<T> {
        self.under_way.take()
    }

    /// True where the next one is under way from now on, so begin it.
    #[must_use]
    pub(super) fn begin(&mut self) -> bool {
        if self.is_under_way() {
            return false;
        }
        self.under_way = self.waiting.pop_front();
        self.is_under_way()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_begins_when_the_one_before_it_is_over_and_not_earlier() {
        let mut reloads = Reloads::none();
        assert!(reloads.add(1), "nothing is before it");
        assert!(!reloads.add(2) && !reloads.add(3));
        assert!(!reloads.begin(), "the first is under way");
        assert_eq!(reloads.end(), Some(1));
        assert!(reloads.begin() && !reloads.begin());
        assert_eq!(reloads.end(), Some(2));
        assert!(reloads.add(4), "the third, which was there before");
        assert!(reloads.is_under_way());
        assert_eq!(reloads.end(), Some(3));
        assert!(reloads.begin());
        assert_eq!((reloads.end(), reloads.end()), (Some(4), None));
        assert!(!reloads.begin() && !reloads.is_under_way());
    }
}
