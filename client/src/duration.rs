//! Spans of time as people write them: "60s", "5m", "250ms". Pure.

use std::time::Duration;

/// Why a text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// No unit.
    #[error("a time needs a unit, such as 60s, 5m or 1h")]
    Unit,
    /// No number before the unit.
    #[error("a time is a whole number and a unit, such as 60s, 5m or 1h")]
    Number,
    /// Nothing.
    #[error("a time of zero makes no sense here")]
    Zero,
    /// Beyond what a packet or a wait can hold.
    #[error("that is too long")]
    TooLong,
    /// A part of a second where only whole ones can be asked for.
    #[error("only whole seconds can be asked for")]
    Subsecond,
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads a span: a whole number and one of the units ms, s, m, h, d.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let unit = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or(ParseDurationError::Unit)?;
    let (number, unit) = text
        .split_at_checked(unit)
        .ok_or(ParseDurationError::Number)?;
    if number.is_empty() {
        return Err(ParseDurationError::Number);
    }
    let (_, millis) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(ParseDurationError::Unit)?;
    let number: u64 = number.parse().map_err(|_| ParseDurationError::TooLong)?;
    let millis = number
        .checked_mul(*millis)
        .ok_or(ParseDurationError::TooLong)?;
    if millis == 0 {
        return Err(ParseDurationError::Zero);
    }
    Ok(Duration::from_millis(millis))
}

/// Reads a span as the whole seconds of a request.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_seconds(text: &str) -> Result<u32, ParseDurationError> {
    let duration = parse(text)?;
    if duration.subsec_nanos() != 0 {
        return Err(ParseDurationError::Subsecond);
    }
    u32::try_from(duration.as_secs()).map_err(|_| ParseDurationError::TooLong)
}

/// A wait on the command line: at most a day, so that no sum of times overflows.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_wait(text: &str) -> Result<Duration, ParseDurationError> {
    let duration = parse(text)?;
    if duration > Duration::from_secs(86_400) {
        return Err(ParseDurationError::TooLong);
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_unit_is_refused() {
        assert_eq!(parse("60"), Err(ParseDurationError::Unit));
        assert_eq!(parse("60 s"), Err(ParseDurationError::Unit));
        assert_eq!(parse("s"), Err(ParseDurationError::Number));
        assert_eq!(parse("-1s"), Err(ParseDurationError::Number));
        assert_eq!(parse(""), Err(ParseDurationError::Unit));
    }

    #[test]
    fn times_are_read_exactly_or_not_at_all() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_seconds("5m"), Ok(300));
        assert_eq!(parse_seconds("2000ms"), Ok(2));
        assert_eq!(parse_seconds("1500ms"), Err(ParseDurationError::Subsecond));
        assert_eq!(parse("0s"), Err(ParseDurationError::Zero));
        assert_eq!(parse_seconds("60000d"), Err(ParseDurationError::TooLong));
        assert_eq!(
            parse("99999999999999999999s"),
            Err(ParseDurationError::TooLong)
        );
        assert_eq!(parse_wait("2d"), Err(ParseDurationError::TooLong));
    }
}
