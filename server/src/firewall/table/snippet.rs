//! What an administrator pastes into his own ruleset.
//!
//! Pure. For nftables: our sets, and a chain that accepts who is in them. For iptables,
//! which cannot refer to sets of nftables: the ports that our table hides before its rules.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nftables::stmt::Statement;
use spa_proto::Service;

use super::chains::{Rule, networks4, networks6};
use super::words::{Field, Word, accept, add_to, delete_from, in_set, is_no_first_segment};
use super::{Place, SetName, gateway};
use crate::config::Config;

/// For nftables, where the configuration says the mode "set"; with these sets.
#[must_use]
pub fn nftables(config: &Config, sets: &[SetName]) -> String {
    let place = Place::of(config);
    let table = place.table();
    let sets = place.declarations(sets);
    let forwards = config.forwards();
    let also = if forwards.is_empty() {
        String::new()
    } else {
        "# A gateway's forward chain: ct state established accept, and ct status dnat accept.\n"
            .to_owned()
    };
    let mut text = format!(
        "# For /etc/nftables.conf, above your own table inet {table} and below `flush ruleset`.\n\
         # In your chain of the hook input, with the policy drop, before whatever drops:\n\
         #   ct state established accept\n\
         #   jump spad\n\
         {also}{sets}table inet {table} {{\n\tchain spad {{\n"
    );
    for rule in admitting(config) {
        let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\t\t{}", place.rules(&words.join(" ")));
    }
    text.push_str("\t}\n");
    let chains = match forwards.as_slice() {
        [] => Vec::new(),
        some => gateway::nat_chains(some, &[], &config.lengths),
    };
    for mut chain in chains {
        chain.name = match chain.name {
            "lead" => "spad_lead",
            "leave" => "spad_leave",
            _ => "spad_leading",
        };
        let ours = place.rules(&chain.text());
        text.push_str(&ours.replace("goto leading", "goto spad_leading"));
    }
    text.push_str("}\n");
    text
}

/// Who is let in; as `judge` does, which need not say what a chain with a policy does.
fn admitting(config: &Config) -> Vec<Rule> {
    let mut rules = Vec::new();
    let four = networks4(&config.lengths, Field::Port);
    let six = networks6(&config.lengths, Field::Port);
    for (grants, networks, flow) in [
        (SetName::Grants4, four, SetName::Flow4),
        (SetName::Grants6, six, SetName::Flow6),
    ] {
        rules.push(vec![in_set(grants), accept()]);
        rules.extend(networks.into_iter().map(|network| vec![network, accept()]));
        rules.push(vec![in_set(flow), accept()]);
    }
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![is_no_first_segment(), back()]);
    for (once, flow) in [
        (SetName::Once4, SetName::Flow4),
        (SetName::Once6, SetName::Flow6),
    ] {
        rules.push(vec![
            in_set(once),
            delete_from(once),
            add_to(flow),
            accept(),
        ]);
    }
    rules
}

/// Goes on behind the jump that led here.
fn back() -> Word {
    Word::new(&Statement::Return(None), "return")
}

/// For iptables and ip6tables, beside our own table in the mode "guard".
#[must_use]
pub fn iptables(config: &Config) -> String {
    let hidden: BTreeSet<Service> = config.hidden_ports();
    let forwards = config.forwards();
    let mut text = "# For iptables and ip6tables alike. spad's own table hides these ports before your rules\n\
         # see a packet, so they may allow them; without that table they are open to everybody.\n\
         # Where your policy is DROP, write [guard] answer = \"drop\": hidden ports then look like the rest.\n"
        .to_owned();
    if hidden.is_empty() {
        text.push_str("# `hide` names no service yet.\n");
    }
    let local = hidden
        .iter()
        .filter(|port| config.inner_of(**port).is_none());
    for port in local {
        for program in ["iptables", "ip6tables"] {
            let _ = writeln!(
                text,
                "{program} -w -I INPUT -p {} --dport {} -j ACCEPT",
                port.protocol, port.port
            );
        }
    }
    if !forwards.is_empty() {
        for program in ["iptables", "ip6tables"] {
            let _ = writeln!(
                text,
                "{program} -w -I FORWARD -m conntrack --ctstate ESTABLISHED,DNAT -j ACCEPT"
            );
        }
    }
    let _ = writeln!(
        text,
        "iptables -w -I INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
         ip6tables -w -I INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    );
    text
}
