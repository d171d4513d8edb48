//! Changes to a client file that leave every other byte of it alone.
//!
//! Pure: text in, text out. Whatever does not come out as meant is not given. The edits go
//! by the places of values: `toml_edit` would print the file again, and drops each carriage
//! return of it.

use spa_keys::ClientPublic;
use toml::de::{DeTable, DeValue};

/// The file with `enabled = false`; `None` if that cannot be written into it for sure.
#[must_use]
pub fn disabled(text: &str) -> Option<String> {
    let edited = match find_enabled(text) {
        KeyEdit::Value(span) => replace_span(text, span, "false")?,
        KeyEdit::Absent => {
            // At the top: below, it could fall into a table or an unfinished value.
            let (mark, rest) = match text.strip_prefix('\u{feff}') {
                Some(rest) => ("\u{feff}", rest),
                None => ("", text),
            };
            format!("{mark}enabled = false\n{rest}")
        }
        KeyEdit::Unclear => return None,
    };
    (is_enabled(&edited) == Some(false)).then_some(edited)
}

/// The file without `enabled = false`; `None` if that cannot be done for sure.
#[must_use]
pub fn enabled(text: &str) -> Option<String> {
    let edited = match find_enabled(text) {
        KeyEdit::Value(span) => {
            let before = text.get(..span.start)?;
            let start = before
                .rfind('\n')
                .map_or(0, |newline| newline.saturating_add(1));
            let after = text.get(span.end..)?;
            let end = after.find('\n').map_or(text.len(), |newline| {
                span.end.saturating_add(newline).saturating_add(1)
            });
            let line = text.get(start..end)?;
            if line.trim() == "enabled = false" {
                replace_span(text, start..end, "")?
            } else {
                replace_span(text, span, "true")?
            }
        }
        KeyEdit::Absent => text.to_owned(),
        KeyEdit::Unclear => return None,
    };
    (is_enabled(&edited) == Some(true)).then_some(edited)
}

/// What the file says; `None` if it cannot be understood.
#[must_use]
pub fn is_enabled(text: &str) -> Option<bool> {
    let table = DeTable::parse(text).ok()?;
    match table.get_ref().get("enabled") {
        None => Some(true),
        Some(value) => value.get_ref().as_bool(),
    }
}

/// A key, and from when on its packets are refused.
pub type DatedKey = (ClientPublic, Option<jiff::Timestamp>);

/// The client's public keys; `None` where they are not understood, or it has a shared key.
#[must_use]
pub fn keys(text: &str) -> Option<Vec<DatedKey>> {
    let table = DeTable::parse(text).ok()?;
    match table.get_ref().get("key")?.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| dated_key(item.get_ref())).collect(),
        one => Some(vec![dated_key(one)?]),
    }
}

fn dated_key(value: &DeValue<'_>) -> Option<DatedKey> {
    if let DeValue::Table(table) = value {
        let key = table.get("key")?.get_ref().as_str()?.parse().ok()?;
        let until = match table.get("until").map(|until| until.get_ref()) {
            None => None,
            Some(DeValue::Datetime(until)) => Some(until.to_string().parse().ok()?),
            Some(until) => Some(until.as_str()?.parse().ok()?),
        };
        return Some((key, until));
    }
    Some((value.as_str()?.parse().ok()?, None))
}

/// The file with these keys, a line each; `None` if that cannot be written into it for sure.
#[must_use]
pub fn with_keys(text: &str, new: &[DatedKey]) -> Option<String> {
    let span = DeTable::parse(text).ok()?.get_ref().get("key")?.span();
    let line = |(key, until): &DatedKey| match until {
        Some(until) => format!("  {{ key = \"{key}\", until = {until} }},\n"),
        None => format!("  \"{key}\",\n"),
    };
    let value = match new {
        [(key, None)] => format!("\"{key}\""),
        _ => format!("[\n{}]", new.iter().map(line).collect::<String>()),
    };
    let edited = replace_span(text, span, &value)?;
    (keys(&edited).as_deref() == Some(new)).then_some(edited)
}

enum KeyEdit {
    Value(std::ops::Range<usize>),
    Absent,
    Unclear,
}

fn find_enabled(text: &str) -> KeyEdit {
    let Ok(table) = DeTable::parse(text) else {
        return KeyEdit::Unclear;
    };
    match table.get_ref().get("enabled") {
        None => KeyEdit::Absent,
        Some(value) if matches!(value.get_ref(), DeValue::Boolean(_)) => {
            KeyEdit::Value(value.span())
        }
        Some(_) => KeyEdit::Unclear,
    }
}

fn replace_span(text: &str, span: std::ops::Range<usize>, replacement: &str) -> Option<String> {
    let (before, after) = (text.get(..span.start)?, text.get(span.end..)?);
    Some(format!("{before}{replacement}{after}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_comment_survives_disabling_and_enabling() {
        let text =
            "# Anna's laptop\nkey = \"x\" # since May\nallow = [\n  \"ssh\", # for work\n]\n";
        let off = disabled(text).unwrap();
        assert!(off.contains("# for work") && is_enabled(&off) == Some(false));
        assert_eq!(enabled(&off).unwrap(), text);
        let written = "key = \"x\"\nenabled = true # since May\n";
        let off = disabled(written).unwrap();
        assert_eq!(off, "key = \"x\"\nenabled = false # since May\n");
        assert_eq!(enabled(&off).unwrap(), written);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_not_edited() {
        for text in [
            "enabled = \"no\"\n",
            "enabled = false\nenabled = true\n",
            "key = \"x\nenabled = true",
            "\u{0}",
        ] {
            assert_eq!(disabled(text), None, "{text:?}");
            assert_eq!(enabled(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn disabling_any_text_disables_it_or_says_that_it_cannot(text in "[a-z=\"#\n\\[\\]. ]{0,60}") {
            if let Some(edited) = disabled(&text) {
                prop_assert_eq!(is_enabled(&edited), Some(false));
                prop_assert!(enabled(&edited).is_some());
            }
        }
    }
}
