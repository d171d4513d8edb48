//! `spa close` asks for what it says, and never calls closed what still answers.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use spa_proto::{Request, Services};

use crate::common::{Client, closed_port, ip};

fn services(text: &str) -> Services {
    Services::from_iter(text.split_whitespace().map(|word| word.parse().unwrap())).unwrap()
}

#[test]
fn a_bare_host_closes_all_that_this_machine_has_open_there() {
    let port = closed_port("127.0.0.1");
    let client = Client::with_host(&format!("default = \"tcp/{port}\""));
    for (target, expected) in [("gw", ""), ("gw:udp/53", "udp/53")] {
        let run = client.spa(["close", target, "--no-wait", "--for", "203.0.113.9"]);
        assert_eq!(run.code, 0, "{run:?}");
        let packets = client.received();
        assert_eq!(packets.len(), 1);
        let opened = client.opened(&packets[0]);
        let Request::Close {
            addresses,
            services: closed,
        } = opened.request()
        else {
            panic!("{opened:?}");
        };
        assert_eq!(addresses.iter().collect::<Vec<_>>(), [ip("203.0.113.9")]);
        assert_eq!(*closed, services(expected));
    }
}

#[test]
fn a_port_that_refuses_is_closed_and_one_that_answers_is_not() {
    let port = closed_port("127.0.0.1");
    let client = Client::with_host(&format!("default = \"tcp/{port}\""));
    let run = client.spa(["close", "gw"]);
    assert_eq!(run.code, 0, "{run:?}");
    let begins = format!("gw: tcp/{port} closed after ");
    assert!(run.stderr.starts_with(&begins), "{run:?}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = format!("gw:tcp/{port}");
    let run = client.spa(["close", &target, "--timeout", "400ms"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.stderr.contains("still open after"), "{run:?}");
    let begins = client.received().len();
    assert_eq!(begins, 3, "one for the first, and at 0 and 300 ms");
}

#[test]
fn a_port_that_closes_late_is_found_closed() {
    let client = Client::with_host("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("gw:tcp/{}", listener.local_addr().unwrap().port());
    let spa_socket = client.spa_socket.try_clone().unwrap();
    let server = thread::spawn(move || {
        spa_socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        spa_socket.recv(&mut [0; 2048]).unwrap();
        thread::sleep(Duration::from_millis(60));
        drop(listener);
    });
    let run = client.spa(["close", &target, "--json"]);
    server.join().unwrap();
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("\"result\":\"withdrawn\""), "{run:?}");
}

#[test]
fn what_cannot_be_probed_is_not_called_closed() {
    let client = Client::with_host("services = { wg = \"udp/51820\" }");
    let run = client.spa(["close", "gw:wg"]);
    assert_eq!(run.code, 3, "{run:?}");
}
