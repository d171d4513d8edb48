//! What closed ports of this host answer, by the rules of others.
//!
//! Pure: takes what `nft -j list ruleset` prints, follows a stranger's packet to a port that
//! no rule names through the chains before and at the input, and gives what becomes of it.
//! Our own table is passed over. What cannot be told from the rules is said.

mod conditions;
mod found;
mod packet;
mod ports;
mod resets;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::table::TABLE;
use super::table::answers::{Answers, Family, Kind, Reply, State};
use conditions::{Matches, chosen, matches};

pub use found::ClosedPorts;
use packet::Packet;

/// Reads a ruleset; `outside` is the interface that leads to strangers.
#[must_use]
pub fn closed_ports(ruleset: &Value, outside: Option<&str>) -> ClosedPorts {
    let ruleset = Ruleset::read(ruleset);
    let mut doubts = BTreeSet::new();
    let mut decided_by = None;
    let answers = Answers::from_each(|kind| {
        let (reply, chain) = ruleset.reply(Packet::new(kind, outside), &mut doubts);
        if kind == FIRST {
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
    ruleset.ports_differ(outside, &mut doubts);
    ClosedPorts {
        decided_by,
        differences: ruleset.resets_differ(&answers, outside),
        answers,
        doubts,
        is_read: true,
    }
}

const FIRST: Kind = Kind {
    family: Family::Four,
    protocol: spa_proto::Protocol::Tcp,
    state: State::New,
};

/// A chain is known by its family, its table and its name.
type Place<'a> = (&'a str, &'a str, &'a str);

#[derive(Debug, Default)]
struct Ruleset<'a> {
    /// Chains with a hook, in the order in which packets pass them.
    base: Vec<Base<'a>>,
    /// Those that answers pass.
    leaving: Vec<Base<'a>>,
    rules: BTreeMap<Place<'a>, Vec<&'a [Value]>>,
    /// Elements of named sets and maps.
    sets: BTreeMap<Place<'a>, &'a Value>,
    /// Interfaces that rules name, other than the loopback.
    interfaces: BTreeSet<String>,
    /// Ranges of ports that rules name.
    ranges: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Base<'a> {
    place: Place<'a>,
    order: (u8, i64),
    drops: bool,
}

/// What becomes of a packet in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It passes this chain and those that led here.
    Accepted,
    /// It comes back to the chain that led here.
    Back,
    Ends(Reply),
}

impl<'a> Ruleset<'a> {
    fn read(value: &'a Value) -> Self {
        let mut ruleset = Self::default();
        let objects = value.get("nftables").and_then(Value::as_array);
        for object in objects.into_iter().flatten() {
            if let Some(chain) = object.get("chain") {
                let chain = base(chain);
                match chain.as_ref().is_some_and(|chain| chain.order.0 >= OUTPUT) {
                    true => ruleset.leaving.extend(chain),
                    false => ruleset.base.extend(chain),
                }
            } else if let Some(rule) = object.get("rule")
                && let Some(place) = place(rule, "chain")
                && let Some(words) = rule.get("expr").and_then(Value::as_array)
            {
                conditions::interfaces(words, &mut ruleset.interfaces);
                conditions::ranges(words, &mut ruleset.ranges);
                ruleset.rules.entry(place).or_default().push(words);
            } else if let Some(set) = object.get("set").or_else(|| object.get("map"))
                && let Some(place) = place(set, "name")
                && let Some(elements) = set.get("elem")
            {
                ruleset.sets.insert(place, elements);
            }
        }
        ruleset.base.sort_by_key(|chain| chain.order);
        ruleset.leaving.sort_by_key(|chain| chain.order);
        ruleset
    }

    /// What this packet is answered, and by which chain where it is not the kernel.
    fn reply(&self, packet: Packet<'_>, doubts: &mut BTreeSet<String>) -> (Reply, Option<String>) {
        let passed = match packet.reset {
            None => &self.base,
            Some(_) => &self.leaving,
        };
        for chain in passed {
            let (family, table, name) = chain.place;
            if !packet.is_of(family) || (family, table) == ("inet", TABLE) {
                continue;
            }
            let fate = match self.follow(chain.place, packet, doubts, 0) {
                Fate::Back if chain.drops => Fate::Ends(Reply::Nothing),
                fate => fate,
            };
            if let Fate::Ends(reply) = fate {
                return (reply, Some(format!("{family} {table} {name}")));
            }
        }
        (Reply::Closed, None)
    }

