//! The one result of a packet: its reason, its class, its counter.
//!
//! Pure. Every packet that passes the kernel's filter ends in exactly one
//! [`Reason`] of this closed list; counters, audit lines, tests and
//! docs/reasons.md all come from it. Holds no byte that a stranger chose.

use std::time::Duration;

use spa_proto::{IdentifyError, NotAuthentic, OpenError, RequestError};

use crate::element::Element;
use crate::firewall::FirewallError;
use crate::frame_fault::FrameFault;
use crate::names::ClientName;

/// What became of a packet, from the point of view of whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Authentic (or, at a door of `[[knock]]`, all its knocks in their order), and the
    /// kernel let the sender in.
    Opened,
    /// Authentic, and the sender's grants were withdrawn.
    Closed,
    /// Authentic, and a declared command was started.
    Started,
    /// Authentic, and refused: named in the audit.
    Refused,
    /// Not authentic: counted, never named, no line of its own.
    Counted,
}

impl Class {
    /// One word, as docs/reasons.md prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Started => "started",
            Self::Refused => "refused",
            Self::Counted => "counted",
        }
    }
}

macro_rules! reasons {
    ($($name:ident, $text:literal, $class:ident, $doc:literal;)+) => {
        /// Why a packet ended as it did. The order is that of the stages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $name,)+
        }

        impl Reason {
            /// Every reason there is, in the order of the stages.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word in audit lines and counters.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What it means for the sender.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $doc,)+ }
            }
        }
    };
}

