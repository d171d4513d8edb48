//! Hosts of many kinds, on each of which a hidden port answers as a closed one does.
//!
//! Each situation is made in namespaces; there every probe goes to a hidden port and to a
//! closed one, and what comes back is compared byte for byte.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};

use crate::firewall::netns::{
    CLIENT4, CLIENT6, GHOST4, GHOST6, SERVER4, SERVER6, TestNetns, echo, in_netns, nft, sh, udp,
    wait_until,
};
use crate::firewall::probes::{self, Endpoints, Ports};
use crate::firewall::wire::{Wire, packet4};

const HIDDEN: Ports = Ports {
    tcp: 22,
    udp: 9999,
    sctp: 3868,
};
/// As many one bits in each.
const CLOSED: Ports = Ports {
    tcp: 26,
    udp: 9998,
    sctp: 3869,
};

/// What stays different, where, and why.
const KNOWN_DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "TCP with a traffic class",
        "both",
        "the kernel gives a reset the class of what it answers, `reject` gives none",
    ),
    (
        "TCP MD5",
        "both",
        "the kernel drops a signed segment to a port without a service, `reject` answers it",
    ),
    (
        "TCP with a record route",
        "IPv4",
        "the kernel's reset has the options turned around, that of `reject` has none",
    ),
    (
        "bytes behind a datagram",
        "both",
        "the kernel gives back what the datagram's length says, and `reject` answers nothing",
    ),
    (
        "SCTP",
        "IPv6",
        "the kernel answers with a parameter problem, for which `reject` has no word",
    ),
    (
        "IPv6 options that discard",
        "IPv6",
        "options are looked at behind the input hook",
    ),
    (
        "IPv6 options that are a problem",
        "IPv6",
        "options are looked at behind the input hook",
    ),
    (
        "an IPv6 routing header of type 0",
        "IPv6",
        "routing headers are looked at behind the input hook",
    ),
    (
        "an IPv6 routing header that is done",
        "IPv6",
        "routing headers are looked at behind the input hook",
    ),
];

/// An answer without what must differ.
fn fingerprint(answer: &[u8], request: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    let (head, protocol) = if bytes[0] >> 4 == 4 {
        // Its identification: that there is one is what shows.
        if bytes[4..6] != [0, 0] {
            bytes[4..6].copy_from_slice(b"id");
        }
        bytes[10..12].fill(0);
        (usize::from(bytes[0] & 15) * 4, bytes[9])
    } else {
        // A flow label is a number of the kernel's own: that there is one is what shows.
        if (bytes[1] & 15, bytes[2], bytes[3]) != (0, 0, 0) {
            bytes[1] |= 15;
            bytes[2..4].fill(0xff);
        }
        (40, bytes[6])
    };
    let rest = &mut bytes[head..];
    if protocol == 6 {
        rest[0..2].fill(0);
        rest[16..18].fill(0);
        return bytes;
    }
    rest[2..4].fill(0);
    // One fragment that is all of it has been put together.
    let whole = |packet: &[u8]| match packet.get(6) {
        Some(44) => [&packet[..40], &packet[48..]].concat(),
        _ => packet.to_vec(),
    };
    let (request, other) = (whole(request), whole(other));
    // What is given back: without that in which the two requests differ, and the header's checksum.
    let quoted = &mut rest[8..];
    for (place, byte) in quoted.iter_mut().enumerate() {
        let differ = request.get(place) != other.get(place);
        if differ || request[0] >> 4 == 4 && (10..12).contains(&place) {
            *byte = 0;
        }
    }
    bytes
}

impl Endpoints {
    /// Who answers an echo request by the same way.
    fn marker(self) -> Ipv4Addr {
        match self.to.to_string().as_str() {
            "10.0.0.5" | "fd10::5" => Ipv4Addr::new(10, 0, 0, 5),
            _ => SERVER4,
        }
    }
}

