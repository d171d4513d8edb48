//! Whether a helper process still responds; pure.
//!
//! A helper must answer within [`RESPONSE_TIMEOUT`], or report first how long it is busy. Any
//! message is a sign of life. An idle helper is pinged regularly.
//!
//! Time in which this process itself did not run (suspended or stopped) does not count,
//! because the helper may not have run either.

use std::time::Duration;

use spad_model::BootTime;

/// Time limit of an answer.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A helper that is silent for this long is abandoned.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// Interval between checks of an unresponsive helper.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A check that is late by this much shows that this process did not run.
const SUSPEND_GAP: Duration = Duration::from_secs(2);

/// Maximum time for which a helper may be busy.
const MAX_BUSY: Duration = Duration::from_secs(120);

/// What is known of one helper.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Since when something waits for an answer.
    asked_since: Option<BootTime>,
    /// Since when it keeps something waiting, busy or not.
    waiting_since: Option<BootTime>,
    /// Until when it said that it is busy.
    busy_until: Option<BootTime>,
    /// It is unresponsive, and was looked at then.
    unresponsive_at_check: Option<BootTime>,
    /// When the next look is due by itself.
    due: Option<BootTime>,
}

impl Liveness {
    /// Something was sent that is answered. Where nothing else makes this process look again
    /// within a second, call [`Self::expect_answer_and_check`] as well.
    pub(super) fn expect_answer(&mut self, now: BootTime) {
        self.asked_since.get_or_insert(now);
        self.waiting_since.get_or_insert(now);
    }

    /// The same, and the next look is due by itself.
    pub(super) fn expect_answer_and_check(&mut self, now: BootTime) {
        self.expect_answer(now);
        self.due = self.deadline();
    }

    /// Whether it may be pinged: nothing waits for an answer.
    pub(super) const fn is_idle(&self) -> bool {
        self.asked_since.is_none()
    }

    /// A message came; `more` answers are waited for. Says for how long none had come, where it
    /// was unresponsive.
    pub(super) fn received(&mut self, more: bool, now: BootTime) -> Option<Duration> {
        let since = self.asked_since;
        self.busy_until = None;
        self.asked_since = more.then_some(now);
        self.waiting_since = self.asked_since;
        self.due = self.due.and_then(|_| self.deadline());
        let unresponsive = self.unresponsive_at_check.take();
        unresponsive.and(since.map(|since| now.saturating_since(since)))
    }

    /// It said that it is busy for so long at most: a sign of life, and no answer. Says what
    /// [`Self::received`] does.
    pub(super) fn received_busy(&mut self, span: Duration, now: BootTime) -> Option<Duration> {
        let waiting = self.waiting_since;
        let silence = self.received(true, now);
        self.waiting_since = waiting;
        self.busy_until = Some(now.saturating_add(span.min(MAX_BUSY)));
        self.expect_answer_and_check(now);
        silence
    }

    /// Whether what was sent waits too long for its answer, busy or not; said once.
    pub(super) fn check_stalled(&mut self, now: BootTime) -> bool {
        let Some(since) = self.waiting_since else {
            return false;
        };
        let span = now.saturating_since(since);
        if span >= RESPONSE_TIMEOUT.saturating_add(SUSPEND_GAP) {
            // This process did not run, or it would have looked before.
            self.waiting_since = Some(now);
            return false;
        }
        self.waiting_since
            .take_if(|_| span >= RESPONSE_TIMEOUT)
            .is_some()
    }

    /// True where it is unresponsive from now on.
    pub(super) fn check(&mut self, now: BootTime) -> bool {
        if let Some(last) = self.unresponsive_at_check {
            let since_last = now.saturating_since(last);
            if since_last > RECHECK_INTERVAL.saturating_add(SUSPEND_GAP) {
                // Its time goes on where it stopped.
                let lost = since_last.saturating_sub(RECHECK_INTERVAL);
                self.asked_since = self.asked_since.map(|asked| asked.saturating_add(lost));
            }
            self.unresponsive_at_check = Some(now);
            self.due = Some(now.saturating_add(RECHECK_INTERVAL));
            return false;
        }
        let Some(deadline) = self.deadline().filter(|deadline| *deadline <= now) else {
            return false;
        };
        if now.saturating_since(deadline) > SUSPEND_GAP {
            self.busy_until = None;
            self.asked_since = Some(now);
            self.due = self.deadline();
            return false;
        }
        self.unresponsive_at_check = Some(now);
        self.due = Some(now.saturating_add(RECHECK_INTERVAL));
        true
    }

    /// When [`Self::check`] is due by itself.
    pub(super) const fn next_check(&self) -> Option<BootTime> {
        self.due
    }

