//! What is asked, as types: what cannot be written in them cannot be asked.
//! docs/protocol.md §6. Its bytes are made in `encode.rs`, read in `decode.rs`.

use core::num::NonZeroU16;

use crate::{Addresses, CommandName, Services};

/// What a client asks of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Open services for addresses, for a while.
    Open(Open),
    /// Withdraw what this client has open.
    Close {
        /// For these addresses; none: the one the packet came from.
        addresses: Addresses,
        /// These services; none: all of this client's.
        services: Services,
    },
    /// Run a command that the server's configuration declares.
    Run {
        /// Its name.
        command: CommandName,
    },
    /// Enrol a key, with an invitation's shared key.
    Join {
        /// The client's public key, as encoded; not yet checked.
        join_key: [u8; 32],
    },
}

/// A request to open services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Open {
    /// For one connection only; excludes a source port.
    pub once: bool,
    /// For how many seconds; 0: as the policy says.
    pub duration: u32,
    /// The only source port the grant admits, for every service; `None`: any.
    pub source_port: Option<NonZeroU16>,
    /// For these addresses; none: the one the packet came from.
    pub addresses: Addresses,
    /// These services; none: the policy's default ones.
    pub services: Services,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// 1.
    Open,
    /// 2.
    Close,
    /// 3.
    Run,
    /// 4.
    Join,
}

impl Action {
    /// Its number in the request. docs/protocol.md §6.2.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Close => 2,
            Self::Run => 3,
            Self::Join => 4,
        }
    }

    /// The action with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Open),
            2 => Some(Self::Close),
            3 => Some(Self::Run),
            4 => Some(Self::Join),
            _ => None,
        }
    }

    /// `open`, `close`, `run` or `join`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Run => "run",
            Self::Join => "join",
        }
    }
}

impl Request {
    /// Which kind of request this is.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Open(_) => Action::Open,
            Self::Close { .. } => Action::Close,
            Self::Run { .. } => Action::Run,
            Self::Join { .. } => Action::Join,
        }
    }
}
