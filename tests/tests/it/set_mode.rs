//! The mode "set": the administrator's own ruleset drops, and refers to our sets.

use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Addresses, Open, Request};
use spa_tests::echo::Echo;
use spa_tests::gateway::{Gateway, INNER};
use spa_tests::identity::{Identity, close, open, open_stating};
use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::process::run_with_input;
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{CHAT, SHOWN, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// Settings of the mode, by which nothing is hidden.
fn settings(ttl: &'static str) -> Settings {
    Settings {
        hide: &[],
        ..Settings::ttl(ttl)
    }
}

/// Writes `spad.toml` with this in place of what the mode "guard" has.
fn in_set_mode(world: &World, settings: &Settings) {
    let text = settings.toml(&world.spad.audit_file());
    let from = text.find("[guard]").expect("the guard's part");
    let to = text.find("[log]").expect("the log's part");
    let guard = "[guard]\nmode = \"set\"\ntable = \"inet filter\"\n\n";
    let text = [&text[..from], guard, &text[to..]].concat();
    std::fs::write(world.spad.config().join("spad.toml"), text).expect("spad.toml");
}

/// What an administrator's /etc/nftables.conf says, with the snippet pasted.
fn ruleset(world: &World) -> String {
    let snippet = world.spad.cli(&["firewall", "snippet"]).ok().stdout;
    format!(
        "flush ruleset
{snippet}
table inet filter {{
  set theirs {{ type inet_service; elements = {{ {SHOWN} }}
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
fn world(settings: &Settings) -> World {
    let mut world = World::stopped(settings);
    in_set_mode(&world, settings);
    world.lab.server.nft(&ruleset(&world));
    world.spad.start();
    world
}

/// The whole ruleset without counters.
fn rules(world: &World) -> String {
    world.lab.server.must("nft", &["-s", "list", "ruleset"])
}

const NOTHING: [Reach; 4] = [Reach::Silent; 4];

#[test]
fn the_pasted_snippet_lets_in_whoever_knocked_and_nobody_else() {
    let world = world(&settings("30s"));
    assert_eq!(world.hidden(), NOTHING);
    assert_eq!(world.tcp(SHOWN), Reach::Open);
    world.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Open; 2]);
    assert_eq!([world.tcp6(WEB), world.udp6(CHAT)], [Reach::Silent; 2]);
    world.send6(&world.laptop.open(&["tcp/8080", "udp/9999"]));
    world.spad.wait_counted("opened", 2);
    assert_eq!(world.hidden(), [Reach::Open; 4]);
    let packet = world.laptop.seal(&close(&["tcp/8080", "udp/9999"]));
    world.send_counted(&packet, "closed");
    let four_closed = [Reach::Silent, Reach::Open, Reach::Silent, Reach::Open];
    assert_eq!(world.hidden(), four_closed);
}

#[test]
fn the_kernel_ends_a_grant_in_their_table_and_the_connection_lives_on() {
    let world = world(&settings("2s"));
    world.open(&["tcp/8080"]);
    let mut kept = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    assert_eq!(world.wait_closed(WEB), Reach::Silent);
    assert!(reach::echoes(&mut kept));
}

#[test]
fn a_grant_for_one_connection_and_one_for_a_source_port_hold_there_too() {
    let world = world(&settings("30s"));
    let Request::Open(ordinary) = open(&["tcp/8080"]) else {
        unreachable!("a request to open");
    };
    let once = Request::Open(Open {
        once: true,
        ..ordinary
    });
    world.send_counted(&world.laptop.seal(&once), "opened");
    let mut only = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    assert_eq!(world.tcp(WEB), Reach::Silent, "a second connection");
    assert!(reach::echoes(&mut only));

    let Request::Open(ordinary) = open(&["udp/9999"]) else {
        unreachable!("a request to open");
    };
    let port = 40_777;
    let bound = Request::Open(Open {
        source_port: NonZeroU16::new(port),
        ..ordinary
    });
    world.send_counted(&world.laptop.seal(&bound), "opened");
    assert_eq!(world.udp(CHAT), Reach::Silent);
    let heard = world.lab.client.enter(|| {
        let socket = std::net::UdpSocket::bind(("192.0.2.2", port)).expect("the port");
        let patience = Some(Duration::from_secs(2));
        socket.set_read_timeout(patience).expect("a time limit");
        socket.send_to(b"there?", (SERVER4, CHAT)).expect("a route");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(heard);
}

#[test]
fn a_grant_for_a_network_holds_there_too() {
    let settings = settings("30s");
    let mut world = World::stopped(&settings);
    in_set_mode(&world, &settings);
    let roaming = Identity::new(&world.server_public);
    world.add("roaming", &roaming, "web");
    let file = world.spad.config().join("clients.d/roaming.toml");
    let text = std::fs::read_to_string(&file).expect("the client's file");
    let text = format!("ipv4_prefix = 24\nipv6_prefix = 64\n{text}");
    std::fs::write(&file, text).expect("the client's file");
    world.lab.server.nft(&ruleset(&world));
    world.spad.start();
    let stating = Addresses::new(Some([192, 0, 2, 99].into()), "2001:db8::99".parse().ok());
    let request = open_stating(&["tcp/8080"], stating.expect("addresses"));
    world.send_counted(&roaming.seal(&request), "opened");
    assert_eq!([world.tcp(WEB), world.tcp6(WEB)], [Reach::Open; 2]);
}

#[test]
fn a_ruleset_that_is_loaded_anew_has_the_open_grants_within_a_second() {
    let mut world = world(&settings("60s"));
    world.open(&["tcp/8080"]);
    let again = ruleset(&world);
    world.lab.server.nft(&again);
    wait::soon("the grant is put back", || {
        (world.tcp(WEB) == Reach::Open).then_some(())
    });
    world.spad.wait_audited(&[("event", "firewall_restored")]);
    assert_eq!(world.tcp6(WEB), Reach::Silent);
    world.spad.stop();
    assert_eq!(world.tcp(WEB), Reach::Open, "while stopped");
    world.spad.start();
    assert_eq!(world.tcp(WEB), Reach::Open);
}

#[test]
fn what_the_administrator_changes_of_his_own_is_left_alone_and_not_reported() {
    let world = world(&settings("60s"));
    world.open(&["tcp/8080"]);
    for _ in 0..5 {
        let change =
            "add element inet filter theirs { 9 }\ndelete element inet filter theirs { 9 }\n";
        world.lab.server.nft(change);
    }
    world.open(&["udp/9999"]);
    let restored = |line: &serde_json::Value| {
        line.get("event").and_then(serde_json::Value::as_str) == Some("firewall_restored")
    };
    assert!(!world.spad.audit().iter().any(restored));
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Open; 2]);
}

#[test]
fn neither_start_nor_stop_nor_removal_touches_what_is_not_ours() {
    let settings = settings("60s");
    let mut world = World::stopped(&settings);
    in_set_mode(&world, &settings);
    let own = "table inet filter {
  set theirs { type inet_service; elements = { 8081 }
  }
  chain input { type filter hook input priority filter; policy drop; tcp dport @theirs accept
  }
}
";
    world.lab.server.nft(own);
    let before = rules(&world);
    world.spad.start();
    assert!(rules(&world).contains("spad_grants4"), "made where missing");
    world.spad.stop();
    let _ = world.spad.cli(&["firewall", "load"]).ok();
    let said = world.spad.cli(&["firewall", "remove"]).ok().stdout;
    assert!(said.contains("inet filter"), "{said}");
    assert_eq!(rules(&world), before);
}

#[test]
fn a_removal_while_rules_refer_to_the_sets_empties_them_and_says_what_to_do() {
    let mut world = world(&settings("60s"));
    world.open(&["tcp/8080"]);
    world.spad.stop();
    assert_eq!(world.tcp(WEB), Reach::Open);
    let said = world.spad.cli(&["firewall", "remove"]);
    assert!(!said.success);
    assert!(said.stderr.contains("help: take what"), "{}", said.stderr);
    assert_eq!(world.hidden(), NOTHING, "nobody has a grant");
    assert_eq!(world.tcp(SHOWN), Reach::Open);
}

#[test]
fn open_grants_move_with_the_mode_and_our_own_table_goes() {
    let guarded = Settings::ttl("60s");
    let world = World::with(&guarded);
    world.open(&["tcp/8080"]);
    in_set_mode(&world, &settings("60s"));
    let text = ruleset(&world).replace("flush ruleset", "");
    world.lab.server.nft(&text);
    world.spad.reload();
    assert!(!rules(&world).contains("table inet spad"));
    let only = [Reach::Open, Reach::Silent, Reach::Silent, Reach::Silent];
    assert_eq!(world.hidden(), only);

    world.spad.configure(&guarded);
    world.spad.reload();
    world.lab.server.nft("delete chain inet filter input\n");
    let only = [Reach::Open, Reach::Refused, Reach::Refused, Reach::Refused];
    assert_eq!(world.hidden(), only);
    let listed = ["list", "set", "inet", "filter", "spad_grants4"];
    let left = world.lab.server.must("nft", &listed);
    assert!(!left.contains("elements"), "{left}");
}

#[test]
fn a_set_of_our_name_that_is_made_otherwise_is_refused_and_left_as_it_is() {
    let settings = settings("60s");
    let world = World::stopped(&settings);
    in_set_mode(&world, &settings);
    world
        .lab
        .server
        .nft("table inet filter {\n set spad_grants4 { type ipv4_addr; }\n}\n");
    let before = rules(&world);
    let ended = world.spad.run_to_its_end();
    assert!(!ended.success);
    assert!(ended.stderr.contains("spad_grants4"), "{}", ended.stderr);
    assert_eq!(rules(&world), before);
}

#[test]
fn a_gateways_snippet_leads_to_the_inner_host() {
    let settings = settings("60s");
    let nas = "ports = [\"tcp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"], masquerade = true";
    let mut gateway = Gateway::stopped(nas, &settings, false);
    let file = gateway.world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let services = text.lines().find(|line| line.starts_with("nas = "));
    let services = format!("[services]\n{}\n", services.expect("the service"));
    in_set_mode(&gateway.world, &settings);
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    std::fs::write(&file, text.replacen("[services]\n", &services, 1)).expect("spad.toml");
    gateway.world.lab.server.nft(&ruleset(&gateway.world));
    gateway.world.spad.start();
    let _echo = Echo::tcp(&gateway.inner, INNER);
    let client = &gateway.world.lab.client;
    let seen = || [SERVER4.into(), SERVER6.into()].map(|to| reach::tcp(client, to, 2222));
    assert_eq!(seen(), [Reach::Silent; 2]);
    gateway.open();
    gateway.open6();
    assert_eq!(seen(), [Reach::Open; 2]);
}

#[test]
fn beside_iptables_with_its_snippet_strangers_find_nothing_and_clients_get_in() {
    let mut world = World::stopped(&Settings::ttl("30s"));
    let server = &world.lab.server;
    let dropping = "for program in iptables ip6tables; do $program -w -P INPUT DROP; $program -w -A INPUT -i lo -j ACCEPT; done
ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT\n";
    let load = |script: &str| {
        let done = run_with_input(server.command("sh").args(["-e"]), script);
        assert!(done.success, "{script}\n{}", done.stderr);
    };
    load(dropping);
    load(
        &world
            .spad
            .cli(&["firewall", "snippet", "--iptables"])
            .ok()
            .stdout,
    );
    world.spad.start();
    assert_eq!(world.hidden(), [Reach::Refused; 4]);
    world.open(&["tcp/8080", "udp/9999"]);
    world.send6(&world.laptop.open(&["tcp/8080", "udp/9999"]));
    world.spad.wait_counted("opened", 2);
    assert_eq!(world.hidden(), [Reach::Open; 4]);
}