    /// For how long it has not responded, where that is too long.
    pub(super) fn unresponsive_for(&self, now: BootTime) -> Option<Duration> {
        self.unresponsive_at_check?;
        let since = self.asked_since?;
        Some(now.saturating_since(since))
    }

    /// Whether it is unresponsive.
    pub(super) const fn is_unresponsive(&self) -> bool {
        self.unresponsive_at_check.is_some()
    }

    /// Whether it is not worth waiting for it any longer.
    pub(super) fn is_abandoned(&self, now: BootTime) -> bool {
        self.unresponsive_for(now)
            .is_some_and(|span| span >= GIVE_UP_AFTER)
    }

    fn deadline(&self) -> Option<BootTime> {
        let answer = self.asked_since?.saturating_add(RESPONSE_TIMEOUT);
        Some(self.busy_until.map_or(answer, |busy| {
            busy.saturating_add(RESPONSE_TIMEOUT).max(answer)
        }))
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
            helper.expect_answer_and_check(at(sent));
            assert_eq!(helper.next_check(), Some(at(sent + 2000)));
            assert!(!helper.check(at(sent + 900)));
            assert_eq!(helper.received(false, at(sent + 950)), None);
            assert_eq!(helper.next_check(), None);
        }
    }

    #[test]
    fn two_seconds_without_an_answer_are_too_long_and_twenty_the_end() {
        let mut helper = Liveness::default();
        helper.expect_answer_and_check(at(0));
        assert!(!helper.check(at(1999)));
        assert!(helper.check(at(2000)), "told once");
        for second in 3..20 {
            assert!(!helper.check(at(second * 1000)));
            assert!(!helper.is_abandoned(at(second * 1000)));
            assert_eq!(helper.next_check(), Some(at(second * 1000 + 1000)));
        }
        assert!(helper.is_abandoned(at(20_000)));
    }

    #[test]
    fn an_answer_after_that_tells_how_long_it_took() {
        let mut helper = Liveness::default();
        helper.expect_answer_and_check(at(0));
        assert!(helper.check(at(2100)));
        assert!(helper.is_unresponsive());
        let took = helper.received(false, at(7000));
        assert_eq!(took, Some(Duration::from_secs(7)));
        assert!(!helper.is_unresponsive() && helper.is_idle());
    }

    #[test]
    fn an_answer_to_one_of_two_is_a_sign_of_life_and_the_other_is_waited_for() {
        let mut helper = Liveness::default();
        helper.expect_answer_and_check(at(0));
        assert_eq!(helper.received(true, at(1500)), None);
        assert!(!helper.check(at(3000)));
        assert!(helper.check(at(3500)));
    }

    #[test]
    fn who_is_busy_keeps_nothing_waiting_for_longer_than_two_seconds() {
        let mut helper = Liveness::default();
        let _ = helper.received_busy(Duration::from_secs(2), at(0));
        helper.expect_answer(at(300));
        assert!(!helper.check_stalled(at(1000)));
        let _ = helper.received_busy(Duration::from_secs(2), at(1000));
        assert!(!helper.check_stalled(at(1900)));
        let _ = helper.received_busy(Duration::from_secs(2), at(2000));
        assert!(helper.check_stalled(at(2300)), "busy or not");
        assert!(!helper.check_stalled(at(2400)), "once");
        assert!(!helper.check(at(2400)), "it lives");
        let _ = helper.received(false, at(2500));
        helper.expect_answer(at(3000));
        assert!(!helper.check_stalled(at(9000)), "this process was stopped");
        assert!(helper.check_stalled(at(11_000)));
    }

    #[test]
    fn who_says_to_be_busy_has_that_time_and_no_more() {
        let mut helper = Liveness::default();
        helper.expect_answer_and_check(at(0));
        let _ = helper.received_busy(Duration::from_secs(10), at(100));
        assert!(!helper.check(at(12_000)));
        assert!(helper.check(at(12_100)));
        let mut helper = Liveness::default();
        let _ = helper.received_busy(Duration::MAX, at(0));
        assert!(helper.check(at(122_000)), "a bound to what it says");
    }

    #[test]
    fn time_in_which_nobody_ran_counts_against_nobody() {
        let mut helper = Liveness::default();
        helper.expect_answer_and_check(at(0));
        // An hour's sleep.
        assert!(!helper.check(at(3_600_000)));
        assert!(!helper.check(at(3_601_999)));
        assert!(helper.check(at(3_602_000)));
        // And another.
        assert!(!helper.check(at(7_200_000)));
        assert!(!helper.is_abandoned(at(7_200_000)));
        assert!(helper.is_unresponsive());
    }
}
