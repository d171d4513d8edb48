//! Rulesets as `nft -j list ruleset` prints them, and what closed ports answer there.

use spa_proto::Protocol;
use spad_config::Answer;

use super::*;

fn read(json: &str, outside: Option<&str>) -> ClosedPorts {
    closed_ports(&serde_json::from_str(json).unwrap(), outside)
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name, ".json"))
    };
}

/// The answers to TCP, UDP and SCTP, new and invalid, over both families.
fn replies(found: &ClosedPorts) -> Vec<[Reply; 2]> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in Protocol::ALL {
            rows.push(State::BOTH.map(|state| {
                found.answers.reply_to(PacketKind {
                    family,
                    protocol,
                    state,
                })
            }));
        }
    }
    rows
}

use Reply::{Closed, Nothing, Reset};

const PROHIBITED: Reply = Reply::PROHIBITED;

#[test]
fn each_host_answers_as_its_rules_say() {
    let port = Reply::Error("port-unreachable");
    let all = |new, invalid| vec![[new, invalid]; 6];
    let resetting = vec![[Reset, Nothing], [port, Nothing], [port, Nothing]];
    let legacy_reject = vec![
        [port; 2],
        [port; 2],
        [port; 2],
        [Closed; 2],
        [Closed; 2],
        [Closed; 2],
    ];
    for (name, json, outside, expected, by) in [
        ("none", fixture!("none"), None, all(Closed, Closed), ""),
        (
            "dropping",
            fixture!("dropping"),
            None,
            all(Nothing, Nothing),
            "inet user in",
        ),
        (
            "rejecting",
            fixture!("rejecting"),
            None,
            all(PROHIBITED, Nothing),
            "inet user in",
        ),
        (
            "invalid dropped",
            fixture!("invalid_dropped"),
            None,
            all(Closed, Nothing),
            "",
        ),
        (
            "resetting",
            fixture!("resetting"),
            None,
            [resetting.clone(), resetting].concat(),
            "inet user in",
        ),
        (
            "Debian",
            fixture!("debian_workstation"),
            None,
            all(Nothing, Nothing),
            "inet filter input",
        ),
        (
            "firewalld",
            fixture!("firewalld"),
            Some("eth0"),
            all(PROHIBITED, Nothing),
            "inet firewalld filter_INPUT",
        ),
        (
            "fail2ban",
            fixture!("fail2ban"),
            None,
            all(Closed, Closed),
            "",
        ),
        ("Docker", fixture!("docker"), None, all(Closed, Closed), ""),
        (
            "ufw",
            fixture!("ufw"),
            None,
            all(Nothing, Nothing),
            "ip filter INPUT",
        ),
        (
            "iptables",
            fixture!("iptables_reject"),
            None,
            legacy_reject,
            "ip filter INPUT",
        ),
    ] {
        let found = read(json, outside);
        assert_eq!(replies(&found), expected, "{name}: {found:?}");
        assert_eq!(found.decided_by.as_deref().unwrap_or(""), by, "{name}");
        let told = ["ufw", "iptables"].contains(&name);
        assert_eq!(found.doubts.is_empty(), !told, "{name}: {:?}", found.doubts);
    }
}

#[test]
fn where_interfaces_differ_the_outside_one_counts_and_it_is_said() {
    let json = fixture!("by_interface");
    let four = |found: &ClosedPorts| replies(found)[..3].to_vec();
    let outside = read(json, Some("wan0"));
    assert_eq!(
        four(&outside),
        [[Reset, Nothing], [Nothing; 2], [Nothing; 2]]
    );
    let doubts = format!("{:?}", outside.doubts);
    assert!(
        doubts.contains("by lan0") && doubts.contains("by wan0"),
        "{doubts}"
    );
    let inside = read(json, Some("lan0"));
    assert_eq!(four(&inside), vec![[Closed; 2]; 3]);
}

#[test]
fn our_own_table_is_no_firewall_of_the_hosts() {
    let json = fixture!("rejecting").replace("\"user\"", "\"spad\"");
    assert_eq!(read(&json, None), ClosedPorts::kernel_default());
}

/// A base chain of the table `t`, with this hook and priority, whose rules are these.
pub(super) fn chain(name: &str, hook: &str, priority: i64, rules: &[&str]) -> Vec<String> {
    let chain = format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "{name}", "type": "filter", "hook": "{hook}", "prio": {priority}, "policy": "accept"}}}}"#
    );
    let rules = rules.iter().map(|words| {
        format!(
            r#"{{"rule": {{"family": "inet", "table": "t", "chain": "{name}", "expr": [{words}]}}}}"#
        )
    });
    std::iter::once(chain).chain(rules).collect()
}

