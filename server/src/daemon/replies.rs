//! Answers that wait for the firewall writer's word, and what it said of trials.

use std::collections::VecDeque;
use std::path::PathBuf;

use spa_proto::Service;
use tokio::sync::oneshot;

use crate::clock::Now;
use crate::config::{Config, Listen};
use crate::control::Response;
use crate::engine::GrantListing;
use crate::firewall::ChangeId;
use crate::model::{PortState, TrialRow};

use super::admin::{PendingCut, PendingGrant};
use super::load_config::LoadedConfig;
use super::overtaken::SupersededLoads;
use super::reloads::ReloadQueue;
use super::restored::RestoreReporter;

/// A configuration that waits until the command runner has read it and the writer uses it.
pub(super) struct Candidate {
    pub(super) loaded: Box<LoadedConfig>,
    pub(super) answer: oneshot::Sender<Response>,
}

/// What the engine's thread has promised.
pub(super) struct PendingReplies {
    pub(super) started: Now,
    pub(super) reloads: ReloadQueue<Candidate>,
    pub(super) confirming: VecDeque<oneshot::Sender<Response>>,
    /// What is told once this change, and all before it, are answered.
    pub(super) closing: VecDeque<(Option<ChangeId>, Response, oneshot::Sender<Response>)>,
    pub(super) granting: Vec<PendingGrant>,
    pub(super) cutting: VecDeque<PendingCut>,
    /// Lists of what is open that are not whole yet.
    pub(super) listing: VecDeque<(GrantListing, oneshot::Sender<GrantListing>)>,
    pub(super) trials: Vec<TrialRow>,
    /// The files had errors at the start, and the last good configuration is used instead.
    pub(super) started_from_last_good: bool,
    /// A reload was refused since the configuration in use was taken.
    pub(super) reload_refused: bool,
    /// What strangers get, as the writer said last.
    pub(super) closed_port_report: String,
    /// How often our table was put back, and nobody was told.
    pub(super) restored: RestoreReporter,
    /// Why the firewall's table is not loaded, since the writer said so.
    pub(super) table_error: Option<String>,
    /// What packets are looked for at, from the start to the end.
    pub(super) listen: Listen,
    /// Where audit lines go, from the start to the end.
    pub(super) audit: PathBuf,
    /// Trials that began since they were last told to somebody who reloads.
    pub(super) trial_notes: Vec<String>,
    pub(super) superseded: SupersededLoads,
}

impl PendingReplies {
    pub(super) fn new(started: Now, config: &Config) -> Self {
        Self {
            started,
            reloads: ReloadQueue::new(),
            confirming: VecDeque::new(),
            closing: VecDeque::new(),
            granting: Vec::new(),
            cutting: VecDeque::new(),
            listing: VecDeque::new(),
            trials: Vec::new(),
            started_from_last_good: false,
            reload_refused: false,
            closed_port_report: String::new(),
            restored: RestoreReporter::default(),
            table_error: None,
            listen: config.listen.clone(),
            audit: config.log.audit.clone(),
            trial_notes: Vec::new(),
            superseded: SupersededLoads::default(),
        }
    }

    /// Tells everybody who waits for a helper's word that none comes. What is under way goes on
    /// when the helper does, and nobody is told of it.
    pub(super) fn fail_all(&mut self, message: &str) {
        let reloads = self.reloads.all_mut().map(|taking| &mut taking.answer);
        let closing = self.closing.iter_mut().map(|(_, _, answer)| answer);
        let cutting = self.cutting.iter_mut().map(|cutting| &mut cutting.answer);
        let pending = reloads.chain(closing).chain(cutting);
        for answer in pending.chain(&mut self.confirming) {
            let (nobody, _) = oneshot::channel();
            let message = message.to_owned();
            // Whoever asked may have gone, or was told.
            let _gone = std::mem::replace(answer, nobody).send(Response::Failed { message });
        }
    }

    /// The services that are hidden now: of the others, every port's trial ended unreached.
    pub(super) fn hidden(&self, config: &Config) -> Vec<String> {
        let is_exposed = |port: &Service| {
            let mut rows = self.trials.iter();
            rows.any(|row| row.service == *port && row.state == PortState::Exposed)
        };
        let hidden = config.hide.iter().filter(|name| {
            let service = config.services.get(*name);
            !service.is_some_and(|service| service.ports.iter().all(is_exposed))
        });
        hidden.map(ToString::to_string).collect()
    }

    /// What of this waits for a restart: the packet sockets are open, their filters
    /// locked, and so is the audit file.
    pub(super) fn restart_warnings<'s>(
        &self,
        config: &Config,
    ) -> impl Iterator<Item = &'s str> + use<'s> {
        let listen = &config.listen;
        // The address is only printed.
        let elsewhere = self.listen.ports != listen.ports
            || self.listen.carriers != listen.carriers
            || self.listen.interfaces != listen.interfaces
            || self.listen.threads != listen.threads;
        let audit = self.audit != config.log.audit;
        let elsewhere =
            elsewhere.then_some("a change of [listen], or of where [[knock]] hears, needs a restart: systemctl restart spad");
        let audit =
            audit.then_some("a change of [log] audit needs a restart: systemctl restart spad");
        elsewhere.into_iter().chain(audit)
    }
}
