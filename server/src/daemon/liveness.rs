//! Whether a helper process still responds; pure.
//!
//! A helper is expected to answer whatever it is sent within [`LIMIT`], or to say first for how
//! long it is busy. Any message of it is a sign of life. Where nothing is to be sent it is
//! pinged, once in a while.
//!
//! Time in which this process itself did not run (the machine slept, or it was stopped) is not
//! held against the helper, which may have stood still as well.

use std::time::Duration;

use crate::clock::BootTime;

/// An answer may take so long.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// A helper that has not responded for so long will not do so.
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);

/// Looks at an unresponsive helper are this far apart.
const AGAIN: Duration = Duration::from_secs(1);

/// A look that comes this much later than it was due: this process did not run.
const LATE: Duration = Duration::from_secs(2);

/// No helper is busy for longer, whatever it says.
const MAX_BUSY: Duration = Duration::from_secs(120);

/// What is known of one helper.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Since when something waits for an answer.
    asked: Option<BootTime>,
    /// Since when it keeps something waiting, busy or not.
    waiting: Option<BootTime>,
    /// Until when it said that it is busy.
    busy: Option<BootTime>,
    /// It is unresponsive, and was looked at then.
    unresponsive: Option<BootTime>,
    /// When the next look is due by itself.
    due: Option<BootTime>,
}

impl Liveness {
    /// Something was sent that is answered. Where nothing else makes this process look again
    /// within a second, call [`Self::watch`] as well.
    pub(super) fn ask(&mut self, now: BootTime) {
        self.asked.get_or_insert(now);
        self.waiting.get_or_insert(now);
    }

    /// The same, and the next look is due by itself.
    pub(super) fn watch(&mut self, now: BootTime) {
        self.ask(now);
        self.due = self.deadline();
    }

    /// Whether it may be pinged: nothing waits for an answer.
    pub(super) const fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    /// A message came; `more` answers are waited for. Says for how long none had come, where it
    /// was unresponsive.
    pub(super) fn received(&mut self, more: bool, now: BootTime) -> Option<Duration> {
        let since = self.asked;
        self.busy = None;
        self.asked = more.then_some(now);
        self.waiting = self.asked;
        self.due = self.due.and_then(|_| self.deadline());
        let unresponsive = self.unresponsive.take();
        unresponsive.and(since.map(|since| now.saturating_since(since)))
    }

    /// It said that it is busy for so long at most: a sign of life, and no answer. Says what
    /// [`Self::received`] does.
    pub(super) fn is_busy(&mut self, span: Duration, now: BootTime) -> Option<Duration> {
        let waiting = self.waiting;
        let silence = self.received(true, now);
        self.waiting = waiting;
        self.busy = Some(now.saturating_add(span.min(MAX_BUSY)));
        self.watch(now);
        silence
    }

    /// Whether what was sent waits too long for its answer, busy or not; said once.
    pub(super) fn keeps_waiting(&mut self, now: BootTime) -> bool {
        let Some(since) = self.waiting else {
            return false;
        };
        let span = now.saturating_since(since);
        if span >= LIMIT.saturating_add(LATE) {
            // This process did not run, or it would have looked before.
            self.waiting = Some(now);
            return false;
        }
        self.waiting.take_if(|_| span >= LIMIT).is_some()
    }

    /// True where it is unresponsive from now on.
    pub(super) fn look(&mut self, now: BootTime) -> bool {
        if let Some(last) = self.unresponsive {
            let since_last = now.saturating_since(last);
            if since_last > AGAIN.saturating_add(LATE) {
                // Its time goes on where it stopped.
                let lost = since_last.saturating_sub(AGAIN);
                self.asked = self.asked.map(|asked| asked.saturating_add(lost));
            }
            self.unresponsive = Some(now);
            self.due = Some(now.saturating_add(AGAIN));
            return false;
        }
        let Some(deadline) = self.deadline().filter(|deadline| *deadline <= now) else {
            return false;
        };
        if now.saturating_since(deadline) > LATE {
            self.busy = None;
            self.asked = Some(now);
            self.due = self.deadline();
            return false;
        }
        self.unresponsive = Some(now);
        self.due = Some(now.saturating_add(AGAIN));
        true
    }

    /// When [`Self::look`] is due by itself.
    pub(super) const fn next_look(&self) -> Option<BootTime> {
        self.due
    }

    /// For how long it has not responded, where that is too long.
    pub(super) fn unresponsive(&self, now: BootTime) -> Option<Duration> {
        self.unresponsive?;
        let since = self.asked?;
        Some(now.saturating_since(since))
    }

