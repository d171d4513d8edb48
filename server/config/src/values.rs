//! Values with a grammar of their own: times, rates, ports, networks, instants, names.
//!
//! Pure. Each takes a value as written and gives it checked, or a finding with its mend.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use spa_findings::Finding;
use spa_findings::redact::quote;
use spa_proto::{Service, Timestamp};
use spad_model::{NameError, Network, NetworkError};
use toml::de::DeValue;

use super::toml_reader::{Value, WithSpan};
use super::types::{AlwaysAllow, Rate};

/// The units of a time, in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// A time with its unit, "30s"; bounds in seconds.
pub(super) fn time(value: Value<'_>, bounds: RangeInclusive<u64>) -> Option<WithSpan<Duration>> {
    let key = quote(value.key);
    if let DeValue::Integer(integer) = value.raw() {
        let help = format!("write \"{}s\"", quote(integer.as_str()));
        value.report(
            value
                .error(format!("`{key}` is a time and needs a unit"))
                .help(help),
        );
        return None;
    }
    let text = value.text("30s")?;
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let finding = value
            .error(format!("`{key}` is not a time"))
            .help("write a whole number and a unit: \"30s\"");
        value.report(finding);
        return None;
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let finding = if unit.is_empty() {
            value
                .error(format!("`{key}` is a time and needs a unit"))
                .help(format!("write \"{}s\"", quote(digits)))
        } else {
            value
                .error(format!("`{}` is not a unit of time", quote(unit)))
                .help("the units are s, m, h and d")
        };
        value.report(finding);
        return None;
    };
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor));
    match seconds.filter(|seconds| bounds.contains(seconds)) {
        Some(seconds) => Some(value.with_span(Duration::from_secs(seconds))),
        None => {
            let (min, max) = (humanise(*bounds.start()), humanise(*bounds.end()));
            let finding = value.error(format!("`{key}` must be from {min} to {max}"));
            value.report(finding.help(format!("write a time from \"{min}\" to \"{max}\"")));
            None
        }
    }
}

/// Seconds in the largest unit that holds them whole.
pub fn humanise(seconds: u64) -> String {
    let whole = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| seconds > 0 && seconds.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", seconds / factor),
        None => format!("{seconds}s"),
    }
}

/// A rate, "10/s".
pub(super) fn rate(value: Value<'_>) -> Option<Rate> {
    let text = value.text("10/s")?;
    let (count, unit) = text.split_once('/').unwrap_or((text, ""));
    let per = UNITS.iter().find(|(name, _)| *name == unit && *name != "d");
    let digits = Some(count).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let count = digits
        .and_then(|digits| digits.parse().ok())
        .filter(|count| (1..=1000).contains(count));
    match (count, per) {
        (Some(count), Some((_, seconds))) => Some(Rate {
            count,
            per: Duration::from_secs(*seconds),
            burst: None,
        }),
        _ => {
            let finding = value.error(format!("`{}` is not a rate", quote(value.key)));
            value.report(
                finding.help(
                    "write a number from 1 to 1000, and per second, minute or hour: \"10/s\"",
                ),
            );
            None
        }
    }
}

/// A UDP port to listen at.
pub(super) fn port(value: Value<'_>) -> Option<NonZeroU16> {
    let number = value.number(1..=65_535)?;
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}

/// A port of a service, "tcp/22".
pub(super) fn service(value: Value<'_>) -> Option<WithSpan<Service>> {
    let text = value.text("tcp/22")?;
    if let Ok(service) = text.parse::<Service>() {
        return Some(value.with_span(service));
    }
    let (protocol, port) = text.split_once('/').unwrap_or((text, ""));
    let finding = value.error(format!("`{}` is not a protocol and a port", quote(text)));
    let finding = if !["tcp", "udp", "sctp"].contains(&protocol) {
        let finding = finding.help("write the protocol first: \"tcp/22\"");
        finding.note("the protocols are tcp, udp and sctp")
    } else if port.contains(['-', ':']) {
        finding
            .help("write each port by itself: ports = [\"tcp/8000\", \"tcp/8001\"]")
            .note("each port is let in by itself, and a packet can name 16")
    } else if port.bytes().all(|b| b == b'0') && !port.is_empty() {
        finding.help("port 0 is not a port; write a number from 1 to 65535")
    } else {
        finding.help(format!(
            "write a port from 1 to 65535 after the protocol: \"{protocol}/22\""
        ))
    };
    value.report(finding);
    None
}

