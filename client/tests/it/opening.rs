//! `spa open` says what is, never more, and its exit code says the same.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use spa_proto::Request;

use crate::common::{Client, closed_port};

#[test]
fn a_service_that_appears_after_the_packet_is_found_open() {
    for delay in [0, 40, 400] {
        let client = Client::new();
        let port = closed_port("127.0.0.1");
        client.host(
            "gw",
            "127.0.0.1",
            &format!("services = {{ ssh = \"tcp/{port}\" }}"),
        );
        let spa_socket = client.spa_socket.try_clone().unwrap();
        let server = thread::spawn(move || {
            spa_socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            spa_socket.recv(&mut [0; 2048]).unwrap();
            thread::sleep(Duration::from_millis(delay));
            TcpListener::bind(("127.0.0.1", port)).unwrap()
        });
        let run = client.spa(["gw:ssh"]);
        drop(server.join().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
        let begins = format!("gw: tcp/{port} open after ");
        assert!(run.stderr.starts_with(&begins), "{run:?}");
        assert!(run.stderr.ends_with(" ms (127.0.0.1)\n"), "{run:?}");
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn a_closed_port_is_never_called_open_and_fresh_packets_are_sent() {
    let client = Client::new();
    let port = closed_port("127.0.0.1");
    client.host("gw", "127.0.0.1", &format!("default = \"tcp/{port}\""));
    let run = client.spa(["open", "gw", "--timeout", "1500ms"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.stderr
            .contains("still closed after 1.5 s (127.0.0.1: connection refused)"),
        "{run:?}"
    );
    for word in ["clock", "UDP port", "key", "audit.jsonl", "spad status"] {
        assert!(run.stderr.contains(word), "{word}: {run:?}");
    }
    assert!(!run.stderr.contains("open after"), "{run:?}");
    let packets = client.received();
    assert_eq!(packets.len(), 3, "at 0, 300 and 1300 ms");
    let opened: Vec<_> = packets.iter().map(|packet| client.opened(packet)).collect();
    assert!(opened.is_sorted_by_key(spa_proto::Opened::timestamp));
    let nonces: BTreeSet<_> = packets.iter().map(|packet| packet[..24].to_vec()).collect();
    assert_eq!(nonces.len(), 3);
}

#[test]
fn all_services_must_answer() {
    let client = Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (open, closed) = (
        listener.local_addr().unwrap().port(),
        closed_port("127.0.0.1"),
    );
    client.host("gw", "127.0.0.1", "");
    let both = format!("gw:tcp/{open},tcp/{closed}");
    let run = client.spa(["open", &both, "--timeout", "200ms"]);
    assert_eq!(run.code, 4, "{run:?}");
    let run = client.spa(["open", &format!("gw:tcp/{open},udp/1")]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.contains("udp/1 asked for, cannot be probed"),
        "{run:?}"
    );
}

#[test]
fn what_cannot_be_probed_is_not_called_open() {
    let client = Client::with_host("services = { wg = \"udp/51820\" }");
    for target in ["gw", "gw:wg"] {
        let run = client.spa(["open", target]);
        assert_eq!(run.code, 3, "{run:?}");
        assert!(
            run.stderr.contains("udp/51820 does not answer probes"),
            "{run:?}"
        );
    }
    let client = Client::with_host("");
    let run = client.spa(["gw"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains("names no port"), "{run:?}");
    assert_eq!(client.received().len(), 1);
}

#[test]
fn an_icmp_error_from_the_knock_port_is_no_failure() {
    let client = Client::new();
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    client.host("gw", "127.0.0.1", &format!("default = \"tcp/{open}\""));
    let text = std::fs::read_to_string(client.path("config.toml")).unwrap();
    let text = text.replace(
        &format!("port = {}", client.port()),
        &format!("port = {closed}"),
    );
    client.write("config.toml", &text, 0o600);
    assert_eq!(client.spa(["gw"]).code, 0);
    assert_eq!(client.spa(["open", "gw", "--no-wait"]).code, 0);
    let port = closed_port("127.0.0.1");
    let run = client.spa(["open", &format!("gw:tcp/{port}"), "--timeout", "400ms"]);
    assert_eq!(run.code, 4, "{run:?}");
}

#[test]
fn no_wait_does_not_wait_and_does_not_claim_to_be_open() {
    let port = closed_port("127.0.0.1");
    let client = Client::with_host(&format!("default = \"tcp/{port}\""));
    let run = client.spa(["open", "gw", "--no-wait"]);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (0, "gw: sent to 127.0.0.1, did not wait\n")
    );
    assert_eq!(client.received().len(), 1);
}

#[test]
fn one_connection_is_asked_for_without_a_probe_and_at_one_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::with_host(&format!("default = \"tcp/{port}\""));
    let run = client.spa(["open", "gw", "--once"]);
    assert_eq!(run.code, 0, "{run:?}");
    let packets = client.received();
    assert_eq!(packets.len(), 1);
    assert!(matches!(client.opened(&packets[0]).request(), Request::Open(open) if open.once));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a probe would use it up");
    let run = client.spa(["open", "gw", "--once", "--timeout", "1s"]);
    assert_eq!(run.code, 2, "{run:?}");
}

#[test]
fn a_rehearsal_sends_nothing() {
    let client = Client::with_host("");
    let run = client.spa(["open", "gw", "--dry-run", "--for", "203.0.113.9"]);
    assert_eq!(run.code, 0, "{run:?}");
    let port = client.port();
    let expected = format!("gw: would send a packet to 127.0.0.1 port {port}, for 203.0.113.9\n");
    assert_eq!(run.stdout, expected);
    assert!(client.received().is_empty());
}

#[test]
fn a_host_without_a_way_there_is_an_error_of_its_own() {
    let client = Client::new();
    client.host("four", "127.0.0.1", "");
    client.host("broadcast", "255.255.255.255", "");
    let run = client.spa(["open", "four", "-6"]);
    assert_eq!(run.code, 7, "{run:?}");
    assert!(run.stderr.contains("leave -4 or -6 out"), "{run:?}");
    let run = client.spa(["open", "broadcast"]);
    assert_eq!(run.code, 7, "{run:?}");
    assert!(run.stderr.contains("nothing could be sent"), "{run:?}");
    // The other host is asked all the same.
    let run = client.spa(["open", "broadcast", "four", "--no-wait"]);
    assert_eq!(run.code, 7, "{run:?}");
    assert!(run.stderr.contains("four: sent to 127.0.0.1"), "{run:?}");
}

#[test]
fn one_object_tells_of_all_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (open, closed) = (
        listener.local_addr().unwrap().port(),
        closed_port("127.0.0.1"),
    );
    let client = Client::new();
    client.host("a", "127.0.0.1", &format!("default = \"tcp/{open}\""));
    client.host("b", "127.0.0.1", &format!("default = \"tcp/{closed}\""));
    let run = client.spa(["open", "a", "b", "--json", "-q", "--timeout", "100ms"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.stderr.is_empty(), "{run:?}");
    assert_eq!(run.stdout.lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(object["exit"], 4);
    let (a, b) = (&object["hosts"][0], &object["hosts"][1]);
    assert_eq!(
        (&a["host"], &a["result"], &a["exit"]),
        (&"a".into(), &"open".into(), &0.into())
    );
    assert_eq!(a["services"][0]["address"], "127.0.0.1");
    assert!(a["services"][0]["after_us"].as_u64().unwrap() >= 2_000);
    assert_eq!(a["sent"][0]["packets"], 1);
    assert_eq!((&b["result"], &b["exit"]), (&"closed".into(), &4.into()));
    assert_eq!(b["services"][0]["met"][0]["met"], "connection refused");
}

#[test]
fn quiet_is_silent_and_verbose_tells_of_each_packet() {
    let client = Client::with_host("");
    let run = client.spa(["-q", "gw"]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (3, "", "")
    );
    let run = client.spa(["-q", "nowhere"]);
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (6, "", "")
    );
    let run = client.spa(["gw", "-v"]);
    let port = client.port();
    assert!(
        run.stderr.contains(&format!(
            " bytes to 127.0.0.1 port {port}, for the address it comes from"
        )),
        "{run:?}"
    );
}
