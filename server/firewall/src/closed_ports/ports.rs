//! Ports that closed ports differ by.

use std::collections::BTreeSet;

use spa_proto::Protocol;

use super::conditions::is_nearly_all_ports;
use super::packet::Packet;
use super::{PacketKind, Ruleset};
use crate::table::answers::{Family, State};

/// So many ranges are looked at.
const MAX_RANGES: usize = 64;

impl Ruleset<'_> {
    /// Says in which ranges of ports that rules name closed ports answer otherwise than outside.
    pub(super) fn check_port_ranges(&self, outside: Option<&str>, doubts: &mut BTreeSet<String>) {
        let mut differ = BTreeSet::new();
        for range in self.ranges.iter().take(MAX_RANGES) {
            for family in Family::BOTH {
                for protocol in Protocol::ALL {
                    let kind = PacketKind {
                        family,
                        protocol,
                        state: State::New,
                    };
                    if let Some(chain) = self.differing_chain(*range, Packet::new(kind, outside)) {
                        differ.insert((*range, protocol.to_string(), chain));
                    }
                }
            }
        }
        doubts.extend(differ.into_iter().map(|((from, to), protocol, chain)| {
            format!(
                "the {protocol} ports {from}-{to} are answered otherwise than others, by the chain {chain}; taken is what most are answered, which shows a hidden port among the fewer"
            )
        }));
        if self.ranges.len() > MAX_RANGES {
            doubts.insert(format!(
                "rules name {} ranges of ports, of which {MAX_RANGES} were looked at",
                self.ranges.len()
            ));
        }
    }

    /// The chain that answers otherwise inside of the range than outside, where one does.
    fn differing_chain(&self, (from, to): (u64, u64), packet: Packet<'_>) -> Option<String> {
        let usual = self.reply(packet, &mut BTreeSet::new());
        let other = match is_nearly_all_ports((from, to)) {
            false => from.midpoint(to),
            true if from > 1 => from.midpoint(1),
            true if to < u64::from(u16::MAX) => to.midpoint(u16::MAX.into()),
            true => return None,
        };
        let packet = Packet {
            port: Some(other),
            ..packet
        };
        let there = self.reply(packet, &mut BTreeSet::new());
        let by = there.1.or_else(|| usual.1.clone());
        by.filter(|_| there.0 != usual.0)
    }
}
