//! What an administrator pastes into his own ruleset.
//!
//! Pure. For nftables: our sets, and a chain that accepts who is in them. For iptables,
//! which cannot refer to sets of nftables: the ports that our table hides before its rules,
//! or sets of ipset.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use spa_proto::Service;

use super::chains::{Rule, networks4, networks6};
use super::stmt::{Field, accept, add_to, delete_from, in_set, not_syn, return_to_caller};
use super::{SetLocation, SetName, gateway};
use crate::config::Config;

/// For nftables, where the configuration says the mode "set"; with these sets.
#[must_use]
pub fn nftables(config: &Config, sets: &[SetName]) -> String {
    let location = SetLocation::from_config(config);
    let table = location.table();
    let sets = location.declarations(sets);
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
    for rule in grant_rules(config) {
        let words: Vec<&str> = rule.iter().map(|word| word.text.as_str()).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\t\t{}", location.qualify_sets(&words.join(" ")));
    }
    text.push_str("\t}\n");
    let chains = match forwards.as_slice() {
        [] => Vec::new(),
        some => gateway::nat_chains(some, &[], &config.prefix_lengths),
    };
    for mut chain in chains {
        chain.name = match chain.name {
            "lead" => "spad_lead",
            "leave" => "spad_leave",
            _ => "spad_leading",
        };
        let ours = location.qualify_sets(&chain.text());
        text.push_str(&ours.replace("goto leading", "goto spad_leading"));
    }
    text.push_str("}\n");
    text
}

/// Who is let in; as `judge` does, which need not say what a chain with a policy does.
fn grant_rules(config: &Config) -> Vec<Rule> {
    let mut rules = Vec::new();
    let four = networks4(&config.prefix_lengths, Field::Port);
    let six = networks6(&config.prefix_lengths, Field::Port);
    for (grants, networks, flow) in [
        (SetName::Grants4, four, SetName::GrantsPort4),
        (SetName::Grants6, six, SetName::GrantsPort6),
    ] {
        rules.push(vec![in_set(grants), accept()]);
        rules.extend(networks.into_iter().map(|network| vec![network, accept()]));
        rules.push(vec![in_set(flow), accept()]);
    }
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![not_syn(), return_to_caller()]);
    for (once, flow) in [
        (SetName::GrantsOnce4, SetName::GrantsPort4),
        (SetName::GrantsOnce6, SetName::GrantsPort6),
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

/// For iptables and ip6tables, beside our own table in the mode "guard".
#[must_use]
pub fn iptables(config: &Config) -> String {
    let hidden: BTreeSet<Service> = config.hidden_ports();
    let forwards = config.forwards();
    let mut text = "# For iptables and ip6tables alike. spad's own table hides these ports before your rules\n\
         # see a packet, so they may allow them; without that table they are open to everybody.\n\
         # nftables does not show all of these rules: where your policy is DROP, write [guard] answer = \"drop\",\n\
         # and hidden ports look like the rest.\n"
        .to_owned();
    if hidden.is_empty() {
        text.push_str("# `hide` names no service yet.\n");
    }
    let local = hidden
        .iter()
        .filter(|port| config.inner_host(**port).is_none());
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

/// For iptables and ip6tables with sets of ipset, which the mode "command" fills.
#[must_use]
pub fn ipset(config: &Config) -> String {
    let max_ttl = config.max_ttl_overall().as_secs();
    let mut text =
        "# For iptables and ip6tables with sets of ipset: spad runs ipset, the kernel keeps the\n\
         # time as well. Your own rules must drop: iptables -P INPUT DROP. In spad.toml:\n\
         #   [guard]\n\
         #   mode = \"command\"\n\
         #   [firewall]\n\
         #   open  = { argv = [\"/usr/sbin/ipset\", \"-exist\", \"add\", \"spad-{family}\", \"{address},{protocol}:{port}\", \"timeout\", \"{ttl_s}\"] }\n\
         #   close = { argv = [\"/usr/sbin/ipset\", \"-exist\", \"del\", \"spad-{family}\", \"{address},{protocol}:{port}\"] }\n\
         #   keep_net_admin = true\n"
            .to_owned();
    for (family, program) in [("inet", "iptables"), ("inet6", "ip6tables")] {
        let _ = writeln!(
            text,
            "ipset -exist create spad-{family} hash:net,port family {family} timeout {max_ttl}\n\
             {program} -w -I INPUT -m set --match-set spad-{family} src,dst -j ACCEPT\n\
             {program} -w -I INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::config_from;
    use super::*;
    use crate::config::Answer;

    #[test]
    fn the_snippet_declares_every_set_that_its_rules_refer_to_by_our_name_for_it() {
        let text = "[services]\nssh = \"tcp/22\"\nnas = { ports = [\"tcp/2222\"], to = \"10.0.0.5:22\", masquerade = true }\n";
        let mut config = config_from(text, Answer::Drop, Vec::new());
        config.guard.mode = crate::config::Mode::Set("filter".to_owned());
        let sets = [
            SetName::Grants4,
            SetName::Grants6,
            SetName::GrantsNet4,
            SetName::GrantsNet6,
            SetName::GrantsOnce4,
            SetName::GrantsOnce6,
            SetName::GrantsPort4,
            SetName::GrantsPort6,
        ];
        let text = nftables(&config, &sets);
        let referred: BTreeSet<&str> = text
            .split('@')
            .skip(1)
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        let declared: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("\tset ")?.strip_suffix(" {"))
            .collect();
        assert_eq!(referred, declared, "\n{text}");
        assert!(declared.iter().all(|name| name.starts_with("spad_")));
        assert!(text.contains("dnat ip to 10.0.0.5:22") && text.contains("masquerade"));
    }

    #[test]
    fn iptables_is_told_of_every_hidden_port_for_both_families_and_of_no_other() {
        let text = "hide = [\"ssh\", \"nas\"]\n[services]\nssh = \"tcp/22\"\nweb = \"tcp/80\"\n\
            nas = { ports = [\"tcp/2222\"], to = \"10.0.0.5:22\" }\n";
        let text = iptables(&config_from(text, Answer::Drop, Vec::new()));
        for program in ["iptables", "ip6tables"] {
            let rule = format!("\n{program} -w -I INPUT -p tcp --dport 22 -j ACCEPT\n");
            assert!(text.contains(&rule), "{text}");
            let rule = format!("\n{program} -w -I FORWARD -m conntrack --ctstate ESTABLISHED,DNAT");
            assert!(text.contains(&rule), "{text}");
        }
        assert!(!text.contains("--dport 80") && !text.contains("--dport 2222"));
    }
}
