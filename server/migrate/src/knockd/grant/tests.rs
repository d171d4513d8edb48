//! Commands as people write them.

use super::*;

fn read(command: &str) -> Option<Result<Rule, NotAGrant>> {
    let words = super::super::shell_words::split(command).unwrap();
    assert_eq!(words.commands.len(), 1, "{command}");
    recognise(&words.commands[0])
}

#[track_caller]
fn opens(command: &str, ports: &[&str], remarks: usize) {
    let Some(Ok(Rule::Open(opened))) = read(command) else {
        panic!("{command}: {:?}", read(command));
    };
    let found: Vec<String> = opened.ports.iter().map(ToString::to_string).collect();
    assert_eq!(found, ports, "{command}");
    assert_eq!(
        opened.remarks.len(),
        remarks,
        "{command}: {:?}",
        opened.remarks
    );
}

#[test]
fn the_usual_commands_are_grants() {
    let ssh = &["tcp/22"];
    for command in [
        "/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables -I INPUT 1 -s %IP%/32 -p tcp --dport=ssh -j ACCEPT",
        "/usr/sbin/iptables -w 5 -t filter -I TCP -s %IP% -p 6 -m tcp --dport 22 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
        "ip6tables -w -A INPUT --source %IP% --protocol tcp --syn -m state --state NEW --destination-port 22 -m comment --comment 'knock it' --jump ACCEPT",
        "sudo iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "nft add rule inet filter input ip saddr %IP% tcp dport 22 accept",
        "/usr/sbin/nft insert rule filter INPUT position 0 ip saddr %IP% tcp dport ssh ct state new counter accept",
        "nft 'add rule ip6 filter input index 2 ip6 saddr %IP% tcp dport { 22 } counter packets 0 bytes 0 accept comment \"a b\"'",
        "nft insert rule inet filter input meta l4proto tcp ip saddr %IP% th dport 22 ct state { new, established } accept",
        "ufw allow from %IP% to any port 22 proto tcp",
        "/usr/sbin/ufw --force insert 1 allow proto tcp from %IP% to any port 22 comment 'knocked'",
        "ufw prepend allow in from %IP% to any app OpenSSH",
        "/usr/sbin/knock_helper_ipt.sh -i -c INPUT -p tcp -d 22 -f %IP%",
        "/usr/local/sbin/knock_add -a -f %IP% -d 22 -mknocked",
    ] {
        opens(command, ssh, 0);
    }
    let several =
        "iptables -A INPUT -s %IP% -p tcp -m multiport --dports 80,443,8000:8002 -j ACCEPT";
    opens(
        several,
        &["tcp/80", "tcp/443", "tcp/8000", "tcp/8001", "tcp/8002"],
        0,
    );
    opens(
        "iptables -A INPUT -s %IP% -p udp --dport 51820 -j ACCEPT",
        &["udp/51820"],
        0,
    );
    opens(
        "ufw allow from %IP% to any port 22",
        &["tcp/22", "udp/22"],
        0,
    );
    opens(
        "nft add rule filter input ip saddr %IP% udp dport {53, 67-68} accept",
        &["udp/53", "udp/67", "udp/68"],
        0,
    );
}

#[test]
fn a_grant_that_is_something_else_than_the_command_says_so() {
    let ssh = &["tcp/22"];
    opens("iptables -A INPUT -p tcp --dport 22 -j ACCEPT", ssh, 1);
    opens("ufw allow 22/tcp", ssh, 1);
    opens("ufw allow OpenSSH", ssh, 1);
    opens("iptables -A INPUT -s %IP% --dport 22 -j ACCEPT", ssh, 1);
    opens(
        "iptables -A INPUT -i eth0 -d 192.0.2.1 -s %IP% -p tcp --dport 22 -j ACCEPT",
        ssh,
        1,
    );
    opens(
        "nft add rule inet filter input iifname eth0 ip saddr %IP% tcp dport 22 accept",
        ssh,
        1,
    );
}

#[test]
fn what_takes_a_rule_away_closes() {
    for command in [
        "/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables --delete INPUT 1",
        "iptables -w 5 -D INPUT -s %IP% -p tcp --dport 22 --jump=ACCEPT",
        "nft delete rule inet filter input handle 7",
        "nft delete element inet filter ok { %IP% }",
        "ufw delete allow from %IP% to any port 22",
        "ufw --force delete allow 22/tcp",
        "knock_helper_ipt.sh -x -f %IP% -d 22",
    ] {
        assert_eq!(read(command), Some(Ok(Rule::Close)), "{command}");
    }
}

