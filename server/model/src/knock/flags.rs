//! Which TCP flags a segment must and must not have to be a knock. Pure.

/// The flags by their names, in the order of their bits.
const NAMES: [(&str, u8); 6] = [
    ("fin", 0x01),
    ("syn", SYN),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", ACK),
    ("urg", 0x20),
];

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Flags that must be set, and flags that must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    set: u8,
    clear: u8,
}

/// Why a list of words is not a set of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseTcpFlagsError {
    /// The word at this index is not a flag.
    UnknownFlag(usize),
    /// The word at this index contradicts an earlier one.
    Contradiction(usize),
    /// A knock is the first segment of a connection, which has SYN set.
    MissingSyn,
}

impl Default for TcpFlags {
    /// Matches the first segment of a connection: SYN, no ACK.
    fn default() -> Self {
        Self {
            set: SYN,
            clear: ACK,
        }
    }
}

impl TcpFlags {
    /// Parses words such as `syn`, or `!ack` for a flag that must not be set.
    ///
    /// # Errors
    /// See [`ParseTcpFlagsError`].
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ParseTcpFlagsError> {
        let (mut set, mut clear) = (0, 0);
        for (place, word) in words.into_iter().enumerate() {
            let name = word.strip_prefix('!').unwrap_or(word);
            let flag = NAMES.iter().find(|(known, _)| *known == name);
            let (_, bit) = flag.ok_or(ParseTcpFlagsError::UnknownFlag(place))?;
            if name == word {
                set |= bit;
            } else {
                clear |= bit;
            }
            if set & clear != 0 {
                return Err(ParseTcpFlagsError::Contradiction(place));
            }
        }
        if set & SYN == 0 {
            return Err(ParseTcpFlagsError::MissingSyn);
        }
        Ok(Self { set, clear })
    }

    /// Whether a segment with these flags is a knock.
    #[must_use]
    pub const fn matches(self, flags: u8) -> bool {
        flags & self.mask() == self.set
    }

    /// The union: matches every segment that either of the two matches.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            set: self.set & other.set,
            clear: self.clear & other.clear,
        }
    }

    /// The mask of the flags that are checked.
    #[must_use]
    pub const fn mask(self) -> u8 {
        self.set | self.clear
    }

    /// The flags that must be set.
    #[must_use]
    pub const fn set(self) -> u8 {
        self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_segment_is_a_knock_and_its_answer_is_none() {
        let first = TcpFlags::default();
        assert_eq!(TcpFlags::parse(["syn", "!ack"]), Ok(first));
        assert!(first.matches(SYN) && first.matches(SYN | 0x40));
        assert!(!first.matches(SYN | ACK) && !first.matches(ACK) && !first.matches(0));
    }

    #[test]
    fn words_that_say_no_flags_are_refused_at_their_place() {
        assert_eq!(
            TcpFlags::parse(["syn", "SYN"]),
            Err(ParseTcpFlagsError::UnknownFlag(1))
        );
        let contrary = TcpFlags::parse(["syn", "!ack", "ack"]);
        assert_eq!(contrary, Err(ParseTcpFlagsError::Contradiction(2)));
        assert_eq!(
            TcpFlags::parse(["fin"]),
            Err(ParseTcpFlagsError::MissingSyn)
        );
        assert_eq!(TcpFlags::parse([]), Err(ParseTcpFlagsError::MissingSyn));
    }

    #[test]
    fn the_loosest_of_two_admits_what_either_admits() {
        let urgent = TcpFlags::parse(["syn", "urg"]).unwrap();
        let both = urgent.union(TcpFlags::default());
        assert!(both.matches(SYN) && both.matches(SYN | ACK | 0x20) && !both.matches(ACK));
    }
}
