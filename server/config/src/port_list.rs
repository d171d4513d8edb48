//! `[listen] port`: a number, a range, a list of both, or every port.
//!
//! Pure.

use std::num::NonZeroU16;

use spa_findings::redact::quote;
use spad_model::Ports;

use super::toml_reader::Value;
use super::values;

/// What a list may hold, so that the kernel's filter stays short.
const MAX_RANGES: usize = 16;

/// What is written there; `None` where something in it is wrong.
pub(super) fn read(value: Value<'_>) -> Option<Ports> {
    if value.raw().as_str() == Some("any") {
        return Some(Ports::any());
    }
    if !value.raw().is_array() {
        return Some(Ports::from_ranges([one(value)?]));
    }
    let items = value.list("[62201, 53]")?;
    if items.is_empty() {
        value.report(
            value
                .error("packets would be looked for at no port")
                .help("write a port, or take `port` out: then it is 62201"),
        );
        return None;
    }
    if items.len() > MAX_RANGES {
        let finding = value.error(format!("at most {MAX_RANGES} ports and ranges stand here"));
        value.report(finding.help("write ranges: \"40000-50000\"; or \"any\", without a list"));
        return None;
    }
    let count = items.len();
    let read: Vec<_> = items.into_iter().filter_map(one).collect();
    (read.len() == count).then(|| Ports::from_ranges(read))
}

/// A port or a range, as first and last.
fn one(value: Value<'_>) -> Option<(NonZeroU16, NonZeroU16)> {
    let Some(text) = value.raw().as_str() else {
        return values::port(value).map(|port| (port, port));
    };
    if text.parse::<NonZeroU16>().is_ok() {
        value.report(
            value
                .error("a port is a number")
                .help("write it without quotes"),
        );
        return None;
    }
    let Some((from, to)) = text.split_once('-') else {
        if text == "any" {
            let finding = value.error("\"any\" stands alone");
            value.report(finding.help("write port = \"any\", or the ports you mean"));
        } else {
            let finding = value.error(format!("`{}` is neither a port nor a range", quote(text)));
            value.report(
                finding.help("write 62201, \"40000-50000\", a list of such, or \"any\" alone"),
            );
        }
        return None;
    };
    let ends = [from, to].map(|end| end.trim().parse::<NonZeroU16>().ok());
    let [Some(from), Some(to)] = ends else {
        let finding = value.error(format!("`{}` is not a range of ports", quote(text)));
        value.report(
            finding.help("write the first and the last port, from 1 to 65535: \"40000-50000\""),
        );
        return None;
    };
    if from > to {
        let finding = value.error("this range ends before it begins");
        value.report(finding.help(format!("write \"{to}-{from}\"")));
        return None;
    }
    Some((from, to))
}
