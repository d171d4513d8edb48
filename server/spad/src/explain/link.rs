//! A frame's link layer (pure): its type and bytes → what `frame` takes, which is the
//! type of what follows and the bytes of it.
//!
//! The numbers are those of <https://www.tcpdump.org/linktypes.html>.
#![deny(clippy::indexing_slicing, clippy::as_conversions)]

/// Why a frame is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// Of this type.
    #[error(
        "a link of type {0}, which this does not read; it reads Ethernet, raw IP, Linux cooked (tcpdump -i any) and loopback"
    )]
    Unknown(i32),
    /// It ends before the network header.
    #[error("the frame ends within its link layer's header")]
    Truncated,
    /// Neither IPv4 nor IPv6.
    #[error("neither IPv4 nor IPv6")]
    Family,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The frame type and the bytes from the network header on.
///
/// # Errors
/// [`LinkFault`].
pub fn network(link: i32, bytes: &[u8]) -> Result<(u16, &[u8]), LinkFault> {
    match link {
        // Null: the family in the byte order of the machine that recorded; OpenBSD's loopback.
        0 | 108 => loopback(bytes),
        // Ethernet.
        1 => typed(bytes, 12, 14),
        // Raw IP, of three systems.
        12 | 14 | 101 => raw(bytes),
        // Linux cooked, version 1 and 2.
        113 => typed(bytes, 14, 16),
        276 => typed(bytes, 0, 20),
        228 => Ok((IPV4, bytes)),
        229 => Ok((IPV6, bytes)),
        other => Err(LinkFault::Unknown(other)),
    }
}

/// The type stands at one offset, what it is the type of begins at another.
fn typed(bytes: &[u8], at: usize, begin: usize) -> Result<(u16, &[u8]), LinkFault> {
    let kind = bytes.get(at..).and_then(<[u8]>::first_chunk);
    let kind = kind.ok_or(LinkFault::Truncated)?;
    let rest = bytes.get(begin..).ok_or(LinkFault::Truncated)?;
    Ok((u16::from_be_bytes(*kind), rest))
}

fn raw(bytes: &[u8]) -> Result<(u16, &[u8]), LinkFault> {
    match bytes.first().ok_or(LinkFault::Truncated)? >> 4 {
        4 => Ok((IPV4, bytes)),
        6 => Ok((IPV6, bytes)),
        _ => Err(LinkFault::Family),
    }
}

fn loopback(bytes: &[u8]) -> Result<(u16, &[u8]), LinkFault> {
    let (family, rest) = bytes.split_first_chunk().ok_or(LinkFault::Truncated)?;
    // All families are small, so both orders can be told apart.
    match u32::from_be_bytes(*family).min(u32::from_le_bytes(*family)) {
        2 => Ok((IPV4, rest)),
        // Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 24 | 28 | 30 => Ok((IPV6, rest)),
        _ => Err(LinkFault::Family),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_header_is_found_behind_each_link() {
        let behind = |header: &[u8]| [header, &[0x45, 1, 2]].concat();
        let ethernet = [&[0; 12][..], &[8, 0]].concat();
        let cooked = [&[0; 14][..], &[8, 0]].concat();
        let cooked2 = [&[8, 0][..], &[0; 18]].concat();
        let cases: [(i32, &[u8]); 9] = [
            (0, &[2, 0, 0, 0]),
            (0, &[0, 0, 0, 2]),
            (108, &[0, 0, 0, 2]),
            (1, &ethernet),
            (12, &[]),
            (101, &[]),
            (113, &cooked),
            (276, &cooked2),
            (228, &[]),
        ];
        for (link, header) in cases {
            let frame = behind(header);
            assert_eq!(
                network(link, &frame),
                Ok((IPV4, &[0x45, 1, 2][..])),
                "{link}"
            );
            for length in 0..header.len() {
                assert_eq!(
                    network(link, frame.get(..length).unwrap()),
                    Err(LinkFault::Truncated)
                );
            }
        }
        assert_eq!(network(0, &[30, 0, 0, 0, 0x60]), Ok((IPV6, &[0x60][..])));
        assert_eq!(network(101, &[0x60]), Ok((IPV6, &[0x60][..])));
        assert_eq!(network(101, &[0x50]), Err(LinkFault::Family));
        assert_eq!(network(105, &[0; 40]), Err(LinkFault::Unknown(105)));
    }
}
