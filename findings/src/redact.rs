//! Text made fit to be shown: no part of a secret key, no control characters.
//!
//! Pure. Gives as many characters as it takes, so that carets stay true. Errs
//! on the side of hiding. [`line`] is for the lines of a file: what follows a
//! secret in its line is hidden whole. [`message`] is for words of our own that
//! may quote anything: it leaves our words about keys readable, and shows no
//! key at all, for docs/protocol.md has clients treat server keys as private.

use spa_keys::{ClientPublic, Kind, ServerPublic};

/// From this length on a run of key characters is taken for a key or part of one.
const KEY_LENGTH: usize = 24;
/// The same near the beginning of a secret: perhaps it came in pieces.
const PIECE_LENGTH: usize = 6;

/// What secret key texts begin with, all in small letters.
fn secret_prefixes() -> impl Iterator<Item = &'static str> {
    Kind::ALL
        .into_iter()
        .filter(|kind| kind.is_secret())
        .map(Kind::prefix)
}

/// What public key texts begin with.
fn public_prefixes() -> impl Iterator<Item = &'static str> {
    Kind::ALL
        .into_iter()
        .filter(|kind| !kind.is_secret())
        .map(Kind::prefix)
}

/// Whether the text has the beginning of a secret key in it, in whatever case.
#[must_use]
pub fn contains_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    secret_prefixes().any(|prefix| text.contains(prefix))
}

/// Where a secret key with at least `least` characters behind its prefix stands, in bytes.
#[must_use]
pub fn find_secret(text: &str, min_len: usize) -> Option<std::ops::Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let found = secret_prefixes().flat_map(|prefix| {
        lower
            .match_indices(prefix)
            .map(|(start, prefix)| (start, start.saturating_add(prefix.len())))
    });
    let with_end = found.map(|(start, body)| {
        let rest = lower.get(body..).unwrap_or_default();
        let length = rest.find(|c| !is_key_character(c)).unwrap_or(rest.len());
        (start, length, body.saturating_add(length))
    });
    with_end
        .filter(|(_, length, _)| *length >= min_len)
        .map(|(start, _, end)| start..end)
        .min_by_key(|span| span.start)
}

/// One line made fit to be shown. `strict` where its file names a secret.
#[must_use]
pub fn line(text: &str, strict: bool) -> String {
    let mut after_secret = false;
    map_runs(text, |shown, run, _| {
        after_secret |= push_line_run(shown, run, strict, after_secret);
    })
}

