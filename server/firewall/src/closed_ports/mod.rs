//! What closed ports of this host answer, by the rules of others.
//!
//! Pure: takes what `nft -j list ruleset` prints, follows a stranger's packet to a port that
//! no rule names through the chains before and at the input, and gives what becomes of it.
//! Our own table is passed over. What cannot be told from the rules is said.

mod conditions;
mod packet;
mod ports;
mod report;
mod resets;

use std::collections::{BTreeMap, BTreeSet};

use conditions::{Matches, matches, vmap_lookup};
use packet::Packet;
pub use report::ClosedPorts;
use serde_json::Value;

use super::table::TABLE;
use super::table::answers::{Answers, Family, PacketKind, Reply, State};

/// Reads a ruleset; `outside` is the interface that leads to strangers.
#[must_use]
pub fn closed_ports(ruleset: &Value, outside: Option<&str>) -> ClosedPorts {
    let ruleset = Ruleset::parse(ruleset);
    let mut doubts = BTreeSet::new();
    let mut decided_by = None;
    let answers = Answers::from_each(|kind| {
        let (reply, chain) = ruleset.reply(Packet::new(kind, outside), &mut doubts);
        if kind == REFERENCE_KIND {
            decided_by = chain;
        }
        for other in ruleset
            .interfaces
            .iter()
            .filter(|other| Some(other.as_str()) != outside)
        {
            let packet = Packet::new(kind, Some(other));
            let (there, _) = ruleset.reply(packet, &mut BTreeSet::new());
            if there != reply {
                doubts.insert(format!(
                    "by {other} closed ports answer otherwise; taken is what they answer by {}",
                    outside.unwrap_or("any other interface")
                ));
            }
        }
        reply
    });
    ruleset.check_port_ranges(outside, &mut doubts);
    ClosedPorts {
        decided_by,
        differences: ruleset.reset_differences(&answers, outside),
        answers,
        doubts,
        is_read: true,
    }
}

const REFERENCE_KIND: PacketKind = PacketKind {
    family: Family::Four,
    protocol: spa_proto::Protocol::Tcp,
    state: State::New,
};

/// A chain is known by its family, its table and its name.
type ObjectPath<'a> = (&'a str, &'a str, &'a str);

#[derive(Debug, Default)]
struct Ruleset<'a> {
    /// Chains with a hook, in the order in which packets pass them.
    inbound: Vec<BaseChain<'a>>,
    /// Those that answers pass.
    outbound: Vec<BaseChain<'a>>,
    rules: BTreeMap<ObjectPath<'a>, Vec<&'a [Value]>>,
    /// Elements of named sets and maps.
    sets: BTreeMap<ObjectPath<'a>, &'a Value>,
    /// Interfaces that rules name, other than the loopback.
    interfaces: BTreeSet<String>,
    /// Ranges of ports that rules name.
    ranges: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct BaseChain<'a> {
    path: ObjectPath<'a>,
    order: (u8, i64),
    drops: bool,
}

/// What becomes of a packet in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChainVerdict {
    /// It passes this chain and those that led here.
    Accept,
    /// It comes back to the chain that led here.
    Return,
    Final(Reply),
}

impl<'a> Ruleset<'a> {
    fn parse(value: &'a Value) -> Self {
        let mut ruleset = Self::default();
        let objects = value.get("nftables").and_then(Value::as_array);
        for object in objects.into_iter().flatten() {
            if let Some(chain) = object.get("chain") {
                let chain = parse_base_chain(chain);
                match chain.as_ref().is_some_and(|chain| chain.order.0 >= OUTPUT) {
                    true => ruleset.outbound.extend(chain),
                    false => ruleset.inbound.extend(chain),
                }
            } else if let Some(rule) = object.get("rule")
                && let Some(place) = object_path(rule, "chain")
                && let Some(words) = rule.get("expr").and_then(Value::as_array)
            {
                conditions::collect_interfaces(words, &mut ruleset.interfaces);
                conditions::collect_port_ranges(words, &mut ruleset.ranges);
                ruleset.rules.entry(place).or_default().push(words);
            } else if let Some(set) = object.get("set").or_else(|| object.get("map"))
                && let Some(place) = object_path(set, "name")
                && let Some(elements) = set.get("elem")
            {
                ruleset.sets.insert(place, elements);
            }
        }
        ruleset.inbound.sort_by_key(|chain| chain.order);
        ruleset.outbound.sort_by_key(|chain| chain.order);
        ruleset
    }

    /// What this packet is answered, and by which chain where it is not the kernel.
    fn reply(&self, packet: Packet<'_>, doubts: &mut BTreeSet<String>) -> (Reply, Option<String>) {
        let passed = match packet.reset {
            None => &self.inbound,
            Some(_) => &self.outbound,
        };
        for chain in passed {
            let (family, table, name) = chain.path;
            if !packet.is_family(family) || (family, table) == ("inet", TABLE) {
                continue;
            }
            let verdict = match self.evaluate_chain(chain.path, packet, doubts, 0) {
                ChainVerdict::Return if chain.drops => ChainVerdict::Final(Reply::Nothing),
                fate => fate,
            };
            if let ChainVerdict::Final(reply) = verdict {
                return (reply, Some(format!("{family} {table} {name}")));
            }
        }
        (Reply::Closed, None)
    }

