//! The sets of the table `inet spad`, each declared once.
//!
//! Pure. [`SetSpec`] gives a set's JSON, its text and its layout in the kernel. Grants are
//! elements with a timeout, so the kernel closes the port even if we do not run. Each set of
//! grants has a default timeout as well, because an element must never stay for ever.

use std::collections::HashSet;

use nftables::schema::{NfCmd, NfListObject, Set, SetFlag, SetTypeValue, Table};
use nftables::types::NfFamily;
use serde_json::{Value, json};

use super::names::Names;
use super::stmt::Field;
use super::{TABLE, object};

/// How many elements a set holds. A full set refuses more; the kernel evicts nothing.
pub const SET_SIZE: u32 = 65_536;

/// The properties by which the kernel tells whether two sets are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLayout {
    /// nftables' number of the key's type: six bits a field, the first field highest.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_length: u32,
    /// An element's default timeout in milliseconds; zero means none.
    pub timeout: u64,
    /// How many elements fit.
    pub size: u32,
}

/// The declaration of a set.
#[derive(Clone, Copy, Debug)]
struct SetSpec {
    name: &'static str,
    /// The parts of a key.
    fields: &'static [Field],
    /// An element's default timeout in seconds.
    timeout: Option<u32>,
    /// Rules add elements to it or delete them.
    dynamic: bool,
}

/// A set of our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetName {
    /// Ports that require a grant; one on trial has a timeout.
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
    /// Grants for one connection, IPv4.
    GrantsOnce4,
    /// Grants for one connection, IPv6.
    GrantsOnce6,
    /// Grants for one source port, among them used ones for one connection, IPv4.
    GrantsPort4,
    /// Grants for one source port, among them used ones for one connection, IPv6.
    GrantsPort6,
    /// Connections that an administrator cut, IPv4.
    Cut4,
    /// Connections that an administrator cut, IPv6.
    Cut6,
    /// Connections that are older than their port's hiding, IPv4.
    Existing4,
    /// Connections that are older than their port's hiding, IPv6.
    Existing6,
    /// Connections through a grant to a port on trial, not answered yet, IPv4.
    TrialPending4,
    /// Connections through a grant to a port on trial, not answered yet, IPv6.
    TrialPending6,
    /// Hidden ports whose table was missing a moment ago: a packet from one may answer a
    /// stranger who connected then.
    Settling,
    /// Ports of inner hosts that require a grant through this gateway, IPv4.
    InnerHidden4,
    /// Ports of inner hosts that require a grant through this gateway, IPv6.
    InnerHidden6,
}

impl SetName {
    /// The sets that every table has; a gateway's has [`SetName::GATEWAY`] as well.
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

    /// The sets that hold grants.
    pub const GRANTS: [Self; 8] = [
        Self::Grants4,
        Self::Grants6,
        Self::GrantsNet4,
        Self::GrantsNet6,
        Self::GrantsOnce4,
        Self::GrantsOnce6,
        Self::GrantsPort4,
        Self::GrantsPort6,
    ];

    /// The declaration of this set.
    const fn spec(self) -> SetSpec {
        use Field::{
            Destination4, Destination6, Port, PrefixMark, Protocol, Source4, Source6, SourcePort,
        };
        const PORT: &[Field] = &[Protocol, Port];
        const SOURCE4: &[Field] = &[Source4, Protocol, Port];
        const SOURCE6: &[Field] = &[Source6, Protocol, Port];
        const NETWORK6: &[Field] = &[Source6, PrefixMark, Protocol, Port];
        const CONNECTION4: &[Field] = &[Source4, SourcePort, Protocol, Port];
        const CONNECTION6: &[Field] = &[Source6, SourcePort, Protocol, Port];
        const INNER4: &[Field] = &[Destination4, Protocol, Port];
        const INNER6: &[Field] = &[Destination6, Protocol, Port];
        const DAY: u32 = 86_400;
        // As long as a client repeats its first segment; then nothing new from there.
        const RETRANSMISSIONS: u32 = 10;
        match self {
            Self::Hidden => SetSpec::fixed("hidden", PORT, None),
            Self::Trial => SetSpec::fixed("trial", PORT, None),
            Self::TrialReached => SetSpec::dynamic("trial_reached", PORT, DAY),
            Self::Grants4 => SetSpec::fixed("grants4", SOURCE4, Some(30)),
            Self::Grants6 => SetSpec::fixed("grants6", SOURCE6, Some(30)),
            Self::GrantsNet4 => SetSpec::fixed("grants_net4", SOURCE4, Some(30)),
            Self::GrantsNet6 => SetSpec::fixed("grants_net6", NETWORK6, Some(30)),
            Self::GrantsOnce4 => SetSpec::dynamic("grants_once4", SOURCE4, 30),
            Self::GrantsOnce6 => SetSpec::dynamic("grants_once6", SOURCE6, 30),
            Self::GrantsPort4 => SetSpec::dynamic("grants_port4", CONNECTION4, RETRANSMISSIONS),
            Self::GrantsPort6 => SetSpec::dynamic("grants_port6", CONNECTION6, RETRANSMISSIONS),
            Self::Cut4 => SetSpec::dynamic("cut4", CONNECTION4, DAY),
            Self::Cut6 => SetSpec::dynamic("cut6", CONNECTION6, DAY),
            Self::Existing4 => SetSpec::dynamic("existing4", CONNECTION4, 30),
            Self::Existing6 => SetSpec::dynamic("existing6", CONNECTION6, 30),
            Self::TrialPending4 => SetSpec::dynamic("trial_pending4", CONNECTION4, 30),
            Self::TrialPending6 => SetSpec::dynamic("trial_pending6", CONNECTION6, 30),
            Self::Settling => SetSpec::fixed("settling", PORT, Some(10)),
            Self::InnerHidden4 => SetSpec::fixed("inner_hidden4", INNER4, None),
            Self::InnerHidden6 => SetSpec::fixed("inner_hidden6", INNER6, None),
        }
    }

