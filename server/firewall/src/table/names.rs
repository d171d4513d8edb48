//! The names that our chains, sets and table have in the kernel.
//!
//! Pure. In our own table chains and sets have their plain names. In an administrator's
//! table (`[guard] mode = "set"`) each has a prefix that marks it as ours.

use super::TABLE;
use super::sets::SetName;

/// What rules call a table's sets and chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names<'a> {
    pub(super) table: &'a str,
    pub(super) set_prefix: &'static str,
    pub(super) chain_prefix: &'static str,
}

impl Names<'_> {
    /// The names in our own table.
    pub(super) const OWN: Names<'static> = Names {
        table: TABLE,
        set_prefix: "",
        chain_prefix: "",
    };

    /// The name of a set.
    pub(super) fn set(self, set: SetName) -> String {
        [self.set_prefix, set.as_str()].concat()
    }

    /// The name of a chain.
    pub(super) fn chain(self, chain: ChainName) -> String {
        [self.chain_prefix, chain.as_str()].concat()
    }
}

/// A chain of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainName {
    /// Answers as a port without a service does.
    Closed,
    /// Answers whoever has no grant.
    RejectUngranted,
    /// Notices that a port on trial was reached through a grant.
    TrackTrial,
    /// Accepts first packets of a connection that have a grant.
    AcceptGranted,
    /// Accepts established connections and grants; returns for everything else.
    CheckGrant,
    /// Labels connections to other hosts.
    OtherDestination,
    /// Judges packets for hidden ports before routing.
    PreroutingHidden,
    /// Judges packets for hidden ports behind the host's own rules.
    InputHidden,
    /// Judges packets that were moved to hidden ports behind [`ChainName::Input`].
    LateInputHidden,
    /// Finds connections that destination NAT moved from hidden ports.
    Dnatted,
    /// Judges connections that destination NAT moved from hidden ports.
    Published,
    /// Base chain before routing.
    Prerouting,
    /// Base chain for packets to this host.
    Input,
    /// Base chain for packets to this host, behind everything else.
    LateInput,
    /// Base chain for packets to other hosts.
    Forward,
    /// Base chain for packets from this host.
    Output,
    /// A gateway's base chain for destination NAT.
    NatPrerouting,
    /// A gateway's base chain for masquerading.
    NatPostrouting,
    /// Sends who has a grant to the inner host.
    DnatGranted,
    /// Accepts connections that [`ChainName::DnatGranted`] sent to an inner host.
    AcceptForwarded,
    /// Judges packets for hidden ports of inner hosts.
    CheckInner,
    /// A gateway's base chain for packets to inner hosts.
    ForwardInner,
    /// A gateway's base chain for answers in an inner host's name.
    OutputInner,
}

impl ChainName {
    /// The name in the kernel, without a prefix.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "reject_as_closed",
            Self::RejectUngranted => "reject_ungranted",
            Self::TrackTrial => "track_trial",
            Self::AcceptGranted => "accept_granted",
            Self::CheckGrant => "check_grant",
            Self::OtherDestination => "other_destination",
            Self::PreroutingHidden => "prerouting_hidden",
            Self::InputHidden => "input_hidden",
            Self::LateInputHidden => "late_input_hidden",
            Self::Dnatted => "dnatted",
            Self::Published => "published",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::LateInput => "late_input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::NatPrerouting => "nat_prerouting",
            Self::NatPostrouting => "nat_postrouting",
            Self::DnatGranted => "dnat_granted",
            Self::AcceptForwarded => "accept_forwarded",
            Self::CheckInner => "check_inner",
            Self::ForwardInner => "forward_inner",
            Self::OutputInner => "output_inner",
        }
    }
}
