//! The table as data: what it says, and that nothing else was meant.

use spad_config::{Guard, Mode};
use spad_model::{Network, PrefixLengths};

use super::*;

fn config(answer: Answer, allowed: Vec<AlwaysAllow>) -> Config {
    let text = "hide = [\"ssh\"]\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";
    config_from(text, answer, allowed)
}

pub(super) fn config_from(text: &str, answer: Answer, allowed: Vec<AlwaysAllow>) -> Config {
    let directory = std::path::Path::new("/nowhere");
    let mut files = spad_config::Files::empty(directory);
    files.server = Some(spa_findings::Source::new(
        &directory.join("spad.toml"),
        text.to_owned(),
    ));
    let now = spa_proto::Timestamp::from_micros(0);
    let loaded = spad_config::check(&files, now).unwrap();
    let trial = Duration::from_secs(600);
    Config {
        guard: Guard {
            mode: Mode::Guard,
            always_allow: allowed,
            answer,
            trial,
        },
        prefix_lengths: PrefixLengths {
            ipv4: [16, 24].into(),
            ipv6: [48, 56, 64].into(),
        },
        ..loaded.config
    }
}

pub(super) fn host_facts(flow_label_seed: Option<u32>) -> HostFacts {
    HostFacts {
        flow_label_seed,
        labels: true,
        closed_ports: Answers::all(Reply::Nothing),
    }
}

fn port_states() -> BTreeMap<Service, PortState> {
    BTreeMap::from([
        ("tcp/22".parse().unwrap(), PortState::Hidden),
        (
            "udp/51820".parse().unwrap(),
            PortState::OnTrial(Duration::from_millis(59_001)),
        ),
        ("tcp/80".parse().unwrap(), PortState::Exposed),
    ])
}

fn table(answer: Answer) -> Table {
    let network: Network = "192.0.2.0/24".parse().unwrap();
    let allowed = vec![
        AlwaysAllow::Interface("lo".to_owned()),
        AlwaysAllow::Interface("wg0".to_owned()),
        AlwaysAllow::Network(network),
    ];
    let surroundings = host_facts(Some(7));
    Table::new(&config(answer, allowed), &port_states(), &surroundings)
}

/// The whole table as people read it. A change here is a change of what the kernel does.
#[test]
fn the_table_is_the_one_that_was_tried() {
    let expected = include_str!("snapshot.nft");
    let text = table(Answer::RejectAsClosed).text().unwrap();
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn strangers_get_nothing_where_the_host_answers_nothing() {
    let text = table(Answer::Drop).text().unwrap();
    let strangers = text.split("\tchain reject_ungranted {").nth(1).unwrap();
    let strangers = strangers.split("\t}\n").next().unwrap();
    assert!(!strangers.contains("reject"));
    assert!(strangers.ends_with("\t\tdrop\n") && !text.contains("jhash"));
}

#[test]
fn where_nothing_else_is_asked_for_strangers_get_what_closed_ports_answer() {
    let rules = |answer| {
        let text = table(answer).text().unwrap();
        let chain = text
            .split("\tchain reject_ungranted {")
            .nth(1)
            .unwrap()
            .to_owned();
        chain.split("\t}\n").next().unwrap().to_owned()
    };
    assert_eq!(rules(Answer::Auto), rules(Answer::Drop));
    assert_ne!(rules(Answer::Auto), rules(Answer::RejectAsClosed));
    assert!(rules(Answer::Prohibited).contains("reject with icmpx admin-prohibited"));
}

#[test]
fn related_connections_are_never_let_in() {
    assert!(
        !table(Answer::RejectAsClosed)
            .transaction(&SetName::ALL)
            .to_string()
            .contains("related")
    );
}

#[test]
fn a_port_on_trial_has_a_timeout_and_one_shown_again_is_not_hidden() {
    let table = table(Answer::RejectAsClosed);
    let transaction = table.transaction(&SetName::ALL).to_string();
    assert!(
        transaction.contains(r#"{"timeout":60,"val":{"concat":["udp",51820]}}"#),
        "{transaction}"
    );
    assert!(transaction.contains(r#"{"concat":["tcp",22]}"#));
    assert!(!transaction.contains(r#"["tcp",80]"#));
}

#[test]
fn loading_never_flushes_a_set_of_grants() {
    let transaction = table(Answer::RejectAsClosed).transaction(&SetName::ALL);
    let commands = transaction["nftables"].as_array().unwrap();
    for command in commands {
        if let Some(flushed) = command.get("flush") {
            assert!(flushed.get("table").is_none() && flushed.get("ruleset").is_none());
            if let Some(set) = flushed.get("set") {
                assert!(["hidden", "trial"].contains(&set["name"].as_str().unwrap()));
            }
        }
        assert!(command.get("delete").is_none());
    }
}
