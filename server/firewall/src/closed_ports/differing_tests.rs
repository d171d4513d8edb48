//! Rulesets by which strangers tell hidden ports from closed ones, or closed ones from others.

use Reply::Closed;
use spad_config::Answer;

use super::tests::{chain, read_chains};
use super::*;

/// The rules of a chain by which answers leave.
fn with_output(policy: &str, rules: &[&str]) -> ClosedPorts {
    let mut out = chain("out", "output", 0, rules);
    out[0] = out[0].replace(r#""policy": "accept""#, &format!(r#""policy": "{policy}""#));
    read_chains(&[out])
}

#[test]
fn rules_that_let_out_one_reset_and_not_the_other_are_named() {
    let state = |states: &str, verdict: &str| {
        format!(
            r#"{{"match": {{"op": "in", "left": {{"ct": {{"key": "state"}}}}, "right": {states}}}}}, {{"{verdict}": null}}"#
        )
    };
    let xt = |name: &str, verdict: &str| {
        format!(r#"{{"xt": {{"type": "match", "name": "{name}"}}}}, {{"{verdict}": null}}"#)
    };
    let flags = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": "rst"}}"#;
    let rst = r#"{"match": {"op": "in", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": "rst"}}"#;
    let unknown = r#"{"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 7}}"#;
    let both = r#"["established", "related"]"#;
    for (policy, rules, expected) in [
        ("accept", vec![], None),
        ("drop", vec![], None),
        (
            "drop",
            vec![state(r#""established""#, "accept")],
            Some("can"),
        ),
        ("drop", vec![state(both, "accept")], None),
        ("accept", vec![state(r#""related""#, "drop")], Some("can")),
        (
            "accept",
            vec![format!("{rst}, {}", state(r#""related""#, "drop"))],
            Some("can"),
        ),
        // It is a reset that acknowledges: no other flag alone.
        (
            "accept",
            vec![format!("{flags}, {}", state(r#""related""#, "drop"))],
            None,
        ),
        ("accept", vec![state(r#"["new", "invalid"]"#, "drop")], None),
        // What is not understood is the same for both.
        (
            "drop",
            vec![format!(r#"{unknown}, {{"accept": null}}"#)],
            None,
        ),
        (
            "drop",
            vec![format!(
                "{unknown}, {}",
                state(r#""established""#, "accept")
            )],
            Some("may"),
        ),
        // nftables does not show which states iptables asks for.
        ("drop", vec![xt("conntrack", "accept")], Some("may")),
        ("accept", vec![xt("conntrack", "accept")], None),
        ("drop", vec![xt("owner", "accept")], None),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let found = with_output(policy, &rules);
        assert_eq!(found.answers, Answers::all(Closed), "{rules:?}");
        assert!(found.doubts.is_empty(), "{rules:?}: {:?}", found.doubts);
        let told = found.describe(Answer::Auto);
        let told = told.lines().nth(1);
        let is_named = told.is_none_or(|line| line.contains("the chain inet t out "));
        assert!(is_named, "{told:?}");
        let report = told.map(|line| {
            if line.contains(" may tell ") {
                "may"
            } else {
                "can"
            }
        });
        assert_eq!(report, expected, "{policy} {rules:?}: {told:?}");
        assert_eq!(found.describe(Answer::Drop).lines().count(), 2);
    }
    // Where the host's own rules answer, theirs are related too.
    let mut chains = vec![chain(
        "in",
        "input",
        0,
        &[r#"{"reject": {"type": "tcp reset"}}"#],
    )];
    let drop = state(r#""related""#, "drop");
    chains.push(chain("out", "output", 0, &[&drop]));
    assert_eq!(read_chains(&chains).differences, BTreeSet::new());
}

#[test]
fn closed_ports_that_differ_by_their_number_are_named_with_the_chain() {
    let ports = |op: &str, right: &str, verdict: &str| {
        format!(
            r#"{{"match": {{"op": "{op}", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {right}}}}}, {{"{verdict}": null}}"#
        )
    };
    let range = |from: u16, to: u16| format!(r#"{{"range": [{from}, {to}]}}"#);
    let accept = ports("==", &range(1025, 65535), "accept");
    for (rules, expected) in [
        (
            vec![ports("==", &range(8000, 8999), "reject")],
            Some("8000-8999"),
        ),
        (
            vec![ports(
                "==",
                &format!(r#"{{"set": [25, {}]}}"#, range(8000, 8999)),
                "drop",
            )],
            Some("8000-8999"),
        ),
        (
            vec![ports("!=", &range(8000, 8999), "drop")],
            Some("8000-8999"),
        ),
        (
            vec![accept.clone(), r#"{"drop": null}"#.to_owned()],
            Some("1025-65535"),
        ),
        (vec![accept], None),
        (vec![ports("==", &range(8000, 8999), "accept")], None),
        // Those of services, one by one, are no closed ports.
        (
            vec![
                ports("==", r#"{"set": [80, 443]}"#, "accept"),
                r#"{"drop": null}"#.to_owned(),
            ],
            None,
        ),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let found = read_chains(&[chain("in", "input", 0, &rules)]);
        let told: Vec<&String> = found.doubts.iter().collect();
        let range = expected.map(|range| {
            format!(
                "the tcp ports {range} are answered otherwise than others, by the chain inet t in"
            )
        });
        match range {
            None => assert!(told.is_empty(), "{rules:?}: {told:?}"),
            Some(range) => {
                assert_eq!(told.len(), 1, "{told:?}");
                assert!(told[0].starts_with(&range), "{told:?}");
            }
        }
    }
    let many: Vec<String> = (1000..1100)
        .map(|from| ports("==", &range(from * 10, from * 10 + 5), "accept"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let found = read_chains(&[chain("in", "input", 0, &many)]);
    assert!(
        format!("{:?}", found.doubts).contains("100 ranges"),
        "{found:?}"
    );
}
