//! Why a frame is not a datagram for this server: a closed set of one-word faults.

/// The first fault of a frame, in the order in which [`spad_capture::frame::parse`]
/// checks. It only increments a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameFault {
    /// The configuration does not list its interface.
    OtherInterface,
    /// The configuration does not list its carrier or port.
    OtherDestination,
    /// The data contain more than two VLAN tags.
    VlanTags,
    /// Neither IPv4 nor IPv6.
    EtherType,
    /// The frame ends before a header, or before the length that a header states.
    Truncated,
    /// The version in the IP header differs from the frame type.
    IpVersion,
    /// The IPv4 header states fewer than 20 bytes.
    IpHeader,
    /// The IPv4 total length or the UDP length is zero.
    ZeroLength,
    /// The IPv6 payload length is zero: a jumbogram (RFC 2675).
    Jumbo,
    /// A fragment: IPv4 offset or more-fragments flag, or an IPv6 fragment header.
    Fragment,
    /// An IPv6 packet with any other extension header.
    ExtensionHeader,
    /// IP carries something other than UDP, ICMP and TCP.
    Protocol,
    /// The IP length has no room for the stated headers.
    IpLength,
    /// The UDP length is below 8, or reaches beyond the IP payload.
    UdpLength,
    /// ICMP other than an echo request.
    IcmpType,
    /// The TCP header states fewer than 20 bytes or exceeds the IP payload.
    TcpHeader,
    /// The payload has fewer than 160 bytes.
    TooShort,
    /// The payload has more than 512 bytes.
    TooLong,
    /// The source is unspecified, multicast, broadcast or IPv4-mapped, so not a single host.
    Source,
}

impl FrameFault {
    /// All faults, for tables of counters.
    pub const ALL: [Self; 19] = [
        Self::OtherInterface,
        Self::OtherDestination,
        Self::VlanTags,
        Self::EtherType,
        Self::Truncated,
        Self::IpVersion,
        Self::IpHeader,
        Self::ZeroLength,
        Self::Jumbo,
        Self::Fragment,
        Self::ExtensionHeader,
        Self::Protocol,
        Self::IpLength,
        Self::UdpLength,
        Self::IcmpType,
        Self::TcpHeader,
        Self::TooShort,
        Self::TooLong,
        Self::Source,
    ];

    /// The fault's name in counters.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OtherInterface => "other_interface",
            Self::OtherDestination => "elsewhere",
            Self::VlanTags => "vlan_tags",
            Self::EtherType => "ether_type",
            Self::Truncated => "truncated",
            Self::IpVersion => "ip_version",
            Self::IpHeader => "ip_header",
            Self::ZeroLength => "zero_length",
            Self::Jumbo => "jumbo",
            Self::Fragment => "fragment",
            Self::ExtensionHeader => "extension_header",
            Self::Protocol => "protocol",
            Self::IpLength => "ip_length",
            Self::UdpLength => "udp_length",
            Self::IcmpType => "icmp_type",
            Self::TcpHeader => "tcp_header",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Source => "source",
        }
    }
}
