//! `[listen] carriers`: `["udp", "icmp", "tcp:443"]`.
//!
//! Pure.

use std::num::NonZeroU16;

use spa_findings::redact::quote;
use spad_model::{CarrierSet, Ports};

use super::toml_reader::{Value, WithSpan};

/// What a list may hold, so that the kernel's filter stays short.
const MAX_CARRIERS: usize = 16;

/// What is written there, UDP being looked at at `udp`, and where each TCP port stands;
/// `None` where something in it is wrong.
pub(super) fn read(
    value: Value<'_>,
    udp: &Ports,
) -> Option<(CarrierSet, Vec<WithSpan<NonZeroU16>>)> {
    let items = value.list("[\"udp\"]")?;
    if items.is_empty() {
        value.report(
            value
                .error("packets would be looked for nowhere")
                .help("write [\"udp\"], or take `carriers` out"),
        );
        return None;
    }
    if items.len() > MAX_CARRIERS {
        let finding = value.error(format!("at most {MAX_CARRIERS} carriers stand here"));
        value.report(finding.help("name fewer TCP ports"));
        return None;
    }
    let mut carriers = CarrierSet::default();
    let mut tcp = Vec::new();
    let mut right = true;
    for value in items {
        let Some(text) = value.text("udp") else {
            right = false;
            continue;
        };
        match text {
            "udp" => carriers.udp = udp.clone(),
            "icmp" => carriers.icmp = true,
            other => match tcp_port(other) {
                Some(port) => tcp.push(value.with_span(port)),
                None => {
                    right = false;
                    let finding = value.error(format!("`{}` is no carrier", quote(other)));
                    let looks_like_tcp = other.starts_with("tcp");
                    value.report(finding.help(if looks_like_tcp {
                        "write TCP with its port, from 1 to 65535: \"tcp:443\""
                    } else {
                        "write \"udp\", \"icmp\" (IPv4 and IPv6) or \"tcp:443\""
                    }));
                }
            },
        }
    }
    carriers.tcp = Ports::from_ranges(tcp.iter().map(|port| (port.value, port.value)));
    right.then_some((carriers, tcp))
}

fn tcp_port(text: &str) -> Option<NonZeroU16> {
    text.strip_prefix("tcp:")?.parse().ok()
}
