//! Text forms: what is written is read again, and nothing else is.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use spa_keys::{
    ClientPublic, ClientSecret, KeyError, Kind, PreSharedKey, ServerPublic, ServerSecret, SharedKey,
};

/// Reads a text as this kind and writes it again.
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

/// A key of each kind, as text.
fn texts(bytes: [u8; 32]) -> Vec<(Kind, String)> {
    vec![
        (
            Kind::ServerPublic,
            ServerSecret::from_bytes(bytes).public().to_string(),
        ),
        (
            Kind::ServerSecret,
            ServerSecret::from_bytes(bytes).to_text().to_string(),
        ),
        (
            Kind::ClientPublic,
            ClientSecret::from_bytes(bytes).public().to_string(),
        ),
        (
            Kind::ClientSecret,
            ClientSecret::from_bytes(bytes).to_text().to_string(),
        ),
        (
            Kind::Shared,
            SharedKey::from_bytes(bytes).to_text().to_string(),
        ),
        (
            Kind::PreShared,
            PreSharedKey::from_bytes(bytes).to_text().to_string(),
        ),
    ]
}

#[test]
fn every_single_damaged_character_of_a_key_is_noticed() {
    let letters = ('!'..='~').chain(['é', '\n', ' ']);
    let letters: Vec<char> = letters.collect();
    for (kind, text) in texts([0x5c; 32]) {
        assert_eq!(text.len(), kind.prefix().len() + 48);
        let good: Vec<char> = text.chars().collect();
        for place in 0..good.len() {
            for letter in &letters {
                let mut damaged = good.clone();
                damaged[place] = *letter;
                let damaged: String = damaged.into_iter().collect();
                if damaged != text {
                    assert!(
                        read(kind, &damaged).is_err(),
                        "{place} {letter:?} of {kind}"
                    );
                }
            }
            let mut shorter = good.clone();
            shorter.remove(place);
            let shorter: String = shorter.into_iter().collect();
            assert!(
                read(kind, &shorter).is_err(),
                "{kind} without its letter {place}"
            );
            let mut longer = good.clone();
            longer.insert(place, 'A');
            let longer: String = longer.into_iter().collect();
            assert!(
                read(kind, &longer).is_err(),
                "{kind} with one more at {place}"
            );
            let mut turned = good.clone();
            turned.swap(place, (place + 1) % good.len());
            let turned: String = turned.into_iter().collect();
            assert!(
                turned == text || read(kind, &turned).is_err(),
                "{kind} turned at {place}"
            );
        }
    }
}

#[test]
fn a_key_of_another_kind_is_named_as_such_and_a_leaked_secret_is_warned_of() {
    for (kind, text) in texts([0x5c; 32]) {
        for expected in Kind::ALL {
            if expected == kind {
                continue;
            }
            let error = read(expected, &text).unwrap_err();
            assert_eq!(
                error,
                KeyError::OtherKind {
                    expected,
                    found: kind
                }
            );
            let message = error.to_string();
            assert!(message.contains(&kind.to_string()) && message.contains(&expected.to_string()));
            let warned = message.contains("make a new one");
            assert_eq!(warned, kind.is_secret() && !expected.is_secret());
        }
    }
}

#[test]
fn no_error_shows_any_part_of_a_key() {
    for (kind, text) in texts([0x5c; 32]) {
        let letters = &text[kind.prefix().len()..];
        let broken = [
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            text.replacen(letters, &letters.to_lowercase(), 1),
            text.replacen('-', "_", 1),
            format!("{}!", &text[..text.len() - 1]),
        ];
        for broken in broken {
            for expected in Kind::ALL {
                let error = read(expected, &broken).unwrap_err();
                let shown = format!("{error} {error:?}").to_lowercase();
                for part in letters.to_lowercase().as_bytes().windows(6) {
                    assert!(!shown.contains(str::from_utf8(part).unwrap()), "{shown}");
                }
            }
        }
    }
}

#[test]
fn only_white_space_around_the_line_is_ignored() {
    for (kind, text) in texts([0x5c; 32]) {
        for around in [format!(" \t{text}\r\n"), format!("\n{text} "), text.clone()] {
            assert_eq!(read(kind, &around).as_ref(), Ok(&text));
        }
        for other in [
            format!("\u{a0}{text}"),
            format!("{text}="),
            text.to_uppercase(),
            text.replacen('-', "- ", 1),
            format!("{text}\n{text}"),
        ] {
            assert!(read(kind, &other).is_err(), "{other:?}");
        }
        let length = Err(KeyError::Length { expected: kind });
        assert_eq!(read(kind, &text[..text.len() - 1]), length);
        assert_eq!(read(kind, &format!("{text}A")), length);
        for empty in ["", " ", "\n"] {
            assert_eq!(read(kind, empty), Err(KeyError::Empty { expected: kind }));
        }
    }
}

#[test]
fn a_public_key_that_is_well_written_but_unsafe_is_refused_when_read() {
    let mut above_p = [0xff; 32];
    above_p[31] = 0x7f;
    for kind in [Kind::ServerPublic, Kind::ClientPublic] {
        assert_eq!(
            read(kind, &encode(kind, [0; 32])),
            Err(KeyError::SmallOrder)
        );
        assert_eq!(
            read(kind, &encode(kind, above_p)),
            Err(KeyError::NotCanonical)
        );
        let good = *ClientSecret::from_bytes([1; 32]).public().as_bytes();
        assert_eq!(read(kind, &encode(kind, good)), Ok(encode(kind, good)));
    }
}

/// The text form by docs/protocol.md §3.4, written a second time.
fn encode(kind: Kind, key: [u8; 32]) -> String {
    let sum = Sha256::digest([kind.prefix().as_bytes(), &key].concat());
    let bytes = [key.as_slice(), &sum[..4]].concat();
    kind.prefix().to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
}

proptest! {
    #[test]
    fn every_key_is_read_as_it_was_written(bytes: [u8; 32]) {
        for (kind, text) in texts(bytes) {
            prop_assert_eq!(read(kind, &text), Ok(text));
        }
    }

    #[test]
    fn no_text_makes_the_reader_stop(text in ".{0,80}", prefix in 0..6_usize) {
        for kind in Kind::ALL {
            let _ = read(kind, &text);
            let _ = read(kind, &format!("{}{text}", Kind::ALL[prefix].prefix()));
        }
    }
}