    fn evaluate_chain(
        &self,
        at: ObjectPath<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> ChainVerdict {
        // The kernel allows no more jumps.
        const MAX_DEPTH: u8 = 16;
        let Some(rules) = self.rules.get(&at).filter(|_| depth < MAX_DEPTH) else {
            return ChainVerdict::Return;
        };
        for rule in rules {
            match self.evaluate_rule(at, rule, packet, doubts, depth) {
                None => {}
                Some(fate) => return fate,
            }
        }
        ChainVerdict::Return
    }

    /// What the rule makes of the packet; none where the next rule comes.
    fn evaluate_rule(
        &self,
        at: ObjectPath<'_>,
        words: &[Value],
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<ChainVerdict> {
        let (family, table, chain) = at;
        let mut unsure = false;
        for word in words {
            let Some((name, content)) = word.as_object().and_then(|word| word.iter().next()) else {
                continue;
            };
            let doubt = |why: &str| format!("{why} in the chain {family} {table} {chain}");
            match name.as_str() {
                "match" => match matches(content, packet) {
                    Matches::Yes => {}
                    Matches::No => return None,
                    Matches::Unknown => match packet.reset {
                        None => unsure = true,
                        Some(reset) if reset.unknown_matches => {}
                        Some(_) => return None,
                    },
                },
                "limit" if content.get("inv").and_then(Value::as_bool) == Some(true) => {
                    return None;
                }
                "ct count" => return None,
                "xt" => {
                    match xt_target(content) {
                        None if resets::xt_matches(content, packet) == Some(false) => return None,
                        None if packet.reset.is_some() => {}
                        Some(_) if unsure => {
                            doubts.insert(doubt("a rule of iptables that nftables does not show"));
                            return None;
                        }
                        Some(reply) => {
                            doubts.insert(doubt("a rejection of iptables, by which ICMP error nftables does not show,"));
                            return Some(ChainVerdict::Final(reply));
                        }
                        None => unsure = true,
                    }
                }
                verdict => {
                    let found = match verdict {
                        "accept" => Some(ChainVerdict::Accept),
                        "drop" => Some(ChainVerdict::Final(Reply::Nothing)),
                        "return" => Some(ChainVerdict::Return),
                        "reject" => reject(content, packet).map(ChainVerdict::Final),
                        "queue" => {
                            doubts.insert(doubt("a program decides (queue)"));
                            Some(ChainVerdict::Accept)
                        }
                        "jump" | "goto" => self.jump(
                            verdict,
                            content.get("target").and_then(Value::as_str),
                            at,
                            packet,
                            doubts,
                            depth,
                        ),
                        "vmap" => match vmap_lookup(content, packet, |set| self.set(at, set)) {
                            Some(chosen) => self.map_verdict(chosen, at, packet, doubts, depth),
                            None => None,
                        },
                        _ => continue,
                    };
                    if unsure && found.is_some() {
                        doubts.insert(doubt("a rule that is not understood"));
                        return None;
                    }
                    return found;
                }
            }
        }
        None
    }

    fn jump(
        &self,
        verdict: &str,
        target: Option<&str>,
        (family, table, _): ObjectPath<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<ChainVerdict> {
        let target = target?;
        // It asks, by matches that nftables does not show, whether the packet is for this host.
        if matches!(target, "ufw-not-local" | "ufw6-not-local") {
            return None;
        }
        match self.evaluate_chain(
            (family, table, target),
            packet,
            doubts,
            depth.saturating_add(1),
        ) {
            ChainVerdict::Return if verdict == "jump" => None,
            fate => Some(fate),
        }
    }

    fn map_verdict(
        &self,
        verdict: &Value,
        at: ObjectPath<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<ChainVerdict> {
        let (name, content) = verdict.as_object()?.iter().next()?;
        match name.as_str() {
            "accept" => Some(ChainVerdict::Accept),
            "drop" => Some(ChainVerdict::Final(Reply::Nothing)),
            "return" => Some(ChainVerdict::Return),
            "jump" | "goto" => {
                let target = content.get("target").and_then(Value::as_str);
                self.jump(name, target, at, packet, doubts, depth)
            }
            _ => None,
        }
    }

    /// The elements of a named set of this table.
    fn set(&self, (family, table, _): ObjectPath<'_>, name: &str) -> Option<&Value> {
        self.sets.get(&(family, table, name)).copied()
    }
}

fn object_path<'a>(object: &'a Value, name: &str) -> Option<ObjectPath<'a>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    Some((text("family")?, text("table")?, text(name)?))
}

/// From this hook on chains are passed by answers.
const OUTPUT: u8 = 2;

/// A base chain by which a packet for this host passes, or the answer to it.
fn parse_base_chain(chain: &Value) -> Option<BaseChain<'_>> {
    let text = |key: &str| chain.get(key).and_then(Value::as_str);
    let hook = match text("hook")? {
        "prerouting" => 0,
        "input" => 1,
        "output" => OUTPUT,
        "postrouting" => 3,
        _ => return None,
    };
    let is_rerouting = hook == OUTPUT && text("type")? == "route";
    (text("type")? == "filter" || is_rerouting).then_some(())?;
    let priority = chain.get("prio").and_then(Value::as_i64).unwrap_or(0);
    Some(BaseChain {
        path: object_path(chain, "name")?,
        order: (hook, priority),
        drops: text("policy") == Some("drop"),
    })
}

/// What `reject` answers; none where it does not apply to this packet.
fn reject(content: &Value, packet: Packet<'_>) -> Option<Reply> {
    let kind = content.get("type").and_then(Value::as_str);
    if kind == Some("tcp reset") {
        return packet.is_tcp().then_some(Reply::Reset);
    }
    let word = content.get("expr").and_then(Value::as_str);
    let word = word.unwrap_or("port-unreachable");
    Reply::from_icmp_code(packet.kind.family, word)
}

/// What a target of iptables answers; none for matches and other targets.
fn xt_target(content: &Value) -> Option<Reply> {
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    (text("type")? == "target" && text("name")? == "REJECT")
        .then_some(Reply::Error("port-unreachable"))
}

#[cfg(test)]
mod differing_tests;
#[cfg(test)]
mod tests;
