//! The rules as a file for `nft -f`. Pure.

use std::fmt::Write as _;

use spa_proto::Protocol;
use spad_model::knock::Knock;

use super::RuleSpec;

/// One of the two families: the match of its source address, the type of a set, and
/// what names of its sets end in.
#[derive(Clone, Copy)]
struct Family {
    source: &'static str,
    set_type: &'static str,
    suffix: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        source: "ip saddr",
        set_type: "ipv4_addr",
        suffix: "4",
    },
    Family {
        source: "ip6 saddr",
        set_type: "ipv6_addr",
        suffix: "6",
    },
];

/// A table of its own with everything in it. Loaded again, it begins anew.
#[must_use]
pub fn nftables(spec: &RuleSpec) -> String {
    let mut text = head(spec);
    for family in FAMILIES {
        sets(spec, family, &mut text);
    }
    for family in FAMILIES {
        knocks(spec, family, &mut text);
    }
    guard(spec, &mut text);
    text.push_str("}\n");
    text
}

fn head(spec: &RuleSpec) -> String {
    let open: Vec<String> = spec.open.iter().map(ToString::to_string).collect();
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
        spec.sequence,
        open.join(", "),
        spec.open_for.as_secs(),
        spec.window.as_secs(),
    )
}

fn sets(spec: &RuleSpec, family: Family, text: &mut String) {
    let mut set = |name: &str, seconds: u64| {
        let Family {
            set_type: kind,
            suffix: ending,
            ..
        } = family;
        let _ = writeln!(
            text,
            "\tset {name}{ending} {{ type {kind}; flags dynamic,timeout; timeout {seconds}s; size 65535; }}",
        );
    };
    let within = spec.window.as_secs();
    // When the first knock came: later ones do not move it.
    set("begun", within);
    for stage in 1..spec.sequence.knocks().len() {
        set(&format!("stage{stage}_"), within);
    }
    set("open", spec.open_for.as_secs());
}

/// What one packet that may be a knock does. Later stages first, so that one packet
/// goes one stage at most. It is never dropped: a port that is silent where the others
/// answer would tell that it is knocked at.
fn knocks(spec: &RuleSpec, family: Family, text: &mut String) {
    let Family {
        source,
        suffix: ending,
        ..
    } = family;
    let _ = writeln!(text, "\tchain knocks{ending} {{");
    let all = spec.sequence.knocks();
    let forget = |stage: usize| format!("delete @stage{stage}_{ending} {{ {source} }}");
    for (stage, knock) in all.iter().enumerate().skip(1).rev() {
        let condition = format!(
            "{} {source} @stage{stage}_{ending} {source} @begun{ending}",
            match_clause(*knock)
        );
        let next = stage.saturating_add(1);
        let then = if next == all.len() {
            format!("delete @begun{ending} {{ {source} }} update @open{ending} {{ {source} }}")
        } else {
            format!("add @stage{next}_{ending} {{ {source} }}")
        };
        let _ = writeln!(text, "\t\t{condition} {} {then} accept", forget(stage));
    }
    text.push_str("\t\t# The knock made last once more: the network may have repeated it.\n");
    for (stage, knock) in (1..all.len()).zip(all).rev() {
        let _ = writeln!(
            text,
            "\t\t{} {source} @stage{stage}_{ending} {source} @begun{ending} accept",
            match_clause(*knock)
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
            match_clause(*first)
        );
    }
    text.push_str("\t}\n");
}

fn guard(spec: &RuleSpec, text: &mut String) {
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
        let ports = spec.ports(protocol);
        if !ports.is_empty() {
            opened.push(format!("{name} dport {{ {} }}", ports.join(", ")));
        }
    }
    for ports in &opened {
        for Family {
            source,
            suffix: ending,
            ..
        } in FAMILIES
        {
            let _ = writeln!(text, "\t\t{ports} {source} @open{ending} accept");
        }
    }
    let mut kinds = vec!["tcp flags & (fin | syn | rst | ack) == syn"];
    if spec.sequence.has_udp() {
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

fn match_clause(knock: Knock) -> String {
    format!("{} dport {}", knock.protocol, knock.port)
}
