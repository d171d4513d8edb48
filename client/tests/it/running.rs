//! `spa run` asks for a command once, and claims nothing.

use spa_proto::Request;

use crate::common::{Client, socket};

#[test]
fn a_command_is_asked_for_once_whatever_the_number_of_addresses() {
    let client = Client::new();
    // A name with an address of each family; both knock ports listen.
    let other = socket(&format!("[::1]:{}", client.port()));
    client.host("gw", "localhost", "");
    let run = client.spa(["run", "gw", "backup"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains("gw: sent to "), "{run:?}");
    let mut packets = client.received();
    packets.extend(crate::common::received(&other));
    assert_eq!(packets.len(), 1, "a second packet would run it twice");
    let opened = client.opened(&packets[0]);
    let Request::Run { command } = opened.request() else {
        panic!("{opened:?}");
    };
    assert_eq!(command.as_str(), "backup");
}

#[test]
fn a_command_that_cannot_be_named_is_refused_before_anything_is_sent() {
    let client = Client::with_host("");
    for (words, expected) in [
        (["run", "gw", "rm -rf /"], "`[commands]`"),
        (["run", "gw:ssh", "backup"], "not by a service"),
    ] {
        let run = client.spa(words);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(expected), "{run:?}");
    }
    assert!(client.received().is_empty());
}
