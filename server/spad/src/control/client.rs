//! [IO] The command line's end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spa_findings::redact;
use spad_model::Help;

use super::message::{MAX_REQUEST, Request, Response};

/// How long an answer may take; a reload of very many clients takes seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes: 50,000 grants fit.
const MAX_RESPONSE: u64 = 64 << 20;

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens there.
    #[error("cannot reach the daemon at {path}")]
    NotRunning {
        /// The control socket.
        path: PathBuf,
    },
    /// The socket may not be used.
    #[error("may not use {path}")]
    NotAllowed {
        /// The control socket.
        path: PathBuf,
    },
    /// It would not be read as a whole.
    #[error("this asks for too much at once: {length} bytes, and {MAX_REQUEST} may be sent")]
    TooLong {
        /// Bytes of the request.
        length: usize,
    },
    /// It broke off, or took too long.
    #[error("the daemon did not answer at {path}: {reason}")]
    NoAnswer {
        /// The control socket.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

impl Help for ControlError {
    fn help(&self) -> Option<String> {
        let help = match self {
            Self::NotRunning { .. } => {
                "if `systemctl status spad` says that it runs, restart it; if not, `journalctl -u spad` says why, and `systemctl start spad` (or `spad run`) starts it"
            }
            Self::NotAllowed { .. } => "run this as root, or as a member of the group spad-admin",
            Self::TooLong { .. } => "use several commands, with fewer addresses each",
            Self::NoAnswer { .. } => "see its log with `journalctl -u spad`",
        };
        Some(help.to_owned())
    }
}

/// Asks the daemon behind `socket` and waits for its answer.
///
/// # Errors
/// Where no daemon runs, the caller may not ask it, or it does not answer
/// within half a minute.
pub fn send_request(socket: &Path, request: &Request) -> Result<Response, ControlError> {
    let no_answer = |reason: String| ControlError::NoAnswer {
        path: socket.to_owned(),
        reason,
    };
    let mut line = serde_json::to_vec(request).map_err(|error| no_answer(error.to_string()))?;
    line.push(b'\n');
    if line.len() > MAX_REQUEST {
        let length = line.len();
        return Err(ControlError::TooLong { length });
    }
    let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => ControlError::NotAllowed {
            path: socket.to_owned(),
        },
        _ => ControlError::NotRunning {
            path: socket.to_owned(),
        },
    })?;
    let exchange = || -> std::io::Result<String> {
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        (&stream).write_all(&line)?;
        let mut answer = String::new();
        BufReader::new((&stream).take(MAX_RESPONSE)).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => no_answer(format!(
            "not within {} s: it hangs, or is stopped",
            REQUEST_TIMEOUT.as_secs()
        )),
        _ => no_answer(error.to_string()),
    })?;
    if answer.is_empty() {
        return Err(no_answer(
            "it closed the connection: it is ending, or too many ask at once".to_owned(),
        ));
    }
    read(&answer).map_err(|error| no_answer(error.to_string()))
}

/// Parses a response. It is printed on root's terminal, and the daemon handles untrusted
/// bytes, so all control characters but newlines are replaced.
fn read(answer: &str) -> serde_json::Result<Response> {
    let mut answer: serde_json::Value = serde_json::from_str(answer)?;
    sanitise(&mut answer);
    serde_json::from_value(answer)
}

fn sanitise(value: &mut serde_json::Value) {
    use serde_json::Value;
    let clean = |text: &str| -> String {
        let printable = |c: char| {
            if c == '\n' {
                c
            } else {
                redact::replace_unprintable(c)
            }
        };
        text.chars().map(printable).collect()
    };
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(values) => values.iter_mut().for_each(sanitise),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            for (name, mut value) in old {
                sanitise(&mut value);
                fields.insert(clean(&name), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody reads whom a daemon answers so.
    fn read(answer: &'static str) -> Result<Response, ControlError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            BufReader::new(&stream)
                .read_line(&mut String::new())
                .unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        let read = send_request(&path, &Request::Confirm);
        daemon.join().unwrap();
        read
    }

    #[test]
    fn what_the_daemon_would_not_read_as_a_whole_is_not_sent() {
        let request = Request::Grant {
            service: "ssh".to_owned(),
            from: vec!["192.0.2.0/24".to_owned(); 5000],
            ttl_s: 60,
        };
        let error = send_request(Path::new("/nowhere"), &request).unwrap_err();
        let help = error.help().unwrap();
        assert!(help.contains("several commands"), "{error}: {help}");
    }

    #[test]
    fn an_answer_moves_no_cursor_and_writes_no_clipboard() {
        let answer =
            r#"{"response":"done","message":"a\u001b]52;c;eA==\u0007b\u009bc\u202e\nd\re"}"#;
        let Ok(Response::Done { message }) = read(answer) else {
            panic!("it is an answer");
        };
        assert!(
            !message.chars().any(|c| c.is_control() && c != '\n'),
            "{message:?}"
        );
        assert!(
            message.starts_with('a') && message.contains("\nd"),
            "{message:?}"
        );
        let status = r#"{"response":"grants","grants":[{"client":"\u001b[2J","address":"192.0.2.1","service":"\u001b[2J","source_port":null,"remaining_s":1}]}"#;
        let error = read(status).unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "a name that is no name: {error}");
        let status = r#"{"response":"status","version":"","pid":1,"uptime_s":1,"port":"","carriers":"","hidden":[],"shown":[],"on_trial":[],"clients":1,"open_grants":0,"capture_threads":1,"captured":0,"capture_dropped":0,"audit_dropped":0,"verdicts":{"\u001b[2J":1},"replay_entries":0,"warnings":[]}"#;
        let Ok(Response::Status(status)) = read(status) else {
            panic!("it is an answer");
        };
        let name = status.verdicts.keys().next().unwrap();
        assert!(!name.contains('\u{1b}'), "{name:?}");
    }
}
