//! What an administrator grants and revokes while the daemon runs.
//!
//! Nobody is told of success before the kernel answered: a grant waits for its own change,
//! a revocation for every one that was sent before, a cut for the writer's word.

use tracing::{info, warn};

use crate::config::ClientName;
use crate::control::{Request, Response};
use crate::engine::Revocation;
use crate::firewall::message::MAX_FILTERS;
use crate::firewall::{ChangeId, ToWriter};
use crate::policy;
use crate::sys::clock;

use super::engine_loop::EngineLoop;
use super::reply::Reply;

/// A grant by hand that waits for the kernel.
pub(super) struct PendingGrant {
    id: ChangeId,
    message: String,
    reply: Reply,
}

/// Connections that are being cut.
pub(super) struct PendingCut {
    /// Answers of the writer that are still to come.
    remaining: usize,
    cut: u32,
    error: Option<String>,
    message: String,
    pub(super) reply: Reply,
}

impl EngineLoop {
    /// Does what this user of the host asks for.
    pub(super) fn handle_admin(&mut self, request: &Request, uid: u32, reply: Reply) {
        let done = match request {
            Request::Grant {
                service,
                from,
                ttl_s,
            } => match self.grant(service, from, *ttl_s, uid) {
                Ok((id, message)) => {
                    self.replies
                        .granting
                        .push(PendingGrant { id, message, reply });
                    return self.report_granted();
                }
                Err(why) => Err(why),
            },
            Request::Revoke { client, cut } => {
                let revoked = self.revoke_client(client, uid);
                revoked.map(|revoked| (revoked, *cut))
            }
            Request::RevokeFrom { service, from, cut } => {
                let revoked = self.revoke_from(service, from, uid);
                revoked.map(|revoked| (revoked, *cut))
            }
            _ => Err("asked in the wrong place".to_owned()),
        };
        match done {
            Ok((revoked, cut)) => self.report_revoked(&revoked, cut, reply),
            Err(message) => reply.fail(message),
        }
    }

    fn grant(
        &mut self,
        service: &str,
        from: &[String],
        ttl_s: u64,
        uid: u32,
    ) -> Result<(ChangeId, String), String> {
        let now = clock::now();
        let config = self.executor.engine.clients().config();
        let ttl = std::time::Duration::from_secs(ttl_s);
        let permit = policy::admin_permit(config, service, from, ttl)?;
        let peers: Vec<String> = from.iter().map(ToString::to_string).collect();
        let message = format!("{service} is open for {ttl_s} s to {}", peers.join(", "));
        let id = self.executor.run_engine(now, |engine, effects| {
            engine.admin_grant(permit, uid, now, effects)
        });
        Ok((id, message))
    }

    fn revoke_client(&mut self, client: &str, uid: u32) -> Result<Revocation, String> {
        let now = clock::now();
        let name = client.parse::<ClientName>().ok();
        let revoked = name.and_then(|name| {
            self.executor.run_engine(now, |engine, effects| {
                engine.revoke_client(&name, uid, now, effects)
            })
        });
        revoked.ok_or_else(|| {
            format!(
                "the running daemon does not know {client}, neither as a client nor as a door\n  help: spad client list; doors are the names of [[knock]] in spad.toml; what is open of a service for an address: spad revoke SERVICE --from ADDR"
            )
        })
    }

    fn revoke_from(
        &mut self,
        service: &str,
        from: &[String],
        uid: u32,
    ) -> Result<Revocation, String> {
        let now = clock::now();
        let config = self.executor.engine.clients().config();
        let ports = policy::ports(config, service)?;
        let networks = policy::networks(from)?;
        Ok(self.executor.run_engine(now, |engine, effects| {
            engine.revoke_from(&ports, &networks, uid, now, effects)
        }))
    }

    fn report_revoked(&mut self, revoked: &Revocation, cut: bool, reply: Reply) {
        let message = match revoked.grants {
            1 => "1 grant closed".to_owned(),
            grants => format!("{grants} grants closed"),
        };
        let places: Vec<_> = revoked.connections.iter().copied().collect();
        if !cut || places.is_empty() {
            let last = self.executor.engine.last_unanswered();
            let message = if cut {
                format!("{message}, and no address is known from which to cut connections")
            } else {
                message
            };
            let response = Response::Done { message };
            self.replies.closing.push_back((last, response, reply));
            return self.report_closed();
        }
        let chunks = places.chunks(MAX_FILTERS);
        self.replies.cutting.push_back(PendingCut {
            remaining: chunks.len(),
            cut: 0,
            error: None,
            message,
            reply,
        });
        for chunk in chunks {
            self.executor.send(ToWriter::Cut(chunk.to_vec()));
        }
    }

    /// Answers whose grant the kernel took, or did not.
    pub(super) fn report_granted(&mut self) {
        let pending = std::mem::take(&mut self.replies.granting);
        for grant in pending {
            match self.executor.engine.take_admin_result(grant.id) {
                None => self.replies.granting.push(grant),
                Some(Ok(())) => {
                    info!("{}", grant.message);
                    grant.reply.done(grant.message);
                }
                Some(Err(reason)) => {
                    let message = format!("nothing was opened: {}", reason.explanation());
                    grant.reply.fail(message);
                }
            }
        }
    }

    /// What became of a cut.
    pub(super) fn on_cut_done(&mut self, result: Result<u32, String>) {
        let Some(cutting) = self.replies.cutting.front_mut() else {
            return;
        };
        match result {
            Ok(count) => cutting.cut = cutting.cut.saturating_add(count),
            Err(why) => cutting.error = Some(why),
        }
        cutting.remaining = cutting.remaining.saturating_sub(1);
        if cutting.remaining > 0 {
            return;
        }
        let Some(done) = self.replies.cutting.pop_front() else {
            return;
        };
        let PendingCut {
            cut,
            message,
            error: why_not,
            reply,
            ..
        } = done;
        let connections = if cut == 1 {
            "connection"
        } else {
            "connections"
        };
        let message = format!("{message}, {cut} {connections} cut");
        let response = match why_not {
            None => self.with_failed_closes(Response::Done { message }),
            Some(why) => {
                warn!("connections were not cut: {why}");
                Response::Failed {
                    message: format!("{message}, and others may live on: {why}"),
                }
            }
        };
        reply.send(response);
    }
}
