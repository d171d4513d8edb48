//! `spa proxy` and `spa exec` hand over what they opened, and only that.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Output, Stdio};
use std::thread;

use crate::common::{Client, Run, closed_port};

/// Runs it with this input, which then ends.
fn with_input(client: &Client, words: &[&str], input: &[u8]) -> Output {
    let mut command = client.command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    output
}

#[test]
fn the_end_of_one_direction_is_told_and_the_other_goes_on() {
    let client = Client::with_host("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let sent = vec![7; 300_000];
    let expected = sent.clone();
    // Answers only once it was told that nothing more will come.
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let output = with_input(&client, &["proxy", "gw", "gw", &port], &sent);
    server.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == expected);
}

#[test]
fn the_servers_end_is_told_while_there_is_more_to_send() {
    let client = Client::with_host("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let mut child = client
        .command(["proxy", "gw", "gw", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut received = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"bye");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"more").unwrap();
    drop(stdin);
    assert_eq!(server.join().unwrap(), b"more");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_proxy_says_nothing_on_stdout_and_why_on_stderr() {
    let client = Client::with_host("");
    let port = closed_port("127.0.0.1").to_string();
    let words = ["proxy", "gw", "gw", &port, "--timeout", "200ms"];
    let run: Run = with_input(&client, &words, b"").into();
    assert_eq!(run.code, 4, "{run:?}");
    assert!(run.stdout.is_empty(), "{run:?}");
    assert!(run.stderr.contains("still closed after"), "{run:?}");
    for (words, code) in [
        (["proxy", "gx", "gw", "22"], 6),
        (["proxy", "gw", "gw", "0"], 2),
        (["proxy", "gw", "no.such.name.invalid", "22"], 7),
    ] {
        let run: Run = with_input(&client, &words, b"").into();
        assert_eq!(run.code, code, "{run:?}");
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{run:?}");
    }
}

#[test]
fn a_command_runs_once_the_service_answers_and_its_exit_code_is_kept() {
    let client = Client::with_host("services = { wg = \"udp/51820\" }");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = format!("gw:tcp/{}", listener.local_addr().unwrap().port());
    let run = client.spa(["exec", &open, "--", "/bin/sh", "-c", "echo ran; exit 42"]);
    assert_eq!((run.code, run.stdout.as_str()), (42, "ran\n"), "{run:?}");
    let run = client.spa(["exec", "gw:wg", "--", "/bin/sh", "-c", "exit 43"]);
    assert_eq!(run.code, 43, "{run:?}");
    let run = client.spa(["exec", &open, "--", "/no/such/program"]);
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stderr.contains("cannot be started"), "{run:?}");
}

#[test]
fn a_command_does_not_run_where_the_door_stays_closed() {
    let client = Client::with_host("");
    let closed = format!("gw:tcp/{}", closed_port("127.0.0.1"));
    let words = [
        "exec",
        "--timeout",
        "200ms",
        &closed,
        "--",
        "/bin/echo",
        "ran",
    ];
    let run = client.spa(words);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""), "{run:?}");
}
