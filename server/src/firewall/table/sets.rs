//! The sets of the table `inet spad`.
//!
//! Pure. Grants are elements with a timeout, so that the kernel closes the port
//! whatever becomes of us. Each set of grants has a default timeout as well: an
//! element without one of its own must not last for ever.

use std::collections::HashSet;

use nftables::schema::{NfCmd, NfListObject, Set, SetFlag, SetTypeValue, Table};
use nftables::types::NfFamily;
use serde_json::{Value, json};

use super::stmt::Field;
use super::{TABLE, object};

/// How many elements a set holds. A full set refuses; nothing is evicted.
pub const SET_SIZE: u32 = 65_536;

/// What makes one set like another: an element fits, for as long, among as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLayout {
    /// nftables' number of the key's type: six bits a field, the first field highest.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_length: u32,
    /// Milliseconds that an element lasts which says nothing else; zero for ever.
    pub timeout: u64,
    /// How many elements fit.
    pub size: u32,
}

/// A set of our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetName {
    /// Ports that nobody reaches without a grant; one on trial has a timeout.
    Hidden,
    /// Hidden ports that are on trial.
    Trial,
    /// Ports on trial that were reached through a grant.
    TrialReached,
    /// Grants to an IPv4 address.
    Grants4,
    /// Grants to an IPv6 address.
    Grants6,
    /// Grants to an IPv4 network, its length in the host bits of its first address.
    GrantsNet4,
    /// Grants to an IPv6 network, its length as a mark: [`super::prefix_mark`].
    GrantsNet6,
    /// Grants that the first connection uses up, IPv4.
    GrantsOnce4,
    /// Grants that the first connection uses up, IPv6.
    GrantsOnce6,
    /// Grants for one source port, given so or used up by it, IPv4.
    GrantsPort4,
    /// Grants for one source port, given so or used up by it, IPv6.
    GrantsPort6,
    /// Connections that an administrator cut, IPv4.
    Cut4,
    /// Connections that an administrator cut, IPv6.
    Cut6,
    /// Connections that were there before their port was hidden, IPv4.
    Existing4,
    /// Connections that were there before their port was hidden, IPv6.
    Existing6,
    /// Connections through a grant to a port on trial that have not been answered yet, IPv4.
    TrialPending4,
    /// Connections through a grant to a port on trial that have not been answered yet, IPv6.
    TrialPending6,
    /// Hidden ports whose table was away a moment ago: what this host sends from one may
    /// answer a stranger who slipped in.
    Settling,
    /// Ports of inner hosts that nobody reaches through this gateway without a grant, IPv4.
    InnerHidden4,
    /// Ports of inner hosts that nobody reaches through this gateway without a grant, IPv6.
    InnerHidden6,
}

impl SetName {
    /// Every set of every table; a gateway's has those of [`SetName::GATEWAY`] as well.
    pub const ALL: [Self; 18] = [
        Self::Hidden,
        Self::Trial,
        Self::TrialReached,
        Self::Grants4,
        Self::Grants6,
        Self::GrantsNet4,
        Self::GrantsNet6,
        Self::GrantsOnce4,
        Self::GrantsOnce6,
        Self::GrantsPort4,
        Self::GrantsPort6,
        Self::Cut4,
        Self::Cut6,
        Self::Existing4,
        Self::Existing6,
        Self::TrialPending4,
        Self::TrialPending6,
        Self::Settling,
    ];

    /// The sets that only a gateway's table has.
    pub const GATEWAY: [Self; 2] = [Self::InnerHidden4, Self::InnerHidden6];