/// Sends this, and gives what comes back before the answer to an echo request behind it.
fn exchange(
    wire: &mut Wire,
    (station, packet): &probes::Frame,
    marker: Ipv4Addr,
    round: u16,
) -> Vec<Vec<u8>> {
    let mut request = vec![8, 0, 0, 0, 0x5e, 0x11];
    request.extend(round.to_be_bytes());
    let check = crate::firewall::wire::checksum(&[&request]);
    request[2..4].copy_from_slice(&check.to_be_bytes());
    wire.send_to(*station, packet);
    wire.send(&packet4(CLIENT4, marker, 1, &request, 0));
    let replies = wire.receive_until(|heard| {
        heard[0] >> 4 == 4
            && heard[9] == 1
            && heard[20] == 0
            && heard[26..28] == round.to_be_bytes()
    });
    // Memberships of groups are nobody's answer.
    replies
        .into_iter()
        .filter(|heard| heard[0] >> 4 != 4 || heard[9] != 2)
        .collect()
}

/// Compares hidden and closed ports; gives the probes that tell them apart.
fn differences(
    wire: &mut Wire,
    ends: Endpoints,
    [hidden, closed]: [Ports; 2],
) -> Vec<(&'static str, String)> {
    let mut differ = Vec::new();
    let mut answered = 0;
    for (number, (name, probe)) in probes::all().into_iter().enumerate() {
        let source = 4000 + u16::try_from(number).unwrap();
        let both = [hidden, closed].map(|ports| probe(ends, ports, source));
        let [Some(to_hidden), Some(to_closed)] = both else {
            continue;
        };
        let by_hidden = exchange(wire, &to_hidden, ends.marker(), source);
        let by_closed = exchange(wire, &to_closed, ends.marker(), source + 1000);
        let alike = |heard: &[Vec<u8>], own: &[u8], other: &[u8]| {
            heard
                .iter()
                .map(|answer| fingerprint(answer, own, other))
                .collect::<Vec<_>>()
        };
        let like_hidden = alike(&by_hidden, &to_hidden.1, &to_closed.1);
        let like_closed = alike(&by_closed, &to_closed.1, &to_hidden.1);
        answered += by_closed.len();
        if like_hidden != like_closed {
            differ.push((
                name,
                format!("hidden {by_hidden:02x?}\nclosed {by_closed:02x?}"),
            ));
        }
    }
    assert_eq!(
        answered > 0,
        !silent(),
        "{ends:?}: where nothing answers, nothing is shown"
    );
    differ
}

/// Whether the host of this test answers nobody at its closed ports.
fn silent() -> bool {
    sh("nft list ruleset").contains(SILENT)
}

/// The comment of a rule that drops all the rest.
const SILENT: &str = "answers nobody";

/// Each probe of each family: alike, or named above.
fn compare(world: &TestNetns, ends: &[Endpoints], ports: [Ports; 2], also: &[(&str, &str)]) {
    let mut wire = Wire::new(world);
    for ends in ends {
        let family = if ends.to.is_ipv4() { "IPv4" } else { "IPv6" };
        let is_named = |name: &str| {
            KNOWN_DIFFERENCES
                .iter()
                .any(|(probe, of, _)| *probe == name && [family, "both"].contains(of))
                || also.contains(&(name, family))
        };
        let unexpected: Vec<_> = differences(&mut wire, *ends, ports)
            .into_iter()
            .filter(|(name, _)| !is_named(name))
            .collect();
        let texts: Vec<_> = unexpected
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        assert!(texts.is_empty(), "{ends:?}\n{}", texts.join("\n"));
    }
}

const LINK: [Endpoints; 2] = [
    Endpoints {
        from: IpAddr::V4(GHOST4),
        to: IpAddr::V4(SERVER4),
    },
    Endpoints {
        from: IpAddr::V6(GHOST6),
        to: IpAddr::V6(SERVER6),
    },
];

/// A host that hides services of each protocol, with what this shell text makes of it.
fn host(setup: &str) -> TestNetns {
    let world = TestNetns::new("", "");
    let text = "hide = [\"ssh\", \"games\", \"diameter\"]\n[services]\nssh = \"tcp/22\"\n\
        games = \"udp/9999\"\ndiameter = \"sctp/3868\"\n[listen]\nport = 62201\n[guard]\ntrial = \"0s\"\n";
    std::fs::write(world.paths.config_file(), text).unwrap();
    echo(22);
    // They stay until the process ends.
    std::mem::forget(udp(Ipv4Addr::UNSPECIFIED, 9999));
    sh(setup);
    world.spad(&["firewall", "load"]);
    world
}

