//! Attributes as netlink spells them: length, type, value, padded to four bytes. Pure.
//!
//! Written once, from the outside in, each length put in when its attribute is over: the
//! types of netlink-packet-netfilter ask each attribute for its length again at each level
//! around it, which was more work than all else between a knock and the kernel.

/// An attribute that holds others, `NLA_F_NESTED` of the kernel.
const NESTED: u16 = 1 << 15;
/// Bytes before the value.
const HEADER: usize = 4;

/// Writes an attribute with this value.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put_attribute(bytes, kind, |bytes| bytes.extend(value));
}

/// Writes an attribute with this text, which ends in a zero.
pub(super) fn put_text(bytes: &mut Vec<u8>, kind: u16, text: &str) {
    put_attribute(bytes, kind, |bytes| {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    });
}

/// Writes an attribute that holds what `inside` writes.
pub(super) fn nest(bytes: &mut Vec<u8>, kind: u16, inside: impl FnOnce(&mut Vec<u8>)) {
    put_attribute(bytes, kind | NESTED, inside);
}

fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; HEADER]);
    value(bytes);
    let length = bytes.len().saturating_sub(start);
    if let Some(header) = bytes
        .get_mut(start..)
        .and_then(<[u8]>::first_chunk_mut::<HEADER>)
    {
        // Longer ones there are none: a name has 256 bytes at most, a key 28.
        let [l0, l1] = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
        let [k0, k1] = kind.to_ne_bytes();
        *header = [l0, l1, k0, k1];
    }
    bytes.resize(start.saturating_add(length.next_multiple_of(4)), 0);
}
