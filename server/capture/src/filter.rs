//! Stage `capture`, its filter in the kernel (pure): settings → a classic BPF program.
//!
//! The program lets pass what may be a packet of ours and nothing else, so that
//! other traffic costs next to nothing: received by this host, IPv4 or IPv6 with
//! a carrier and to a port that are configured, no fragment, no IPv6 extension header,
//! lengths that 160 to 512 bytes of payload have, all this also
//! behind one or two VLAN tags left in the data; and, where doors of `[[knock]]` are
//! configured, the segments and datagrams of any length that may be knocks. What it lets pass is judged
//! again by [`super::frame`]: the filter spares work, it decides nothing.
//!
//! Offsets count from where the data of a packet socket of type SOCK_DGRAM
//! begins, the network header, so one program serves every type of link. They
//! are not counted from SKF_NET_OFF: older kernels do not follow that into packets
//! whose headers lie outside the buffer's linear part, as some drivers deliver
//! them, and would let no packet of ours pass there.

use spad_model::knock::TcpFlags;
use spad_model::{CarrierSet, Ports};
use spad_sys::bpf::Instruction;

use super::bpf::{Assembler, Jump, Label};
use super::frame::{IPV6_HEADER, MAX_PAYLOAD, MIN_PAYLOAD};
use super::transport::{ECHO_HEADER, ECHO4, ECHO6, MAX_TCP_HEADER, MIN_TCP_HEADER, UDP_HEADER};
use super::vlan::{MAX_TAGS, TAG_LEN};

/// Bytes of a frame that are kept: the longest headers and the longest payload. Where
/// IPv4 and TCP both have options, these may have 60 bytes together; more is cut, and refused.
pub const SNAPLEN: u32 = to_u32(MAX_TAGS * TAG_LEN + IPV6_HEADER + MAX_TCP_HEADER + MAX_PAYLOAD);

const _: () = assert!(
    SNAPLEN as usize <= spad_sys::rx_ring::MAX_SNAPLEN,
    "a slot of the ring has room for it"
);

/// The packet's type, as `sll_pkttype`: `SKF_AD_OFF + SKF_AD_PKTTYPE`.
pub(super) const PACKET_TYPE: u32 = ancillary(libc::SKF_AD_PKTTYPE);
/// The frame's type, in host byte order: `SKF_AD_OFF + SKF_AD_PROTOCOL`.
pub(super) const FRAME_TYPE: u32 = ancillary(libc::SKF_AD_PROTOCOL);

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const CUSTOMER_TAG: u32 = 0x8100;
const SERVICE_TAG: u32 = 0x88a8;
const UDP: u32 = 17;
const TCP: u32 = 6;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

/// The program that lets pass what these may carry.
#[must_use]
pub fn program(carriers: &CarrierSet) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    let pass = asm.label();
    let drop = asm.label();

    asm.load_word(PACKET_TYPE);
    asm.jump_unless(Jump::Equal, u32::from(libc::PACKET_HOST), drop);
    asm.load_half(FRAME_TYPE);
    for tags in 0..=MAX_TAGS {
        // Here the accumulator holds the type of what begins at `base`.
        let base = to_u32(tags * TAG_LEN);
        let (ipv4, ipv6, next) = (asm.label(), asm.label(), asm.label());
        asm.jump_if(Jump::Equal, IPV4, ipv4);
        asm.jump_if(Jump::Equal, IPV6, ipv6);
        if tags < MAX_TAGS {
            let tagged = asm.label();
            asm.jump_if(Jump::Equal, CUSTOMER_TAG, tagged);
            asm.jump_unless(Jump::Equal, SERVICE_TAG, drop);
            asm.bind(tagged);
            asm.load_half(base + 2);
            asm.jump(next);
        } else {
            asm.jump(drop);
        }
        asm.bind(ipv4);
        ipv4_at(&mut asm, base, carriers, pass, drop);
        asm.bind(ipv6);
        ipv6_at(&mut asm, base, carriers, pass, drop);
        asm.bind(next);
    }
    asm.bind(drop);
    asm.ret(0);
    asm.bind(pass);
    asm.ret(SNAPLEN);
    asm.finish()
}

/// An IPv4 header at `base`, options allowed.
fn ipv4_at(asm: &mut Assembler, base: u32, carriers: &CarrierSet, pass: Label, drop: Label) {
    asm.load_byte(base);
    asm.jump_unless(Jump::AtLeast, 0x45, drop);
    asm.jump_if(Jump::Above, 0x4f, drop);
    // More-fragments flag and offset.
    asm.load_half(base + 6);
    asm.jump_if(Jump::AnyBit, 0x3fff, drop);
    asm.load_byte(base + 9);
    let [udp, icmp, tcp] = branch_by_protocol(asm, carriers, ICMP, drop);
    if let Some(udp) = udp {
        asm.bind(udp);
        asm.index_by_ipv4_header(base);
        let no_packet = asm.label();
        asm.load_half_indexed(base + 2);
        match_ports(asm, &carriers.udp, no_packet);
        asm.load_half_indexed(base + 4);
        check_payload_length(UDP_HEADER, asm, pass, no_packet);
        asm.bind(no_packet);
        asm.load_half_indexed(base + 2);
        match_ports(asm, &carriers.knocks.udp, drop);
        asm.jump(pass);
    }
    if let Some(icmp) = icmp {
        asm.bind(icmp);
        asm.index_by_ipv4_header(base);
        asm.load_half_indexed(base);
        asm.jump_unless(Jump::Equal, u32::from(u16::from_be_bytes(ECHO4)), drop);
        asm.load_half(base + 2);
        asm.subtract_index();
        check_payload_length(ECHO_HEADER, asm, pass, drop);
    }
    if let Some(tcp) = tcp {
        asm.bind(tcp);
        asm.index_by_ipv4_header(base);
        let no_packet = asm.label();
        asm.load_half_indexed(base + 2);
        match_ports(asm, &carriers.tcp, no_packet);
        asm.load_byte_indexed(base + 12);
        tcp_header_length(asm, no_packet);
        asm.add_index();
        asm.index_by_accumulator();
        asm.load_half(base + 2);
        asm.subtract_index();
        check_payload_length(0, asm, pass, no_packet);
        asm.bind(no_packet);
        asm.index_by_ipv4_header(base);
        asm.load_byte_indexed(base + 13);
        match_flags(asm, carriers.knocks.flags, drop);
        asm.load_half_indexed(base + 2);
        match_ports(asm, &carriers.knocks.tcp, drop);
        asm.jump(pass);
    }
}

