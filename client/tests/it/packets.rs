//! What is sent is what was asked for, sealed with the right keys.

use std::process::Command;

use crate::common::{Client, Run, binary, ip, received, socket};
use spa_keys::{PreSharedKey, SharedKey};
use spa_proto::{Open, Opened, Request};

fn open(opened: &Opened) -> Open {
    match opened.request() {
        Request::Open(open) => open.clone(),
        other => panic!("{other:?}"),
    }
}

fn services(open: &Open) -> Vec<String> {
    open.services
        .as_slice()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.trim();
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn a_packet_written_to_stdout_is_opened_by_its_server() {
    let client = Client::with_host("services = { ssh = \"tcp/22\" }");
    let words = [
        "packet",
        "gw:ssh,udp/53",
        "--ttl",
        "5m",
        "--for",
        "203.0.113.9",
        "--for",
        "2001:db8::9",
    ];
    let raw = client.command(words).output().unwrap();
    assert!(raw.status.success());
    let asked = open(&client.opened(&raw.stdout));
    assert_eq!(services(&asked), ["tcp/22", "udp/53"]);
    assert_eq!(asked.duration, 300);
    assert_eq!(
        asked.addresses.iter().collect::<Vec<_>>(),
        [ip("203.0.113.9"), ip("2001:db8::9")]
    );
    assert!(!asked.once && asked.source_port.is_none());

    let hex = client.spa(["packet", "gw", "--hex"]);
    let asked = open(&client.opened(&bytes(&hex.stdout)));
    assert!(asked.services.is_empty() && asked.addresses.is_empty());
    assert_eq!(asked.duration, 0);

    let json = client.spa(["packet", "gw", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    client.opened(&bytes(object["packet"].as_str().unwrap()));
    assert!(client.received().is_empty(), "something was sent");
}

#[test]
fn a_pre_shared_key_is_mixed_in() {
    let client = Client::with_host("psk_file = \"gw.psk\"");
    let pre_shared = PreSharedKey::from_bytes([9; 32]);
    client.write("gw.psk", &pre_shared.to_text(), 0o600);
    let raw = client.command(["packet", "gw"]).output().unwrap();
    client.opened_with(&raw.stdout, Some(&pre_shared));
}

#[test]
fn a_host_with_a_shared_key_needs_no_identity() {
    let client = Client::with_host("shared_key_file = \"gw.shared\"");
    let shared = SharedKey::from_bytes([9; 32]);
    client.write("gw.shared", &shared.to_text(), 0o600);
    std::fs::remove_file(client.path("identity")).unwrap();
    let raw = client.command(["packet", "gw"]).output().unwrap();
    client.opened_shared(&raw.stdout, &shared);
}

#[test]
fn every_address_of_the_name_gets_a_packet_of_its_own() {
    let client = Client::new();
    client.host("both", "both.test", "");
    let v6 = socket(&format!("[::1]:{}", client.port()));
    let hosts = client.write("hosts", "127.0.0.1 both.test\n::1 both.test\n", 0o644);
    let run = |family: &str| {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["-rm", "sh", "-c", script])
            .arg(&hosts)
            .arg(binary());
        command.args(["open", "both", "--no-wait"]);
        command.args((!family.is_empty()).then_some(family));
        command.env("XDG_CONFIG_HOME", client.home.path());
        let run: Run = command.output().unwrap().into();
        assert_eq!(run.code, 0, "{run:?}");
        (client.received(), received(&v6))
    };
    let (four, six) = run("");
    assert_eq!((four.len(), six.len()), (1, 1));
    assert_ne!(four[0][..24], six[0][..24], "one nonce for two packets");
    let (four, six) = (client.opened(&four[0]), client.opened(&six[0]));
    // Loopback addresses are not global, so none is stated.
    assert!(open(&four).addresses.is_empty() && open(&six).addresses.is_empty());

    let (four, six) = run("-4");
    assert_eq!((four.len(), six.len()), (1, 0));
    let (four, six) = run("-6");
    assert_eq!((four.len(), six.len()), (0, 1));
}

#[test]
fn several_services_of_one_host_are_asked_for_in_one_packet() {
    let client = Client::with_host("default = [\"udp/1\", \"udp/2\"]");
    assert_eq!(client.spa(["open", "gw", "--no-wait"]).code, 0);
    assert_eq!(
        client
            .spa(["open", "gw:udp/7", "gw:udp/5", "--no-wait"])
            .code,
        0
    );
    let asked: Vec<_> = client
        .received()
        .iter()
        .map(|packet| services(&open(&client.opened(packet))))
        .collect();
    assert_eq!(asked, [["udp/1", "udp/2"], ["udp/5", "udp/7"]]);
}

/// In a network of its own: this machine has these addresses, the server is both.test.
fn dry_run(addresses: &[&str], words: &[&str]) -> String {
    let client = Client::new();
    client.host("both", "both.test", "");
    let hosts = client.write(
        "hosts",
        "203.0.113.1 both.test\n2001:db8::1 both.test\n",
        0o644,
    );
    let mut script = String::from(
        "set -e; mount --bind \"$0\" /etc/hosts; ip link add v0 type veth peer name v1; ip link set v1 up; ip link set v0 up",
    );
    for address in addresses {
        script.push_str(&format!("; ip address add {address} dev v0 nodad"));
    }
    script.push_str("; ip route add default dev v0; ip -6 route add default dev v0; exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["-rmn", "sh", "-c", &script])
        .arg(&hosts)
        .arg(binary());
    command.args(["open", "both", "--dry-run"]).args(words);
    command.env("XDG_CONFIG_HOME", client.home.path());
    let run: Run = command.output().unwrap().into();
    assert_eq!(run.code, 0, "{run:?}");
    let port = client.port().to_string();
    run.stdout
        .replace(&format!(" port {port}"), "")
        .replace("both: would send a packet ", "")
}

#[test]
fn a_packet_states_this_machines_global_addresses_and_no_private_ones() {
    let global = ["203.0.113.9/24", "2001:db8::9/64"];
    let mut parts: Vec<_> = dry_run(&global, &[])
        .trim()
        .split(", to ")
        .map(|part| part.trim_start_matches("to ").to_owned())
        .collect();
    parts.sort();
    let both = "for 203.0.113.9 and 2001:db8::9";
    assert_eq!(
        parts,
        [
            format!("2001:db8::1, {both}"),
            format!("203.0.113.1, {both}")
        ]
    );
    assert_eq!(
        dry_run(&global, &["-4"]),
        "to 203.0.113.1, for 203.0.113.9\n"
    );

    let text = dry_run(&["192.168.7.9/24", "2001:db8::9/64"], &[]);
    assert!(
        text.contains("to 203.0.113.1, for the address it comes from"),
        "{text}"
    );
    assert!(text.contains("to 2001:db8::1, for 2001:db8::9"), "{text}");

    let text = dry_run(
        &["192.168.7.9/24", "fd00::9/64"],
        &["--for", "198.51.100.3"],
    );
    assert_eq!(text.matches("for 198.51.100.3").count(), 2, "{text}");
}
