//! `--for stun:` believes the asked server's answer to this question, and no other.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use spa_proto::Request;

use crate::common::{Client, Run, ip, socket};

/// The Binding success response with this transaction id: 203.0.113.9, port 4.
fn success_response(transaction: &[u8]) -> Vec<u8> {
    let head = [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    let address = [203 ^ 0x21, 0x12, 113 ^ 0xa4, 9 ^ 0x42];
    let attribute = [0, 0x20, 0, 8, 0, 1, 0x21, 4 ^ 0x12];
    [&head[..], transaction, &attribute, &address].concat()
}

/// Runs `spa open` with a STUN server that does this with each request.
fn open_via_stun(
    client: &Client,
    times: usize,
    serve: impl Fn(usize, &UdpSocket, &[u8], SocketAddr) + Send + 'static,
) -> Run {
    let stun = socket("127.0.0.1:0");
    let server = format!("stun:{}", stun.local_addr().unwrap());
    let serving = thread::spawn(move || {
        stun.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = [0; 1500];
        for turn in 0..times {
            let (length, from) = stun.recv_from(&mut bytes).unwrap();
            assert_eq!(length, 20, "a bare Binding request");
            assert_eq!(bytes[..8], [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            serve(turn, &stun, &bytes[8..20], from);
        }
    });
    let run = client.spa(["open", "gw", "--no-wait", "--for", &server]);
    serving.join().unwrap();
    run
}

#[track_caller]
fn assert_stated(client: &Client, expected: &str) {
    let packets = client.received();
    assert_eq!(packets.len(), 1);
    let opened = client.opened(&packets[0]);
    let Request::Open(open) = opened.request() else {
        panic!("{opened:?}");
    };
    let stated: Vec<_> = open.addresses.iter().collect();
    assert_eq!(stated, [ip(expected)]);
}

#[test]
fn what_the_server_sees_is_stated() {
    let client = Client::with_host("");
    let run = open_via_stun(&client, 1, |_, stun, id, from| {
        stun.send_to(&success_response(id), from).unwrap();
    });
    assert_eq!(run.code, 0, "{run:?}");
    assert_stated(&client, "203.0.113.9");
}

#[test]
fn answers_to_other_questions_and_from_elsewhere_are_passed_over() {
    let client = Client::with_host("");
    let run = open_via_stun(&client, 1, |_, stun, id, from| {
        // The same address and answer, but not from the asked server.
        let elsewhere = socket("127.0.0.1:0");
        let mut forged = success_response(id);
        forged[31] ^= 1;
        elsewhere.send_to(&forged, from).unwrap();
        let mut other = success_response(&[7; 12]);
        other[31] ^= 1;
        stun.send_to(&other, from).unwrap();
        stun.send_to(b"no STUN at all", from).unwrap();
        stun.send_to(&success_response(id), from).unwrap();
    });
    assert_eq!(run.code, 0, "{run:?}");
    assert_stated(&client, "203.0.113.9");
}

#[test]
fn a_question_that_was_lost_is_asked_again() {
    let client = Client::with_host("");
    let run = open_via_stun(&client, 2, |turn, stun, id, from| {
        if turn == 1 {
            stun.send_to(&success_response(id), from).unwrap();
        }
    });
    assert_eq!(run.code, 0, "{run:?}");
    assert_stated(&client, "203.0.113.9");
}

#[test]
fn a_server_that_does_not_tell_ends_the_run_and_nothing_is_sent() {
    let client = Client::with_host("");
    let run = open_via_stun(&client, 3, |_, stun, _, from| {
        stun.send_to(&success_response(&[7; 12]), from).unwrap();
    });
    assert_eq!(run.code, 7, "{run:?}");
    let expected = "did not tell this machine's address (127.0.0.1: it answered something else";
    assert!(run.stderr.contains(expected), "{run:?}");
    assert!(client.received().is_empty());
}

#[test]
fn a_host_that_demands_a_stated_address_is_sent_none_that_was_learned() {
    let client = Client::with_host("require_address = true");
    let stun = socket("127.0.0.1:0");
    let server = format!("stun:{}", stun.local_addr().unwrap());
    for words in [["open", "gw"], ["close", "gw"]] {
        let run = client.spa([words[0], words[1], "--for", &server]);
        assert_eq!(run.code, 6, "{run:?}");
        assert!(run.stderr.contains("`require_address`"), "{run:?}");
    }
    assert!(client.received().is_empty());
    assert!(crate::common::received(&stun).is_empty(), "not even asked");
}

#[test]
fn a_host_that_demands_a_stated_address_is_sent_nothing_that_states_none() {
    let client = Client::with_host("require_address = true");
    let run = client.spa(["open", "gw"]);
    assert_eq!(run.code, 7, "{run:?}");
    assert!(run.stderr.contains("say `--for ADDR`"), "{run:?}");
    assert!(client.received().is_empty());
    assert_eq!(client.spa(["close", "gw", "--no-wait"]).code, 0);
    assert_eq!(
        client.received().len(),
        1,
        "whoever closes need not state any"
    );
    let words = ["open", "gw", "--no-wait", "--for", "203.0.113.9"];
    assert_eq!(client.spa(words).code, 0);
    assert_stated(&client, "203.0.113.9");
}

#[test]
fn what_sends_nothing_asks_no_server() {
    let client = Client::with_host("");
    let stun = socket("127.0.0.1:0");
    let server = format!("stun:{}", stun.local_addr().unwrap());
    for words in [["open", "--dry-run"], ["packet", "--hex"]] {
        let run = client.spa([words[0], "gw", words[1], "--for", &server]);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("sends nothing"), "{run:?}");
    }
    assert!(crate::common::received(&stun).is_empty());
}
