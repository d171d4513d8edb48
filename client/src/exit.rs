//! Exit codes of `spa`, fixed by its manual page. Pure.

use std::process::ExitCode;

/// How a run of `spa` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The service answers; or the packets were sent and nobody waited.
    Open = 0,
    /// The command line makes no sense.
    Usage = 2,
    /// Sent, and nothing there can be probed.
    NotProbed = 3,
    /// Sent, and still closed; of `spa close`, still open.
    Closed = 4,
    /// Refused. Only an answering server could say so: not given yet.
    Refused = 5,
    /// Configuration or keys of this machine.
    Local = 6,
    /// No such name, or no way there.
    Route = 7,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Usage => 2,
            Self::NotProbed => 3,
            Self::Closed => 4,
            Self::Refused => 5,
            Self::Local => 6,
            Self::Route => 7,
        }
    }

    /// Of several hosts, the one that keeps a script from going on: what is
    /// furthest from open.
    #[must_use]
    pub fn worst(exits: impl IntoIterator<Item = Self>) -> Self {
        const BY_SEVERITY: [Exit; 7] = [
            Exit::Usage,
            Exit::Local,
            Exit::Route,
            Exit::Refused,
            Exit::Closed,
            Exit::NotProbed,
            Exit::Open,
        ];
        let exits: Vec<Self> = exits.into_iter().collect();
        BY_SEVERITY
            .into_iter()
            .find(|exit| exits.contains(exit))
            .unwrap_or(Self::Open)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_closed_host_among_open_ones_is_what_the_exit_code_says() {
        let worst = |exits: &[Exit]| Exit::worst(exits.iter().copied());
        assert_eq!(worst(&[Exit::Open, Exit::Closed, Exit::Open]), Exit::Closed);
        assert_eq!(worst(&[Exit::NotProbed, Exit::Open]), Exit::NotProbed);
        assert_eq!(worst(&[Exit::Closed, Exit::Route]), Exit::Route);
        assert_eq!(worst(&[]), Exit::Open);
    }
}