    /// Its name in the kernel.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Trial => "trial",
            Self::TrialReached => "reached",
            Self::Grants4 => "grants4",
            Self::Grants6 => "grants6",
            Self::GrantsNet4 => "net4",
            Self::GrantsNet6 => "net6",
            Self::GrantsOnce4 => "once4",
            Self::GrantsOnce6 => "once6",
            Self::GrantsPort4 => "flow4",
            Self::GrantsPort6 => "flow6",
            Self::Cut4 => "cut4",
            Self::Cut6 => "cut6",
            Self::Existing4 => "before4",
            Self::Existing6 => "before6",
            Self::TrialPending4 => "trying4",
            Self::TrialPending6 => "trying6",
            Self::Settling => "settling",
            Self::InnerHidden4 => "inner4",
            Self::InnerHidden6 => "inner6",
        }
    }

    /// Whether its elements hold IPv4 addresses, IPv6 addresses, or none.
    #[must_use]
    pub(super) const fn fields(self) -> &'static [Field] {
        use Field::{
            Destination4, Destination6, Port, PrefixMark, Protocol, Source4, Source6, SourcePort,
        };
        match self {
            Self::Hidden | Self::Trial | Self::TrialReached | Self::Settling => &[Protocol, Port],
            Self::Grants4 | Self::GrantsNet4 | Self::GrantsOnce4 => &[Source4, Protocol, Port],
            Self::Grants6 | Self::GrantsOnce6 => &[Source6, Protocol, Port],
            Self::GrantsNet6 => &[Source6, PrefixMark, Protocol, Port],
            Self::GrantsPort4 | Self::Cut4 | Self::Existing4 | Self::TrialPending4 => {
                &[Source4, SourcePort, Protocol, Port]
            }
            Self::GrantsPort6 | Self::Cut6 | Self::Existing6 | Self::TrialPending6 => {
                &[Source6, SourcePort, Protocol, Port]
            }
            Self::InnerHidden4 => &[Destination4, Protocol, Port],
            Self::InnerHidden6 => &[Destination6, Protocol, Port],
        }
    }

    /// Seconds that an element lasts which says nothing else.
    const fn timeout(self) -> Option<u32> {
        match self {
            Self::Hidden | Self::Trial | Self::InnerHidden4 | Self::InnerHidden6 => None,
            Self::TrialReached | Self::Cut4 | Self::Cut6 => Some(86_400),
            Self::Grants4
            | Self::Grants6
            | Self::GrantsNet4
            | Self::GrantsNet6
            | Self::GrantsOnce4
            | Self::GrantsOnce6 => Some(30),
            // As long as a first segment is sent again; then nothing new from there.
            Self::GrantsPort4 | Self::GrantsPort6 => Some(10),
            Self::Settling => Some(10),
            Self::Existing4 | Self::Existing6 | Self::TrialPending4 | Self::TrialPending6 => {
                Some(30)
            }
        }
    }

    /// Whether rules add to it or take from it.
    const fn is_dynamic(self) -> bool {
        !matches!(
            self,
            Self::Hidden
                | Self::Trial
                | Self::Grants4
                | Self::Grants6
                | Self::GrantsNet4
                | Self::GrantsNet6
                | Self::Settling
                | Self::InnerHidden4
                | Self::InnerHidden6
        )
    }

    /// What the kernel tells of the set where it is as declared here.
    #[must_use]
    pub fn layout(self) -> SetLayout {
        let field = |field: &Field| match field {
            Field::Source4 | Field::Destination4 => (7, 4),
            Field::Source6 | Field::Destination6 => (8, 16),
            Field::PrefixMark => (10, 4),
            Field::Protocol => (12, 4),
            Field::Port | Field::SourcePort | Field::OriginalPort => (13, 4),
        };
        let fields = self.fields().iter().map(field);
        let (key_type, key_length) = fields
            .fold((0_u32, 0_u32), |(types, length), (one, bytes)| {
                (types << 6 | one, length.saturating_add(bytes))
            });
        let timeout = u64::from(self.timeout().unwrap_or(0)).saturating_mul(1000);
        SetLayout {
            key_type,
            key_length,
            timeout,
            size: SET_SIZE,
        }
    }

    pub(super) fn schema(self) -> Set<'static> {
        Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: self.as_str().into(),
            // Set by `declaration`, for the crate does not know all the words.
            set_type: SetTypeValue::Concatenated(Vec::new().into()),
            // `dynamic` is not named: nft 1.0.6 does not know the word in JSON, and adds it by
            // itself where a rule of the same transaction asks for it. So a set that is there
            // already must not be declared again: it would differ.
            flags: Some(HashSet::from([SetFlag::Timeout])),
            timeout: self.timeout(),
            size: Some(SET_SIZE),
            ..Set::default()
        }
    }

    pub(super) fn declaration(self) -> Value {
        let set = NfListObject::Set(Box::new(self.schema()));
        let mut command = object(&NfCmd::Add(set));
        if let Some(types) = command.pointer_mut("/add/set/type") {
            *types = json!(self.types());
        }
        command
    }

    /// nftables' words for the fields of a key.
    fn types(self) -> Vec<&'static str> {
        let word = |field: &Field| match field {
            Field::Source4 | Field::Destination4 => "ipv4_addr",
            Field::Source6 | Field::Destination6 => "ipv6_addr",
            Field::PrefixMark => "ether_type",
            Field::Protocol => "inet_proto",
            Field::Port | Field::SourcePort | Field::OriginalPort => "inet_service",
        };
        self.fields().iter().map(word).collect()
    }

    /// Its declaration by this name, with these elements.
    pub(super) fn text(self, name: &str, elements: &[String]) -> String {
        let flags = if self.is_dynamic() {
            "dynamic,timeout"
        } else {
            "timeout"
        };
        let timeout = self
            .timeout()
            .map_or(String::new(), |seconds| format!("\t\ttimeout {seconds}s\n"));
        let elements = if elements.is_empty() {
            String::new()
        } else {
            format!("\t\telements = {{ {} }}\n", elements.join(", "))
        };
        format!(
            "\tset {name} {{\n\t\ttype {}\n\t\tsize {SET_SIZE}\n\t\tflags {flags}\n{timeout}{elements}\t}}\n",
            self.types().join(" . "),
        )
    }
}

pub(super) fn table() -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: NfFamily::INet,
        name: TABLE.into(),
        handle: None,
    })
}
