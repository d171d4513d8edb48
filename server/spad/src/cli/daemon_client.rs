//! What changes reach the running daemon at once, if one runs.

use std::fmt::Display;

use spad_model::{ClientName, Help as _, Paths};

use super::output::{note, print, warn};
use super::{CliResult, Failure, Options};
use crate::control::client::{ControlError, send_request};
use crate::control::{Request, Response};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum DaemonReply {
    /// No daemon runs here.
    NotRunning,
    /// It was done; in a sentence.
    Done(String),
    /// It knows no such client; in a sentence.
    Unknown(String),
    /// It was not done, and why.
    Refused(String),
}

/// Lets the running daemon take the configuration as it is now.
pub(crate) fn reload_running_daemon(paths: &Paths) -> DaemonReply {
    request(paths, &Request::Reload)
}

/// Lets the running daemon stop serving this client, whatever state the files are in.
pub(crate) fn disable_in_daemon(paths: &Paths, client: &ClientName) -> DaemonReply {
    request(
        paths,
        &Request::Disable {
            client: client.clone(),
        },
    )
}

/// Asks the running daemon.
pub(crate) fn request(paths: &Paths, request: &Request) -> DaemonReply {
    match send_request(&paths.control_socket(), request) {
        Ok(Response::Done { message }) => DaemonReply::Done(message),
        Ok(Response::Unknown { message }) => DaemonReply::Unknown(message),
        Ok(Response::Failed { message }) => DaemonReply::Refused(message),
        Ok(_) => DaemonReply::Refused("the daemon gave an answer to another question".to_owned()),
        Err(ControlError::NotRunning { .. }) => DaemonReply::NotRunning,
        Err(error) => DaemonReply::Refused(error.explain().to_string()),
    }
}

/// Says what became of a change that stands in the files already.
pub(crate) fn report(reply: DaemonReply) -> CliResult {
    match reply {
        DaemonReply::NotRunning => {
            note("no daemon could be reached; it takes this at its next start");
            Ok(())
        }
        DaemonReply::Done(message) | DaemonReply::Unknown(message) => {
            note(message.trim_end());
            Ok(())
        }
        DaemonReply::Refused(message) => {
            warn("the files are changed, and the running daemon has not taken it");
            Err(Failure::new(message))
        }
    }
}

/// What became of a client that is to be served no more while its files cannot be changed.
pub(crate) fn live_only_result(
    reply: DaemonReply,
    client: &ClientName,
    problem: impl Display,
) -> Failure {
    match reply {
        DaemonReply::Done(message) => {
            note(message.trim_end());
            Failure::with_help(
                format_args!("the next reload or start serves {client} again: {problem}"),
                "say it again as root, once the file can be changed",
            )
        }
        DaemonReply::NotRunning | DaemonReply::Unknown(_) => Failure::new(problem.to_string()),
        DaemonReply::Refused(message) => Failure::new(format!("{problem}\nerror: {message}")),
    }
}

/// Asks the running daemon a question; a refusal is a failure.
pub(crate) fn ask_daemon(options: &Options, request: &Request) -> Result<Response, Failure> {
    let answer = send_request(&options.paths().control_socket(), request);
    match answer.map_err(|error| Failure::explained(&error))? {
        Response::Failed { message } => Err(Failure::new(message)),
        response => Ok(response),
    }
}

/// Lets the running daemon do something and prints what it says.
pub(crate) fn run_in_daemon(options: &Options, request: &Request) -> CliResult {
    match ask_daemon(options, request)? {
        Response::Done { message } => print(message.trim_end()),
        other => Err(Failure::unexpected(other)),
    }
}
