//! The texts that people see, against files.

use spad_config::{Config, Mode};

use super::tests::config_from;
use super::*;

const SERVICES: &str = "hide = [\"ssh\", \"nas\"]\n[services]\nssh = \"tcp/22\"\n\
    dns = \"udp/53\"\n\
    nas = { ports = [\"tcp/2222\"], to = [\"10.0.0.5:22\", \"[2001:db8::5]:22\"], masquerade = true }\n\
    games = { ports = [\"udp/4000\"], to = \"10.0.0.6\" }\n\
    [listen]\nport = [62201, \"62300-62310\"]\n";

fn config(answer: Answer) -> Config {
    let allowed = vec![
        AlwaysAllow::Interface("wg0".to_owned()),
        AlwaysAllow::Network("192.0.2.0/24".parse().unwrap()),
        AlwaysAllow::Network("2001:db8:1::/48".parse().unwrap()),
    ];
    config_from(SERVICES, answer, allowed)
}

fn table(answer: Answer, facts: &HostFacts) -> Table {
    let rest = Duration::from_secs(60);
    let states = [
        ("tcp/22", PortState::Hidden),
        ("udp/53", PortState::OnTrial(rest)),
        ("tcp/2222", PortState::Hidden),
    ];
    let states = states.map(|(port, state)| (port.parse().unwrap(), state));
    Table::new(&config(answer), &states.into(), facts)
}

/// The answers of a host whose closed ports differ by packet, on a kernel without labels.
#[test]
fn a_host_with_mixed_answers_gets_the_table_that_was_tried() {
    let facts = HostFacts {
        flow_label_seed: None,
        labels: false,
        closed_ports: Answers::from_each(|kind| match (kind.state, kind.family, kind.protocol) {
            (answers::State::Invalid, _, _) => Reply::Nothing,
            (_, answers::Family::Four, Protocol::Udp) => Reply::Error("host-prohibited"),
            (_, answers::Family::Six, Protocol::Udp) => Reply::PROHIBITED,
            (_, answers::Family::Six, Protocol::Tcp) => Reply::Reset,
            _ => Reply::Closed,
        }),
    };
    let text = table(Answer::Auto, &facts).text().unwrap();
    assert_eq!(text, include_str!("mixed.nft"), "\n{text}");
}

#[test]
fn the_snippet_is_the_one_that_was_tried() {
    let mut config = config(Answer::Drop);
    config.guard.mode = Mode::Set("filter".to_owned());
    let text = snippet::nftables(&config).unwrap();
    assert_eq!(text, include_str!("snippet.nft"), "\n{text}");
}
