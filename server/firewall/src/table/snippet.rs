//! The text that administrators paste into their own rules.
//!
//! Pure. For nftables: our sets, and a chain that accepts their elements. For iptables, which
//! cannot refer to sets of nftables: the ports that our table hides before its rules, or sets
//! of ipset.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use spa_proto::Service;
use spad_config::Config;

use super::context::{Rule, RuleContext};
use super::sets::FamilySets;
use super::stmt::{Field, accept, not_syn, return_to_caller};
use super::{PrintError, SetLocation, SetName, gateway, print};

/// The snippet for nftables, where the configuration has the mode "set".
///
/// # Errors
/// Where a rule has a part that cannot be printed.
pub fn nftables(config: &Config) -> Result<String, PrintError> {
    let location = SetLocation::from_config(config);
    let (table, names) = (location.table(), location.names());
    let context = RuleContext {
        names,
        // The administrator's own rules accept these.
        allowed: &[],
        lengths: &config.prefix_lengths,
        labels: false,
    };
    let forwards = config.forwards();
    let (forward_chain, nat_chains) = match forwards.as_slice() {
        [] => ("", Vec::new()),
        some => (
            "# A gateway's forward chain: ct state established accept, and ct status dnat accept.\n",
            gateway::nat_chains(some, context),
        ),
    };
    let mut text = format!(
        "# For /etc/nftables.conf, above your own table inet {table} and below `flush ruleset`.\n\
         # In your chain of the hook input, with the policy drop, before whatever drops:\n\
         #   ct state established accept\n\
         #   jump spad\n\
         {forward_chain}{sets}table inet {table} {{\n\tchain spad {{\n{rules}\t}}\n",
        sets = location.declarations(&SetName::GRANTS),
        rules = print::lines(&grant_rules(context))?,
    );
    for chain in nat_chains {
        text.push_str(&chain.text(names)?);
    }
    text.push_str("}\n");
    Ok(text)
}

/// Accepts whoever has a grant, as `CheckGrant` does in our own table.
fn grant_rules(context: RuleContext<'_>) -> Vec<Rule> {
    let names = context.names;
    let mut rules = Vec::new();
    for family in FamilySets::BOTH {
        rules.push(vec![names.in_set(family.grants), accept()]);
        let networks = context.in_grant_networks(family, Field::Port);
        rules.extend(networks.into_iter().map(|network| vec![network, accept()]));
        rules.push(vec![names.in_set(family.grants_port), accept()]);
    }
    // A stray segment must not use up a grant for one connection.
    rules.push(vec![not_syn(), return_to_caller()]);
    for family in FamilySets::BOTH {
        let (once, port) = (family.grants_once, family.grants_port);
        rules.push(vec![
            names.in_set(once),
            names.delete_from(once),
            names.add_to(port),
            accept(),
        ]);
    }
    rules
}

/// The snippet for iptables and ip6tables alongside our own table, in the mode "guard".
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

/// The snippet for iptables and ip6tables with sets of ipset, which the mode "command" fills.
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
    use spad_config::Answer;

    use super::super::tests::config_from;
    use super::*;

    #[test]
    fn the_snippet_declares_every_set_that_its_rules_refer_to_by_our_name_for_it() {
        let text = "[services]\nssh = \"tcp/22\"\nnas = { ports = [\"tcp/2222\"], to = \"10.0.0.5:22\", masquerade = true }\n";
        let mut config = config_from(text, Answer::Drop, Vec::new());
        config.guard.mode = spad_config::Mode::Set("filter".to_owned());
        let text = nftables(&config).unwrap();
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
