//! A gateway's table as data.

use super::tests::{config_from, host_facts};
use super::*;

const SERVICES: &str = "hide = [\"ssh\", \"nas\"]\n[services]\nssh = \"tcp/22\"\n\
    nas = { ports = [\"tcp/2222\"], to = [\"10.0.0.5:22\", \"[2001:db8::5]:22\"], masquerade = true }\n\
    games = { ports = [\"udp/4000\"], to = \"10.0.0.6\" }\n";

fn table(standings: &[(&str, PortState)]) -> Table {
    let standings = standings
        .iter()
        .map(|(port, standing)| (port.parse().unwrap(), *standing))
        .collect();
    let allowed = vec![
        AlwaysAllow::Interface("wg0".to_owned()),
        AlwaysAllow::Network("192.0.2.0/24".parse().unwrap()),
    ];
    Table::new(
        &config_from(SERVICES, Answer::RejectAsClosed, allowed),
        &standings,
        &host_facts(None),
    )
}

/// The gateway's part as people read it. A change here is a change of what the kernel does.
#[test]
fn the_gateways_chains_are_those_that_were_tried() {
    let table = table(&[
        ("tcp/22", PortState::Hidden),
        ("tcp/2222", PortState::Hidden),
    ]);
    let text = table.text().unwrap();
    let part = |from: &str| &text[text.find(from).unwrap()..];
    let chains = part("\tchain dnat_granted");
    let sets = part("\tset inner_hidden4").split("\tchain").next().unwrap();
    let expected = include_str!("gateway.nft");
    assert_eq!(format!("{sets}{chains}"), expected, "\n{sets}{chains}");
}

#[test]
fn an_inner_port_stands_as_the_port_that_leads_there() {
    let inner = |standings: &[(&str, PortState)]| table(standings).inner.unwrap();
    let rest = Duration::from_secs(60);
    assert!(inner(&[("tcp/2222", PortState::Exposed)]).is_empty());
    let on_trial = inner(&[("tcp/2222", PortState::OnTrial(rest))]);
    assert_eq!(on_trial.into_values().collect::<Vec<_>>(), [Some(rest); 2]);
    let hidden = inner(&[("tcp/2222", PortState::Hidden)]);
    assert_eq!(hidden.into_values().collect::<Vec<_>>(), [None; 2]);
}

#[test]
fn of_two_ports_that_lead_to_one_the_least_open_decides() {
    let forward = |outer: &str| spad_config::Forward {
        outer: outer.parse().unwrap(),
        address: [10, 0, 0, 5].into(),
        inner: "tcp/22".parse().unwrap(),
        hidden: true,
        masquerade: false,
    };
    let forwards = [forward("tcp/2222"), forward("tcp/2223")];
    let merged = |one, other| {
        let outer = ["tcp/2222".parse().unwrap(), "tcp/2223".parse().unwrap()];
        let outer = outer.into_iter().zip([one, other]).collect();
        gateway::hidden_inner(&forwards, &outer)
            .into_values()
            .next()
    };
    let seconds = |count| Some(Duration::from_secs(count));
    assert_eq!(merged(None, seconds(5)), Some(None));
    assert_eq!(merged(seconds(5), None), Some(None));
    assert_eq!(merged(seconds(5), seconds(9)), Some(seconds(9)));
}

#[test]
fn a_machine_that_leads_nowhere_has_nothing_of_a_gateway() {
    let config = config_from("[services]\nssh = \"tcp/22\"\n", Answer::Drop, Vec::new());
    let table = Table::new(&config, &BTreeMap::new(), &host_facts(None));
    assert_eq!(table.sets(), SetName::ALL);
    let text = table.text().unwrap();
    assert!(!text.contains("type nat") && !text.contains("inner"));
}
