//! The packet that is followed: a stranger's, to a port that no rule names, or the reset that
//! answers it.

use spa_proto::Protocol;

use crate::table::answers::{Family, PacketKind, State};

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) kind: PacketKind,
    /// By which interface it comes; none for one that no rule names.
    pub(super) interface: Option<&'a str>,
    /// To which port; none for one that no rule names.
    pub(super) port: Option<u64>,
    /// The reset that answers it, where that is followed.
    pub(super) reset: Option<Reset>,
}

/// A TCP reset on its way out, and what is supposed of the rules that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reset {
    /// Connection tracking calls that of `reject` related to the connection; that of a closed
    /// port is part of it.
    pub(super) is_related: bool,
    /// Whether conditions hold that are not understood.
    pub(super) unknown_matches: bool,
    /// Whether those of iptables about connection tracking hold, whose states nftables does not
    /// show.
    pub(super) tracking_matches: bool,
}

impl<'a> Packet<'a> {
    pub(super) const fn new(kind: PacketKind, interface: Option<&'a str>) -> Self {
        Self {
            kind,
            interface,
            port: None,
            reset: None,
        }
    }

    /// Whether tables of this family see it.
    pub(super) fn is_family(self, family: &str) -> bool {
        match self.kind.family {
            Family::Four => matches!(family, "inet" | "ip"),
            Family::Six => matches!(family, "inet" | "ip6"),
        }
    }

    pub(super) fn is_tcp(self) -> bool {
        self.kind.protocol == Protocol::Tcp
    }

    /// What connection tracking says of it.
    pub(super) const fn state(self) -> &'static str {
        match (self.kind.state, self.reset) {
            (State::Invalid, _) => "invalid",
            (State::New, None) => "new",
            (State::New, Some(reset)) if reset.is_related => "related",
            (State::New, Some(_)) => "established",
        }
    }

    /// In which direction of its connection it goes.
    pub(super) const fn direction(self) -> &'static str {
        match self.reset {
            None => "original",
            Some(_) => "reply",
        }
    }

    /// Its TCP flags: of a first segment, of a stray one, or of a reset.
    pub(super) const fn flags(self) -> u64 {
        match (self.reset, self.kind.state) {
            (Some(_), _) => RST | ACK,
            (None, State::New) => SYN,
            (None, State::Invalid) => ACK,
        }
    }
}

const SYN: u64 = 0x02;
const RST: u64 = 0x04;
const ACK: u64 = 0x10;

/// The bit of a TCP flag by nft's word for it.
pub(super) fn parse_flag(word: &str) -> Option<u64> {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let index = NAMES.iter().position(|one| *one == word)?;
    Some(1 << index)
}
