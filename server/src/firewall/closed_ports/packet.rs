//! The packet that is followed: a stranger's, to a port that no rule names.

use spa_proto::Protocol;

use crate::firewall::table::answers::{Family, Kind, State};

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// By which interface it comes; none for one that no rule names.
    pub(super) interface: Option<&'a str>,
}

impl<'a> Packet<'a> {
    pub(super) const fn new(kind: Kind, interface: Option<&'a str>) -> Self {
        Self { kind, interface }
    }

    /// Whether tables of this family see it.
    pub(super) fn is_of(self, family: &str) -> bool {
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
        match self.kind.state {
            State::New => "new",
            State::Invalid => "invalid",
        }
    }

    /// Its TCP flags: of a first segment, or of a stray one.
    pub(super) const fn flags(self) -> u64 {
        match self.kind.state {
            State::New => SYN,
            State::Invalid => ACK,
        }
    }
}

const SYN: u64 = 0x02;
const ACK: u64 = 0x10;

/// The bit of a TCP flag by nft's word for it.
pub(super) fn flag(word: &str) -> Option<u64> {
    const WORDS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let place = WORDS.iter().position(|one| *one == word)?;
    Some(1 << place)
}
