//! Text forms of keys, good and bad.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use spa_keys::Kind;

use super::craft::{bytes, client, server};
use super::written::{Outcome, TextCase, hex};

/// The text form by docs/protocol.md §3.4, written a second time.
fn encode(kind: Kind, key: &[u8; 32]) -> String {
    let sum = Sha256::digest([kind.prefix().as_bytes(), key].concat());
    let all = [key.as_slice(), sum.first_chunk::<4>().unwrap()].concat();
    kind.prefix().to_owned() + &URL_SAFE_NO_PAD.encode(all)
}

fn key(kind: Kind) -> [u8; 32] {
    match kind {
        Kind::ServerPublic => *server().public().as_bytes(),
        Kind::ServerSecret => bytes("server"),
        Kind::ClientPublic => *client().public().as_bytes(),
        Kind::ClientSecret => bytes("client"),
        Kind::Shared => bytes("shared"),
        Kind::PreShared => bytes("pre-shared"),
    }
}

fn valid(name: &str, about: &str, kind: Kind, text: String) -> (String, TextCase) {
    let case = TextCase {
        about: about.to_owned(),
        expected_prefix: kind.prefix(),
        text,
        key: Some(hex(&key(kind))),
        outcome: Outcome::ACCEPTED,
    };
    (format!("accept_{name}"), case)
}

fn invalid(
    name: &str,
    reason: &'static str,
    about: &str,
    kind: Kind,
    text: String,
) -> (String, TextCase) {
    let case = TextCase {
        about: about.to_owned(),
        expected_prefix: kind.prefix(),
        text,
        key: None,
        outcome: Outcome::refused("text", reason),
    };
    (format!("refuse_{reason}{name}"), case)
}

pub(crate) fn all() -> Vec<(String, TextCase)> {
    let mut cases: Vec<(String, TextCase)> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let name = kind.prefix().trim_end_matches('-').replace('-', "_");
            valid(
                &name,
                &format!("The text form of {kind}."),
                kind,
                encode(kind, &key(kind)),
            )
        })
        .collect();
    let kind = Kind::ClientPublic;
    let text = encode(kind, &key(kind));
    let start = kind.prefix().len();
    let replaced =
        |place: usize, with: &str| format!("{}{with}{}", &text[..place], &text[place + 1..]);
    let other = |place: usize| {
        if &text[place..=place] == "A" {
            "B"
        } else {
            "A"
        }
    };
    let last = text.len() - 1;
    let secret = encode(Kind::ClientSecret, &key(Kind::ClientSecret));
    let server_key = encode(Kind::ServerPublic, &key(Kind::ServerPublic));
    let mut above_p = [0xff; 32];
    above_p[31] = 0x7f;
    let mut p = above_p;
    p[0] = 0xed;
    let mut high_bit = key(kind);
    high_bit[31] |= 0x80;
    let mut minus_one = p;
    minus_one[0] = 0xec;
    cases.push(valid(
        "white_space",
        "White space around the line is ignored.",
        kind,
        format!(" \t{text}\r\n"),
    ));
    let refuse =
        |name: &str, reason, about: &str, text: String| invalid(name, reason, about, kind, text);
    cases.extend([
        refuse("", "empty", "Nothing but white space.", " \n".to_owned()),
        refuse(
            "",
            "unknown_prefix",
            "A text that is no key.",
            "ssh-ed25519 AAAA".to_owned(),
        ),
        refuse(
            "_case",
            "unknown_prefix",
            "The prefix in capital letters.",
            text.replace("spa-pub-", "SPA-PUB-"),
        ),
        refuse(
            "_cut",
            "unknown_prefix",
            "The prefix without its first letter.",
            text[1..].to_owned(),
        ),
        refuse(
            "_server",
            "other_kind",
            "A server's public key in a client's place.",
            server_key,
        ),
        refuse(
            "_secret",
            "other_kind",
            "A client's secret key in its public key's place.",
            secret,
        ),
        refuse(
            "_short",
            "length",
            "The last character is missing.",
            text[..last].to_owned(),
        ),
        refuse("_long", "length", "One character more.", format!("{text}A")),
        refuse(
            "_two_lines",
            "length",
            "The key twice.",
            format!("{text}\n{text}"),
        ),
        refuse(
            "",
            "character",
            "A character that base64url does not have.",
            replaced(start + 5, "+"),
        ),
        refuse(
            "_padding",
            "character",
            "A `=` in the last place.",
            replaced(last, "="),
        ),
        refuse(
            "_space",
            "character",
            "White space within the key.",
            replaced(start + 20, " "),
        ),
        refuse(
            "_key",
            "checksum",
            "One character of the key is another.",
            replaced(start, other(start)),
        ),
        refuse(
            "_sum",
            "checksum",
            "One character of the checksum is another.",
            replaced(last, other(last)),
        ),
        refuse(
            "_prefix",
            "checksum",
            "Key and checksum of a server's public key after a client's prefix.",
            encode(Kind::ServerPublic, &key(kind)).replace("spad-", "spa-"),
        ),
        refuse(
            "_p",
            "not_canonical",
            "The number p = 2^255 − 19.",
            encode(kind, &p),
        ),
        refuse(
            "_largest",
            "not_canonical",
            "The number 2^255 − 1.",
            encode(kind, &above_p),
        ),
        refuse(
            "_high_bit",
            "not_canonical",
            "A good key with the highest bit set.",
            encode(kind, &high_bit),
        ),
        refuse(
            "_zero",
            "small_order",
            "The point 0.",
            encode(kind, &[0; 32]),
        ),
        refuse(
            "_minus_one",
            "small_order",
            "The point p − 1.",
            encode(kind, &minus_one),
        ),
    ]);
    cases
}
