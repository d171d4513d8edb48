//! Packets: sealed, and received by the checks of docs/protocol.md §7 that
//! concern one packet.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use spa_keys::{HeadKeys, KeyId};
use spa_proto::{
    Addresses, Open, OpenError, Randomness, Record, Request, Service, Services, Timestamp,
    identify, seal,
};

use crate::vectors::{Outcome, Parties, array, bytes, cases};

#[derive(Deserialize)]
pub(crate) struct PacketCase {
    #[serde(flatten)]
    pub(crate) parties: Parties,
    pub(crate) key_id: String,
    pub(crate) nonce: Option<String>,
    pub(crate) timestamp: Option<String>,
    pub(crate) length_draw: Option<u8>,
    pub(crate) request: Option<Value>,
    pub(crate) packet: String,
    pub(crate) now: String,
    pub(crate) max_skew_seconds: u64,
    pub(crate) outcome: Outcome,
}

fn request(value: &Value) -> Request {
    let texts = |name: &str| -> Vec<String> {
        serde_json::from_value(value.get(name).cloned().unwrap_or_default()).unwrap()
    };
    let addresses = || {
        let list = texts("addresses");
        let v4 = list.iter().find_map(|text| text.parse().ok());
        let v6 = list.iter().find_map(|text| text.parse().ok());
        Addresses::new(v4, v6).unwrap()
    };
    let services = || {
        let list = texts("services")
            .into_iter()
            .map(|text| text.parse::<Service>().unwrap());
        Services::from_iter(list).unwrap()
    };
    let number = |name: &str| u32::try_from(value[name].as_u64().unwrap()).unwrap();
    match value["action"].as_str().unwrap() {
        "open" => Request::Open(Open {
            once: value["once"].as_bool().unwrap(),
            duration: number("duration"),
            source_port: u16::try_from(number("source_port"))
                .unwrap()
                .try_into()
                .ok(),
            addresses: addresses(),
            services: services(),
        }),
        "close" => Request::Close {
            addresses: addresses(),
            services: services(),
        },
        "run" => Request::Run {
            command: value["command"].as_str().unwrap().parse().unwrap(),
        },
        "join" => Request::Join {
            join_key: array(value["joiner"].as_str().unwrap()),
        },
        other => unreachable!("{other}"),
    }
}

#[derive(Default)]
struct Seen(BTreeSet<(KeyId, [u8; 24])>);

impl Record for Seen {
    type Refusal = ();

    fn record(&mut self, id: KeyId, nonce: &[u8; 24], _: Timestamp) -> Result<(), ()> {
        if self.0.insert((id, *nonce)) {
            Ok(())
        } else {
            Err(())
        }
    }
}

/// The server's checks that concern one packet, docs/protocol.md §7.
fn receive(case: &PacketCase, seen: &mut Seen) -> Result<Request, Outcome> {
    let head = HeadKeys::new(&case.parties.server().public());
    let (id, keys) = case.parties.keys().unwrap();
    let packet = bytes(&case.packet);
    let now = Timestamp::from_micros(case.now.parse().unwrap());
    let skew = Duration::from_secs(case.max_skew_seconds);

    let identified = identify(&head, &packet);
    let identified = identified.map_err(|fault| Outcome::refused("identify", fault.reason()))?;
    let timestamp = identified.timestamp();
    if identified.key_id() != id {
        return Err(Outcome::refused("lookup", "unknown_key"));
    }
    if timestamp < now.saturating_sub(skew) {
        return Err(Outcome::refused("screen", "stale"));
    }
    let authentic = identified.authenticate(&keys);
    let authentic = authentic.map_err(|fault| Outcome::refused("authenticate", fault.reason()))?;
    let recorded = authentic.record(seen);
    let recorded = recorded.map_err(|()| Outcome::refused("record", "replay"))?;
    let opened = recorded.open(&keys).map_err(|fault| match fault {
        OpenError::Decryption => Outcome::refused("open", fault.reason()),
        OpenError::Request(fault) => Outcome::refused("request", fault.reason()),
    })?;
    if timestamp > now.saturating_add(skew) {
        return Err(Outcome::refused("time", "future"));
    }
    Ok(opened.into_request())
}

#[test]
fn every_packet_is_judged_as_its_vector_says_and_never_accepted_twice() {
    for (name, case) in cases::<PacketCase>("packet") {
        let (id, _) = case.parties.keys().unwrap();
        assert_eq!(id.to_bytes(), array(&case.key_id), "{name}");
        let mut seen = Seen::default();
        match receive(&case, &mut seen) {
            Ok(opened) => {
                assert_eq!(case.outcome, Outcome::ACCEPTED, "{name}");
                assert_eq!(opened, request(case.request.as_ref().unwrap()), "{name}");
                let again = receive(&case, &mut seen);
                assert_eq!(again, Err(Outcome::refused("record", "replay")), "{name}");
            }
            Err(outcome) => assert_eq!(outcome, case.outcome, "{name}"),
        }
    }
}

#[test]
fn every_packet_that_is_accepted_is_sealed_to_the_same_bytes() {
    let mut sealed = 0;
    for (name, case) in cases::<PacketCase>("packet") {
        let (Some(wanted), Some(length)) = (&case.request, case.length_draw) else {
            continue;
        };
        let head = HeadKeys::new(&case.parties.server().public());
        let (id, keys) = case.parties.keys().unwrap();
        let timestamp = Timestamp::from_micros(case.timestamp.unwrap().parse().unwrap());
        let randomness = Randomness {
            nonce: array(&case.nonce.unwrap()),
            length,
        };
        let packet = seal(&head, id, &keys, &request(wanted), timestamp, &randomness).unwrap();
        assert_eq!(packet, bytes(&case.packet), "{name}");
        sealed += 1;
    }
    assert!(sealed >= 15, "{sealed}");
}
