//! Grants and revocations by an administrator.
//!
//! No success is reported before the kernel has answered. A grant waits for its own change, a
//! revocation for every change sent before, and a cut for the firewall writer's answers.

use spad_engine::{Revocation, policy};
use spad_firewall::ToWriter;
use spad_firewall::message::MAX_FILTERS;
use spad_model::{ChangeId, ClientName};
use spad_sys::clock;
use tracing::{info, warn};

use super::engine_loop::EngineLoop;
use super::pending_replies::{Awaited, CutProgress};
use super::reply::Reply;
use crate::control::Response;
use crate::control::message::unknown_holder;

/// A request that changes grants.
#[derive(Debug)]
pub(super) enum AdminRequest {
    Grant {
        service: String,
        from: Vec<String>,
        ttl_s: u64,
    },
    Revoke {
        client: ClientName,
        cut: bool,
    },
    RevokeFrom {
        service: String,
        from: Vec<String>,
        cut: bool,
    },
}

impl EngineLoop {
    /// Grants or revokes for the local user `uid`.
    pub(super) fn handle_admin(&mut self, request: &AdminRequest, uid: u32, reply: Reply) {
        let done = match request {
            AdminRequest::Grant {
                service,
                from,
                ttl_s,
            } => match self.grant(service, from, *ttl_s, uid) {
                Ok((id, message)) => {
                    self.replies.add(Awaited::Change { id, message }, reply);
                    return self.report_granted();
                }
                Err(why) => Err(why),
            },
            AdminRequest::Revoke { client, cut } => {
                let revoked = self.revoke_client(client, uid);
                revoked.map(|revoked| (revoked, *cut))
            }
            AdminRequest::RevokeFrom { service, from, cut } => {
                let revoked = self.revoke_from(service, from, uid);
                revoked.map(|revoked| (revoked, *cut))
            }
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

    fn revoke_client(&mut self, client: &ClientName, uid: u32) -> Result<Revocation, String> {
        let now = clock::now();
        let revoked = self.executor.run_engine(now, |engine, effects| {
            engine.revoke_client(client, uid, now, effects)
        });
        revoked.ok_or_else(|| unknown_holder(client.as_str()))
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
            let message = if cut {
                format!("{message}, and no address is known from which to cut connections")
            } else {
                message
            };
            return self.reply_once_closed(Response::Done { message }, reply);
        }
        let chunks = places.chunks(MAX_FILTERS);
        let progress = CutProgress::new(chunks.len(), message);
        self.replies.add(Awaited::Cut(progress), reply);
        for chunk in chunks {
            self.executor.send(ToWriter::Cut(chunk.to_vec()));
        }
    }

    /// Answers administrators whose grant the kernel accepted or refused.
    pub(super) fn report_granted(&mut self) {
        let engine = &mut self.executor.engine;
        while let Some(((result, message), reply)) =
            self.replies.take_first(|awaited| match awaited {
                Awaited::Change { id, message } => {
                    let result = engine.take_admin_result(*id)?;
                    Some((result, std::mem::take(message)))
                }
                _ => None,
            })
        {
            match result {
                Ok(()) => {
                    info!("{message}");
                    reply.done(message);
                }
                Err(reason) => {
                    reply.fail(format!("nothing was opened: {}", reason.explanation()));
                }
            }
        }
    }

    /// Counts the firewall writer's answer to a cut, and replies after the last.
    pub(super) fn on_cut_done(&mut self, result: Result<u32, String>) {
        let Some((done, reply)) = self.replies.count_cut(result) else {
            return;
        };
        let connections = match done.cut {
            1 => "connection",
            _ => "connections",
        };
        let message = format!("{}, {} {connections} cut", done.message, done.cut);
        match done.error {
            None => reply.send(self.with_failed_closes(Response::Done { message })),
            Some(why) => {
                warn!("connections were not cut: {why}");
                reply.fail(format!("{message}, and others may live on: {why}"));
            }
        }
    }
}
