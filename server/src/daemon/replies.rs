//! Answers that wait for the firewall writer's word, and what it said of trials.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::clock::Now;
use crate::control::Response;
use crate::firewall::message::TrialRow;

use super::configuration::Prepared;
use super::overtaken::Overtaken;

/// A configuration that waits until the writer uses it too.
pub(super) struct Taking {
    pub(super) prepared: Box<Prepared>,
    pub(super) answer: oneshot::Sender<Response>,
}

/// What the engine's thread has promised.
pub(super) struct Replies {
    pub(super) started: Now,
    pub(super) taking: VecDeque<Taking>,
    pub(super) confirming: VecDeque<oneshot::Sender<Response>>,
    pub(super) trials: Vec<TrialRow>,
    /// The files had errors at the start, and the last good configuration is used instead.
    pub(super) last_good: bool,
    pub(super) overtaken: Overtaken,
}

impl Replies {
    pub(super) fn new(started: Now) -> Self {
        Self {
            started,
            taking: VecDeque::new(),
            confirming: VecDeque::new(),
            trials: Vec::new(),
            last_good: false,
            overtaken: Overtaken::default(),
        }
    }
}
