//! What doors ask to be heard: which segments and datagrams the kernel's filter passes. Pure.

use spa_proto::Protocol;

use super::tracker::{Door, Hit};
use super::{Knock, Sequence, TcpFlags};
use crate::ports::Ports;

/// Ranges of ports, at most: the kernel's filter has room for so many.
const RANGES: usize = 16;

/// What all doors together must hear. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// First TCP segments to these ports.
    pub tcp: Ports,
    /// With these flags.
    pub flags: TcpFlags,
    /// UDP datagrams to these ports.
    pub udp: Ports,
}

impl Demands {
    /// What these doors must hear; a strict one hears knocks at every port.
    #[must_use]
    pub fn of(doors: &[&Door]) -> Self {
        let flags = doors.iter().map(|door| door.flags);
        Self {
            tcp: ports(doors, Protocol::Tcp),
            flags: flags.reduce(TcpFlags::loosest).unwrap_or_default(),
            udp: ports(doors, Protocol::Udp),
        }
    }

    /// Whether nothing is to be heard.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// Whether this door hears all that it must, where these are heard.
    #[must_use]
    pub fn cover(&self, door: &Door) -> bool {
        let own = Self::of(&[door]);
        let within = |own: &Ports, heard: &Ports| {
            heard.is_any()
                || own
                    .ranges()
                    .iter()
                    .all(|range| range.clone().all(|port| heard.contains(port)))
        };
        within(&own.tcp, &self.tcp)
            && within(&own.udp, &self.udp)
            && self.flags.loosest(own.flags) == self.flags
    }

    /// Whether this is to be heard.
    #[must_use]
    pub fn admits(&self, hit: &Hit) -> bool {
        let port = hit.knock.port.get();
        match hit.knock.protocol {
            Protocol::Udp => self.udp.contains(port),
            _ => self.tcp.contains(port) && self.flags.admits(hit.flags),
        }
    }
}

fn ports(doors: &[&Door], protocol: Protocol) -> Ports {
    let mut hearing = doors.iter().filter(|door| door.may_hear(protocol));
    if hearing.any(|door| door.strict) {
        return Ports::any();
    }
    let sequences = doors.iter().flat_map(|door| door.sequences.iter());
    let knocks = sequences.flat_map(Sequence::knocks);
    let ports = knocks.filter(|knock| knock.protocol == protocol);
    let ports = Ports::of(ports.map(|Knock { port, .. }| (*port, *port)));
    if ports.ranges().len() > RANGES {
        // Hearing more does no harm: doors pass over what is not theirs.
        return Ports::any();
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(doors: &[(&str, bool)]) -> Demands {
        let doors: Vec<Door> = doors
            .iter()
            .map(|(sequence, strict)| Door {
                strict: *strict,
                ..Door::new(sequence.parse().unwrap())
            })
            .collect();
        Demands::of(&doors.iter().collect::<Vec<_>>())
    }

    #[test]
    fn without_a_door_nothing_is_heard() {
        assert!(Demands::of(&[]).is_empty());
    }

    #[test]
    fn a_strict_door_hears_every_port_and_udp_only_where_it_has_some() {
        let tcp = demands(&[("7000,8000", true)]);
        assert!(tcp.tcp.is_any() && tcp.udp.is_empty());
        let both = demands(&[("7000:udp,8000:udp", true)]);
        assert!(both.tcp.is_any() && both.udp.is_any());
    }

    #[test]
    fn a_door_that_must_hear_more_is_not_covered() {
        let door = |sequence: &str, strict| Door {
            strict,
            ..Door::new(sequence.parse().unwrap())
        };
        let some = demands(&[("7000,8000:udp,9000", false)]);
        assert!(some.cover(&door("9000,7000", false)));
        assert!(!some.cover(&door("9000,7001", false)) && !some.cover(&door("9000,7000", true)));
        let every = demands(&[("7000,8000", true)]);
        assert!(every.cover(&door("1,3", true)) && !every.cover(&door("1,2:udp", true)));
        let flags = TcpFlags::of(["syn"]).unwrap();
        let looser = Door {
            flags,
            ..door("1,3", true)
        };
        assert!(!every.cover(&looser) && Demands::of(&[&looser]).cover(&door("1,3", true)));
        assert!(!Demands::of(&[]).cover(&door("1,3", false)));
    }

    #[test]
    fn what_any_of_the_doors_admits_is_heard_and_nothing_else() {
        let urgent = Door {
            flags: TcpFlags::of(["syn", "urg"]).unwrap(),
            strict: false,
            ..Door::new("7000,8000:udp".parse().unwrap())
        };
        let usual = Door {
            flags: TcpFlags::default(),
            ..urgent.clone()
        };
        let hit = |knock: &str, flags| Hit {
            source: [192, 0, 2, 7].into(),
            source_port: 40_000,
            destination: [192, 0, 2, 1].into(),
            knock: knock.parse().unwrap(),
            flags,
            interface: 2,
        };
        let both = Demands::of(&[&urgent, &usual]);
        assert!(both.admits(&hit("7000", 0x02)) && both.admits(&hit("7000", 0x32)));
        let one = Demands::of(&[&urgent]);
        assert!(one.admits(&hit("7000", 0x22)) && !one.admits(&hit("7000", 0x02)));
        assert!(!both.admits(&hit("7001", 0x02)) && !both.admits(&hit("8000", 0x02)));
        assert!(both.admits(&hit("8000:udp", 0)) && !both.admits(&hit("7000:udp", 0)));
    }

    #[test]
    fn more_ports_than_the_filter_has_room_for_are_all_ports() {
        let ports = |count: usize| {
            let ports = (1..=count).map(|number| (number * 100).to_string());
            ports.collect::<Vec<_>>().join(",")
        };
        assert_eq!(demands(&[(&ports(16), false)]).tcp.ranges().len(), 16);
        assert!(demands(&[(&ports(17), false)]).tcp.is_any());
    }

    #[test]
    fn other_doors_hear_their_own_ports() {
        let demands = demands(&[("7000,8000:udp,7000", false), ("9000,1", false)]);
        assert_eq!(demands.tcp.to_string(), "1, 7000, 9000");
        assert_eq!(demands.udp.to_string(), "8000");
    }
}
