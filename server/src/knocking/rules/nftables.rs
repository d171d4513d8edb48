//! The rules as a file for `nft -f`. Pure.

use std::fmt::Write as _;

use spa_proto::Protocol;

use super::Recipe;
use crate::knocking::Knock;

/// One of the two families: the match of its source address, the type of a set, and
/// what names of its sets end in.
#[derive(Clone, Copy)]
struct Family {
    source: &'static str,
    kind: &'static str,
    ending: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        source: "ip saddr",
        kind: "ipv4_addr",
        ending: "4",
    },
    Family {
        source: "ip6 saddr",
        kind: "ipv6_addr",
        ending: "6",
    },
];

/// A table of its own with everything in it. Loaded again, it begins anew.
#[must_use]
pub fn nftables(recipe: &Recipe) -> String {
    let mut text = head(recipe);
    for family in FAMILIES {
        sets(recipe, family, &mut text);
    }
    for family in FAMILIES {
        knocks(recipe, family, &mut text);
    }
    guard(recipe, &mut text);
    text.push_str("}\n");
    text
}

fn head(recipe: &Recipe) -> String {
    let open: Vec<String> = recipe.open.iter().map(ToString::to_string).collect();
    format!(
        "#!/usr/sbin/nft -f
# Port knocking without a daemon: {} opens {} for {} s
# to the address that knocked, each knock within {} s of the first.
# Whoever sees the knocks go by can send them again: this keeps scanners out, nobody else.
# Rules of yours that drop must accept the opened ports as well: an accept here
# does not overrule a drop in another chain.
# A second file of `spad rules` replaces this one: what only this one hides is open then.
table inet knocking
delete table inet knocking
table inet knocking {{
",
        recipe.sequence,
        open.join(", "),
        recipe.open_for.as_secs(),
        recipe.within.as_secs(),
    )
}

fn sets(recipe: &Recipe, family: Family, text: &mut String) {
    let mut set = |name: &str, seconds: u64| {
        let Family { kind, ending, .. } = family;
        let _ = writeln!(
            text,
            "\tset {name}{ending} {{ type {kind}; flags dynamic,timeout; timeout {seconds}s; size 65535; }}",
        );
    };
    let within = recipe.within.as_secs();
    // When the first knock came: later ones do not move it.
    set("begun", within);
    for stage in 1..recipe.sequence.knocks().len() {
        set(&format!("stage{stage}_"), within);
    }
    set("open", recipe.open_for.as_secs());
}

/// What one packet that may be a knock does. Later stages first, so that one packet
/// goes one stage at most. It is never dropped: a port that is silent where the others
/// answer would tell that it is knocked at.
fn knocks(recipe: &Recipe, family: Family, text: &mut String) {
    let Family { source, ending, .. } = family;
    let _ = writeln!(text, "\tchain knocks{ending} {{");
    let all = recipe.sequence.knocks();
    let forget = |stage: usize| format!("delete @stage{stage}_{ending} {{ {source} }}");
    for (stage, knock) in all.iter().enumerate().skip(1).rev() {
        let came = format!(
            "{} {source} @stage{stage}_{ending} {source} @begun{ending}",
            matched(*knock)
        );
        let next = stage.saturating_add(1);
        let then = if next == all.len() {
            format!("delete @begun{ending} {{ {source} }} update @open{ending} {{ {source} }}")
        } else {
            format!("add @stage{next}_{ending} {{ {source} }}")
        };
        let _ = writeln!(text, "\t\t{came} {} {then} accept", forget(stage));
    }
    text.push_str("\t\t# The knock made last once more: the network may have repeated it.\n");
    for (stage, knock) in (1..all.len()).zip(all).rev() {
        let _ = writeln!(
            text,
            "\t\t{} {source} @stage{stage}_{ending} {source} @begun{ending} accept",
            matched(*knock)
        );
    }
    text.push_str("\t\t# Any other: back to the beginning.\n");
    for stage in 1..all.len() {
        let _ = writeln!(text, "\t\t{}", forget(stage));
    }
    let _ = writeln!(text, "\t\tdelete @begun{ending} {{ {source} }}");
    if let Some(first) = all.first() {
        let _ = writeln!(
            text,
            "\t\t{} add @begun{ending} {{ {source} }} add @stage1_{ending} {{ {source} }} accept",
            matched(*first)
        );
    }
    text.push_str("\t}\n");
}

fn guard(recipe: &Recipe, text: &mut String) {
    text.push_str(
        "\tchain guard {
\t\ttype filter hook prerouting priority mangle - 5; policy accept;
\t\tiifname \"lo\" accept
\t\tct state established accept
\t\tfib daddr type != { local, broadcast, multicast, anycast } accept
",
    );
    let mut opened = Vec::new();
    for (protocol, name) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
        let ports = recipe.ports(protocol);
        if !ports.is_empty() {
            opened.push(format!("{name} dport {{ {} }}", ports.join(", ")));
        }
    }
    for ports in &opened {
        for Family { source, ending, .. } in FAMILIES {
            let _ = writeln!(text, "\t\t{ports} {source} @open{ending} accept");
        }
    }
    let mut kinds = vec!["tcp flags & (fin | syn | rst | ack) == syn"];
    if recipe.sequence.has_udp() {
        kinds.push("meta l4proto udp");
    }
    for kind in kinds {
        for (family, ending) in [("ipv4", "4"), ("ipv6", "6")] {
            let _ = writeln!(text, "\t\tmeta nfproto {family} {kind} jump knocks{ending}");
        }
    }
    for ports in &opened {
        let _ = writeln!(text, "\t\t{ports} drop");
    }
    text.push_str("\t}\n");
}

fn matched(knock: Knock) -> String {
    format!("{} dport {}", knock.protocol, knock.port)
}