/// A network or address.
pub(super) fn network(value: Value<'_>) -> Option<Network> {
    let text = value.text("192.0.2.0/24")?;
    match text.parse::<Network>() {
        Ok(network) => Some(network),
        Err(error) => {
            let finding = value.error(error.to_string());
            value.report(match error {
                NetworkError::Address => finding
                    .help("write an address or a network: \"192.0.2.0/24\", \"2001:db8::/32\"")
                    .note("a name is never looked up: whoever answers for it could let himself in"),
                NetworkError::Prefix => {
                    finding.help("write 0 to 32 for IPv4, 0 to 128 for IPv6: \"192.0.2.0/24\"")
                }
                NetworkError::HostBits(meant) => finding.help(format!("write \"{meant}\"")),
                NetworkError::Mapped => finding.help("write the IPv4 address alone"),
            });
            None
        }
    }
}

/// An interface or network of `always_allow`.
pub(super) fn always_allow(value: Value<'_>) -> Option<AlwaysAllow> {
    let text = value.text("lo")?;
    // Interface names have no slash and no colon beside an alias; addresses have one or dots and digits alone.
    let address =
        text.contains('/') || text.contains(':') || text.parse::<std::net::IpAddr>().is_ok();
    if address {
        let network = network(value)?;
        if network.prefix == 0 {
            let finding = value.warning("everybody is let in here: nothing is hidden from anyone");
            value.report(finding.help("take this network out, or name the ones that are meant"));
        }
        Some(AlwaysAllow::Network(network))
    } else {
        interface(value).map(AlwaysAllow::Interface)
    }
}

/// An interface's name; it need not exist now.
pub(super) fn interface(value: Value<'_>) -> Option<String> {
    let text = value.text("eth0")?;
    let right = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
    if (1..=15).contains(&text.len()) && text.chars().all(right) && !text.chars().all(|c| c == '.')
    {
        return Some(text.to_owned());
    }
    let finding = value.error(format!("`{}` is not the name of an interface", quote(text)));
    value.report(finding.help(
        "write a name as `ip link` shows it, of 1 to 15 letters, digits, `_`, `-`, `.` and `@`",
    ));
    None
}

/// An instant: TOML's date and time, or the same as text (RFC 3339), always with its offset.
pub(super) fn instant(value: Value<'_>) -> Option<Timestamp> {
    const EXAMPLE: &str = "write date, time and offset: 2027-01-31T18:00:00Z";
    let text = match value.raw() {
        DeValue::Datetime(written) => written.to_string(),
        _ => value.text("2027-01-31T18:00:00Z")?.to_owned(),
    };
    let instant = text
        .parse::<jiff::Timestamp>()
        .ok()
        .and_then(|at| u64::try_from(at.as_microsecond()).ok());
    if instant.is_none() {
        let finding = value
            .error(format!("`{}` is not an instant", quote(value.key)))
            .help(EXAMPLE);
        value.report(
            finding.note("without an offset it would mean another instant on another machine"),
        );
    }
    instant.map(Timestamp::from_micros)
}

/// A name of ours, wherever it stands.
pub(super) fn parse_name<T>(text: &str, finding: impl Fn(String) -> Finding) -> Result<T, Finding>
where
    T: std::str::FromStr<Err = NameError>,
{
    text.parse().map_err(|error: NameError| {
        finding(format!("`{}` is not a name", quote(text)))
            .help("a name has 1 to 64 of a-z, 0-9, `_` and `-`, and begins with a letter or digit")
            .note(error.to_string())
    })
}