reasons! {
    // What the capture could not read, and what is not authentic.
    Frame, "frame", Counted, "The frame holds no whole datagram of ours to this host.";
    Length, "length", Counted, "Shorter than 160 or longer than 512 bytes.";
    HeadTag, "head_tag", Counted, "The head's tag is wrong: no client of this server made it.";
    UnknownKey, "unknown_key", Counted, "The head is right, but no client has this key id.";
    StaleUnnamed, "stale_unnamed", Counted, "Older than the allowed skew; not looked at further, as another was a moment ago.";
    BelowFloorUnnamed, "below_floor_unnamed", Counted, "Not above the client's floor; not looked at further, as another was a moment ago.";
    Duplicate, "duplicate", Counted, "The network delivered one packet twice: the same within a second from the same address.";
    Replay, "replay", Counted, "A packet with this nonce was used before.";
    Hmac, "hmac", Counted, "The authentication is wrong: altered, or made with another key.";

    // Knocks at the doors of `[[knock]]`: nothing of them is authentic.
    Knock, "knock", Counted, "No packet, and a knock that may be heard at a door of `[[knock]]`; it opened nothing.";
    KnockRefused, "knock_refused", Counted, "The last knock of a sequence, and nothing was asked of the kernel or the command runner: from an address that no host connects from, too often, or its door holds as many grants as it may, or must hear more than it does until the restart that a reload called for.";
    KnockRan, "knock_ran", Started, "The last knock of a sequence whose door opens nothing: its command was asked for; the audit says what came of it.";
    KnockOpened, "knock_opened", Opened, "The last knock of a sequence, by whomever: the kernel lets its sender in.";

    // Authentic, and refused whatever it asks.
    Stale, "stale", Refused, "Older than the allowed skew: the client's clock is behind, or the packet was held back.";
    BelowFloor, "below_floor", Refused, "Not above the client's floor: used before, or older than what the server can remember.";
    StateUnwritable, "state_unwritable", Refused, "The state cannot be written, and `on_state_error` is \"refuse\", or cannot be used at all (`spad status` says why); or, at a door, that its sequence for one use is used.";
    Decryption, "decryption", Refused, "Authentic, yet it does not decrypt: the client is broken.";

    // Faults of the request: docs/protocol.md §6.8; the words are those of `spa_proto`.
    UnknownVersion, "unknown_version", Refused, "The request's version is not 1.";
    UnknownAction, "unknown_action", Refused, "The request's action is unknown.";
    UnknownFlag, "unknown_flag", Refused, "The request sets a flag that version 1 does not have.";
    TooManyAddresses, "too_many_addresses", Refused, "The request states more than 2 addresses.";
    UnknownFamily, "unknown_family", Refused, "An address of the request is neither IPv4 nor IPv6.";
    DuplicateFamily, "duplicate_family", Refused, "The request states two addresses of one family.";
    UnorderedFamily, "unordered_family", Refused, "The request's IPv6 address stands before its IPv4 address.";
    UnusableAddress, "unusable_address", Refused, "An address to be granted, stated or the packet's own source, is none that a host connects from: unspecified, loopback, multicast, broadcast, link-local, IPv4-mapped or NAT64.";
    TooManyServices, "too_many_services", Refused, "The request names more than 16 services.";
    UnknownProtocol, "unknown_protocol", Refused, "A service of the request is neither TCP, UDP nor SCTP.";
    ZeroPort, "zero_port", Refused, "A service of the request has port 0.";
    DuplicateService, "duplicate_service", Refused, "The request names a service twice.";
    UnorderedService, "unordered_service", Refused, "The request's services are not in ascending order.";
    CommandTooLong, "command_too_long", Refused, "The request's command is longer than 64 bytes.";
    MalformedCommand, "malformed_command", Refused, "The request's command is no name.";
    MissingCommand, "missing_command", Refused, "The request names no command to run.";
    Truncated, "truncated", Refused, "The request ends within a field.";
    UnusedField, "unused_field", Refused, "The request sets a field that its action does not use.";
    OnceWithSourcePort, "once_with_source_port", Refused, "The request asks for one connection only and for one source port: these exclude each other.";
    NonzeroPadding, "nonzero_padding", Refused, "The request's padding is not zeros.";

    // The clock.
    Future, "future", Refused, "Ahead of the allowed skew: the client's clock is fast.";
    Horizon, "horizon", Refused, "Beyond the server's horizon: the server's clock stepped, or its state cannot be written.";

    // The client's policy.
    Rate, "rate", Refused, "More packets than this client may send.";
    Disabled, "disabled", Refused, "The client is disabled.";
    Expired, "expired", Refused, "The client's time is over.";
    KeyExpired, "key_expired", Refused, "The time of this key of the client is over; another of its keys may be good.";
    OutsideHours, "outside_hours", Refused, "Outside the client's `hours`, or those of one of its groups; only closing is allowed then.";
    CommandUnknown, "command_unknown", Refused, "The configuration declares no such command.";
    CommandNotAllowed, "command_not_allowed", Refused, "The client's file does not list the command.";
    NotInvited, "not_invited", Refused, "Only an invitation may join.";
    AddressRequired, "address_required", Refused, "The client must state its addresses, and did not.";
    SourceNotAllowed, "source_not_allowed", Refused, "An address to be granted, or one of the network around it, is outside the client's `sources`.";
    ServiceNotAllowed, "service_not_allowed", Refused, "A service asked for is none that the client may open; the whole packet is refused.";
    NoServices, "no_services", Refused, "The client may open nothing, or holds nothing to close.";
    NoInnerHost, "no_inner_host", Refused, "A service asked for leads to an inner host of the other family than the addresses to be granted.";
    TooManyGrants, "too_many_grants", Refused, "This packet alone asks for more than its client may hold, or than 64 addresses times ports.";
    OlderThanClose, "older_than_close", Refused, "The client closed the service after it sent this.";

    // The kernel.
    FirewallSetFull, "firewall_set_full", Refused, "The kernel's set of grants is full; nothing is evicted.";
    FirewallTableMissing, "firewall_table_missing", Refused, "The table is gone and could not be put back.";
    FirewallNotDeclared, "firewall_not_declared", Refused, "The firewall writer's configuration declares no such service, or no networks of this length.";
    FirewallLimit, "firewall_limit", Refused, "The firewall writer's limits do not admit the change.";
    FirewallKernel, "firewall_kernel", Refused, "The kernel refused the change.";
    FirewallCommand, "firewall_command", Refused, "A program of `[firewall]` failed or took too long; the log has what it said.";
    FirewallUnsupported, "firewall_unsupported", Refused, "The programs of `[firewall]` cannot open for one connection or one source port alone.";
    FirewallUnresponsive, "firewall_unresponsive", Refused, "The firewall writer does not respond, or did so when the grant's time was over; nothing is opened until it responds.";

    // The command runner.
    CommandRunning, "command_running", Refused, "The command runs for this client, or this door, already, and may not twice at once.";
    RunnerBusy, "runner_busy", Refused, "As many commands run already as may at once.";
    RunnerFailed, "runner_failed", Refused, "The command could not be started: its user or its program is missing, or that user may not execute it; the log says more.";
    RunnerGone, "runner_gone", Refused, "There is no command runner: the first command or hook of a configuration needs a restart.";

    RunnerUnresponsive, "runner_unresponsive", Refused, "The command runner does not respond; nothing is run until it does.";

    // Done.
    Opened, "opened", Opened, "The kernel lets the sender in.";
    Closed, "closed", Closed, "The sender's grants were withdrawn.";
    Started, "started", Started, "The declared command was started.";
}

