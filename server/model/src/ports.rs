//! A set of ports (pure): ranges, or all ports.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

/// Port ranges, ascending; they neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    ranges: Vec<RangeInclusive<u16>>,
    /// The first port as written; `None` for the empty set and for all ports.
    first: Option<NonZeroU16>,
}

impl Ports {
    /// All ports, including port 0, which a packet may state.
    #[must_use]
    pub fn any() -> Self {
        Self {
            ranges: vec![0..=u16::MAX],
            first: None,
        }
    }

    /// A single port.
    #[must_use]
    pub fn one(port: NonZeroU16) -> Self {
        Self::from_ranges([(port, port)])
    }

    /// Inclusive ranges, in the order in which they are written.
    #[must_use]
    pub fn from_ranges(written: impl IntoIterator<Item = (NonZeroU16, NonZeroU16)>) -> Self {
        let written: Vec<_> = written.into_iter().collect();
        let first = written.first().map(|(from, _)| *from);
        let mut sorted: Vec<_> = written
            .iter()
            .map(|(from, to)| from.get()..=to.get())
            .collect();
        sorted.sort_unstable_by_key(|range| *range.start());
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for range in sorted {
            match ranges.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => ranges.push(range),
            }
        }
        Self { ranges, first }
    }

    /// The first port as written, where one is to be shown. `None` for all ports.
    #[must_use]
    pub const fn first(&self) -> Option<NonZeroU16> {
        self.first
    }

    /// Whether the set contains this port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&port))
    }

    /// Whether the set contains all ports.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.ranges == [0..=u16::MAX]
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.ranges
    }
}

/// Formats as `62201`, `53, 40000-50000` or `any`.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("any");
        }
        for (index, range) in self.ranges.iter().enumerate() {
            let (from, to) = (range.start(), range.end());
            let comma = if index == 0 { "" } else { ", " };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_pairs(written: &[(u16, u16)]) -> Ports {
        let ends = |(from, to): &(u16, u16)| {
            (
                NonZeroU16::new(*from).unwrap(),
                NonZeroU16::new(*to).unwrap(),
            )
        };
        Ports::from_ranges(written.iter().map(ends))
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        let cases: [(&[(u16, u16)], &str); 6] = [
            (&[(62_201, 62_201), (53, 53)], "53, 62201"),
            (&[(5, 9), (3, 7)], "3-9"),
            (&[(5, 9), (10, 10)], "5-10"),
            (&[(5, 9), (6, 7)], "5-9"),
            (&[(1, u16::MAX), (9, 9)], "1-65535"),
            (&[], ""),
        ];
        for (written, text) in cases {
            assert_eq!(from_pairs(written).to_string(), text);
        }
        assert_eq!(Ports::any().to_string(), "any");
    }

    #[test]
    fn a_port_is_in_them_exactly_when_a_range_has_it_and_the_first_is_the_one_written_first() {
        let ports = from_pairs(&[(62_201, 62_201), (40_000, 40_010), (53, 53)]);
        for port in 0..=u16::MAX {
            let written = port == 53 || port == 62_201 || (40_000..=40_010).contains(&port);
            assert_eq!(ports.contains(port), written, "{port}");
            assert!(Ports::any().contains(port) && !Ports::default().contains(port));
        }
        assert_eq!(ports.first(), NonZeroU16::new(62_201));
        assert!(Ports::any().is_any() && !from_pairs(&[(1, u16::MAX)]).is_any());
        assert_eq!(Ports::any().first(), None);
    }
}
