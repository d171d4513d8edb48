//! Part of stage `frame` (pure): VLAN tags left in the data are skipped.
//!
//! The kernel takes the outermost tag off a frame; one more (802.1ad, "QinQ")
//! stays where it was. Older kernels then give the tag's type as the frame's
//! type; newer ones (seen on 6.18, SOCK_DGRAM only) give the type behind all
//! tags, though the data still begin with one. Both are understood here.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::vlan::VlanPacket;
use spad_model::FrameFault;

/// VLAN tags in the data that are skipped.
pub(super) const MAX_TAGS: usize = 2;
/// Bytes of one VLAN tag and the frame type after it.
pub(super) const TAG_LEN: usize = 4;

/// A frame type of 802.1ad, which pnet's list calls by an older name.
const SERVICE_TAG: u16 = 0x88a8;

/// Gives the type of what follows the tags, and the bytes of it.
///
/// # Errors
/// [`FrameFault::VlanTags`] for more than two, [`FrameFault::Truncated`] within one.
pub(super) fn strip_tags(ethertype: u16, bytes: &[u8]) -> Result<(u16, &[u8]), FrameFault> {
    if !is_tag(ethertype) {
        return Ok((
            ethertype,
            strip_hidden_tags(ethertype, bytes).unwrap_or(bytes),
        ));
    }
    let mut rest = bytes;
    for _ in 0..MAX_TAGS {
        let (inner_type, after) = split_tag(rest).ok_or(FrameFault::Truncated)?;
        if !is_tag(inner_type) {
            return Ok((inner_type, after));
        }
        rest = after;
    }
    Err(FrameFault::VlanTags)
}

/// What follows tags that the frame's type does not tell of, if there are any.
///
/// An untagged packet that could be ours is never mistaken for a tagged one:
/// where the tag's type would stand it has an IPv4 total length, at most 580, or
/// half an IPv6 flow label, and then the payload length, at most 520, stands
/// where the version would.
fn strip_hidden_tags(ethertype: u16, bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    for _ in 0..MAX_TAGS {
        let (inner_type, after) = split_tag(rest)?;
        if inner_type == ethertype {
            let version = after.first()? >> 4;
            let is_ip_header = (ethertype == EtherTypes::Ipv4.0 && version == 4)
                || (ethertype == EtherTypes::Ipv6.0 && version == 6);
            return is_ip_header.then_some(after);
        }
        if !is_tag(inner_type) {
            return None;
        }
        rest = after;
    }
    None
}

/// One tag: the type it states for what follows, and that.
fn split_tag(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let tag = VlanPacket::new(bytes)?;
    Some((tag.get_ethertype().0, bytes.get(TAG_LEN..)?))
}

const fn is_tag(ethertype: u16) -> bool {
    ethertype == EtherTypes::Vlan.0 || ethertype == SERVICE_TAG
}