impl From<RequestError> for Reason {
    fn from(fault: RequestError) -> Self {
        match fault {
            RequestError::UnknownVersion => Self::UnknownVersion,
            RequestError::UnknownAction => Self::UnknownAction,
            RequestError::UnknownFlag => Self::UnknownFlag,
            RequestError::TooManyAddresses => Self::TooManyAddresses,
            RequestError::UnknownFamily => Self::UnknownFamily,
            RequestError::DuplicateFamily => Self::DuplicateFamily,
            RequestError::UnorderedFamily => Self::UnorderedFamily,
            RequestError::UnusableAddress => Self::UnusableAddress,
            RequestError::TooManyServices => Self::TooManyServices,
            RequestError::UnknownProtocol => Self::UnknownProtocol,
            RequestError::ZeroPort => Self::ZeroPort,
            RequestError::DuplicateService => Self::DuplicateService,
            RequestError::UnorderedService => Self::UnorderedService,
            RequestError::CommandTooLong => Self::CommandTooLong,
            RequestError::MalformedCommand => Self::MalformedCommand,
            RequestError::MissingCommand => Self::MissingCommand,
            RequestError::Truncated => Self::Truncated,
            RequestError::UnusedField => Self::UnusedField,
            RequestError::OnceWithSourcePort => Self::OnceWithSourcePort,
            RequestError::NonzeroPadding => Self::NonzeroPadding,
        }
    }
}

impl From<OpenError> for Reason {
    fn from(fault: OpenError) -> Self {
        match fault {
            OpenError::Decryption => Self::Decryption,
            OpenError::Request(fault) => fault.into(),
        }
    }
}

impl From<IdentifyError> for Reason {
    fn from(fault: IdentifyError) -> Self {
        match fault {
            IdentifyError::Length => Self::Length,
            IdentifyError::HeadTag => Self::HeadTag,
        }
    }
}

impl From<NotAuthentic> for Reason {
    fn from(_: NotAuthentic) -> Self {
        Self::Hmac
    }
}

impl From<FirewallError> for Reason {
    fn from(refusal: FirewallError) -> Self {
        match refusal {
            FirewallError::SetFull => Self::FirewallSetFull,
            FirewallError::TableMissing => Self::FirewallTableMissing,
            FirewallError::NotDeclared => Self::FirewallNotDeclared,
            FirewallError::TooLong | FirewallError::TooShort | FirewallError::Malformed => {
                Self::FirewallLimit
            }
            FirewallError::Kernel(_) => Self::FirewallKernel,
            FirewallError::Command => Self::FirewallCommand,
            FirewallError::Unsupported => Self::FirewallUnsupported,
        }
    }
}

