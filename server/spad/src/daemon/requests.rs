//! Requests of the command line, as the engine's thread handles them.
//!
//! Grants and revocations are in `admin.rs`, the status in `status.rs`.

use spa_keys::KeyId;
use spad_firewall::ToWriter;
use spad_model::{ClientName, Now};
use spad_sys::clock;
use tracing::{info, warn};

use super::engine_loop::EngineLoop;
use super::pending_replies::Awaited;
use super::reload::Event as ReloadEvent;
use super::reply::Reply;
use super::tasks::EngineTask;
use crate::control::Response;

impl EngineLoop {
    /// Does one task. Returns true if the daemon has to stop.
    pub(super) fn handle_task(&mut self, task: EngineTask) -> bool {
        match task {
            EngineTask::Stop => return true,
            EngineTask::ReloadFailed => self.on_reload_event(ReloadEvent::LoadFailed),
            EngineTask::ApplyConfig(candidate) => {
                let helpers = self.unresponsive(clock::now().boot).map_or(Ok(()), Err);
                self.on_reload_event(ReloadEvent::Loaded { candidate, helpers });
            }
            EngineTask::Confirm(reply) => {
                self.replies.add(Awaited::Confirm, reply);
                self.executor.send(ToWriter::Confirm);
            }
            EngineTask::Disable(client, reply) => {
                let response = self.disable(client, clock::now());
                self.reply_once_closed(response, reply);
            }
            EngineTask::Admin {
                request,
                uid,
                reply,
            } => self.handle_admin(&request, uid, reply),
            EngineTask::List(sender) => self.replies.add_listing(sender),
            EngineTask::Status(reply) => {
                reply.send(Response::Status(Box::new(self.status(clock::now()))));
            }
            EngineTask::ResetClient(client, reply) => {
                reply.send(self.reset_client(&client, clock::now()));
            }
            EngineTask::ResetReplay(reply) => reply.send(self.reset_replay(clock::now())),
        }
        false
    }
}

impl EngineLoop {
    /// Replies once the firewall writer has answered every change that it was sent so far.
    pub(super) fn reply_once_closed(&mut self, response: Response, reply: Reply) {
        match self.executor.engine.last_unanswered() {
            Some(last) => {
                let awaited = Awaited::AllBefore { last, response };
                self.replies.add(awaited, reply);
            }
            None => reply.send(self.with_failed_closes(response)),
        }
    }

    /// Answers closes whose changes the firewall writer has answered. Its answers come in order.
    pub(super) fn report_closed(&mut self) {
        let engine = &self.executor.engine;
        while let Some((response, reply)) = self.replies.take_first(|awaited| match awaited {
            Awaited::AllBefore { last, response } if !engine.is_unanswered(*last) => {
                Some(response.clone())
            }
            _ => None,
        }) {
            reply.send(self.with_failed_closes(response));
        }
    }

    /// Turns a success into a failure if the firewall refused to close something.
    pub(super) fn with_failed_closes(&self, response: Response) -> Response {
        let open = self.executor.engine.failed_closes(clock::now());
        match response {
            Response::Done { message } if open > 0 => Response::Failed {
                message: format!(
                    "{message}; but the firewall refused to close {open} of them, STILL OPEN, which is tried again each second\n  help: the log says why: journalctl -u spad"
                ),
            },
            response => response,
        }
    }

    /// Lists one page more of the open grants, for the first who asked.
    pub(super) fn list_page(&mut self) {
        let engine = &self.executor.engine;
        self.replies
            .list_page(|listing| engine.list_page(listing, clock::now()));
    }

    fn disable(&mut self, client: ClientName, now: Now) -> Response {
        let found = self
            .executor
            .run_engine(now, |engine, effects| engine.disable(&client, now, effects));
        let response = if found {
            info!("client {client} is disabled");
            Response::Done {
                message: format!("{client} is served no more, and what was open for it is closed"),
            }
        } else {
            Response::Unknown {
                message: format!("the running daemon does not know {client}"),
            }
        };
        // A configuration that is being read may still have this client.
        self.on_reload_event(ReloadEvent::ClientDisabled(client, now.boot));
        response
    }

    fn reset_client(&mut self, client: &ClientName, now: Now) -> Response {
        let Some(ids) = self.key_ids(client) else {
            return Response::Failed {
                message: format!(
                    "the running daemon does not know {client}\n  help: spad client list"
                ),
            };
        };
        let skew = self.executor.engine.clients().config().packets.max_skew;
        for id in ids {
            let journal_extras: Vec<_> = self.executor.engine.journal_extras().collect();
            let (cache, _) = self.executor.engine.replay_state_mut();
            if let Err(error) =
                self.executor
                    .state
                    .reset_client(id, now, cache, journal_extras, skew)
            {
                return Response::Failed {
                    message: format!("not persisted, lost at the next start: {error}"),
                };
            }
        }
        warn!("the floor of {client} was lowered by an administrator");
        Response::Done {
            message: format!("fresh packets of {client} are accepted again"),
        }
    }

    fn key_ids(&self, name: &ClientName) -> Option<Vec<KeyId>> {
        let clients = self.executor.engine.clients();
        Some(clients.key_ids(clients.index_by_name(name)?))
    }

    fn reset_replay(&mut self, now: Now) -> Response {
        let skew = self.executor.engine.clients().config().packets.max_skew;
        let journal_extras: Vec<_> = self.executor.engine.journal_extras().collect();
        let (cache, horizon) = self.executor.engine.replay_state_mut();
        match self
            .executor
            .state
            .reset_all(now, cache, horizon, journal_extras, skew)
        {
            Ok(()) => {
                warn!("every floor was lowered by an administrator");
                Response::Done {
                    message: "floors and horizon are set anew from the clock".to_owned(),
                }
            }
            Err(error) => Response::Failed {
                message: format!("not persisted, lost at the next start: {error}"),
            },
        }
    }
}
