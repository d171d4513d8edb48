//! The mode "set": the administrator's own ruleset drops, and refers to our sets.

use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Open, Request};
use spa_tests::echo::Echo;
use spa_tests::gateway::{Gateway, INNER};
use spa_tests::identity::{Identity, close, open, open_with_addresses};
use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::process::run_with_input;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, EXPOSED, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Settings of the mode, by which nothing is hidden.
fn settings(ttl: &'static str) -> Settings {
    Settings {
        hide: &[],
        ..Settings::ttl(ttl)
    }
}

/// Writes `spad.toml` with this in place of what the mode "guard" has.
fn in_set_mode(bed: &TestBed, settings: &Settings) {
    let text = settings.toml(&bed.spad.audit_file());
    let from = text.find("[guard]").expect("the guard's part");
    let to = text.find("[log]").expect("the log's part");
    let guard = "[guard]\nmode = \"set\"\ntable = \"inet filter\"\n\n";
    let text = [&text[..from], guard, &text[to..]].concat();
    std::fs::write(bed.spad.config().join("spad.toml"), text).expect("spad.toml");
}

/// What an administrator's /etc/nftables.conf says, with the snippet pasted.
fn ruleset(bed: &TestBed) -> String {
    let snippet = bed.spad.cli(&["firewall", "snippet"]).ok().stdout;
    format!(
        "flush ruleset
{snippet}
table inet filter {{
  set theirs {{ type inet_service; elements = {{ {EXPOSED} }}
  }}
  chain input {{ type filter hook input priority filter; policy drop;
    iifname \"lo\" accept
    meta l4proto ipv6-icmp accept
    ct state established accept
    tcp dport @theirs accept
    jump spad
  }}
}}
"
    )
}

/// A machine with such a ruleset, and the daemon beside it.
fn test_bed(settings: &Settings) -> TestBed {
    let mut bed = TestBed::stopped(settings);
    in_set_mode(&bed, settings);
    bed.lab.server.nft(&ruleset(&bed));
    bed.spad.start();
    bed
}

/// The whole ruleset without counters.
fn rules(bed: &TestBed) -> String {
    bed.lab.server.run_ok("nft", &["-s", "list", "ruleset"])
}

const ALL_SILENT: [Reachability; 4] = [Reachability::NoAnswer; 4];

#[test]
fn the_pasted_snippet_lets_in_whoever_knocked_and_nobody_else() {
    let bed = test_bed(&settings("30s"));
    assert_eq!(bed.probe_hidden(), ALL_SILENT);
    assert_eq!(bed.tcp(EXPOSED), Reachability::Open);
    bed.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Open; 2]);
    assert_eq!([bed.tcp6(WEB), bed.udp6(CHAT)], [Reachability::NoAnswer; 2]);
    bed.send6(&bed.laptop.open(&["tcp/8080", "udp/9999"]));
    bed.spad.wait_verdict_count("opened", 2);
    assert_eq!(bed.probe_hidden(), [Reachability::Open; 4]);
    let packet = bed.laptop.seal(&close(&["tcp/8080", "udp/9999"]));
    bed.send_counted(&packet, "closed");
    let four_closed = [
        Reachability::NoAnswer,
        Reachability::Open,
        Reachability::NoAnswer,
        Reachability::Open,
    ];
    assert_eq!(bed.probe_hidden(), four_closed);
}

#[test]
fn the_kernel_ends_a_grant_in_their_table_and_the_connection_lives_on() {
    let bed = test_bed(&settings("2s"));
    bed.open(&["tcp/8080"]);
    let mut kept = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    assert_eq!(bed.wait_closed(WEB), Reachability::NoAnswer);
    assert!(reach::echoes(&mut kept));
}