/// A firewall of the host's own that allows what is hidden, and does this with the rest.
fn with_firewall(rest: &str, invalid: &str, also: &[(&str, &str)]) {
    let rules = format!(
        "table inet user {{ chain in {{ type filter hook input priority 10; policy accept;
         ct state {{ established, related }} accept
         iifname \"lo\" accept
         {invalid}
         meta l4proto {{ icmp, ipv6-icmp }} accept
         tcp dport {{ 22, 8080, 80 }} accept
         udp dport 9999 accept
         sctp dport 3868 accept
         {rest}
 }}
 }}"
    );
    nft(&rules);
    let world = host("true");
    compare(&world, &LINK, [HIDDEN, CLOSED], also);
}

in_netns! {
    fn without_a_firewall() {
        let world = host("true");
        let mut wire = Wire::new(&world);
        let mut seen = Vec::new();
        for ends in LINK {
            seen.extend(differences(&mut wire, ends, [HIDDEN, CLOSED]).into_iter().map(|(name, _)| name));
        }
        for (name, _, why) in KNOWN_DIFFERENCES {
            assert!(seen.contains(name), "{name} is alike now, and no exception any more: {why}");
        }
        compare(&world, &LINK, [HIDDEN, CLOSED], &[]);
    }

    fn beside_a_firewall_that_drops_the_rest() {
        with_firewall(&format!("drop comment \"{SILENT}\""), "ct state invalid drop", &[]);
    }

    fn beside_a_firewall_that_rejects_the_rest() {
        with_firewall("reject with icmpx admin-prohibited", "ct state invalid drop", &[]);
    }

    fn beside_a_firewall_that_resets_the_rest() {
        with_firewall("meta l4proto tcp reject with tcp reset; reject", "ct state invalid drop", &[]);
    }

    fn beside_a_firewall_that_drops_what_is_invalid() {
        with_firewall("accept", "ct state invalid drop", &[]);
    }

    fn where_answers_are_routed_by_their_source() {
        let world = host(&format!(
            "ip rule add from {SERVER4} lookup 100; ip route add default via {CLIENT4} dev s0 table 100
             ip -6 rule add from {SERVER6} lookup 100; ip -6 route add default via {CLIENT6} dev s0 table 100"
        ));
        let far = [
            Endpoints { from: "198.51.100.7".parse().unwrap(), ..LINK[0] },
            Endpoints { from: "2001:db8:51::7".parse().unwrap(), ..LINK[1] },
        ];
        // Its default route would lead an answer to the address of nobody, too.
        compare(&world, &far, [HIDDEN, CLOSED], &[("TCP from nobody", "IPv6")]);
    }

    fn where_a_secondary_or_a_virtual_address_is_asked() {
        let world = host(
            "ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up; ip addr add 10.9.0.3/24 dev s0; ip addr add 10.99.0.1/32 dev d0
             ip -6 addr add fd99::1/128 dev d0 nodad; ip -6 addr add fd09::3/64 dev s0 nodad",
        );
        let mut ends = Vec::new();
        for to in ["10.9.0.3", "10.99.0.1", "fd99::1", "fd09::3"] {
            let to: IpAddr = to.parse().unwrap();
            let from = if to.is_ipv4() { LINK[0].from } else { LINK[1].from };
            ends.push(Endpoints { from, to });
        }
        compare(&world, &ends, [HIDDEN, CLOSED], &[]);
    }

    fn where_the_source_must_come_by_the_interface_that_leads_to_it() {
        let world = host(
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.s0.rp_filter=1
             ip link add d0 type veth peer name d1; sysctl -qw net.ipv6.conf.d0.disable_ipv6=1; ip link set d1 up; ip link set d0 up
             ip addr add 10.88.0.1/24 dev d0; ip neigh add 10.88.0.7 lladdr 02:00:00:00:00:88 dev d0",
        );
        let elsewhere = Endpoints { from: "10.88.0.7".parse().unwrap(), ..LINK[0] };
        let mut wire = Wire::new(&world);
        // Answers leave by the other interface, where they lead.
        let mut answers = |name: &str, ports: Ports, frame: &probes::Frame| {
            let sent = || sh("awk '$1 == \"d0:\" { print $11 }' /proc/self/net/dev");
            let before = sent();
            let replies = exchange(&mut wire, frame, SERVER4, ports.tcp);
            assert_eq!(replies, Vec::<Vec<u8>>::new(), "{name}");
            sent() != before
        };
        let first = probes::all()[0].1(elsewhere, CLOSED, 4000).unwrap();
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.s0.rp_filter=0");
        assert!(answers("without rp_filter", CLOSED, &first), "they would");
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.s0.rp_filter=1");
        for (name, probe) in probes::all() {
            for ports in [HIDDEN, CLOSED] {
                if let Some(frame) = probe(elsewhere, ports, 4000).filter(|_| !name.contains("from")) {
                    assert!(!answers(name, ports, &frame), "{name} to {ports:?}");
                }
            }
        }
        compare(&world, &LINK, [HIDDEN, CLOSED], &[]);
    }

    fn behind_a_bridge() {
        // Where br_netfilter hands bridged packets to the rules, `reject` answers past the output hook.
        let world = host(&format!(
            "for one in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $one ] || echo 0 > $one; done
             ip addr flush dev s0; ip link add br0 address 02:00:00:00:00:02 type bridge; ip link set s0 master br0; ip link set br0 up
             ip addr add {SERVER4}/24 brd + dev br0; ip -6 addr add {SERVER6}/64 dev br0 nodad
             for one in {CLIENT4} {GHOST4} {CLIENT6} {GHOST6}; do ip neigh add $one lladdr 02:00:00:00:00:01 dev br0; done"
        ));
        compare(&world, &LINK, [HIDDEN, CLOSED], &[]);
    }

    fn at_an_inner_host_behind_a_gateway() {
        let world = TestNetns::new("", "");
        let text = "hide = [\"nas\", \"games\"]\n[services]\nnas = { ports = [\"tcp/2222\"], to = [\"10.0.0.5:22\", \"[fd10::5]:22\"] }\n\
            games = { ports = [\"udp/4000\"], to = [\"10.0.0.5:9999\", \"[fd10::5]:9999\"] }\n[listen]\nport = 62201\n[guard]\ntrial = \"0s\"\n";
        std::fs::write(world.paths.config_file(), text).unwrap();
        let inner = InnerHost::new();
        world.spad(&["firewall", "load"]);
        let ends = [
            Endpoints { to: "10.0.0.5".parse().unwrap(), ..LINK[0] },
            Endpoints { to: "fd10::5".parse().unwrap(), ..LINK[1] },
        ];
        // The gateway answers in its own name where ICMP is the answer, and forwards nothing at its last hop.
        let by_the_gateway: Vec<(&str, &str)> = probes::all()
            .iter()
            .filter(|(name, _)| name.contains("UDP") || name.contains("from a broadcast") || ["bytes behind a datagram", "SCTP"].contains(name))
            .flat_map(|(name, _)| [(*name, "IPv4"), (*name, "IPv6")])
            .collect();
        // Nothing SCTP is led on.
        let hidden = Ports { sctp: CLOSED.sctp, ..HIDDEN };
        compare(&world, &ends, [hidden, CLOSED], &by_the_gateway);
        drop(inner);
    }
}

/// A host behind this one, on which nothing listens.
struct InnerHost(Child);

impl InnerHost {
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["-n", "--", "sleep", "300"])
            .spawn()
            .unwrap();
        let pid = child.id();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_until(|| {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link != own)
        });
        sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            ip link add i0 address 02:00:00:00:00:10 type veth peer name e0 address 02:00:00:00:00:11 netns {pid}
            ip addr add 10.0.0.1/24 dev i0; ip -6 addr add fd10::1/64 dev i0 nodad; ip link set i0 up
            for one in 10.0.0.5 fd10::5; do ip neigh add $one lladdr 02:00:00:00:00:11 dev i0; done
            nsenter -t {pid} -n sh -c 'ip link set lo up; ip addr add 10.0.0.5/24 dev e0; ip -6 addr add fd10::5/64 dev e0 nodad
              ip link set e0 up; for one in 10.0.0.1 fd10::1; do ip neigh add $one lladdr 02:00:00:00:00:10 dev e0; done
              ip route add default via 10.0.0.1; ip -6 route add default via fd10::1
              sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0'"
        ));
        Self(child)
    }
}

impl Drop for InnerHost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