    fn follow(
        &self,
        at: Place<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Fate {
        // The kernel allows no more jumps.
        const MAX_DEPTH: u8 = 16;
        let Some(rules) = self.rules.get(&at).filter(|_| depth < MAX_DEPTH) else {
            return Fate::Back;
        };
        for rule in rules {
            match self.rule(at, rule, packet, doubts, depth) {
                None => {}
                Some(fate) => return fate,
            }
        }
        Fate::Back
    }

    /// What the rule makes of the packet; none where the next rule comes.
    fn rule(
        &self,
        at: Place<'_>,
        words: &[Value],
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<Fate> {
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
                        Some(reset) if reset.unknown_holds => {}
                        Some(_) => return None,
                    },
                },
                "limit" if content.get("inv").and_then(Value::as_bool) == Some(true) => {
                    return None;
                }
                "ct count" => return None,
                "xt" => {
                    match xt_target(content) {
                        None if resets::holds(content, packet) == Some(false) => return None,
                        None if packet.reset.is_some() => {}
                        Some(_) if unsure => {
                            doubts.insert(doubt("a rule of iptables that nftables does not show"));
                            return None;
                        }
                        Some(reply) => {
                            doubts.insert(doubt("a rejection of iptables, by which ICMP error nftables does not show,"));
                            return Some(Fate::Ends(reply));
                        }
                        None => unsure = true,
                    }
                }
                verdict => {
                    let found = match verdict {
                        "accept" => Some(Fate::Accepted),
                        "drop" => Some(Fate::Ends(Reply::Nothing)),
                        "return" => Some(Fate::Back),
                        "reject" => reject(content, packet).map(Fate::Ends),
                        "queue" => {
                            doubts.insert(doubt("a program decides (queue)"));
                            Some(Fate::Accepted)
                        }
                        "jump" | "goto" => self.jump(
                            verdict,
                            content.get("target").and_then(Value::as_str),
                            at,
                            packet,
                            doubts,
                            depth,
                        ),
                        "vmap" => match chosen(content, packet, |set| self.set(at, set)) {
                            Some(chosen) => self.verdict_of_map(chosen, at, packet, doubts, depth),
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
        (family, table, _): Place<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<Fate> {
        let target = target?;
        // It asks, by matches that nftables does not show, whether the packet is for this host.
        if matches!(target, "ufw-not-local" | "ufw6-not-local") {
            return None;
        }
        match self.follow(
            (family, table, target),
            packet,
            doubts,
            depth.saturating_add(1),
        ) {
            Fate::Back if verdict == "jump" => None,
            fate => Some(fate),
        }
    }

    fn verdict_of_map(
        &self,
        verdict: &Value,
        at: Place<'_>,
        packet: Packet<'_>,
        doubts: &mut BTreeSet<String>,
        depth: u8,
    ) -> Option<Fate> {
        let (name, content) = verdict.as_object()?.iter().next()?;
        match name.as_str() {
            "accept" => Some(Fate::Accepted),
            "drop" => Some(Fate::Ends(Reply::Nothing)),
            "return" => Some(Fate::Back),
            "jump" | "goto" => {
                let target = content.get("target").and_then(Value::as_str);
                self.jump(name, target, at, packet, doubts, depth)
            }
            _ => None,
        }
    }

    /// The elements of a named set of this table.
    fn set(&self, (family, table, _): Place<'_>, name: &str) -> Option<&Value> {
        self.sets.get(&(family, table, name)).copied()
    }
}

fn place<'a>(object: &'a Value, name: &str) -> Option<Place<'a>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    Some((text("family")?, text("table")?, text(name)?))
}

/// From this hook on chains are passed by answers.
const OUTPUT: u8 = 2;

/// A base chain by which a packet for this host passes, or the answer to it.
fn base(chain: &Value) -> Option<Base<'_>> {
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
    Some(Base {
        place: place(chain, "name")?,
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
    Reply::from_word(packet.kind.family, word)
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