#[test]
fn a_grant_for_one_connection_and_one_for_a_source_port_hold_there_too() {
    let bed = test_bed(&settings("30s"));
    let Request::Open(ordinary) = open(&["tcp/8080"]) else {
        unreachable!("a request to open");
    };
    let once = Request::Open(Open {
        once: true,
        ..ordinary
    });
    bed.send_counted(&bed.laptop.seal(&once), "opened");
    let mut only = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    assert_eq!(bed.tcp(WEB), Reachability::NoAnswer, "a second connection");
    assert!(reach::echoes(&mut only));

    let Request::Open(ordinary) = open(&["udp/9999"]) else {
        unreachable!("a request to open");
    };
    let port = 40_777;
    let bound = Request::Open(Open {
        source_port: NonZeroU16::new(port),
        ..ordinary
    });
    bed.send_counted(&bed.laptop.seal(&bound), "opened");
    assert_eq!(bed.udp(CHAT), Reachability::NoAnswer);
    let received = bed.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind(("192.0.2.2", port)).expect("the port");
        let timeout = Some(Duration::from_secs(2));
        socket.set_read_timeout(timeout).expect("a time limit");
        socket.send_to(b"there?", (SERVER4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(received);
}

#[test]
fn a_grant_for_a_network_holds_there_too() {
    let settings = settings("30s");
    let mut bed = TestBed::stopped(&settings);
    in_set_mode(&bed, &settings);
    let roaming = Identity::new(&bed.server_public);
    bed.add_client("roaming", &roaming, "web");
    let file = bed.spad.config().join("clients.d/roaming.toml");
    let text = std::fs::read_to_string(&file).expect("the client's file");
    let text = format!("ipv4_prefix = 24\nipv6_prefix = 64\n{text}");
    std::fs::write(&file, text).expect("the client's file");
    bed.lab.server.nft(&ruleset(&bed));
    bed.spad.start();
    let stating = Addresses::new(Some([192, 0, 2, 99].into()), "2001:db8::99".parse().ok());
    let request = open_with_addresses(&["tcp/8080"], stating.expect("addresses"));
    bed.send_counted(&roaming.seal(&request), "opened");
    assert_eq!([bed.tcp(WEB), bed.tcp6(WEB)], [Reachability::Open; 2]);
}

#[test]
fn a_ruleset_that_is_loaded_anew_has_the_open_grants_within_a_second() {
    let mut bed = test_bed(&settings("60s"));
    bed.open(&["tcp/8080"]);
    let again = ruleset(&bed);
    bed.lab.server.nft(&again);
    wait::eventually("the grant is put back", || {
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
    bed.spad.wait_audited(&[("event", "firewall_restored")]);
    assert_eq!(bed.tcp6(WEB), Reachability::NoAnswer);
    bed.spad.stop();
    assert_eq!(bed.tcp(WEB), Reachability::Open, "while stopped");
    bed.spad.start();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
}

#[test]
fn what_the_administrator_changes_of_his_own_is_left_alone_and_not_reported() {
    let bed = test_bed(&settings("60s"));
    bed.open(&["tcp/8080"]);
    for _ in 0..5 {
        let change =
            "add element inet filter theirs { 9 }\ndelete element inet filter theirs { 9 }\n";
        bed.lab.server.nft(change);
    }
    bed.open(&["udp/9999"]);
    let restored = |line: &serde_json::Value| {
        line.get("event").and_then(serde_json::Value::as_str) == Some("firewall_restored")
    };
    assert!(!bed.spad.audit().iter().any(restored));
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Open; 2]);
}

#[test]
fn neither_start_nor_stop_nor_removal_touches_what_is_not_ours() {
    let settings = settings("60s");
    let mut bed = TestBed::stopped(&settings);
    in_set_mode(&bed, &settings);
    let own = "table inet filter {
  set theirs { type inet_service; elements = { 8081 }
  }
  chain input { type filter hook input priority filter; policy drop; tcp dport @theirs accept
  }
}
";
    bed.lab.server.nft(own);
    let before = rules(&bed);
    bed.spad.start();
    assert!(rules(&bed).contains("spad_grants4"), "made where missing");
    bed.spad.stop();
    let _ = bed.spad.cli(&["firewall", "load"]).ok();
    let output = bed.spad.cli(&["firewall", "remove"]).ok().stdout;
    assert!(output.contains("inet filter"), "{output}");
    assert_eq!(rules(&bed), before);
}

#[test]
fn a_removal_while_rules_refer_to_the_sets_empties_them_and_says_what_to_do() {
    let mut bed = test_bed(&settings("60s"));
    bed.open(&["tcp/8080"]);
    bed.spad.stop();
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let output = bed.spad.cli(&["firewall", "remove"]);
    assert!(!output.success);
    assert!(
        output.stderr.contains("help: take what"),
        "{}",
        output.stderr
    );
    assert_eq!(bed.probe_hidden(), ALL_SILENT, "nobody has a grant");
    assert_eq!(bed.tcp(EXPOSED), Reachability::Open);
}

#[test]
fn open_grants_move_with_the_mode_and_our_own_table_goes() {
    let guarded = Settings::ttl("60s");
    let bed = TestBed::with(&guarded);
    bed.open(&["tcp/8080"]);
    in_set_mode(&bed, &settings("60s"));
    let text = ruleset(&bed).replace("flush ruleset", "");
    bed.lab.server.nft(&text);
    bed.spad.reload();
    assert!(!rules(&bed).contains("table inet spad"));
    let only = [
        Reachability::Open,
        Reachability::NoAnswer,
        Reachability::NoAnswer,
        Reachability::NoAnswer,
    ];
    assert_eq!(bed.probe_hidden(), only);

    bed.spad.configure(&guarded);
    bed.spad.reload();
    bed.lab.server.nft("delete chain inet filter input\n");
    let only = [
        Reachability::Open,
        Reachability::Refused,
        Reachability::Refused,
        Reachability::Refused,
    ];
    assert_eq!(bed.probe_hidden(), only);
    let listed = ["list", "set", "inet", "filter", "spad_grants4"];
    let left = bed.lab.server.run_ok("nft", &listed);
    assert!(!left.contains("elements"), "{left}");
}

#[test]
fn a_set_of_our_name_that_is_made_otherwise_is_refused_and_left_as_it_is() {
    let settings = settings("60s");
    let bed = TestBed::stopped(&settings);
    in_set_mode(&bed, &settings);
    bed.lab
        .server
        .nft("table inet filter {\n set spad_grants4 { type ipv4_addr; }\n}\n");
    let before = rules(&bed);
    let ended = bed.spad.run_to_exit();
    assert!(!ended.success);
    assert!(ended.stderr.contains("spad_grants4"), "{}", ended.stderr);
    assert_eq!(rules(&bed), before);
}

#[test]
fn a_gateways_snippet_leads_to_the_inner_host() {
    let settings = settings("60s");
    let nas = "ports = [\"tcp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"], masquerade = true";
    let mut gateway = Gateway::stopped(nas, &settings, false);
    let file = gateway.bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let services = text.lines().find(|line| line.starts_with("nas = "));
    let services = format!("[services]\n{}\n", services.expect("the service"));
    in_set_mode(&gateway.bed, &settings);
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    std::fs::write(&file, text.replacen("[services]\n", &services, 1)).expect("spad.toml");
    gateway.bed.lab.server.nft(&ruleset(&gateway.bed));
    gateway.bed.spad.start();
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let client = &gateway.bed.lab.client;
    let seen = || [SERVER4.into(), SERVER6.into()].map(|to| reach::tcp(client, to, 2222));
    assert_eq!(seen(), [Reachability::NoAnswer; 2]);
    gateway.open();
    gateway.open6();
    assert_eq!(seen(), [Reachability::Open; 2]);
}

#[test]
fn beside_iptables_with_its_snippet_strangers_find_nothing_and_clients_get_in() {
    let mut bed = TestBed::stopped(&Settings::ttl("30s"));
    let server = &bed.lab.server;
    let dropping = "for program in iptables ip6tables; do $program -w -P INPUT DROP; $program -w -A INPUT -i lo -j ACCEPT; done
ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT\n";
    let load = |script: &str| {
        let done = run_with_input(server.command("sh").args(["-e"]), script);
        assert!(done.success, "{script}\n{}", done.stderr);
    };
    load(dropping);
    load(
        &bed.spad
            .cli(&["firewall", "snippet", "--iptables"])
            .ok()
            .stdout,
    );
    bed.spad.start();
    assert_eq!(bed.probe_hidden(), [Reachability::Refused; 4]);
    bed.open(&["tcp/8080", "udp/9999"]);
    bed.send6(&bed.laptop.open(&["tcp/8080", "udp/9999"]));
    bed.spad.wait_verdict_count("opened", 2);
    assert_eq!(bed.probe_hidden(), [Reachability::Open; 4]);
}
