//! The commands that are loaded, against files: one command a line.

use std::num::NonZeroU16;

use super::tests::{config_from, host_facts};
use super::*;
use spad_config::{Config, Mode};

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

fn connection(address: &str, port: &str) -> Element {
    Element {
        address: address.parse().unwrap(),
        service: port.parse().unwrap(),
        source_port: NonZeroU16::new(4000),
        once: false,
        prefix: None,
    }
}

/// One command a line; flags of a lookup in the routing table have no order.
fn lines(transaction: Value) -> String {
    fn sort_flags(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(sort_flags),
            Value::Object(fields) => {
                if let Some(Value::Array(flags)) = fields.get_mut("flags") {
                    flags.sort_by_key(ToString::to_string);
                }
                fields.values_mut().for_each(sort_flags);
            }
            _ => {}
        }
    }
    let mut commands = transaction;
    sort_flags(&mut commands);
    let commands = commands["nftables"].as_array().unwrap();
    commands.iter().map(|one| format!("{one}\n")).collect()
}

fn compare(name: &str, found: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/firewall/table/fixtures");
    if std::env::var_os("SPAD_WRITE_FIXTURES").is_some() {
        std::fs::write(path.join(name), found).unwrap();
    }
    let expected = std::fs::read_to_string(path.join(name)).unwrap();
    assert!(found == expected, "{name} differs");
}

#[test]
fn the_commands_that_are_loaded_are_those_that_were_tried() {
    let facts = host_facts(Some(7));
    let sets = table(Answer::RejectAsClosed, &facts).sets();
    compare(
        "closed.jsonl",
        &lines(table(Answer::RejectAsClosed, &facts).transaction(&sets)),
    );
    let settling = table(Answer::Drop, &facts)
        .with_existing_connections(vec![
            connection("192.0.2.7", "tcp/22"),
            connection("2001:db8::7", "udp/53"),
        ])
        .settling();
    compare("settling.jsonl", &lines(settling.transaction(&[])));
    let mixed = HostFacts {
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
    let mixed = table(Answer::Auto, &mixed);
    compare("mixed.jsonl", &lines(mixed.transaction(&sets)));
    compare("mixed.nft", &mixed.text().unwrap());
    compare("removal.jsonl", &lines(removal()));
}

#[test]
fn the_snippet_is_the_one_that_was_tried() {
    let mut config = config(Answer::Drop);
    config.guard.mode = Mode::Set("filter".to_owned());
    compare("snippet.nft", &snippet::nftables(&config).unwrap());
}
