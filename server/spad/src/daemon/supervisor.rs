//! [IO] The main thread: signals and the control socket.

use std::os::unix::net::UnixListener as StdListener;
use std::time::Duration;

use spad_config::ConfigReaders;
use spad_engine::GrantListing;
use spad_model::Paths;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::admin::AdminRequest;
use super::engine_loop::{EngineLoop, LoopExit};
use super::load_config::start_reload;
use super::tasks::{EngineTask, TaskSender};
use crate::control::message::Grant;
use crate::control::server::{IncomingRequest, serve};
use crate::control::{Request, Response};

/// Requests that wait for the main thread.
const MAX_PENDING_REQUESTS: usize = 16;

/// Serves until a signal stops it or the engine's thread ends. `readers` were looked up before
/// the sandbox, which hides the user database.
///
/// # Errors
/// The runtime, a thread or a signal handler could not be set up.
pub(super) fn run(
    paths: &Paths,
    readers: &ConfigReaders,
    control: StdListener,
    tasks: TaskSender,
    engine: EngineLoop,
) -> std::io::Result<LoopExit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ended, mut end) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            // The main thread ends when it receives this.
            let _unheard = ended.send(engine.run());
        })?;
    let result = runtime.block_on(async {
        let listener = UnixListener::from_std(control)?;
        let (ask, mut requests) = mpsc::channel::<IncomingRequest>(MAX_PENDING_REQUESTS);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(serve(listener, ask));
        info!("ready");
        loop {
            tokio::select! {
                done = &mut end => return done.map_err(|_| std::io::Error::other("the engine's thread broke off")),
                _ = terminate.recv() => tasks.send(EngineTask::Stop),
                _ = interrupt.recv() => tasks.send(EngineTask::Stop),
                _ = hangup.recv() => {
                    let (answer, answered) = oneshot::channel();
                    start_reload(paths.clone(), readers.clone(), tasks.clone(), answer.into());
                    tokio::spawn(log_reload_result(answered));
                }
                Some(ask) = requests.recv() => handle_request(paths, readers, &tasks, ask),
            }
        }
    });
    if result.is_ok() {
        let _joined = thread.join();
    }
    result
}

fn handle_request(
    paths: &Paths,
    readers: &ConfigReaders,
    tasks: &TaskSender,
    incoming: IncomingRequest,
) {
    let IncomingRequest {
        request,
        uid,
        answer,
    } = incoming;
    match &request {
        Request::Status | Request::Grants => {}
        asked => info!("user {uid} asks: {asked:?}"),
    }
    let admin = |request, reply| EngineTask::Admin {
        request,
        uid,
        reply,
    };
    let task = match request {
        Request::Grants => {
            let (list, listed) = oneshot::channel();
            tokio::spawn(send_listing(listed, answer));
            EngineTask::List(list)
        }
        Request::Reload => {
            return start_reload(paths.clone(), readers.clone(), tasks.clone(), answer.into());
        }
        Request::Status => EngineTask::Status(answer.into()),
        Request::Confirm => EngineTask::Confirm(answer.into()),
        Request::Disable { client } => EngineTask::Disable(client, answer.into()),
        Request::ResetClient { client } => EngineTask::ResetClient(client, answer.into()),
        Request::ResetReplay => EngineTask::ResetReplay(answer.into()),
        Request::Grant {
            service,
            from,
            ttl_s,
        } => admin(
            AdminRequest::Grant {
                service,
                from,
                ttl_s,
            },
            answer.into(),
        ),
        Request::Revoke { client, cut } => {
            admin(AdminRequest::Revoke { client, cut }, answer.into())
        }
        Request::RevokeFrom { service, from, cut } => admin(
            AdminRequest::RevokeFrom { service, from, cut },
            answer.into(),
        ),
    };
    tasks.send(task);
}

/// Sends the listing that the engine's thread made. If the engine ends first, the answer is
/// dropped too, and the control server reports that the daemon is stopping.
async fn send_listing(listed: oneshot::Receiver<GrantListing>, answer: oneshot::Sender<Response>) {
    let Ok(listing) = listed.await else { return };
    let rows = listing.into_rows().into_iter();
    let grants = rows.map(|row| Grant {
        client: row.client,
        door: row.door,
        by_hand: row.admin,
        address: row.peer.address,
        prefix: row.peer.prefix,
        service: row.service,
        source_port: row.source_port,
        remaining_s: row.remaining.as_secs_f64().ceil() as u64,
    });
    // Whoever asked may have gone.
    let _gone = answer.send(Response::Grants {
        grants: grants.collect(),
    });
}

/// Logs the result of a reload by signal.
async fn log_reload_result(answered: oneshot::Receiver<Response>) {
    match tokio::time::timeout(Duration::from_secs(60), answered).await {
        Ok(Ok(Response::Done { message })) => info!("{}", message.trim_end()),
        Ok(Ok(Response::Failed { .. })) => {}
        _ => error!("the reload was broken off"),
    }
}
