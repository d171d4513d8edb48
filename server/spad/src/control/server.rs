//! [IO] The daemon's end of the control socket.
//!
//! Takes one bounded line from each connection, hands the request on, writes
//! the answer. A connection that says nothing is closed after a moment; at
//! most [`MAX_CONNECTIONS`] are served at once, some of them root's alone: nobody
//! else can keep root from disabling a client.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use spad_model::Help;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::message::{MAX_REQUEST, Request, Response};

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 16;
/// How many of them are for root alone.
const ROOT_SLOTS: usize = 4;
/// How long one exchange may take, the daemon's own work aside.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the daemon's own work may take; the command line waits for less. Tests have no minute.
const WORK_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 60_000 });

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system refuses.
    #[error("cannot open the control socket {path}: {source}")]
    System {
        /// The socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon answers there.
    #[error("another spad serves on the control socket {0}")]
    InUse(String),
}

impl Help for ListenError {
    fn help(&self) -> Option<String> {
        let help = match self {
            Self::System { .. } => "see that root can write to its directory, and start spad again",
            Self::InUse(_) => {
                "stop that one; or give this one directories and a network namespace of its own"
            }
        };
        Some(help.to_owned())
    }
}

/// Asks whether a daemon serves on the control socket, whichever state it has.
///
/// # Errors
/// That one does.
pub fn check_free(path: &Path) -> Result<(), ListenError> {
    let try_connect = || -> rustix::io::Result<()> {
        // It never waits: one that is busy serves, too.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)
    };
    match try_connect() {
        Ok(()) | Err(Errno::AGAIN) => Err(ListenError::InUse(path.display().to_string())),
        // What else stands there is found where the socket is bound.
        Err(_) => Ok(()),
    }
}

/// Binds the control socket with mode 0660. Its directory is root's alone,
/// so nobody else can stand in its place between the steps. The caller knows that
/// [`check_free`], so a socket that is left there is stale.
///
/// # Errors
/// Where the socket cannot be made, or something else stands in its place.
pub fn bind(
    path: &Path,
    group: Option<u32>,
) -> Result<std::os::unix::net::UnixListener, ListenError> {
    let failed = |source| ListenError::System {
        path: path.display().to_string(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(failed)?;
        }
        Ok(_) => return Err(failed(std::io::ErrorKind::AlreadyExists.into())),
        Err(_) => {}
    }
    // Until the mode below is set nobody but root gets through.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = std::os::unix::net::UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    std::os::unix::fs::chown(path, None, group).map_err(failed)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o660))
        .map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct IncomingRequest {
    /// What is asked.
    pub request: Request,
    /// The user at the other end, as the kernel says (`SO_PEERCRED`).
    pub uid: u32,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Response>,
}

/// Serves connections until nobody takes requests any more. One that comes when
/// its places are taken is closed.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<IncomingRequest>) {
    let shared = Arc::new(Semaphore::new(MAX_CONNECTIONS.saturating_sub(ROOT_SLOTS)));
    let roots = Arc::new(Semaphore::new(ROOT_SLOTS));
    while !asks.is_closed() {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others will close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let Some(slot) = uid.ok().and_then(|uid| acquire_slot(uid, &shared, &roots)) else {
            continue;
        };
        let asks = asks.clone();
        tokio::spawn(async move {
            // A peer that went away has nobody to be told.
            let _gone = exchange(stream, asks).await;
            drop(slot);
        });
    }
}

/// A place for this peer; root may take what is left of the others' as well.
fn acquire_slot(
    uid: u32,
    shared: &Arc<Semaphore>,
    root_slots: &Arc<Semaphore>,
) -> Option<OwnedSemaphorePermit> {
    let root = || Arc::clone(root_slots).try_acquire_owned().ok();
    let slot = Arc::clone(shared).try_acquire_owned().ok();
    if uid == 0 { slot.or_else(root) } else { slot }
}