/// The one result of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub reason: Reason,
    /// Whose it was; none for a packet that is not authentic.
    pub client: Option<ClientName>,
    /// What was opened or closed, and for how long (zero for what was closed).
    pub elements: Vec<(Element, Duration)>,
}

impl Verdict {
    /// The verdict on a packet that is not authentic. Allocates nothing.
    pub const fn unauthenticated(reason: Reason) -> Self {
        Self {
            reason,
            client: None,
            elements: Vec::new(),
        }
    }
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// How many packets ended in each reason since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    reasons: [u64; Reason::COUNT],
    /// What is behind [`Reason::Frame`].
    frames: [u64; FrameFault::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            reasons: [0; Reason::COUNT],
            frames: [0; FrameFault::ALL.len()],
        }
    }
}

impl Counters {
    /// Packets that ended in `reason`.
    #[must_use]
    pub fn get(&self, reason: Reason) -> u64 {
        self.reasons.get(reason as usize).copied().unwrap_or(0)
    }

    /// Every packet that ended: each in one reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.reasons
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The reasons that occurred, with their counts, in the order of the stages.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        let counts = Reason::ALL
            .iter()
            .map(|reason| (*reason, self.get(*reason)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// The faults of frames that occurred; together as many as [`Reason::Frame`].
    pub fn frames(&self) -> impl Iterator<Item = (FrameFault, u64)> + '_ {
        let counts = FrameFault::ALL.into_iter().zip(self.frames);
        counts.filter(|(_, count)| *count > 0)
    }

    pub fn count_frame(&mut self, fault: FrameFault) {
        self.count(Reason::Frame);
        let counts = FrameFault::ALL.into_iter().zip(&mut self.frames);
        for (_, count) in counts.filter(|(other, _)| *other == fault) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.reasons.iter_mut().zip(other.reasons);
        for (count, more) in pairs.chain(self.frames.iter_mut().zip(other.frames)) {
            *count = count.saturating_add(more);
        }
    }

    pub fn count(&mut self, reason: Reason) {
        if let Some(count) = self.reasons.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_packet_has_the_word_that_the_protocol_gives_it() {
        for fault in RequestError::ALL {
            assert_eq!(Reason::from(*fault).as_str(), fault.reason());
            assert_eq!(Reason::from(*fault).class(), Class::Refused);
        }
        for fault in IdentifyError::ALL {
            assert_eq!(Reason::from(fault).as_str(), fault.reason());
        }
        assert_eq!(Reason::from(NotAuthentic).as_str(), NotAuthentic.reason());
        assert_eq!(Reason::from(OpenError::Decryption).as_str(), "decryption");
    }

    #[test]
    fn each_reason_has_a_word_of_its_own_and_a_counter_of_its_own() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::COUNT);
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let mut counters = Counters::default();
            counters.count(*reason);
            assert_eq!(counters.iter().collect::<Vec<_>>(), [(*reason, 1)]);
        }
    }

    #[test]
    fn counts_from_elsewhere_are_added_reason_by_reason_and_fault_by_fault() {
        let mut sum = Counters::default();
        let mut other = Counters::default();
        sum.count(Reason::Opened);
        for counters in [&mut sum, &mut other] {
            counters.count(Reason::HeadTag);
            counters.count_frame(FrameFault::Source);
        }
        sum.add(&other);
        let expected = [
            (Reason::Frame, 2),
            (Reason::HeadTag, 2),
            (Reason::Opened, 1),
        ];
        assert_eq!(sum.iter().collect::<Vec<_>>(), expected);
        assert_eq!(sum.frames().collect::<Vec<_>>(), [(FrameFault::Source, 2)]);
    }
}
