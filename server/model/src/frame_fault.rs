//! Why a frame is no datagram for us: one word a fault, a closed set.

/// The first fault of a frame, in the order in which [`spad_capture::frame::parse`]
/// looks. Nothing but counters comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameFault {
    /// It came in by an interface that the configuration does not name.
    OtherInterface,
    /// It came by a carrier, or to a port, that the configuration does not name.
    OtherDestination,
    /// More than two VLAN tags stand in the data.
    VlanTags,
    /// Neither IPv4 nor IPv6.
    EtherType,
    /// The frame ends before a header, or before the length that a header states.
    Truncated,
    /// The version in the IP header is not the one that the frame type says.
    IpVersion,
    /// The IPv4 header says it is shorter than 20 bytes.
    IpHeader,
    /// The IPv4 total length or the UDP length is zero.
    ZeroLength,
    /// The IPv6 payload length is zero: a jumbogram (RFC 2675).
    Jumbo,
    /// A piece of a datagram: IPv4 offset or more-fragments flag, or an IPv6 fragment header.
    Fragment,
    /// IPv6 with any other extension header.
    ExtensionHeader,
    /// IP carrying something else than UDP, ICMP and TCP.
    Protocol,
    /// The IP length has no room for the headers it promises.
    IpLength,
    /// The UDP length is below 8, or reaches beyond the IP payload.
    UdpLength,
    /// ICMP, and no echo request.
    IcmpType,
    /// The TCP header says it is shorter than 20 bytes, or reaches beyond the IP payload.
    TcpHeader,
    /// The payload is below 160 bytes.
    TooShort,
    /// The payload is above 512 bytes.
    TooLong,
    /// The source is no single host's address: unspecified, multicast, broadcast or IPv4-mapped.
    Source,
}

impl FrameFault {
    /// Every fault there is, for tables of counters.
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

    /// Its name in counters.
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
