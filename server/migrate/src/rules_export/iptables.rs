//! The rules as a file for `iptables-restore` and `ip6tables-restore`, with the match
//! `recent`. Pure.

use std::fmt::Write as _;

use spad_model::knock::Knock;

use super::RuleSpec;

/// The whole table `filter`: what is neither knocked for nor named here is dropped.
/// Both programs read the same file; each passes over the other family's lines.
#[must_use]
pub fn iptables(spec: &RuleSpec) -> String {
    let all = spec.sequence.knocks();
    let open: Vec<String> = spec.open.iter().map(ToString::to_string).collect();
    let (within, open_for) = (spec.window.as_secs(), spec.open_for.as_secs());
    let mut text = format!(
        "# Port knocking without a daemon: {} opens {} for {open_for} s
# to the address that knocked, each knock within {within} s of the first.
# Whoever sees the knocks go by can send them again: this keeps scanners out, nobody else.
# This is the whole table filter: iptables-restore FILE and ip6tables-restore FILE
# replace what is there: everything else on this host is dropped, unless you let it in
# where it says so below. The kernel remembers 100 addresses a list, so that a hundred
# forged knocks put an honest one off; more with: modprobe xt_recent ip_list_tot=10000
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KNOCKING - [0:0]
:KNOCK-FORGET - [0:0]
",
        spec.sequence,
        open.join(", "),
    );
    for stage in 1..=all.len() {
        let _ = writeln!(text, ":KNOCK-{stage} - [0:0]");
    }
    text.push_str(
        "-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-4 -A INPUT -p icmp -j ACCEPT
-6 -A INPUT -p ipv6-icmp -j ACCEPT
# The answers of DHCPv6 belong to no connection that the kernel knows.
-6 -A INPUT -s fe80::/10 -p udp --dport 546 -j ACCEPT
# Put the ports here that everybody may reach: -A INPUT -p tcp --dport 443 -j ACCEPT
-A INPUT -j KNOCKING
-A INPUT -j DROP
",
    );
    for service in &spec.open {
        let _ = writeln!(
            text,
            "-A KNOCKING -p {} --dport {} -m conntrack --ctstate NEW -m recent --rcheck --seconds {open_for} --name KNOCK_OPEN -j ACCEPT",
            service.protocol, service.port
        );
    }
    if !spec.sequence.has_udp() {
        text.push_str("-A KNOCKING ! -p tcp -j RETURN\n");
    }
    text.push_str("-A KNOCKING -p tcp ! --syn -j RETURN\n");
    let begun = format!("-m recent --rcheck --seconds {within} --name KNOCK_BEGUN");
    let at = |stage: usize| format!("-m recent --rcheck --name KNOCK_AT_{stage}");
    for (stage, knock) in all.iter().enumerate().skip(1).rev() {
        let next = stage.saturating_add(1);
        let _ = writeln!(
            text,
            "-A KNOCKING {} {begun} {} -j KNOCK-{next}",
            match_clause(*knock),
            at(stage)
        );
    }
    text.push_str("# The knock made last once more: the network may have repeated it.\n");
    for (stage, knock) in (1..all.len()).zip(all).rev() {
        let _ = writeln!(
            text,
            "-A KNOCKING {} {begun} {} -j DROP",
            match_clause(*knock),
            at(stage)
        );
    }
    text.push_str("# Any other: back to the beginning.\n-A KNOCKING -j KNOCK-FORGET\n");
    if let Some(first) = all.first() {
        let _ = writeln!(text, "-A KNOCKING {} -j KNOCK-1", match_clause(*first));
    }
    for stage in 1..all.len() {
        let _ = writeln!(
            text,
            "-A KNOCK-FORGET -m recent --name KNOCK_AT_{stage} --remove"
        );
    }
    text.push_str("-A KNOCK-FORGET -m recent --name KNOCK_BEGUN --remove\n");
    text.push_str("-A KNOCK-1 -m recent --name KNOCK_BEGUN --set\n-A KNOCK-1 -m recent --name KNOCK_AT_1 --set -j DROP\n");
    for stage in 2..=all.len() {
        let before = stage.saturating_sub(1);
        let _ = writeln!(
            text,
            "-A KNOCK-{stage} -m recent --name KNOCK_AT_{before} --remove"
        );
        if stage == all.len() {
            let _ = writeln!(
                text,
                "-A KNOCK-{stage} -m recent --name KNOCK_BEGUN --remove"
            );
            let _ = writeln!(
                text,
                "-A KNOCK-{stage} -m recent --name KNOCK_OPEN --set -j DROP"
            );
        } else {
            let _ = writeln!(
                text,
                "-A KNOCK-{stage} -m recent --name KNOCK_AT_{stage} --set -j DROP"
            );
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn match_clause(knock: Knock) -> String {
    format!("-p {} --dport {}", knock.protocol, knock.port)
}
