//! What strangers get at a hidden port: the same as at this host's closed ports.
//!
//! Pure: the kinds of packets, and an answer to each. [`super::rejections`] has the rules.

use spa_proto::Protocol;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Four, Self::Six];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Four => "ipv4",
            Self::Six => "ipv6",
        }
    }
}

/// What connection tracking says of a packet that belongs to no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It begins a connection.
    New,
    /// It neither begins nor continues a connection.
    Invalid,
}

impl State {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::New, Self::Invalid];
}

/// A kind of packet; a host may answer each kind differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketKind {
    /// The family of its addresses.
    pub family: Family,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Its state.
    pub state: State,
}

impl PacketKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let protocols = Protocol::ALL.into_iter().flat_map(|protocol| {
            Family::BOTH
                .into_iter()
                .map(move |family| (family, protocol))
        });
        protocols.flat_map(|(family, protocol)| {
            State::BOTH.into_iter().map(move |state| Self {
                family,
                protocol,
                state,
            })
        })
    }
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// What the kernel answers for a port without a service.
    Closed,
    /// A TCP reset of the host's own rules.
    Reset,
    /// Nothing.
    Nothing,
    /// An ICMP error, by nft's name of its code.
    Error(&'static str),
}

impl Reply {
    /// The error by which an administrator's rule refuses, in both families.
    pub const PROHIBITED: Self = Self::Error("admin-prohibited");

    /// The codes of a family, as in `reject with icmp` or `icmpv6`.
    const fn icmp_codes(family: Family) -> &'static [&'static str] {
        match family {
            Family::Four => &[
                "net-unreachable",
                "host-unreachable",
                "prot-unreachable",
                "port-unreachable",
                "net-prohibited",
                "host-prohibited",
                "admin-prohibited",
            ],
            Family::Six => &[
                "no-route",
                "admin-prohibited",
                "addr-unreachable",
                "port-unreachable",
            ],
        }
    }

    /// The answer of `reject` over this family with this code of `icmp`, `icmpv6` or `icmpx`;
    /// none where there is no such code.
    #[must_use]
    pub fn from_icmp_code(family: Family, word: &str) -> Option<Self> {
        let word = match (family, word) {
            (Family::Four, "no-route") => "net-unreachable",
            (Family::Six, "host-unreachable") => "addr-unreachable",
            (_, word) => word,
        };
        let known = Self::icmp_codes(family)
            .iter()
            .find(|known| **known == word)?;
        Some(Self::Error(known))
    }
}

/// The answer to each kind of packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers(Vec<(PacketKind, Reply)>);

impl Answers {
    /// The same answer to every kind.
    #[must_use]
    pub fn all(reply: Reply) -> Self {
        Self::from_each(|_| reply)
    }

    /// The answers that this function gives.
    #[must_use]
    pub fn from_each(mut reply: impl FnMut(PacketKind) -> Reply) -> Self {
        Self(PacketKind::all().map(|kind| (kind, reply(kind))).collect())
    }

    /// The answer to this kind.
    #[must_use]
    pub fn reply_to(&self, kind: PacketKind) -> Reply {
        let found = self.0.iter().find(|(one, _)| *one == kind);
        found.map_or(Reply::Closed, |(_, reply)| *reply)
    }

    /// Whether some IPv6 TCP packet gets the kernel's own answer.
    #[must_use]
    pub fn resets_tcp6(&self) -> bool {
        let resets = |(kind, reply): &(PacketKind, Reply)| {
            (kind.family, kind.protocol) == (Family::Six, Protocol::Tcp) && *reply == Reply::Closed
        };
        self.0.iter().any(resets)
    }

    /// Describes the answers: each one, with the packets that get it unless all do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut texts: Vec<String> = Vec::new();
        for state in State::BOTH {
            for protocol in Protocol::ALL {
                let of = |family| {
                    self.reply_to(PacketKind {
                        family,
                        protocol,
                        state,
                    })
                };
                let [four, six] = Family::BOTH.map(of);
                let what = match state {
                    State::New => format!("{protocol}"),
                    State::Invalid => format!("{protocol} that is invalid"),
                };
                let text = match four == six {
                    true => reply_name(four).to_owned(),
                    false => format!(
                        "{} over IPv4, {} over IPv6",
                        reply_name(four),
                        reply_name(six)
                    ),
                };
                texts.push(format!("{what}: {text}"));
            }
        }
        let answers: std::collections::BTreeSet<&str> = texts
            .iter()
            .filter_map(|text| Some(text.split_once(": ")?.1))
            .collect();
        match answers.iter().next() {
            Some(one) if answers.len() == 1 => format!("{one}, whatever the packet"),
            _ => texts.join("; "),
        }
    }
}

const fn reply_name(reply: Reply) -> &'static str {
    match reply {
        Reply::Closed => "as closed",
        Reply::Reset => "a reset",
        Reply::Nothing => "nothing",
        Reply::Error(word) => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_icmpx_are_those_of_each_family() {
        let of = Reply::from_icmp_code;
        assert_eq!(
            of(Family::Four, "no-route"),
            Some(Reply::Error("net-unreachable"))
        );
        assert_eq!(
            of(Family::Six, "host-unreachable"),
            Some(Reply::Error("addr-unreachable"))
        );
        assert_eq!(of(Family::Six, "host-prohibited"), None);
    }

    #[test]
    fn answers_are_named_by_packet_where_they_differ() {
        let all = Answers::all(Reply::Closed).text();
        assert_eq!(all, "as closed, whatever the packet");
        let answers = Answers::from_each(|kind| match kind.state {
            State::New => Reply::Closed,
            State::Invalid => Reply::Nothing,
        });
        let text = answers.text();
        assert!(
            text.starts_with("tcp: as closed; udp: as closed;"),
            "{text}"
        );
        assert!(text.ends_with("sctp that is invalid: nothing"), "{text}");
    }
}
