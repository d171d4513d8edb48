//! server/way.ld names functions that exist.

use std::path::PathBuf;

use super::{sources, top};

/// The words of a part of a mangled name, `6engine6Engine`: each after its length.
fn words(part: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = part;
    while let Some(start) = rest.find(|sign: char| sign.is_ascii_digit()) {
        let number = rest.split_at(start).1;
        let digits = number.len()
            - number
                .trim_start_matches(|d: char| d.is_ascii_digit())
                .len();
        let (length, after) = number.split_at(digits);
        let length = length.parse().expect("a length");
        let word = after.get(..length).unwrap_or("");
        let follows = after.get(length..).and_then(|rest| rest.chars().next());
        assert!(
            !word.is_empty()
                && word
                    .chars()
                    .all(|sign| sign == '_' || sign.is_ascii_alphanumeric())
                && follows.is_none_or(|sign| sign != '_' && !sign.is_ascii_lowercase()),
            "server/way.ld: no word of {length} letters in {part}"
        );
        words.push(word);
        rest = after.split_at(length).1;
    }
    words
}

/// Whether there is a module or a function of this name, or anything that is a type.
fn exists(word: &str, sources: &[(PathBuf, String)]) -> bool {
    let is_part = |sign: char| sign == '_' || sign.is_alphanumeric();
    let is_type = word.starts_with(|sign: char| sign.is_ascii_uppercase());
    let declared = if is_type {
        word.to_owned()
    } else {
        format!("fn {word}")
    };
    sources.iter().any(|(path, text)| {
        path.with_extension("").iter().any(|part| part == word)
            || text.match_indices(&declared).any(|(at, found)| {
                let (before, after) = (text.get(..at), text.get(at + found.len()..));
                !before.is_some_and(|before| before.ends_with(is_part))
                    && !after.is_some_and(|after| after.starts_with(is_part))
            })
    })
}

#[test]
fn the_functions_of_the_way_exist() {
    let script = std::fs::read_to_string(top().join("server/way.ld")).expect("the script");
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).expect("Cargo.lock");
    let members = [
        ("spad", "server"),
        ("spa_proto", "proto"),
        ("spa_keys", "keys"),
    ]
    .map(|(krate, member)| (krate, sources(&[member])));
    let of = |krate: &str| members.iter().find(|(name, _)| *name == krate);
    let mut checked = 0;
    for line in script.lines().map(str::trim) {
        if !line.contains("(.") || line.contains("__rust_alloc") {
            continue;
        }
        let pattern = line
            .strip_prefix("*(.text.*")
            .and_then(|rest| rest.strip_suffix("*)"));
        let pattern = pattern.unwrap_or_else(|| panic!("server/way.ld: no pattern: {line}"));
        let mut ours = None;
        for (number, part) in pattern.split('*').map(words).enumerate() {
            let Some((krate, rest)) = part.split_first() else {
                panic!("server/way.ld: a part without a word in {pattern}");
            };
            // A function of ours, or one of others' for a type of ours.
            let begins = of(krate);
            if number == 0 {
                let packages = [krate.replace('_', "-"), (*krate).to_owned()];
                let mut packages = packages.iter().map(|name| format!("name = \"{name}\""));
                assert!(
                    ["core", "alloc", "std"].contains(krate)
                        || packages.any(|package| lock.contains(&package)),
                    "server/way.ld: there is no crate {krate}: {pattern}"
                );
                ours = begins;
            }
            let Some((_, sources)) = begins.or(ours) else {
                continue;
            };
            let named = if begins.is_some() { rest } else { &part };
            for word in named {
                checked += 1;
                assert!(
                    exists(word, sources),
                    "server/way.ld: there is no {word}: {pattern}"
                );
            }
        }
    }
    assert!(checked > 150, "{checked} words of ours were found");
}