async fn exchange(
    mut stream: UnixStream,
    requests: mpsc::Sender<IncomingRequest>,
) -> std::io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(limit));
    timeout(EXCHANGE_TIMEOUT, reader.read_until(b'\n', &mut line)).await??;
    let response = match serde_json::from_slice::<Request>(&line) {
        _ if line.len() >= MAX_REQUEST && line.last() != Some(&b'\n') => Response::Failed {
            message: format!(
                "the request is longer than {MAX_REQUEST} bytes\n  help: use several commands"
            ),
        },
        Ok(request) if request.is_for_root_only() && uid != 0 => Response::Failed {
            message: "only root may do that".to_owned(),
        },
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let incoming = IncomingRequest {
                request,
                uid,
                answer,
            };
            let stopping = || Response::Failed {
                message: "the daemon is stopping".to_owned(),
            };
            match requests.send(incoming).await {
                // A place is never held for good: whoever asked has long gone by then.
                Ok(()) => match timeout(WORK_TIMEOUT, answered).await {
                    Ok(answer) => answer.unwrap_or_else(|_| stopping()),
                    Err(_) => Response::Failed {
                        message:
                            "no answer in time; spad status and the log say what the daemon does"
                                .to_owned(),
                    },
                },
                Err(_) => stopping(),
            }
        }
        Err(error) => Response::Failed {
            message: format!("not a request that this version knows: {error}"),
        },
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    timeout(EXCHANGE_TIMEOUT, writer.write_all(&text)).await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_is_never_answered_gives_its_place_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (ask, mut asks) = mpsc::channel(64);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(serve(listener, ask));
        let mut open = Vec::new();
        let request = b"{\"request\":\"confirm\"}\n";
        // As many as there are places, twice: the second time they were given back.
        for _ in 0..2 {
            for _ in 0..MAX_CONNECTIONS {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                stream.write_all(request).await.unwrap();
                open.push((
                    stream,
                    timeout(EXCHANGE_TIMEOUT, asks.recv()).await.unwrap(),
                ));
            }
            // One more finds no place, and is told so by the end of its connection.
            let mut late = UnixStream::connect(&path).await.unwrap();
            let mut end = [0];
            let read = timeout(EXCHANGE_TIMEOUT, late.read(&mut end))
                .await
                .unwrap();
            assert!(matches!(read, Ok(0) | Err(_)));
            for (mut stream, _ask) in open.drain(..) {
                let mut answer = Vec::new();
                let limit = WORK_TIMEOUT + EXCHANGE_TIMEOUT;
                timeout(limit, stream.read_to_end(&mut answer))
                    .await
                    .unwrap()
                    .unwrap();
                assert!(
                    String::from_utf8(answer)
                        .unwrap()
                        .contains("no answer in time")
                );
            }
        }
    }

    #[tokio::test]
    async fn a_long_request_is_taken_whole_and_one_that_is_too_long_gets_a_whole_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (ask, mut asks) = mpsc::channel(64);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(serve(listener, ask));
        tokio::spawn(async move {
            while let Some(IncomingRequest {
                request, answer, ..
            }) = asks.recv().await
            {
                let Request::Grant { from, .. } = request else {
                    continue;
                };
                let message = from.concat();
                let _gone = answer.send(Response::Done { message });
            }
        });
        let empty = serde_json::to_vec(&Request::Grant {
            service: String::new(),
            from: vec![String::new()],
            ttl_s: 1,
        });
        let around = empty.unwrap().len() + 1;
        // As long as may be; one byte longer; and whoever never ends the line.
        for (length, ends, taken) in [
            (MAX_REQUEST, true, true),
            (MAX_REQUEST + 1, true, false),
            (MAX_REQUEST, false, false),
        ] {
            let from = "x".repeat(length - around);
            let request = Request::Grant {
                service: String::new(),
                from: vec![from.clone()],
                ttl_s: 1,
            };
            let mut line = serde_json::to_vec(&request).unwrap();
            line.push(if ends { b'\n' } else { b' ' });
            assert_eq!(line.len(), length);
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(&line).await.unwrap();
            let mut answer = Vec::new();
            let read = timeout(EXCHANGE_TIMEOUT, stream.read_to_end(&mut answer)).await;
            // What of it was not read resets the connection, behind the answer.
            let _reset = read.unwrap();
            let response: Response = serde_json::from_slice(&answer).unwrap();
            let expected = match taken {
                true => Response::Done { message: from },
                false => Response::Failed {
                    message: format!(
                        "the request is longer than {MAX_REQUEST} bytes\n  help: use several commands"
                    ),
                },
            };
            assert!(response == expected, "{length}, {ends}");
        }
    }

    #[test]
    fn a_socket_on_which_somebody_serves_is_told_from_one_that_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        assert!(check_free(&path).is_ok(), "there is none");
        let listener = bind(&path, None).unwrap();
        assert!(check_free(&path).is_err(), "it serves");
        // It is busy: nobody more may wait for it.
        rustix::net::listen(&listener, 0).unwrap();
        assert!((0..8).all(|_| check_free(&path).is_err()), "it is busy");
        drop(listener);
        assert!(path.exists());
        assert!(check_free(&path).is_ok(), "it is left");
        drop(bind(&path, None).unwrap());
    }

    #[test]
    fn others_never_take_the_places_that_are_roots() {
        let [shared, roots] = [1, 1].map(|places| Arc::new(Semaphore::new(places)));
        let first = acquire_slot(1000, &shared, &roots);
        assert!(first.is_some());
        assert!(acquire_slot(1000, &shared, &roots).is_none());
        let root = acquire_slot(0, &shared, &roots);
        assert!(root.is_some());
        assert!(acquire_slot(0, &shared, &roots).is_none());
    }
}
