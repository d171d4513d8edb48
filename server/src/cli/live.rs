//! What changes reach the running daemon at once, if one runs.

use std::fmt::Display;

use crate::config::ClientName;
use crate::control::client::{ControlError, ask};
use crate::control::{Request, Response};
use crate::paths::Paths;

use super::outcome::{note, print, warn};
use super::{Failure, Options, Run};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
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
pub(crate) fn reload_running_daemon(paths: &Paths) -> Outcome {
    request(paths, &Request::Reload)
}

/// Lets the running daemon stop serving this client, whatever state the files are in.
pub(crate) fn stop_serving(paths: &Paths, client: &ClientName) -> Outcome {
    request(
        paths,
        &Request::Disable {
            client: client.to_string(),
        },
    )
}

/// Asks the running daemon.
pub(crate) fn request(paths: &Paths, request: &Request) -> Outcome {
    match ask(&paths.control_socket(), request) {
        Ok(Response::Done { message }) => Outcome::Done(message),
        Ok(Response::Unknown { message }) => Outcome::Unknown(message),
        Ok(Response::Failed { message }) => Outcome::Refused(message),
        Ok(_) => Outcome::Refused("the daemon gave an answer to another question".to_owned()),
        Err(ControlError::NotRunning { .. }) => Outcome::NotRunning,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// Says what became of a change that stands in the files already.
pub(crate) fn tell(outcome: Outcome) -> Run {
    match outcome {
        Outcome::NotRunning => {
            note("no daemon could be reached; it takes this at its next start");
            Ok(())
        }
        Outcome::Done(message) | Outcome::Unknown(message) => {
            note(message.trim_end());
            Ok(())
        }
        Outcome::Refused(message) => {
            warn("the files are changed, and the running daemon has not taken it");
            Err(Failure::Failed(message))
        }
    }
}

/// What became of a client that is to be served no more while its files cannot be changed.
pub(crate) fn only_live(outcome: Outcome, client: &ClientName, problem: impl Display) -> Failure {
    match outcome {
        Outcome::Done(message) => {
            note(message.trim_end());
            Failure::with_help(
                format_args!("the next reload or start serves {client} again: {problem}"),
                "say it again as root, once the file can be changed",
            )
        }
        Outcome::NotRunning | Outcome::Unknown(_) => Failure::Failed(problem.to_string()),
        Outcome::Refused(message) => Failure::Failed(format!("{problem}\nerror: {message}")),
    }
}

/// Asks the running daemon a question; a refusal is a failure.
pub(crate) fn ask_daemon(options: &Options, request: &Request) -> Result<Response, Failure> {
    match ask(&options.paths().control_socket(), request)? {
        Response::Failed { message } => Err(Failure::Failed(message)),
        response => Ok(response),
    }
}

/// Lets the running daemon do something and prints what it says.
pub(crate) fn do_in_daemon(options: &Options, request: &Request) -> Run {
    match ask_daemon(options, request)? {
        Response::Done { message } => print(message.trim_end()),
        other => Err(Failure::unexpected(other)),
    }
}
