//! What a hook reads on its standard input: one JSON object on one line; pure.

use serde::Serialize;
use spad_model::RunHook;

#[derive(Serialize)]
struct Input<'a> {
    event: &'a str,
    client: Option<&'a str>,
    door: Option<&'a str>,
    key: Option<String>,
    address: String,
    service: Option<&'a str>,
    proto: &'a str,
    port: u16,
    source_port: Option<u16>,
    once: bool,
    ttl_s: u64,
    time: String,
}

/// The line, its end included; far less than a pipe holds.
pub(super) fn render(hook: &RunHook) -> String {
    let input = Input {
        event: hook.event.as_str(),
        client: hook.client.as_ref().map(|name| name.as_str()),
        door: hook.door.as_ref().map(|name| name.as_str()),
        key: hook.key.map(|key| key.to_string()),
        address: hook.peer.to_string(),
        service: hook.service.as_ref().map(|name| name.as_str()),
        proto: hook.port.protocol.as_str(),
        port: hook.port.port.get(),
        source_port: hook.source_port.map(std::num::NonZeroU16::get),
        once: hook.once,
        // Rounded up: zero would be for ever where a hook hands it on.
        ttl_s: u64::try_from(hook.ttl.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        time: crate::audit::time(hook.at),
    };
    // Texts and numbers always serialise.
    let mut line = serde_json::to_string(&input).unwrap_or_default();
    line.push('\n');
    line
}
