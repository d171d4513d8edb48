//! Every test vector: its path under tests/vectors/ and its text.

#![expect(clippy::unwrap_used, reason = "the generator may stop")]

mod accepted;
mod craft;
mod derivations;
mod faults;
mod fields;
mod refused;
mod texts;
mod written;

/// Path and text of every file.
pub(crate) fn all() -> Vec<(String, String)> {
    let packets = [accepted::all(), refused::all(), faults::all()].concat();
    let packets = packets
        .into_iter()
        .map(|case| ("packet", case.name(), written::json(&case)));
    let texts = texts::all().into_iter();
    let texts = texts.map(|(name, case)| ("key_text", name, written::json(&case)));
    let keys = derivations::all().into_iter();
    let keys = keys.map(|(name, case)| ("keys", name, written::json(&case)));
    let files = packets.chain(texts).chain(keys);
    files
        .map(|(folder, name, text)| (format!("{folder}/{name}.json"), text))
        .collect()
}
