//! Packets that a server accepts.

use serde_json::{Value, json};
use spa_keys::HeadKeys;
use spa_proto::{
    Addresses, Open, Protocol, Randomness, Request, Service, Services, Timestamp, seal,
};

use super::craft::{NOW, PacketDraft, SKEW, Sealer, bytes, nonce, server};
use super::written::{Outcome, PacketCase, hex};

pub(crate) fn services(list: &[(Protocol, u16)]) -> Services {
    let list = list.iter().map(|(protocol, port)| Service {
        protocol: *protocol,
        port: (*port).try_into().unwrap(),
    });
    Services::from_iter(list).unwrap()
}

pub(crate) fn request_json(request: &Request) -> Value {
    let addresses = |addresses: &Addresses| -> Vec<String> {
        addresses
            .iter()
            .map(|address| address.to_string())
            .collect()
    };
    let services = |services: &Services| -> Vec<String> {
        services.as_slice().iter().map(Service::to_string).collect()
    };
    match request {
        Request::Open(open) => json!({
            "action": "open",
            "once": open.once,
            "duration": open.duration,
            "source_port": open.source_port.map_or(0, u16::from),
            "addresses": addresses(&open.addresses),
            "services": services(&open.services),
        }),
        Request::Close {
            addresses: a,
            services: s,
        } => {
            json!({"action": "close", "addresses": addresses(a), "services": services(s)})
        }
        Request::Run { command } => json!({"action": "run", "command": command.as_str()}),
        Request::Join { join_key: joiner } => json!({"action": "join", "joiner": hex(joiner)}),
    }
}

/// Sealed by the library, and by the generator a second time from its parts.
fn sealed(
    name: &str,
    about: &str,
    sealer: Sealer,
    request: &Request,
    timestamp: u64,
    length_draw: u8,
) -> PacketCase {
    let randomness = Randomness {
        nonce: nonce(name),
        length: length_draw,
    };
    let head = HeadKeys::new(&server().public());
    let now = Timestamp::from_micros(timestamp);
    let packet = seal(
        &head,
        sealer.id(),
        &sealer.keys(),
        request,
        now,
        &randomness,
    )
    .unwrap();
    let mut plaintext = request.encode().unwrap();
    plaintext.resize(packet.len() - 96, 0);
    let mut craft = PacketDraft::new(name, plaintext);
    (craft.sealer, craft.id, craft.timestamp) = (sealer, sealer.id(), timestamp);
    assert_eq!(craft.packet(), packet, "{name}");
    let mut case = craft.case(about, Outcome::ACCEPTED);
    case.request = Some(request_json(request));
    case.length_draw = Some(length_draw);
    case
}

