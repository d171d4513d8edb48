//! Rulesets as `nft -j list ruleset` prints them, and what closed ports answer there.

use super::*;
use spa_proto::Protocol;

fn read(json: &str, outside: Option<&str>) -> ClosedPorts {
    closed_ports(&serde_json::from_str(json).unwrap(), outside)
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name, ".json"))
    };
}

/// The answers to TCP, UDP and SCTP, new and invalid, over both families.
fn rows(found: &ClosedPorts) -> Vec<[Reply; 2]> {
    let mut rows = Vec::new();
    for family in Family::BOTH {
        for protocol in Protocol::ALL {
            rows.push(State::BOTH.map(|state| {
                found.answers.to(Kind {
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
        assert_eq!(rows(&found), expected, "{name}: {found:?}");
        assert_eq!(found.decided_by.as_deref().unwrap_or(""), by, "{name}");
        let told = ["ufw", "iptables"].contains(&name);
        assert_eq!(found.doubts.is_empty(), !told, "{name}: {:?}", found.doubts);
    }
}

#[test]
fn where_interfaces_differ_the_outside_one_counts_and_it_is_said() {
    let json = fixture!("by_interface");
    let four = |found: &ClosedPorts| rows(found)[..3].to_vec();
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
    assert_eq!(read(&json, None), ClosedPorts::of_the_kernel());
}

#[test]
fn what_is_not_understood_is_said_and_changes_nothing() {
    let rule = |words: &str| {
        format!(
            r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": [{words}]}}}}]}}"#
        )
    };
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
        let found = read(&rule(words), None);
        assert_eq!(found.answers, Answers::all(Closed), "{words}");
        assert_eq!(found.doubts.len(), doubts, "{words}: {:?}", found.doubts);
    }
    let odd = [
        Value::Null,
        serde_json::json!({"nftables": [{"chain": {"hook": 7}}, {"rule": {"expr": 1}}]}),
    ];
    for odd in odd {
        assert_eq!(closed_ports(&odd, None), ClosedPorts::of_the_kernel());
    }
}
