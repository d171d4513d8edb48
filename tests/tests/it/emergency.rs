//! The emergency table, which hides where `nft` cannot be used: whom it keeps out, whom it lets
//! in, and what it leaves alone.

use std::net::IpAddr;

use pnet::packet::ethernet::EtherTypes;
use spa_tests::echo::Echo;
use spa_tests::frame::{self, Endpoints};
use spa_tests::gateway::{Gateway, INNER, INNER4, INNER6, OUTER};
use spa_tests::lab::{SERVER4, SERVER6};
use spa_tests::namespace::Namespace;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, EXPOSED, Settings, WEB};
use spa_tests::tap;
use spa_tests::wait;

/// A hidden SCTP port.
const SCTP: u16 = 3868;
/// A port that the host's own rule leads to a hidden one.
const MOVED: u16 = 5353;
/// A port of the inner host that nothing hides.
const INNER_EXPOSED: u16 = 7023;
/// The gateway, as the inner host sees it.
const GATEWAY4: &str = "10.0.0.1";
const GATEWAY6: &str = "2001:db8:5::1";

/// A gateway that hides services of all kinds, in an emergency table.
fn in_emergency(always_allow: &'static [&'static str]) -> Gateway {
    let settings = Settings {
        hide: &["nas", "web", "chat"],
        trial: "0s",
        always_allow,
        ..Settings::default()
    };
    let nas = "ports = [\"tcp/2222\"], to = [\"10.0.0.5:7022\", \"[2001:db8:5::5]:7022\"]";
    let mut gateway = Gateway::stopped(nas, &settings, true);
    let services = format!("[services]\ndiameter = \"sctp/{SCTP}\"\n");
    let bed = &gateway.bed;
    bed.replace_in_config("spad.toml", "[services]\n", &services);
    bed.replace_in_config("spad.toml", "hide = [", "hide = [\"diameter\", ");
    // A device, and so no program.
    let spad = &mut gateway.bed.spad;
    spad.bind_mount("/usr/sbin/nft", "/dev/null".into());
    let load = spad.cli_under_wrapper(&["firewall", "load"]);
    assert!(load.stderr.contains("emergency table"), "{load:?}");
    gateway
}

/// What somebody sees of the gateway's own hidden ports, over both families.
fn seen(from: &Namespace, [four, six]: [IpAddr; 2]) -> [Reachability; 4] {
    [
        reach::tcp(from, four, WEB),
        reach::tcp(from, six, WEB),
        reach::udp(from, four, CHAT),
        reach::udp(from, six, CHAT),
    ]
}

fn gateway_addresses() -> [IpAddr; 2] {
    [GATEWAY4, GATEWAY6].map(|address| address.parse().expect("an address"))
}

/// Counts what arrives at these ports behind every rule of ours; and a rule of the host's leads
/// another port to a hidden one.
fn count(gateway: &Gateway) {
    gateway.bed.lab.server.nft(&format!(
        "table inet theirs {{ chain pre {{ type nat hook prerouting priority dstnat;
         udp dport {MOVED} redirect to :{CHAT}; }}; }}
         table inet counts {{ chain in {{ type filter hook input priority 300;
         udp dport {CHAT} counter; sctp dport {SCTP} counter; udp dport 7777 counter; }}; }}"
    ));
}

/// How many packets were counted: to the UDP service, to the SCTP port, to a port that is not hidden.
fn counted(gateway: &Gateway) -> Vec<String> {
    let list = ["list", "chain", "inet", "counts", "in"];
    let text = gateway.bed.lab.server.run_ok("nft", &list);
    let words = text.split("packets ").skip(1);
    words
        .filter_map(|rest| rest.split(' ').next().map(str::to_owned))
        .collect()
}

/// Two datagrams and an SCTP packet with these ends, and a datagram behind them to where it is seen.
fn send(gateway: &Gateway, from: IpAddr, to: IpAddr) {
    let endpoints = |port| Endpoints::new((from, 4000), (to, port));
    let datagram = |port| frame::datagram(endpoints(port), b"there?");
    let mut init = frame::udp(endpoints(SCTP), &[0; 24]);
    init[4..].fill(0);
    let packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => frame::ethernet(
            EtherTypes::Ipv4,
            &frame::ipv4(from, to, 132, &init, 0, false),
        ),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame::ethernet(EtherTypes::Ipv6, &frame::ipv6(from, to, 132, &init))
        }
        _ => unreachable!("two families"),
    };
    let before = counted(gateway).pop();
    tap::inject(
        &gateway.bed.lab.client,
        &[datagram(CHAT), datagram(MOVED), packet, datagram(7777)],
    );
    wait::eventually("what came last is counted", || {
        (counted(gateway).pop() != before).then_some(())
    });
}

#[test]
fn it_keeps_everybody_out_of_every_hidden_port_and_leaves_all_else_alone() {
    let gateway = in_emergency(&[]);
    let client = &gateway.bed.lab.client;
    let servers = [SERVER4.into(), SERVER6.into()];
    for from in [client, &gateway.inner] {
        assert_eq!(seen(from, servers), [Reachability::NoAnswer; 4]);
    }
    // This host reaches itself.
    let server = &gateway.bed.lab.server;
    assert_eq!(seen(server, servers), [Reachability::Open; 4]);
    count(&gateway);
    for (from, to) in [
        ("192.0.2.66".parse(), SERVER4.into()),
        ("2001:db8::66".parse(), SERVER6.into()),
    ] {
        send(&gateway, from.expect("an address"), to);
    }
    assert_eq!(counted(&gateway), ["0", "0", "2"], "UDP, SCTP, not hidden");
    // What is not hidden, here and behind the gateway.
    let echoes = [INNER, INNER_EXPOSED].map(|port| Echo::tcp(&gateway.inner, port));
    assert_eq!(gateway.bed.tcp(EXPOSED), Reachability::Open);
    assert_eq!(
        reach::tcp(client, SERVER4.into(), OUTER),
        Reachability::NoAnswer
    );
    for inner in [INNER4.into(), INNER6.into()] {
        assert_eq!(
            reach::tcp(client, inner, INNER),
            Reachability::NoAnswer,
            "{inner}"
        );
        assert_eq!(reach::tcp(client, inner, INNER_EXPOSED), Reachability::Open);
    }
    assert_eq!(reach::tcp(server, INNER4.into(), INNER), Reachability::Open);
    drop(echoes);
}

#[test]
fn whom_always_allow_names_it_lets_in_by_their_own_interface_alone() {
    for always_allow in [
        &["10.0.0.0/24", "2001:db8:5::/64"] as &'static [_],
        &["in0"],
    ] {
        let gateway = in_emergency(always_allow);
        let client = &gateway.bed.lab.client;
        let servers = [SERVER4.into(), SERVER6.into()];
        assert_eq!(
            seen(&gateway.inner, gateway_addresses()),
            [Reachability::Open; 4]
        );
        assert_eq!(
            seen(client, servers),
            [Reachability::NoAnswer; 4],
            "{always_allow:?}"
        );
        // With a forged source of that network, from outside.
        count(&gateway);
        send(&gateway, INNER4.into(), SERVER4.into());
        send(&gateway, INNER6.into(), SERVER6.into());
        let forged = counted(&gateway);
        assert_eq!(
            forged,
            ["0", "0", "2"],
            "{always_allow:?}: UDP, SCTP, shown"
        );
    }
}
