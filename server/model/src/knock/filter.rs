//! Which segments and datagrams the doors need from the kernel's filter. Pure.

use spa_proto::Protocol;

use super::tracker::{KnockPattern, ObservedKnock};
use super::{Knock, Sequence, TcpFlags};
use crate::ports::Ports;

/// Maximum number of port ranges: the kernel's filter has room for no more.
const MAX_RANGES: usize = 16;

/// The union of what all doors listen to; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnockFilter {
    /// TCP segments to these ports.
    pub tcp: Ports,
    /// The flags that a TCP segment needs.
    pub flags: TcpFlags,
    /// UDP datagrams to these ports.
    pub udp: Ports,
}

impl KnockFilter {
    /// The filter for these doors; a strict door needs knocks at every port.
    #[must_use]
    pub fn new(patterns: &[&KnockPattern]) -> Self {
        let flags = patterns.iter().map(|door| door.flags);
        Self {
            tcp: ports(patterns, Protocol::Tcp),
            flags: flags.reduce(TcpFlags::union).unwrap_or_default(),
            udp: ports(patterns, Protocol::Udp),
        }
    }

    /// Whether the filter matches nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// Whether the filter matches everything that this door listens to.
    #[must_use]
    pub fn covers(&self, pattern: &KnockPattern) -> bool {
        let own = Self::new(&[pattern]);
        let within = |own: &Ports, covered: &Ports| {
            covered.is_any()
                || own
                    .ranges()
                    .iter()
                    .all(|range| range.clone().all(|port| covered.contains(port)))
        };
        within(&own.tcp, &self.tcp)
            && within(&own.udp, &self.udp)
            && self.flags.union(own.flags) == self.flags
    }

    /// Whether the filter matches this knock.
    #[must_use]
    pub fn matches(&self, observed: &ObservedKnock) -> bool {
        let port = observed.knock.port.get();
        match observed.knock.protocol {
            Protocol::Udp => self.udp.contains(port),
            _ => self.tcp.contains(port) && self.flags.matches(observed.flags),
        }
    }
}

fn ports(patterns: &[&KnockPattern], protocol: Protocol) -> Ports {
    let mut listening = patterns.iter().filter(|door| door.listens_to(protocol));
    if listening.any(|door| door.strict) {
        return Ports::any();
    }
    let sequences = patterns.iter().flat_map(|door| door.sequences.iter());
    let knocks = sequences.flat_map(Sequence::knocks);
    let ports = knocks.filter(|knock| knock.protocol == protocol);
    let ports = Ports::from_ranges(ports.map(|Knock { port, .. }| (*port, *port)));
    if ports.ranges().len() > MAX_RANGES {
        // A wider filter is harmless because doors ignore other ports.
        return Ports::any();
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(doors: &[(&str, bool)]) -> KnockFilter {
        let doors: Vec<KnockPattern> = doors
            .iter()
            .map(|(sequence, strict)| KnockPattern {
                strict: *strict,
                ..KnockPattern::new(sequence.parse().unwrap())
            })
            .collect();
        KnockFilter::new(&doors.iter().collect::<Vec<_>>())
    }

    #[test]
    fn without_a_door_nothing_is_heard() {
        assert!(KnockFilter::new(&[]).is_empty());
    }

    #[test]
    fn a_strict_door_hears_every_port_and_udp_only_where_it_has_some() {
        let tcp = filter(&[("7000,8000", true)]);
        assert!(tcp.tcp.is_any() && tcp.udp.is_empty());
        let both = filter(&[("7000:udp,8000:udp", true)]);
        assert!(both.tcp.is_any() && both.udp.is_any());
    }

    #[test]
    fn a_door_that_must_hear_more_is_not_covered() {
        let door = |sequence: &str, strict| KnockPattern {
            strict,
            ..KnockPattern::new(sequence.parse().unwrap())
        };
        let some = filter(&[("7000,8000:udp,9000", false)]);
        assert!(some.covers(&door("9000,7000", false)));
        assert!(!some.covers(&door("9000,7001", false)) && !some.covers(&door("9000,7000", true)));
        let every = filter(&[("7000,8000", true)]);
        assert!(every.covers(&door("1,3", true)) && !every.covers(&door("1,2:udp", true)));
        let flags = TcpFlags::parse(["syn"]).unwrap();
        let looser = KnockPattern {
            flags,
            ..door("1,3", true)
        };
        assert!(!every.covers(&looser) && KnockFilter::new(&[&looser]).covers(&door("1,3", true)));
        assert!(!KnockFilter::new(&[]).covers(&door("1,3", false)));
    }

    #[test]
    fn what_any_of_the_doors_admits_is_heard_and_nothing_else() {
        let urgent = KnockPattern {
            flags: TcpFlags::parse(["syn", "urg"]).unwrap(),
            strict: false,
            ..KnockPattern::new("7000,8000:udp".parse().unwrap())
        };
        let usual = KnockPattern {
            flags: TcpFlags::default(),
            ..urgent.clone()
        };
        let hit = |knock: &str, flags| ObservedKnock {
            source: [192, 0, 2, 7].into(),
            source_port: 40_000,
            destination: [192, 0, 2, 1].into(),
            knock: knock.parse().unwrap(),
            flags,
            interface: 2,
        };
        let both = KnockFilter::new(&[&urgent, &usual]);
        assert!(both.matches(&hit("7000", 0x02)) && both.matches(&hit("7000", 0x32)));
        let one = KnockFilter::new(&[&urgent]);
        assert!(one.matches(&hit("7000", 0x22)) && !one.matches(&hit("7000", 0x02)));
        assert!(!both.matches(&hit("7001", 0x02)) && !both.matches(&hit("8000", 0x02)));
        assert!(both.matches(&hit("8000:udp", 0)) && !both.matches(&hit("7000:udp", 0)));
    }

    #[test]
    fn more_ports_than_the_filter_has_room_for_are_all_ports() {
        let ports = |count: usize| {
            let ports = (1..=count).map(|number| (number * 100).to_string());
            ports.collect::<Vec<_>>().join(",")
        };
        assert_eq!(filter(&[(&ports(16), false)]).tcp.ranges().len(), 16);
        assert!(filter(&[(&ports(17), false)]).tcp.is_any());
    }

    #[test]
    fn other_doors_hear_their_own_ports() {
        let filter = filter(&[("7000,8000:udp,7000", false), ("9000,1", false)]);
        assert_eq!(filter.tcp.to_string(), "1, 7000, 9000");
        assert_eq!(filter.udp.to_string(), "8000");
    }
}
