//! Errors with help: the message and the advice stay separate until they are printed.
//!
//! Pure.

use std::error::Error;
use std::fmt;

/// An error that knows how to fix what caused it.
pub trait Help: Error {
    /// What to do, as an imperative, with a command where there is one.
    fn help(&self) -> Option<String>;

    /// The message together with the help.
    fn explain(&self) -> Explanation {
        Explanation {
            message: self.to_string(),
            help: self.help(),
        }
    }
}

/// A message, and the help for it. Displays the help on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

impl<T: Into<String>> From<T> for Explanation {
    fn from(message: T) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}
