//! The test vectors, run as tests/vectors/README.md tells any implementation
//! to; and every reason that docs/protocol.md lists has one.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use spa_keys::{
    ClientPublic, ClientSecret, HeadKeys, KeyError, KeyId, Kind, PacketKeys, PreSharedKey,
    ServerPublic, ServerSecret, SharedKey,
};
use spa_proto::{
    Addresses, IdentifyError, NotAuthentic, Open, OpenError, Randomness, Record, Request,
    RequestError, Service, Services, Timestamp, identify, seal,
};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

fn cases<Case: for<'a> Deserialize<'a>>(kind: &str) -> BTreeMap<String, Case> {
    let read = |entry: Result<fs::DirEntry, _>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let case = serde_json::from_str(&fs::read_to_string(&path).unwrap());
        (name, case.unwrap())
    };
    fs::read_dir(folder().join(kind))
        .unwrap()
        .map(read)
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

#[derive(Debug, Deserialize, PartialEq)]
struct Outcome {
    accepted: bool,
    stage: Option<String>,
    reason: Option<String>,
}

impl Outcome {
    fn refused(stage: &str, reason: &str) -> Self {
        let (stage, reason) = (Some(stage.to_owned()), Some(reason.to_owned()));
        Self {
            accepted: false,
            stage,
            reason,
        }
    }

    const ACCEPTED: Self = Self {
        accepted: true,
        stage: None,
        reason: None,
    };
}

#[derive(Deserialize)]
struct Pair {
    secret_key: String,
    public_key: String,
}

/// Whose keys: of a packet's case, or of a derivation's.
#[derive(Deserialize)]
struct Parties {
    server: Pair,
    client: Option<Pair>,
    pre_shared_key: Option<String>,
    shared_key: Option<String>,
}

impl Parties {
    fn server(&self) -> ServerSecret {
        let server = ServerSecret::from_bytes(array(&self.server.secret_key));
        assert_eq!(server.public().as_bytes(), &array(&self.server.public_key));
        server
    }

    fn client(&self) -> Option<ClientSecret> {
        let pair = self.client.as_ref()?;
        let client = ClientSecret::from_bytes(array(&pair.secret_key));
        assert_eq!(client.public().as_bytes(), &array(&pair.public_key));
        Some(client)
    }

    /// As the server computes them.
    fn keys(&self) -> Result<(KeyId, PacketKeys), KeyError> {
        let server = self.server();
        let public = server.public();
        if let Some(shared) = &self.shared_key {
            let shared = SharedKey::from_bytes(array(shared));
            return Ok((
                shared.key_id(&public),
                PacketKeys::of_shared(&public, &shared),
            ));
        }
        let client = self.client().unwrap();
        let pair = server.pair_with(&client.public())?;
        assert_eq!(pair, client.pair_with(&public)?);
        let pre_shared = self.pre_shared_key.as_ref();
        let pre_shared = pre_shared.map(|key| PreSharedKey::from_bytes(array(key)));
        let keys = PacketKeys::of_pair(&public, &pair, &client.public(), pre_shared.as_ref());
        Ok((KeyId::of_client(&public, &client.public()), keys))
    }
}