    /// The name in the kernel, without a prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.spec().name
    }

    /// The parts of a key.
    #[must_use]
    pub(super) const fn fields(self) -> &'static [Field] {
        self.spec().fields
    }

    /// What the kernel reports of a set that is declared like this one.
    #[must_use]
    pub fn layout(self) -> SetLayout {
        let SetSpec {
            fields, timeout, ..
        } = self.spec();
        let types = fields.iter().map(|field| field.data_type());
        let (key_type, key_length) = types.fold((0_u32, 0_u32), |(number, length), one| {
            (number << 6 | one.number, length.saturating_add(one.bytes))
        });
        SetLayout {
            key_type,
            key_length,
            timeout: u64::from(timeout.unwrap_or(0)).saturating_mul(1000),
            size: SET_SIZE,
        }
    }

    /// The set in the schema of the `nftables` crate.
    pub(super) fn schema(self, names: Names<'_>) -> Set<'static> {
        Set {
            family: NfFamily::INet,
            table: names.table.to_owned().into(),
            name: names.set(self).into(),
            // `declaration` fills this in, because the crate lacks some of the types.
            set_type: SetTypeValue::Concatenated(Vec::new().into()),
            // Without `dynamic`: nft 1.0.6 does not accept it in JSON, and adds it where a rule
            // of the same transaction requires it. So an existing set must not be declared
            // again, because it would differ.
            flags: Some(HashSet::from([SetFlag::Timeout])),
            timeout: self.spec().timeout,
            size: Some(SET_SIZE),
            ..Set::default()
        }
    }

    /// The command that adds the set.
    pub(super) fn declaration(self, names: Names<'_>) -> Value {
        let set = NfListObject::Set(Box::new(self.schema(names)));
        let mut command = object(&NfCmd::Add(set));
        if let Some(types) = command.pointer_mut("/add/set/type") {
            *types = json!(self.type_names());
        }
        command
    }

    fn type_names(self) -> Vec<&'static str> {
        let fields = self.fields().iter();
        fields.map(|field| field.data_type().name).collect()
    }

    /// The declaration in nft's language, with these elements.
    pub(super) fn text(self, names: Names<'_>, elements: &[String]) -> String {
        let SetSpec {
            timeout, dynamic, ..
        } = self.spec();
        let flags = match dynamic {
            true => "dynamic,timeout",
            false => "timeout",
        };
        let timeout = timeout.map_or(String::new(), |seconds| format!("\t\ttimeout {seconds}s\n"));
        let elements = match elements {
            [] => String::new(),
            some => format!("\t\telements = {{ {} }}\n", some.join(", ")),
        };
        format!(
            "\tset {} {{\n\t\ttype {}\n\t\tsize {SET_SIZE}\n\t\tflags {flags}\n{timeout}{elements}\t}}\n",
            names.set(self),
            self.type_names().join(" . "),
        )
    }
}

impl SetSpec {
    /// A set that only we change.
    const fn fixed(name: &'static str, fields: &'static [Field], timeout: Option<u32>) -> Self {
        Self {
            name,
            fields,
            timeout,
            dynamic: false,
        }
    }

    /// A set that rules change as well.
    const fn dynamic(name: &'static str, fields: &'static [Field], timeout: u32) -> Self {
        Self {
            name,
            fields,
            timeout: Some(timeout),
            dynamic: true,
        }
    }
}

/// The sets of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FamilySets {
    pub(super) grants: SetName,
    pub(super) grants_once: SetName,
    pub(super) grants_port: SetName,
    pub(super) cut: SetName,
    pub(super) existing: SetName,
    pub(super) trial_pending: SetName,
}

impl FamilySets {
    pub(super) const IPV4: Self = Self {
        grants: SetName::Grants4,
        grants_once: SetName::GrantsOnce4,
        grants_port: SetName::GrantsPort4,
        cut: SetName::Cut4,
        existing: SetName::Existing4,
        trial_pending: SetName::TrialPending4,
    };

    pub(super) const IPV6: Self = Self {
        grants: SetName::Grants6,
        grants_once: SetName::GrantsOnce6,
        grants_port: SetName::GrantsPort6,
        cut: SetName::Cut6,
        existing: SetName::Existing6,
        trial_pending: SetName::TrialPending6,
    };

    pub(super) const BOTH: [Self; 2] = [Self::IPV4, Self::IPV6];

    /// The sets for this address.
    pub(super) const fn for_address(address: std::net::IpAddr) -> Self {
        match address.is_ipv4() {
            true => Self::IPV4,
            false => Self::IPV6,
        }
    }
}

pub(super) fn table() -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: NfFamily::INet,
        name: TABLE.into(),
        handle: None,
    })
}
