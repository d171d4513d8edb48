//! The programs that open and close where nftables is not the firewall.
//!
//! Pure. A program and its arguments, never a line for a shell: whatever stands in
//! an argument reaches the program as it is; what takes a placeholder's place has no space.

use std::path::PathBuf;
use std::time::Duration;

use spad_model::Element;

/// The firewall that is not ours, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFirewall {
    /// What lets one address in at one port.
    pub open: Template,
    /// What ends that.
    pub close: Template,
    /// As whom both run; none: as the firewall writer.
    pub user: Option<String>,
    /// Whether they keep CAP_NET_ADMIN.
    pub keep_net_admin: bool,
    /// How long each may take: 1 s to 60 s.
    pub time_limit: Duration,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<Vec<Piece>>,
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// What an argument may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    Address,
    Family,
    Protocol,
    Port,
    SourcePort,
    Ttl,
}

/// The words of the configuration for them.
pub(super) const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("{address}", Placeholder::Address),
    ("{family}", Placeholder::Family),
    ("{protocol}", Placeholder::Protocol),
    ("{port}", Placeholder::Port),
    ("{source_port}", Placeholder::SourcePort),
    ("{ttl_s}", Placeholder::Ttl),
];

impl Template {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Its arguments for this element, open for so long; zero where it is closed.
    #[must_use]
    pub fn arguments(&self, element: &Element, ttl: Duration) -> Vec<String> {
        let render = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Placeholder(placeholder) => placeholder.value(element, ttl),
        };
        let argument = |pieces: &Vec<Piece>| pieces.iter().map(render).collect();
        self.arguments.iter().map(argument).collect()
    }

    /// Whether an argument has this placeholder in it.
    pub(super) fn names(&self, placeholder: Placeholder) -> bool {
        let pieces = self.arguments.iter().flatten();
        pieces
            .into_iter()
            .any(|piece| *piece == Piece::Placeholder(placeholder))
    }
}

impl Placeholder {
    /// What takes its place.
    fn value(self, element: &Element, ttl: Duration) -> String {
        match self {
            Self::Address => match element.prefix {
                Some(prefix) => format!("{}/{prefix}", element.address),
                None => element.address.to_string(),
            },
            Self::Family if element.address.is_ipv4() => "inet".to_owned(),
            Self::Family => "inet6".to_owned(),
            Self::Protocol => element.service.protocol.as_str().to_owned(),
            Self::Port => element.service.port.to_string(),
            Self::SourcePort => match element.source_port {
                Some(port) => port.to_string(),
                None => "any".to_owned(),
            },
            // Rounded up: who times it as well must not close before we do.
            Self::Ttl => ttl.as_millis().div_ceil(1000).to_string(),
        }
    }
}

impl ExternalFirewall {
    /// Whether this firewall can let the element in and nothing more than it.
    #[must_use]
    pub fn can_open(&self, element: &Element) -> bool {
        let passed = |placeholder| self.open.names(placeholder) && self.close.names(placeholder);
        !element.once && (element.source_port.is_none() || passed(Placeholder::SourcePort))
    }

    /// Whether it is told how long, and so must be told again when that changes.
    #[must_use]
    pub fn uses_ttl(&self) -> bool {
        self.open.names(Placeholder::Ttl)
    }
}