    /// Whether it is unresponsive.
    pub(super) const fn is_unresponsive(&self) -> bool {
        self.unresponsive.is_some()
    }

    /// Whether it is not worth waiting for it any longer.
    pub(super) fn is_given_up(&self, now: BootTime) -> bool {
        self.unresponsive(now).is_some_and(|span| span >= GIVE_UP)
    }

    fn deadline(&self) -> Option<BootTime> {
        let answer = self.asked?.saturating_add(LIMIT);
        Some(
            self.busy
                .map_or(answer, |busy| busy.saturating_add(LIMIT).max(answer)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> BootTime {
        BootTime::from_micros(milliseconds * 1000)
    }

    #[test]
    fn who_answers_in_time_is_never_called_unresponsive() {
        let mut helper = Liveness::default();
        for second in 0..100 {
            let sent = second * 1000;
            assert!(helper.is_idle());
            helper.watch(at(sent));
            assert_eq!(helper.next_look(), Some(at(sent + 2000)));
            assert!(!helper.look(at(sent + 900)));
            assert_eq!(helper.received(false, at(sent + 950)), None);
            assert_eq!(helper.next_look(), None);
        }
    }

    #[test]
    fn two_seconds_without_an_answer_are_too_long_and_twenty_the_end() {
        let mut helper = Liveness::default();
        helper.watch(at(0));
        assert!(!helper.look(at(1999)));
        assert!(helper.look(at(2000)), "told once");
        for second in 3..20 {
            assert!(!helper.look(at(second * 1000)));
            assert!(!helper.is_given_up(at(second * 1000)));
            assert_eq!(helper.next_look(), Some(at(second * 1000 + 1000)));
        }
        assert!(helper.is_given_up(at(20_000)));
    }

    #[test]
    fn an_answer_after_that_tells_how_long_it_took() {
        let mut helper = Liveness::default();
        helper.watch(at(0));
        assert!(helper.look(at(2100)));
        assert!(helper.is_unresponsive());
        let took = helper.received(false, at(7000));
        assert_eq!(took, Some(Duration::from_secs(7)));
        assert!(!helper.is_unresponsive() && helper.is_idle());
    }

    #[test]
    fn an_answer_to_one_of_two_is_a_sign_of_life_and_the_other_is_waited_for() {
        let mut helper = Liveness::default();
        helper.watch(at(0));
        assert_eq!(helper.received(true, at(1500)), None);
        assert!(!helper.look(at(3000)));
        assert!(helper.look(at(3500)));
    }

    #[test]
    fn who_is_busy_keeps_nothing_waiting_for_longer_than_two_seconds() {
        let mut helper = Liveness::default();
        let _ = helper.is_busy(Duration::from_secs(2), at(0));
        helper.ask(at(300));
        assert!(!helper.keeps_waiting(at(1000)));
        let _ = helper.is_busy(Duration::from_secs(2), at(1000));
        assert!(!helper.keeps_waiting(at(1900)));
        let _ = helper.is_busy(Duration::from_secs(2), at(2000));
        assert!(helper.keeps_waiting(at(2300)), "busy or not");
        assert!(!helper.keeps_waiting(at(2400)), "once");
        assert!(!helper.look(at(2400)), "it lives");
        let _ = helper.received(false, at(2500));
        helper.ask(at(3000));
        assert!(!helper.keeps_waiting(at(9000)), "this process was stopped");
        assert!(helper.keeps_waiting(at(11_000)));
    }

    #[test]
    fn who_says_to_be_busy_has_that_time_and_no_more() {
        let mut helper = Liveness::default();
        helper.watch(at(0));
        let _ = helper.is_busy(Duration::from_secs(10), at(100));
        assert!(!helper.look(at(12_000)));
        assert!(helper.look(at(12_100)));
        let mut helper = Liveness::default();
        let _ = helper.is_busy(Duration::MAX, at(0));
        assert!(helper.look(at(122_000)), "a bound to what it says");
    }

    #[test]
    fn time_in_which_nobody_ran_counts_against_nobody() {
        let mut helper = Liveness::default();
        helper.watch(at(0));
        // An hour's sleep.
        assert!(!helper.look(at(3_600_000)));
        assert!(!helper.look(at(3_601_999)));
        assert!(helper.look(at(3_602_000)));
        // And another.
        assert!(!helper.look(at(7_200_000)));
        assert!(!helper.is_given_up(at(7_200_000)));
        assert!(helper.is_unresponsive());
    }
}
