//! Any text as a key, of every kind: at most one kind takes it, and it comes
//! back as it was. Then a good key, edited as the fuzzer says: refused.

use spa_keys::{
    ClientPublic, ClientSecret, KeyError, Kind, PreSharedKey, ServerPublic, ServerSecret, SharedKey,
};

pub fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        count_accepting_kinds(text);
    }
    let Some((recipe, edits)) = data.split_first_chunk::<33>() else {
        return;
    };
    let [kind, key @ ..] = *recipe;
    let Some(good) = write(Kind::ALL[usize::from(kind) % Kind::ALL.len()], key) else {
        return;
    };
    assert_eq!(count_accepting_kinds(&good), 1, "a good key was refused");
    let mut edited = good.clone().into_bytes();
    for [place, byte] in edits.as_chunks::<2>().0 {
        let place = usize::from(*place) % edited.len();
        edited[place] = *byte;
    }
    if let Ok(edited) = String::from_utf8(edited)
        && edited != good
    {
        assert_eq!(count_accepting_kinds(&edited), 0, "a damaged key passed");
    }
}

/// How many kinds take this text.
fn count_accepting_kinds(text: &str) -> usize {
    let plain = text.trim_matches([' ', '\t', '\r', '\n']);
    let mut accepting = 0;
    for kind in Kind::ALL {
        match read(kind, text) {
            Ok(again) => {
                assert_eq!(again, plain, "another text for the same key");
                accepting += 1;
            }
            Err(KeyError::OtherKind { expected, found }) => {
                assert_eq!(expected, kind);
                assert_ne!(found, kind);
                assert!(plain.starts_with(found.prefix()));
            }
            Err(_) => {}
        }
    }
    assert!(accepting <= 1, "two kinds take one text");
    accepting
}

/// Reads a key of this kind and writes it again.
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

/// The text of a key of these bytes; `None` where they are no public key.
fn write(kind: Kind, key: [u8; 32]) -> Option<String> {
    Some(match kind {
        Kind::ServerPublic => ServerPublic::from_bytes(key).ok()?.to_string(),
        Kind::ClientPublic => ClientPublic::from_bytes(key).ok()?.to_string(),
        Kind::ServerSecret => ServerSecret::from_bytes(key).to_text().to_string(),
        Kind::ClientSecret => ClientSecret::from_bytes(key).to_text().to_string(),
        Kind::Shared => SharedKey::from_bytes(key).to_text().to_string(),
        Kind::PreShared => PreSharedKey::from_bytes(key).to_text().to_string(),
    })
}
