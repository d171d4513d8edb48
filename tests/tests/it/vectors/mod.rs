//! The test vectors, run as tests/vectors/README.md tells any implementation
//! to; and every reason that docs/protocol.md lists has one.

mod keys;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use keys::TextCase;
use packets::PacketCase;
use serde::Deserialize;
use serde_json::Value;
use spa_keys::{ClientSecret, KeyError, KeyId, PacketKeys, PreSharedKey, ServerSecret, SharedKey};
use spa_proto::{IdentifyError, NotAuthentic, OpenError, RequestError};

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
                PacketKeys::from_shared(&public, &shared),
            ));
        }
        let client = self.client().unwrap();
        let pair = server.pair_with(&client.public())?;
        assert_eq!(pair, client.pair_with(&public)?);
        let pre_shared = self.pre_shared_key.as_ref();
        let pre_shared = pre_shared.map(|key| PreSharedKey::from_bytes(array(key)));
        let keys = PacketKeys::from_pair(&public, &pair, &client.public(), pre_shared.as_ref());
        Ok((KeyId::for_client(&public, &client.public()), keys))
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
    let output = Command::new("python3")
        .arg(check)
        .output()
        .expect("python3, which ./check installs");
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
