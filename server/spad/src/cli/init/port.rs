//! The knock port: drawn where this machine's own connections do not come from.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use crate::cli::Failure;

/// Below these, services are usual.
const MIN_PORT: u16 = 20_000;

/// The ports from which the kernel draws for connections of this machine.
pub(super) fn local_range() -> RangeInclusive<u16> {
    let text =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    // The kernel's default, where it cannot be read.
    range(&text).unwrap_or(32_768..=60_999)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// Draws a port, the operating system's randomness deciding.
pub(super) fn random_port() -> Result<NonZeroU16, Failure> {
    let local = local_range();
    // One try in two or three succeeds; with a range that covers all, none does.
    for _ in 0..1000 {
        let port = u16::from_be_bytes(spa_keys::random_bytes()?);
        if let Some(port) = NonZeroU16::new(port)
            .filter(|port| port.get() >= MIN_PORT && !local.contains(&port.get()))
        {
            return Ok(port);
        }
    }
    Err(Failure::with_help(
        "this machine draws ports for its own connections from the whole range",
        "say --port PORT",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_port_is_high_and_outside_the_local_range() {
        for _ in 0..100 {
            let port = random_port().unwrap().get();
            assert!(port >= MIN_PORT && !local_range().contains(&port));
        }
        assert_eq!(range("1024\t65535\n"), Some(1024..=65535));
        assert_eq!(range("x"), None);
    }
}
