//! Whether the resets of hidden ports leave this host as those of closed ports do.
//!
//! Connection tracking calls a reset of `reject` related to the connection that it ends, and
//! that of the kernel a part of it. Rules behind may let one of them out and not the other.
//! ICMP errors are related whoever sends them.

use std::collections::BTreeSet;

use serde_json::Value;
use spa_proto::Protocol;

use super::packet::{Packet, Reset};
use super::{Answers, PacketKind, Reply, Ruleset};
use crate::table::answers::{Family, State};

/// What may be supposed of conditions that are not understood, and of those about connection
/// tracking that are not shown: for hidden ports, for closed ones.
const ASSUMPTIONS: [(bool, [bool; 2]); 6] = [
    (false, [false, false]),
    (true, [true, true]),
    (false, [false, true]),
    (true, [false, true]),
    (false, [true, false]),
    (true, [true, false]),
];

impl Ruleset<'_> {
    /// What tells the resets of hidden ports from those of closed ones, where the kernel
    /// answers for closed ones.
    pub(super) fn reset_differences(
        &self,
        answers: &Answers,
        outside: Option<&str>,
    ) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for family in Family::BOTH {
            let kind = PacketKind {
                family,
                protocol: Protocol::Tcp,
                state: State::New,
            };
            if answers.reply_to(kind) != Reply::Closed {
                continue;
            }
            let packet = Packet::new(kind, outside);
            let each = ASSUMPTIONS.map(|supposed| self.dropped_separately(packet, supposed));
            let Some(chain) = each.iter().flatten().next() else {
                continue;
            };
            let may = match each.iter().all(Option::is_some) {
                true => "",
                false => "may ",
            };
            found.insert(format!(
                "strangers {may}tell hidden ports from closed ones: the chain {chain} {may}stop one's resets (`ct state related`) and not the other's (`established`); accept `ct state {{ established, related }}` there"
            ));
        }
        found
    }

    /// The chain that stops one of both resets alone.
    fn dropped_separately(
        &self,
        packet: Packet<'_>,
        (unknown_holds, [ours, theirs]): (bool, [bool; 2]),
    ) -> Option<String> {
        let stopped = [(true, ours), (false, theirs)].map(|(is_related, tracking_holds)| {
            let reset = Some(Reset {
                is_related,
                unknown_matches: unknown_holds,
                tracking_matches: tracking_holds,
            });
            self.reply(Packet { reset, ..packet }, &mut BTreeSet::new())
                .1
        });
        match stopped {
            [Some(chain), None] | [None, Some(chain)] => Some(chain),
            _ => None,
        }
    }
}

/// Whether a condition of iptables is supposed to hold for this reset; none for a target, which
/// is no condition.
pub(super) fn xt_matches(content: &Value, packet: Packet<'_>) -> Option<bool> {
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    let reset = packet.reset?;
    match (text("type"), text("name")) {
        (Some("target"), _) => None,
        (_, Some("conntrack" | "state")) => Some(reset.tracking_matches),
        (_, Some("comment")) => Some(true),
        _ => Some(reset.unknown_matches),
    }
}