pub(crate) fn all() -> Vec<PacketCase> {
    use Protocol::{Sctp, Tcp, Udp};
    let open = |open: Open| Request::Open(open);
    let v4 = Addresses::new(Some("192.0.2.17".parse().unwrap()), None).unwrap();
    let v6 = Addresses::new(None, Some("2001:db8::17".parse().unwrap())).unwrap();
    let both = Addresses::new(v4.v4(), v6.v6()).unwrap();
    let ssh = services(&[(Tcp, 22)]);
    let sixteen: Vec<(Protocol, u16)> = (0..16).map(|i| (Tcp, 65520 + i)).collect();
    let sixteen = services(&sixteen);
    let largest = Open {
        duration: u32::MAX,
        source_port: Some(u16::MAX.try_into().unwrap()),
        addresses: both,
        services: sixteen.clone(),
        ..Open::default()
    };
    let at = |name: &str, about: &str, timestamp| {
        sealed(
            name,
            about,
            Sealer::Pair,
            &Request::Open(Open::default()),
            timestamp,
            1,
        )
    };
    let by = |sealer, name: &str, about: &str| {
        sealed(name, about, sealer, &Request::Open(Open::default()), NOW, 2)
    };
    let pair = |name: &str, about: &str, request: Request, length| {
        sealed(name, about, Sealer::Pair, &request, NOW, length)
    };
    let mut once = open(Open {
        once: true,
        services: ssh.clone(),
        ..Open::default()
    });
    let mut cases = vec![pair(
        "accept_open_once",
        "Open tcp/22 for one connection only.",
        once,
        90,
    )];
    once = open(Open {
        addresses: v4,
        services: ssh.clone(),
        duration: 30,
        ..Open::default()
    });
    cases.push(pair(
        "accept_open_ipv4",
        "Open tcp/22 for one IPv4 address and 30 s.",
        once,
        17,
    ));
    let run = |name: &str| Request::Run {
        command: name.parse().unwrap(),
    };
    let long = "a-very_long-name".repeat(4);
    let source_port = Open {
        source_port: Some(40000.try_into().unwrap()),
        services: ssh.clone(),
        ..Open::default()
    };
    let protocols = services(&[(Tcp, 443), (Udp, 51820), (Sctp, 36412)]);
    cases.extend([
        pair(
            "accept_open_defaults",
            "Open with nothing stated, the shortest packet.",
            open(Open::default()),
            0,
        ),
        pair(
            "accept_open_ipv6",
            "Open tcp/22 for one IPv6 address.",
            open(Open {
                addresses: v6,
                services: ssh.clone(),
                ..Open::default()
            }),
            5,
        ),
        pair(
            "accept_open_ipv4_and_ipv6",
            "Open tcp/22 for an address of each family.",
            open(Open {
                addresses: both,
                services: ssh.clone(),
                ..Open::default()
            }),
            200,
        ),
        pair(
            "accept_open_protocols",
            "Open services of all three protocols, ascending by protocol number.",
            open(Open {
                services: protocols,
                ..Open::default()
            }),
            33,
        ),
        pair(
            "accept_open_source_port",
            "Open tcp/22 for source port 40000 only.",
            open(source_port),
            64,
        ),
        pair(
            "accept_open_longest",
            "The longest request of an open, with the longest padding.",
            open(largest),
            255,
        ),
        pair(
            "accept_close_all",
            "Close all of this client's services for the packet's address.",
            Request::Close {
                addresses: Addresses::NONE,
                services: Services::NONE,
            },
            11,
        ),
        pair(
            "accept_close_service",
            "Close tcp/22 for one IPv4 address.",
            Request::Close {
                addresses: v4,
                services: ssh,
            },
            12,
        ),
        pair("accept_run", "Run the command `backup`.", run("backup"), 13),
        pair(
            "accept_run_longest",
            "Run a command whose name has 64 characters.",
            run(&long),
            14,
        ),
        sealed(
            "accept_join",
            "Join with an invitation's shared key.",
            Sealer::Shared,
            &Request::Join {
                join_key: *super::craft::client().public().as_bytes(),
            },
            NOW,
            15,
        ),
        by(
            Sealer::Shared,
            "accept_shared_key",
            "Open with nothing stated, sealed with a shared key.",
        ),
        by(
            Sealer::PairAndPreShared,
            "accept_pre_shared_key",
            "Open with nothing stated, with a pre-shared key mixed in.",
        ),
        at(
            "accept_time_oldest",
            "The timestamp is exactly now − 60 s.",
            NOW - SKEW,
        ),
        at(
            "accept_time_newest",
            "The timestamp is exactly now + 60 s.",
            NOW + SKEW,
        ),
    ]);
    let mut full = PacketDraft::new("accept_padding_fills_512", {
        let mut plaintext = Request::Open(Open::default()).encode().unwrap();
        plaintext.resize(416, 0);
        plaintext
    });
    full.sealer = Sealer::Pair;
    let mut full = full.case(
        "More padding than any sender of version 1 draws: 512 bytes in all.",
        Outcome::ACCEPTED,
    );
    full.request = Some(request_json(&Request::Open(Open::default())));
    cases.push(full);
    debug_assert_eq!(bytes("client").len(), 32);
    cases
}