pub(super) fn read_chains(chains: &[Vec<String>]) -> ClosedPorts {
    let json = format!(r#"{{"nftables": [{}]}}"#, chains.concat().join(", "));
    read(&json, None)
}

#[test]
fn chains_are_passed_in_the_kernels_order_and_those_before_routing_first() {
    const DROP: &str = r#"{"drop": null}"#;
    const REJECT: &str = r#"{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}"#;
    for (chains, expected, by) in [
        // As a list of bans that is looked at before everything else.
        (vec![("pre", "prerouting", 0, DROP)], Nothing, "inet t pre"),
        (
            vec![
                ("late", "input", 10, REJECT),
                ("early", "input", 0, DROP),
                ("out", "output", -10, REJECT),
            ],
            Nothing,
            "inet t early",
        ),
        (
            vec![
                ("in", "input", -300, REJECT),
                ("pre", "prerouting", 300, DROP),
            ],
            Nothing,
            "inet t pre",
        ),
    ] {
        let chains: Vec<_> = chains
            .into_iter()
            .map(|(name, hook, priority, words)| chain(name, hook, priority, &[words]))
            .collect();
        let found = read_chains(&chains);
        assert_eq!(found.answers, Answers::all(expected), "{chains:?}");
        assert_eq!(found.decided_by.as_deref(), Some(by));
    }
}

#[test]
fn each_word_of_a_rule_does_what_it_does_in_the_kernel() {
    let decide = |rules: &[&str]| {
        let mut chains = vec![chain("in", "input", 0, rules)];
        let other = [r#"{"return": null}"#];
        chains.push(chain("other", "output", 0, &other));
        let found = read_chains(&chains);
        assert!(found.doubts.is_empty(), "{rules:?}: {:?}", found.doubts);
        replies(&found)
    };
    let drop = r#"{"drop": null}"#;
    // Over a limit nobody is by one packet.
    let rate_exceeded = r#"{"limit": {"rate": 5, "per": "second", "inv": true}}, {"drop": null}"#;
    assert_eq!(decide(&[rate_exceeded]), [[Closed; 2]; 6]);
    let within = r#"{"limit": {"rate": 5, "per": "second"}}, {"drop": null}"#;
    assert_eq!(decide(&[within]), [[Nothing; 2]; 6]);
    // Whoever is jumped from comes back, whoever goes does not.
    let to = |verdict: &str| format!(r#"{{"{verdict}": {{"target": "other"}}}}"#);
    assert_eq!(decide(&[&to("jump"), drop]), [[Nothing; 2]; 6]);
    assert_eq!(decide(&[&to("goto"), drop]), [[Closed; 2]; 6]);
    // A reset answers TCP, and passes over everything else.
    let reset = r#"{"reject": {"type": "tcp reset"}}"#;
    let [tcp, other] = [[Reset; 2], [Nothing; 2]];
    assert_eq!(
        decide(&[reset, drop]),
        [tcp, other, other, tcp, other, other]
    );
    // A stranger is in no list of the administrator's.
    for (op, expected) in [("==", Closed), ("!=", Nothing)] {
        let banned = format!(
            r#"{{"match": {{"op": "{op}", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "right": "@banned"}}}}, {{"drop": null}}"#
        );
        assert_eq!(decide(&[&banned])[..3], [[expected; 2]; 3], "{op}");
    }
}

#[test]
fn a_ufw_that_allows_the_rest_drops_nothing_that_is_for_this_host() {
    let json = fixture!("ufw").replace(r#""policy": "drop""#, r#""policy": "accept""#);
    assert!(!json.contains(r#""policy": "drop""#));
    assert_ne!(json, fixture!("ufw"));
    let found = read(&json, None);
    assert_eq!(replies(&found), [[Closed; 2]; 6], "{found:?}");
}

#[test]
fn what_is_not_understood_is_said_and_changes_nothing() {
    for (words, doubts) in [
        (
            r#"{"match": {"op": "==", "left": {"osf": {}}, "right": "Linux"}}, {"drop": null}"#,
            1,
        ),
        (
            r#"{"match": {"op": "<", "left": {"payload": {"protocol": "ip", "field": "ttl"}}, "right": 5}}, {"drop": null}"#,
            1,
        ),
        (r#"{"jump": {"target": "c"}}"#, 0),
        (r#"{"queue": null}"#, 1),
        (r#"{"match": 7}, {"drop": null}"#, 1),
        ("7, null, [], {}", 0),
    ] {
        let found = read_chains(&[chain("c", "input", 0, &[words])]);
        assert_eq!(found.answers, Answers::all(Closed), "{words}");
        assert_eq!(found.doubts.len(), doubts, "{words}: {:?}", found.doubts);
    }
    let odd = [
        Value::Null,
        serde_json::json!({"nftables": [{"chain": {"hook": 7}}, {"rule": {"expr": 1}}]}),
    ];
    for odd in odd {
        assert_eq!(closed_ports(&odd, None), ClosedPorts::kernel_default());
    }
}

#[test]
fn a_ruleset_that_cannot_be_read_changes_no_answer_that_was_found() {
    let unread = ClosedPorts::unreadable("why");
    assert_eq!(unread.clone().or_last(None).answers, Answers::all(Nothing));
    assert_eq!(
        unread.describe(Answer::Auto),
        "nothing, whatever the packet\nit cannot be told for sure: the ruleset cannot be read: why"
    );
    assert_eq!(unread.describe(Answer::RejectAsClosed).lines().count(), 2);
    let found = read(fixture!("rejecting"), None);
    let after = unread.or_last(Some(found.clone()));
    assert_eq!(after.answers, found.answers);
    assert_eq!(after.doubts.len(), 1);
    assert_eq!(found.clone().or_last(Some(after)), found);
}
