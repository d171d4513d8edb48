//! [IO] A look, every few seconds, at what fails in silence: files that were deleted while they
//! are open, an audit that loses its lines.
//!
//! Each bad state has a line at its beginning, one at its end, and a warning meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use spad_model::{BootTime, Now};
use tracing::{error, info};

use super::engine_loop::EngineLoop;

/// How often.
const PERIOD: Duration = Duration::from_secs(2);

/// What was seen at the last look.
#[derive(Debug, Default)]
pub(super) struct SelfCheck {
    next: BootTime,
    socket: PathBuf,
    socket_lost: Option<String>,
    audit_lost: Option<String>,
}

impl SelfCheck {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            ..Self::default()
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> BootTime {
        self.next
    }

    /// What the status says.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let audit = self.audit_lost.as_ref().map(|problem| {
            format!("audit lines are lost ({problem}): check that file and its disk")
        });
        self.socket_lost.clone().into_iter().chain(audit)
    }
}

/// Says the beginning or the end of a bad state, once.
fn log_transition(
    was: &mut Option<String>,
    is: Option<String>,
    end_message: &str,
    begin_message: impl Fn(&str) -> String,
) {
    match (&was, &is) {
        (None, Some(problem)) => error!("{}", begin_message(problem)),
        (Some(_), None) => info!("{end_message}"),
        _ => {}
    }
    *was = is;
}

impl EngineLoop {
    /// Looks, where it is due.
    pub(super) fn run_self_check(&mut self, now: Now) {
        if self.self_check.next > now.boot {
            return;
        }
        self.self_check.next = now.boot.saturating_add(PERIOD);
        self.executor.state.check_files();
        let audit = self.executor.audit.problem();
        log_transition(
            &mut self.self_check.audit_lost,
            audit,
            "audit lines are written again",
            |problem| {
                format!("audit lines are lost: {problem}\n  help: check that file and its disk")
            },
        );
        let gone = std::fs::symlink_metadata(&self.self_check.socket)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let gone = gone.then(|| {
            format!(
                "the control socket {} was deleted: commands cannot reach this daemon",
                self.self_check.socket.display()
            )
        });
        log_transition(
            &mut self.self_check.socket_lost,
            gone,
            "the control socket is there again",
            |problem| format!("{problem}\n  help: restart spad"),
        );
    }
}
