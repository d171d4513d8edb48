//! When a client may send packets, and when what it opens must be closed; pure.

use std::time::Duration;

use spa_proto::{Request, Timestamp};
use spad_config::ClientConfig;
use spad_model::{Element, Now, Reason};

/// What is opened lasts so long at least: shorter than that no packet is a use.
const MIN_TTL: Duration = Duration::from_secs(1);

/// How much longer the client may use what it opens; none: no end of its own.
///
/// # Errors
/// [`Reason::Expired`], [`Reason::KeyExpired`], [`Reason::OutsideHours`].
pub(super) fn remaining(
    client: &ClientConfig,
    key_until: Option<Timestamp>,
    request: &Request,
    now: Now,
) -> Result<Option<Duration>, Reason> {
    let mut remaining = end(client, key_until, now)?;
    // Who leaves late must still be able to close the door.
    if !matches!(request, Request::Close { .. }) {
        for hours in &client.hours {
            remaining = remaining.min(hours.remaining(now.wall).ok_or(Reason::OutsideHours)?);
        }
    }
    Ok((remaining < Duration::MAX).then_some(remaining))
}

/// How long until the client or its key is over; far off where neither is.
pub(super) fn end(
    client: &ClientConfig,
    key_until: Option<Timestamp>,
    now: Now,
) -> Result<Duration, Reason> {
    let expires = remaining_until(client.expires, now).ok_or(Reason::Expired)?;
    let key = remaining_until(key_until, now).ok_or(Reason::KeyExpired)?;
    Ok(expires.min(key))
}

/// How long until then; none where it is past. What has no end is far off.
fn remaining_until(end: Option<Timestamp>, now: Now) -> Option<Duration> {
    match end {
        None => Some(Duration::MAX),
        Some(end) => (now.wall < end).then(|| end.abs_diff(now.wall)),
    }
}

/// The same elements, none for longer than `limit`.
pub(super) fn cap_ttl(
    mut elements: Vec<(Element, Duration)>,
    limit: Option<Duration>,
) -> Vec<(Element, Duration)> {
    if let Some(limit) = limit {
        for (_, ttl) in &mut elements {
            *ttl = (*ttl).min(limit.max(MIN_TTL));
        }
    }
    elements
}
