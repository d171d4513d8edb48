//! The answer that a request of the command line waits for.

use tokio::sync::oneshot;

use crate::control::Response;

/// Where one request's answer goes. It is answered at most once, and whoever asked may have gone.
#[derive(Debug)]
pub(super) struct Reply(Option<oneshot::Sender<Response>>);

impl Reply {
    /// Answers.
    pub(super) fn send(mut self, response: Response) {
        self.send_early(response);
    }

    /// Answers that it was done.
    pub(super) fn done(self, message: impl Into<String>) {
        let message = message.into();
        self.send(Response::Done { message });
    }

    /// Answers that it was not done, and why.
    pub(super) fn fail(self, message: impl Into<String>) {
        let message = message.into();
        self.send(Response::Failed { message });
    }

    /// Answers while the work goes on. A later answer goes nowhere.
    pub(super) fn send_early(&mut self, response: Response) {
        if let Some(sender) = self.0.take() {
            let _gone = sender.send(response);
        }
    }
}

impl From<oneshot::Sender<Response>> for Reply {
    fn from(sender: oneshot::Sender<Response>) -> Self {
        Self(Some(sender))
    }
}
