//! A time on the command line, "30s". Pure.

use std::time::Duration;

/// Whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Reads a whole number and a unit.
pub(crate) fn parse(text: &str) -> Result<Span, &'static str> {
    const WRONG: &str = "a time is a whole number and a unit, s, m, h or d: 30s";
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let factor = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(WRONG),
    };
    let number: u32 = digits.parse().map_err(|_| WRONG)?;
    let seconds = u64::from(number).checked_mul(factor).ok_or(WRONG)?;
    Ok(Span(Duration::from_secs(seconds)))
}
