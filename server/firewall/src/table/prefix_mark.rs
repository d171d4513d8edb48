//! The length of an IPv6 network as a field of its element's key, so that networks of
//! different lengths never meet in one set.
//!
//! Pure. A rule can put no number of its own into a key, but it can mask one that is the
//! same in every packet: IPv6's ether type, 0x86dd. Six of its bits are enough. (To set
//! bits of the address would do as well, but `nft list ruleset` of version 1.0.6 shows
//! that in a form that `nft -f` refuses, and whoever keeps his rules so would boot
//! without them. For IPv4 it shows a form that can be loaded.)

use spad_model::PREFIXES6;

/// The low bits that are set in the ether type of IPv6.
const FREE_BITS: [u16; 6] = [0x01, 0x04, 0x08, 0x10, 0x40, 0x80];

/// The mask that stands for this length, and what it leaves of the ether type.
#[must_use]
pub(crate) fn mark(length: u8) -> u16 {
    let number = length.saturating_sub(PREFIXES6.start().saturating_sub(1));
    let bits = FREE_BITS.iter().enumerate();
    bits.filter(|(place, _)| number >> place & 1 == 1)
        .fold(0, |mark, (_, bit)| mark | bit)
}

/// The length that this mark stands for.
#[must_use]
pub(crate) fn length(value: u16) -> Option<u8> {
    PREFIXES6.into_iter().find(|length| mark(*length) == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_has_a_mark_of_its_own_within_the_ether_type() {
        for one in PREFIXES6 {
            assert_eq!(mark(one) & 0x86dd, mark(one));
            assert_ne!(mark(one), 0);
            assert_eq!(length(mark(one)), Some(one));
        }
        assert_eq!(length(0), None);
    }
}