/// An IPv6 header at `base`, the carrier directly after it.
fn ipv6_at(asm: &mut Assembler, base: u32, carriers: &CarrierSet, pass: Label, drop: Label) {
    let inner = base + to_u32(IPV6_HEADER);
    asm.load_byte(base);
    asm.jump_unless(Jump::AtLeast, 0x60, drop);
    asm.jump_if(Jump::Above, 0x6f, drop);
    asm.load_byte(base + 6);
    let [udp, icmp, tcp] = branch_by_protocol(asm, carriers, ICMPV6, drop);
    if let Some(udp) = udp {
        asm.bind(udp);
        let no_packet = asm.label();
        asm.load_half(inner + 2);
        match_ports(asm, &carriers.udp, no_packet);
        asm.load_half(inner + 4);
        check_payload_length(UDP_HEADER, asm, pass, no_packet);
        asm.bind(no_packet);
        asm.load_half(inner + 2);
        match_ports(asm, &carriers.knocks.udp, drop);
        asm.jump(pass);
    }
    if let Some(icmp) = icmp {
        asm.bind(icmp);
        asm.load_half(inner);
        asm.jump_unless(Jump::Equal, u32::from(u16::from_be_bytes(ECHO6)), drop);
        asm.load_half(base + 4);
        check_payload_length(ECHO_HEADER, asm, pass, drop);
    }
    if let Some(tcp) = tcp {
        asm.bind(tcp);
        let no_packet = asm.label();
        asm.load_half(inner + 2);
        match_ports(asm, &carriers.tcp, no_packet);
        asm.load_byte(inner + 12);
        tcp_header_length(asm, no_packet);
        asm.index_by_accumulator();
        asm.load_half(base + 4);
        asm.subtract_index();
        check_payload_length(0, asm, pass, no_packet);
        asm.bind(no_packet);
        asm.load_byte(inner + 13);
        match_flags(asm, carriers.knocks.flags, drop);
        asm.load_half(inner + 2);
        match_ports(asm, &carriers.knocks.tcp, drop);
        asm.jump(pass);
    }
}

/// Where the protocol in the accumulator is looked at: UDP, this ICMP, TCP. Others are dropped.
fn branch_by_protocol(
    asm: &mut Assembler,
    carriers: &CarrierSet,
    icmp: u32,
    drop: Label,
) -> [Option<Label>; 3] {
    let branches = [
        (
            UDP,
            !carriers.udp.is_empty() || !carriers.knocks.udp.is_empty(),
        ),
        (icmp, carriers.icmp),
        (
            TCP,
            !carriers.tcp.is_empty() || !carriers.knocks.tcp.is_empty(),
        ),
    ];
    let labels = branches.map(|(protocol, is)| {
        is.then(|| {
            let label = asm.label();
            asm.jump_if(Jump::Equal, protocol, label);
            label
        })
    });
    asm.jump(drop);
    labels
}

/// The byte in the accumulator has the header's length in words; bytes from here on.
fn tcp_header_length(asm: &mut Assembler, drop: Label) {
    asm.mask_shift(0xf0, 2);
    asm.jump_unless(Jump::AtLeast, to_u32(MIN_TCP_HEADER), drop);
}

/// The flags in the accumulator are those of a knock.
fn match_flags(asm: &mut Assembler, flags: TcpFlags, drop: Label) {
    asm.mask_shift(u32::from(flags.mask()), 0);
    asm.jump_unless(Jump::Equal, u32::from(flags.set()), drop);
}

/// The port in the accumulator. The ranges ascend: below one is in none of the rest.
fn match_ports(asm: &mut Assembler, ports: &Ports, drop: Label) {
    if ports.is_any() {
        return;
    }
    let found = asm.label();
    for range in ports.ranges() {
        asm.jump_unless(Jump::AtLeast, u32::from(*range.start()), drop);
        asm.jump_unless(Jump::Above, u32::from(*range.end()), found);
    }
    asm.jump(drop);
    asm.bind(found);
}

/// The length in the accumulator covers so many bytes of a header, and a packet.
fn check_payload_length(header: usize, asm: &mut Assembler, pass: Label, drop: Label) {
    asm.jump_unless(Jump::AtLeast, to_u32(header + MIN_PAYLOAD), drop);
    asm.jump_if(Jump::Above, to_u32(header + MAX_PAYLOAD), drop);
    asm.jump(pass);
}

/// The offset under which the kernel gives what it knows beside the bytes.
const fn ancillary(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what).cast_unsigned()
}

/// Header lengths as BPF counts them; all below a thousand.
const fn to_u32(length: usize) -> u32 {
    length as u32
}
