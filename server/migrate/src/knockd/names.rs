//! Names of ours for what has names of knockd's, or none. Pure.

use spad_model::MAX_NAME;

/// A name of ours that is like this one: in small letters, with - for whatever cannot
/// stand in a name.
pub(super) fn sanitise(text: &str) -> String {
    let letter = |c: char| {
        let small = c.to_ascii_lowercase();
        if small.is_ascii_lowercase() || small.is_ascii_digit() || small == '_' {
            small
        } else {
            '-'
        }
    };
    let letters: String = text.chars().map(letter).take(MAX_NAME).collect();
    let name = letters.trim_matches(['-', '_']);
    if name.is_empty() {
        "door".to_owned()
    } else {
        name.to_owned()
    }
}

/// This name, or with a number behind it the first one that is free.
pub(super) fn unique_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let numbered = |number: u32| {
        let ending = format!("-{number}");
        let room = MAX_NAME.saturating_sub(ending.len());
        format!("{}{ending}", name.get(..room).unwrap_or(name))
    };
    let mut names = (2..=u32::MAX).map(numbered);
    names
        .find(|name| !is_taken(name))
        .unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_of_ours() {
        for (text, name) in [
            ("openSSH", "openssh"),
            ("open close/SSH!", "open-close-ssh"),
            ("_-", "door"),
            ("敲门", "door"),
            ("a=b", "a-b"),
        ] {
            assert_eq!(sanitise(text), name);
        }
        let long = sanitise(&"x".repeat(200));
        assert_eq!(long.len(), MAX_NAME);
        let next = unique_name(&long, |name| name == long);
        assert!(next.len() == MAX_NAME && next.ends_with("x-2"));
        assert_eq!(unique_name("a", |name| name == "a" || name == "a-2"), "a-3");
    }
}
