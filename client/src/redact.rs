//! Text made fit to be shown: no part of a key, no control characters. Pure.
//!
//! Gives as many characters as it takes, so that carets stay true. Errs on the
//! side of hiding: server public keys are treated as private by
//! docs/protocol.md, so no key at all is shown where an error quotes a line.

use spa_keys::Kind;

/// From this length on a run of key characters is taken for a key or part of one.
const KEY_LENGTH: usize = 24;
/// The same behind the beginning of a secret: perhaps it came in pieces.
const PIECE_LENGTH: usize = 6;

/// The text with everything hidden that may be part of a key.
#[must_use]
pub fn text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(line).collect();
    lines.join("\n")
}

fn line(text: &str) -> String {
    let strict_from = secret_at(text).unwrap_or(text.len());
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for (at, character) in text.char_indices() {
        if is_key_character(character) {
            run.push(character);
            continue;
        }
        push_run(&mut shown, &run, at > strict_from);
        run.clear();
        shown.push(harmless(character));
    }
    push_run(&mut shown, &run, text.len() > strict_from);
    shown
}

/// Where the first secret key begins, in whatever case. What follows it in the
/// line may be pieces of it.
fn secret_at(text: &str) -> Option<usize> {
    let text = text.to_ascii_lowercase();
    Kind::ALL
        .into_iter()
        .filter(|kind| kind.is_secret())
        .filter_map(|kind| text.find(kind.prefix()))
        .min()
}

fn is_key_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

/// Appends the run; what follows a key's prefix in it, as asterisks.
fn push_run(shown: &mut String, run: &str, strict: bool) {
    let least = if strict { PIECE_LENGTH } else { KEY_LENGTH };
    if run.len() < least || !is_mixed(run, strict) {
        shown.push_str(run);
        return;
    }
    let prefix = Kind::ALL
        .into_iter()
        .map(Kind::prefix)
        .find(|prefix| run.starts_with(prefix))
        .unwrap_or_default();
    shown.push_str(prefix);
    let hidden = run.len().saturating_sub(prefix.len());
    shown.extend(std::iter::repeat_n('*', hidden));
}

/// Whether this looks drawn at random rather than written by a person.
fn is_mixed(run: &str, strict: bool) -> bool {
    let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().any(kind);
    let cases = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let long = run.len() >= 32 || strict;
    cases || (long && has(u8::is_ascii_digit))
}

/// A character that neither moves the cursor nor turns the writing's direction.
fn harmless(character: char) -> char {
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
    fn no_part_of_a_key_is_shown_however_it_is_written() {
        let body = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEfGhIj";
        for prefix in ["spa-secret-", "spad-pub-", "SPA-SECRET-", "spa-psk", ""] {
            let line = format!("key = \"{prefix}{body}\"");
            let shown = text(&line);
            assert_eq!(shown.chars().count(), line.chars().count());
            assert!(!shown.contains("bCdE"), "{shown}");
        }
        assert!(!text("spa-psk-AbCd EfGhIj").contains("EfGh"));
    }

    #[test]
    fn what_people_write_is_shown() {
        let line = "address = \"gateway-production.example.org\" # Written by Anna";
        assert_eq!(text(line), line);
        let message =
            "expected `spa-pub-`\n --> /home/Anna/x2y3z4AB/config.toml, not `spa-secret-…`";
        assert_eq!(text(message), message);
    }

    #[test]
    fn a_file_cannot_drive_the_terminal() {
        assert_eq!(text("a\u{1b}[2J\tb\u{202e}"), "a\u{fffd}[2J b\u{fffd}");
    }
}