/// A message made fit to be shown, of one line or more.
#[must_use]
pub fn message(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let secret = find_secret(line, 0).map_or(line.len(), |secret| secret.start);
        map_runs(line, |shown, run, end| {
            push_message_run(shown, run, end > secret);
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The line with each run of key characters as `push` appends it; it gets where
/// the run ends, in bytes.
fn map_runs(text: &str, mut push: impl FnMut(&mut String, &str, usize)) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for (at, character) in text.char_indices() {
        if is_key_character(character) {
            run.push(character);
            continue;
        }
        push(&mut shown, &run, at);
        run.clear();
        shown.push(replace_unprintable(character));
    }
    push(&mut shown, &run, text.len());
    shown
}

/// A text inside a message: fit to be shown, and cut to a bearable length.
#[must_use]
pub fn quote(text: &str) -> String {
    const MAX_LEN: usize = 80;
    let shown = line(text, contains_secret(text));
    if shown.chars().count() <= MAX_LEN {
        return shown;
    }
    shown.chars().take(MAX_LEN).chain(['…']).collect()
}

pub(crate) fn is_key_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

/// Appends a file's run, hidden as far as it must be; true if a secret began in it.
fn push_line_run(shown: &mut String, run: &str, strict: bool, after_secret: bool) -> bool {
    if after_secret {
        mask(shown, run);
        return true;
    }
    let lower = run.to_ascii_lowercase();
    let secret = secret_prefixes()
        .filter_map(|prefix| Some(lower.find(prefix)? + prefix.len()))
        .min();
    if let Some(start) = secret {
        mask_after(shown, run, start);
        return true;
    }
    let prefix = public_prefixes()
        .find(|prefix| run.starts_with(prefix))
        .map_or(0, str::len);
    let rest = run.get(prefix..).unwrap_or(run);
    if is_suspicious(rest, strict)
        && run.parse::<ClientPublic>().is_err()
        && run.parse::<ServerPublic>().is_err()
    {
        mask_after(shown, run, prefix);
    } else {
        shown.push_str(run);
    }
    false
}

/// Appends a message's run; what follows a key's prefix in it, as asterisks.
fn push_message_run(shown: &mut String, run: &str, strict: bool) {
    if is_suspicious(run, strict) {
        let prefix = Kind::ALL
            .into_iter()
            .map(Kind::prefix)
            .find(|prefix| run.starts_with(prefix));
        mask_after(shown, run, prefix.map_or(0, str::len));
    } else {
        shown.push_str(run);
    }
}

/// Whether this is long enough for a key, or a piece of one, and looks like it.
fn is_suspicious(run: &str, strict: bool) -> bool {
    let min_len = if strict { PIECE_LENGTH } else { KEY_LENGTH };
    run.len() >= min_len && is_mixed(run, strict)
}

/// Whether this looks drawn at random rather than written by a person.
fn is_mixed(run: &str, strict: bool) -> bool {
    let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().any(kind);
    let upper = has(u8::is_ascii_uppercase);
    let lower = has(u8::is_ascii_lowercase);
    let digit = has(u8::is_ascii_digit);
    (upper && lower) || (digit && (strict || run.len() >= 32))
}

fn mask(shown: &mut String, run: &str) {
    shown.extend(run.chars().map(|_| '*'));
}

/// Shows the run up to `start`, which the run, being ASCII, can be split at.
fn mask_after(shown: &mut String, run: &str, start: usize) {
    let (before, rest) = run.split_at_checked(start).unwrap_or(("", run));
    shown.push_str(before);
    mask(shown, rest);
}

/// A character that neither moves the cursor nor turns the writing's direction.
#[must_use]
pub fn replace_unprintable(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_secret_is_shown_however_it_is_written() {
        let body = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEfGhIj";
        for prefix in [
            "spad-secret-",
            "spa-secret-",
            "spa-shared-",
            "spa-psk-",
            "SPA-SECRET-",
            "spa-pub-",
            "",
        ] {
            let text = format!("key = \"{prefix}{body}\"");
            let shown = line(&text, false);
            assert_eq!(shown.chars().count(), text.chars().count());
            assert!(!shown.contains("bCdE"), "{shown}");
        }
        assert!(!line("spa-psk-AbCd EfGhIj", false).contains("EfGh"));
        assert!(!line("EfGhIj", true).contains("EfGh"));
    }

    #[test]
    fn a_public_key_and_plain_words_are_shown() {
        let plain = "allow = [\"ssh\", \"a-rather-long-service-name-of-ours\"] # Written by Anna";
        assert_eq!(line(plain, false), plain);
        let public = spa_keys::ClientSecret::generate()
            .unwrap()
            .public()
            .to_string();
        assert_eq!(line(&public, true), public);
    }

    #[test]
    fn a_terminal_cannot_be_driven_by_a_file() {
        assert_eq!(
            line("a\u{1b}[2J\tb\u{202e}", false),
            "a\u{fffd}[2J b\u{fffd}"
        );
    }

    #[test]
    fn a_message_shows_no_part_of_any_key_and_all_that_is_said_about_keys() {
        let body = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEfGhIj";
        for prefix in ["spa-secret-", "spad-pub-", "SPA-SECRET-", "spa-psk", ""] {
            let line = format!("key = \"{prefix}{body}\"");
            let shown = message(&line);
            assert_eq!(shown.chars().count(), line.chars().count());
            assert!(!shown.contains("bCdE"), "{shown}");
        }
        assert!(!message("spa-psk-AbCd EfGhIj").contains("EfGh"));
        let said = "expected `spa-pub-`\n --> /home/Anna/x2y3z4AB/config.toml, not `spa-secret-…`";
        assert_eq!(message(said), said);
        let public = spa_keys::ServerSecret::from_bytes([7; 32]).public();
        assert!(
            message(&public.to_string())
                .ends_with("-************************************************")
        );
    }
}