#[test]
fn a_rule_with_a_word_that_is_not_understood_is_no_grant() {
    for command in [
        "iptables -A INPUT -s %IP% -p tcp --syn -j ACCEPT",
        "iptables -A INPUT -s %IP% -j ACCEPT",
        "iptables -A INPUT -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT",
        "iptables -A INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables -A INPUT -s %IP%/24 -p tcp --dport 22 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp --dport 22 -j DROP",
        "iptables -A INPUT -s %IP% -p tcp --dport 22",
        "iptables -A INPUT -s %IP% -p tcp --dport 0 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp --dport 1:65535 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp --dport 22 -m limit --limit 1/s -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp --dport 22 -m state --state ESTABLISHED -j ACCEPT",
        "iptables -A INPUT -s %IP% -p icmp -j ACCEPT",
        "iptables -A FORWARD -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables -t nat -A PREROUTING -s %IP% -p tcp --dport 22 -j REDIRECT",
        "iptables -P INPUT ACCEPT",
        "iptables -F",
        "iptables -A",
        "nft add element inet filter allowed { %IP% timeout 30s }",
        "nft add rule inet filter forward ip saddr %IP% tcp dport 22 accept",
        "nft add rule inet filter input ip saddr != %IP% tcp dport 22 accept",
        "nft add rule inet filter input ip saddr %IP% tcp dport != 22 accept",
        "nft add rule inet filter input ip saddr %IP% tcp dport 22 drop",
        "nft add rule inet filter input ip saddr %IP% accept",
        "nft add rule inet filter input ip saddr %IP% tcp dport { 22",
        "nft flush ruleset",
        "nft",
        "ufw allow from %IP%",
        "ufw disable",
        "ufw deny from %IP% to any port 22",
        "ufw route allow from %IP% to any port 22",
        "ufw limit from %IP% to any port 22",
        "knock_helper_ipt.sh -i -t -f %IP% -d 22",
        "firewall-cmd --add-port=22/tcp",
        "ipset add ok %IP%",
        // Told twice, both must hold, or the program refuses it.
        "iptables -A INPUT -s %IP% -p tcp --dport 22 -m multiport --dports 80,443 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp -p udp --dport 53 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p udp -m tcp --dport 22 -j ACCEPT",
        "iptables -A INPUT -s %IP% -p tcp --dport 22,80 -j ACCEPT",
        "iptables -A INPUT -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "nft add rule inet filter input ip saddr %IP% ip protocol udp tcp dport 22 accept",
        "nft add rule inet filter input meta l4proto udp meta l4proto tcp ip saddr %IP% th dport 22 accept",
        "nft add rule ip6 filter input ip saddr %IP% tcp dport 22 accept",
        "ufw allow from %IP% to any port 22 port 80",
        "ufw allow from %IP% to any port 22,80",
        "ufw allow from %IP% to any port 22 proto tcp proto udp",
        "ufw allow from %IP% to any app OpenSSH proto udp",
        "knock_helper_ipt.sh -i -f %IP% -d 22,80",
        // Another port than one of this host.
        "ufw allow from %IP% port 22",
        "ufw allow from %IP% proto tcp port 22",
        "ufw allow to any from %IP% app OpenSSH",
        "ufw allow from %IP% to any port ssh",
        // Chains and tables of others, whatever they are called.
        "iptables -I DOCKER-USER -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables -A ufw-before-forward -s %IP% -p tcp --dport 22 -j ACCEPT",
        "iptables -A lan_fwd -s %IP% -p tcp --dport 22 -j ACCEPT",
        "nft add rule ip nat input ip saddr %IP% tcp dport 22 accept",
        "knock_helper_ipt.sh -i -c FORWARD -f %IP% -d 22",
        // More than one rule, or none.
        "nft 'add rule inet filter input ip saddr %IP% tcp dport 22 accept comment \"x\"; flush ruleset'",
        "nft 'add rule inet filter input ip saddr %IP% tcp dport 22 accept comment \"x; flush ruleset'",
        "nft -c add rule inet filter input ip saddr %IP% tcp dport 22 accept",
        "sudo -u nobody iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "/usr/bin/env PATH=/sbin iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "/bin/sh -c /usr/sbin/nft",
        // What kept out is taken away.
        "iptables -D INPUT -p tcp --dport 22 -j DROP",
        "iptables -w -D INPUT -p tcp --dport 22 --jump=REJECT",
        "ufw delete deny 22/tcp",
        "nft delete table inet filter",
    ] {
        let said = read(command);
        assert!(matches!(said, Some(Err(_))), "{command}: {said:?}");
    }
    for other in [
        "/usr/bin/env A=b /usr/bin/etherwake 00:11:22:33:44:55",
        "/usr/bin/etherwake 00:11:22:33:44:55",
        "A=/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "bin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
    ] {
        assert_eq!(read(other), None, "{other}");
    }
}

#[test]
fn each_program_opens_over_the_ip_whose_addresses_it_takes() {
    let of = |command: &str| match read(command) {
        Some(Ok(Rule::Open(opened))) => (opened.families.ipv4, opened.families.ipv6),
        other => panic!("{command}: {other:?}"),
    };
    for (command, over) in [
        (
            "iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            (true, false),
        ),
        (
            "ip6tables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
            (false, true),
        ),
        (
            "nft add rule filter input ip saddr %IP% tcp dport 22 accept",
            (true, false),
        ),
        (
            "nft add rule inet filter input ip saddr %IP% tcp dport 22 accept",
            (true, false),
        ),
        (
            "nft add rule inet filter input ip6 saddr %IP% tcp dport 22 accept",
            (false, true),
        ),
        (
            "nft add rule inet filter input meta nfproto ipv6 tcp dport 22 accept",
            (false, true),
        ),
        (
            "nft add rule inet filter input tcp dport 22 accept",
            (true, true),
        ),
        ("ufw allow from %IP% to any port 22 proto tcp", (true, true)),
        ("knock_helper_ipt.sh -i -f %IP% -d 22", (true, false)),
    ] {
        assert_eq!(of(command), over, "{command}");
    }
}
