//! Packets that are refused before their request is read, and for their time.

use spa_keys::{ClientSecret, KeyId, ServerSecret};
use spa_proto::{Open, Request};

use super::craft::{NOW, PacketDraft, SKEW, Sealer, bytes, server};
use super::written::{Outcome, PacketCase, hex};

/// The plaintext of an open with nothing stated, in a packet of 160 bytes.
fn plaintext() -> Vec<u8> {
    let mut plaintext = Request::Open(Open::default()).encode().unwrap();
    plaintext.resize(64, 0);
    plaintext
}

/// A good packet, harmed after it was sealed.
fn tampered(
    name: &str,
    about: &str,
    stage: &'static str,
    reason: &'static str,
    tamper: impl FnOnce(&mut Vec<u8>),
) -> PacketCase {
    let craft = PacketDraft::new(name, plaintext());
    let mut case = craft.case(about, Outcome::refused(stage, reason));
    let mut packet = craft.packet();
    tamper(&mut packet);
    case.packet = hex(&packet);
    // A sender cannot make these bytes from the inputs.
    (case.nonce, case.timestamp, case.plaintext) = (None, None, None);
    case
}

fn crafted(
    name: &str,
    about: &str,
    stage: &'static str,
    reason: &'static str,
    change: impl FnOnce(&mut PacketDraft),
) -> PacketCase {
    let mut craft = PacketDraft::new(name, plaintext());
    change(&mut craft);
    let mut case = craft.case(about, Outcome::refused(stage, reason));
    // The keys of the case are those the server has for this client.
    (case.shared_key, case.pre_shared_key) = (None, None);
    case.client = Some(super::craft::client_pair());
    case.key_id = hex(&Sealer::Pair.id().to_bytes());
    case
}

pub(crate) fn all() -> Vec<PacketCase> {
    [lengths(), heads(), codes(), ciphers(), times()].concat()
}

fn lengths() -> Vec<PacketCase> {
    let stage = "identify";
    vec![
        tampered(
            "refuse_length_empty",
            "A datagram of 0 bytes.",
            stage,
            "length",
            Vec::clear,
        ),
        crafted(
            "refuse_length_159",
            "159 bytes, right but for the length.",
            stage,
            "length",
            |craft| {
                craft.plaintext.truncate(63);
            },
        ),
        crafted(
            "refuse_length_513",
            "513 bytes, right but for the length.",
            stage,
            "length",
            |craft| {
                craft.plaintext.resize(417, 0);
            },
        ),
    ]
}

fn heads() -> Vec<PacketCase> {
    let (stage, tag) = ("identify", "head_tag");
    let flip = |name: &str, about: &str, byte: usize| {
        tampered(name, about, stage, tag, |packet| packet[byte] ^= 1)
    };
    vec![
        flip(
            "refuse_head_tag_nonce",
            "The nonce's first byte was changed.",
            0,
        ),
        flip(
            "refuse_head_tag_key_id",
            "The masked key id was changed.",
            24,
        ),
        flip(
            "refuse_head_tag_timestamp",
            "The masked timestamp was changed.",
            39,
        ),
        flip(
            "refuse_head_tag_tag",
            "The tag's last byte was changed.",
            47,
        ),
        tampered(
            "refuse_head_tag_noise",
            "160 bytes of noise.",
            stage,
            tag,
            |packet| {
                let noise = (0..5).flat_map(|i| bytes(&format!("noise {i}")));
                *packet = noise.collect();
            },
        ),
        crafted(
            "refuse_head_tag_other_server",
            "A packet for another server.",
            stage,
            tag,
            |craft| {
                craft.server = ServerSecret::from_bytes(bytes("other server")).public();
            },
        ),
        crafted(
            "refuse_unknown_key",
            "A right head with a key id that no client has.",
            "lookup",
            "unknown_key",
            |craft| {
                let stranger = ClientSecret::from_bytes(bytes("stranger")).public();
                craft.id = KeyId::for_client(&server().public(), &stranger);
            },
        ),
    ]
}

fn codes() -> Vec<PacketCase> {
    let (stage, reason) = ("authenticate", "hmac");
    let flip = |name: &str, about: &str, byte: usize| {
        tampered(name, about, stage, reason, |packet| packet[byte] ^= 0x80)
    };
    vec![
        flip("refuse_hmac_ciphertext", "The ciphertext was changed.", 48),
        flip(
            "refuse_hmac_cipher_tag",
            "The cipher's tag was changed.",
            127,
        ),
        flip("refuse_hmac_code", "The HMAC was changed.", 159),
        tampered(
            "refuse_hmac_cut",
            "The last byte of a longer packet was cut off.",
            stage,
            reason,
            |packet| {
                let mut longer = PacketDraft::new("refuse_hmac_cut", plaintext());
                longer.plaintext.resize(80, 0);
                *packet = longer.packet();
                packet.pop();
            },
        ),
        tampered(
            "refuse_hmac_appended",
            "A zero byte was appended.",
            stage,
            reason,
            |packet| packet.push(0),
        ),
        crafted(
            "refuse_hmac_other_client",
            "This client's head, sealed with another client's keys.",
            stage,
            reason,
            |craft| {
                craft.sealer = Sealer::Shared;
            },
        ),
        crafted(
            "refuse_hmac_pre_shared_key",
            "Sealed with a pre-shared key that the server does not have for this client.",
            stage,
            reason,
            |craft| {
                craft.sealer = Sealer::PairAndPreShared;
            },
        ),
    ]
}

fn ciphers() -> Vec<PacketCase> {
    let (stage, reason) = ("open", "decryption");
    vec![
        crafted(
            "refuse_decryption_tag",
            "The cipher's tag is wrong, the HMAC right.",
            stage,
            reason,
            |craft| {
                craft.tamper = |sealed| sealed.last_mut().into_iter().for_each(|byte| *byte ^= 1);
            },
        ),
        crafted(
            "refuse_decryption_associated_data",
            "The cipher did not authenticate the head; the HMAC is right.",
            stage,
            reason,
            |craft| {
                craft.associated = Some(Vec::new());
            },
        ),
    ]
}

fn times() -> Vec<PacketCase> {
    let stale = |name: &str, about: &str, timestamp| {
        crafted(name, about, "screen", "stale", |craft| {
            craft.timestamp = timestamp
        })
    };
    let future = |name: &str, about: &str, timestamp| {
        crafted(name, about, "time", "future", |craft| {
            craft.timestamp = timestamp
        })
    };
    vec![
        stale(
            "refuse_stale",
            "The timestamp is one microsecond before now − 60 s.",
            NOW - SKEW - 1,
        ),
        stale("refuse_stale_epoch", "The timestamp is 0.", 0),
        future(
            "refuse_future",
            "The timestamp is one microsecond after now + 60 s.",
            NOW + SKEW + 1,
        ),
        future(
            "refuse_future_largest",
            "The timestamp is 2^64 − 1.",
            u64::MAX,
        ),
    ]
}