#[derive(Deserialize)]
struct PacketCase {
    #[serde(flatten)]
    parties: Parties,
    key_id: String,
    nonce: Option<String>,
    timestamp: Option<String>,
    length_draw: Option<u8>,
    request: Option<Value>,
    packet: String,
    now: String,
    max_skew_seconds: u64,
    outcome: Outcome,
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
            joiner: array(value["joiner"].as_str().unwrap()),
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
    let head = HeadKeys::of(&case.parties.server().public());
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
        let head = HeadKeys::of(&case.parties.server().public());
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

#[derive(Deserialize)]
struct TextCase {
    expected_prefix: String,
    text: String,
    key: Option<String>,
    outcome: Outcome,
}

/// Reads a text as a key of this kind; gives it as text again.
fn read(kind: Kind, text: &str) -> Result<String, KeyError> {
    Ok(match kind {
        Kind::ServerPublic => text.parse::<ServerPublic>()?.to_string(),
        Kind::ClientPublic => text.parse::<ClientPublic>()?.to_string(),
        Kind::ServerSecret => ServerSecret::from_text(text)?.to_text().to_string(),
        Kind::ClientSecret => ClientSecret::from_text(text)?.to_text().to_string(),
        Kind::Shared => SharedKey::from_text(text)?.to_text().to_string(),
        Kind::PreShared => PreSharedKey::from_text(text)?.to_text().to_string(),
    })
}

/// The text of a key of these bytes.
fn write(kind: Kind, key: [u8; 32]) -> String {
    match kind {
        Kind::ServerPublic => ServerPublic::from_bytes(key).unwrap().to_string(),
        Kind::ClientPublic => ClientPublic::from_bytes(key).unwrap().to_string(),
        Kind::ServerSecret => ServerSecret::from_bytes(key).to_text().to_string(),
        Kind::ClientSecret => ClientSecret::from_bytes(key).to_text().to_string(),
        Kind::Shared => SharedKey::from_bytes(key).to_text().to_string(),
        Kind::PreShared => PreSharedKey::from_bytes(key).to_text().to_string(),
    }
}

#[test]
fn every_key_text_is_read_as_its_vector_says() {
    let mut kinds = BTreeSet::new();
    for (name, case) in cases::<TextCase>("key_text") {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.prefix() == case.expected_prefix);
        let kind = kind.unwrap();
        match read(kind, &case.text) {
            Ok(text) => {
                assert_eq!(case.outcome, Outcome::ACCEPTED, "{name}");
                assert_eq!(text, write(kind, array(&case.key.unwrap())), "{name}");
                kinds.insert(kind.prefix());
            }
            Err(fault) => {
                assert_eq!(
                    case.outcome,
                    Outcome::refused("text", fault.reason()),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(
        kinds.len(),
        Kind::ALL.len(),
        "a kind of key has no good vector"
    );
}

#[derive(Deserialize)]
struct DerivationCase {
    #[serde(flatten)]
    parties: Parties,
    nonce: Option<String>,
    derived: Option<BTreeMap<String, String>>,
    outcome: Outcome,
}

#[test]
fn every_derived_key_is_as_its_vector_says() {
    for (name, case) in cases::<DerivationCase>("keys") {
        let (id, keys) = match case.parties.keys() {
            Err(fault) => {
                assert_eq!(
                    case.outcome,
                    Outcome::refused("pair", fault.reason()),
                    "{name}"
                );
                continue;
            }
            Ok(derived) => derived,
        };
        assert_eq!(case.outcome, Outcome::ACCEPTED, "{name}");
        let derived = case.derived.unwrap();
        let nonce: [u8; 24] = array(&case.nonce.unwrap());
        let head = HeadKeys::of(&case.parties.server().public());
        assert_eq!(id.to_bytes(), array(&derived["key_id"]), "{name}");
        assert_eq!(head.mask(&nonce), array(&derived["mask"]), "{name}");
        assert_eq!(
            head.tag(&[0; 40]),
            array(&derived["tag_of_40_zero_bytes"]),
            "{name}"
        );
        assert_eq!(
            keys.authenticate(&nonce),
            array(&derived["hmac_of_nonce"]),
            "{name}"
        );
    }
}

#[test]
fn every_reason_of_the_specification_has_a_vector() {
    let packets = cases::<PacketCase>("packet");
    let mut missing: BTreeSet<&str> = RequestError::ALL.iter().map(|f| f.reason()).collect();
    missing.extend(IdentifyError::ALL.map(IdentifyError::reason));
    missing.extend([NotAuthentic.reason(), OpenError::Decryption.reason()]);
    missing.extend(["unknown_key", "stale", "future"]);
    for (name, case) in &packets {
        let (start, reason) = name.split_once('_').unwrap();
        assert_eq!(
            start,
            if case.outcome.accepted {
                "accept"
            } else {
                "refuse"
            },
            "{name}"
        );
        if let Some(named) = &case.outcome.reason {
            let reason = reason.strip_prefix("request_").unwrap_or(reason);
            assert!(
                reason.starts_with(named.as_str()),
                "{name} is not named for {named}"
            );
            missing.remove(named.as_str());
        }
    }
    assert!(missing.is_empty(), "no packet vector for {missing:?}");

    let mut missing = BTreeSet::from([
        "empty",
        "unknown_prefix",
        "other_kind",
        "length",
        "character",
        "checksum",
        "not_canonical",
        "small_order",
    ]);
    for case in cases::<TextCase>("key_text").values() {
        if let Some(named) = &case.outcome.reason {
            missing.remove(named.as_str());
        }
    }
    assert!(missing.is_empty(), "no key text vector for {missing:?}");

    let specification = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let specification = fs::read_to_string(specification).unwrap();
    for reason in packets
        .values()
        .filter_map(|case| case.outcome.reason.as_ref())
    {
        assert!(
            specification.contains(&format!("`{reason}`")),
            "{reason} is not specified"
        );
    }
}

#[test]
fn the_packet_printed_in_the_specification_is_its_vector() {
    let specification = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let specification: String = fs::read_to_string(specification)
        .unwrap()
        .split_whitespace()
        .collect();
    let case = cases::<PacketCase>("packet")
        .remove("accept_open_ipv4")
        .unwrap();
    let fields = [0..48, 48..80, 80..96, 96..258, 258..290, 290..354];
    let mut rest = specification.as_str();
    for field in fields {
        let (_, after) = rest
            .split_once(&case.packet[field.clone()])
            .expect("a field of the packet");
        rest = after;
    }
    assert_eq!(case.packet.len(), 354);
    let parties = &case.parties;
    assert!(specification.contains(&parties.server.secret_key));
    assert!(specification.contains(&parties.client().unwrap().public().to_string()));
}

#[test]
fn a_second_implementation_in_python_agrees_with_every_vector() {
    let check = folder().join("check.py");
    let output = match Command::new("python3").arg(check).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("python3 is not installed: the second implementation was not run");
            return;
        }
        other => other.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let count = ["packet", "key_text", "keys"].map(|kind| cases::<Value>(kind).len());
    let count: usize = count.into_iter().sum();
    assert!(said.contains(&format!("{count} vectors agree")), "{said}");
}
