//! Replies that wait for the kernel or the firewall writer, and what the writer reported.

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
use super::reply::Reply;
use super::restored::RestoreReporter;

/// What the engine's thread has promised.
pub(super) struct PendingReplies {
    pub(super) started: Now,
    pub(super) confirming: VecDeque<Reply>,
    /// What is told once this change, and all before it, are answered.
    pub(super) closing: VecDeque<(Option<ChangeId>, Response, Reply)>,
    pub(super) granting: Vec<PendingGrant>,
    pub(super) cutting: VecDeque<PendingCut>,
    /// Lists of what is open that are not whole yet.
    pub(super) listing: VecDeque<(GrantListing, oneshot::Sender<GrantListing>)>,
    pub(super) trials: Vec<TrialRow>,
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
}

impl PendingReplies {
    pub(super) fn new(started: Now, config: &Config) -> Self {
        Self {
            started,
            confirming: VecDeque::new(),
            closing: VecDeque::new(),
            granting: Vec::new(),
            cutting: VecDeque::new(),
            listing: VecDeque::new(),
            trials: Vec::new(),
            closed_port_report: String::new(),
            restored: RestoreReporter::default(),
            table_error: None,
            listen: config.listen.clone(),
            audit: config.log.audit.clone(),
        }
    }

    /// Answers all who wait for a helper process. Work that is under way goes on.
    pub(super) fn answer_all(&mut self, response: &Response) {
        let closing = self.closing.iter_mut().map(|(_, _, reply)| reply);
        let cutting = self.cutting.iter_mut().map(|cutting| &mut cutting.reply);
        for reply in closing.chain(cutting).chain(&mut self.confirming) {
            reply.send_early(response.clone());
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
