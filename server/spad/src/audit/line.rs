//! One event as one line of JSON. Pure. The fields are those that
//! docs/commands name: `v, ts, seq, event, client, key, src, granted_to,
//! service, proto, port, ttl_s, iface, skew_ms, latency_us, reason`, and
//! `door` (of a knock), `uid` (who asked by hand), `source_port` and `once` (what a grant is bound to),
//! `counts` and `detail` where there is something to say; of a program that was
//! run `command, exit, signal, timed_out, duration_ms, output, output_more`.

use std::net::IpAddr;

use serde::{Serialize, Serializer};
use spa_proto::Timestamp;
use spad_engine::audit::event::AuditEvent;
use spad_model::ExitKind;

/// The version of the lines' layout.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: String,
    seq: u64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proto: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    once: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skew_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "as_map")]
    counts: &'a [(&'static str, u64)],
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timed_out: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_more: Option<u64>,
}

fn as_map<S: Serializer>(counts: &[(&'static str, u64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(counts.iter().copied())
}

/// The line of `event`, its newline included; `seq` counts the lines of this
/// daemon, `interface` is the name of the event's interface.
#[must_use]
pub fn render(event: &AuditEvent, seq: u64, interface: Option<&str>) -> String {
    let run = event.run.as_deref();
    let end = run.and_then(|run| run.end);
    let how = end.map(|(how, _)| how);
    let line = Line {
        v: VERSION,
        ts: time(event.at),
        seq,
        event: event.event.as_str(),
        client: event.client.as_ref().map(|name| name.as_str()),
        door: event.door.as_ref().map(|name| name.as_str()),
        uid: event.uid,
        key: event.key.map(|key| key.to_string()),
        src: event.source,
        granted_to: event.granted_to.map(|whom| whom.to_string()),
        service: event.service.as_ref().map(|name| name.as_str()),
        proto: event.port.map(|port| port.protocol.as_str()),
        port: event.port.map(|port| port.port.get()),
        source_port: event.source_port.map(std::num::NonZeroU16::get),
        once: event.once.then_some(true),
        ttl_s: event.ttl.map(|ttl| ttl.as_secs()),
        iface: interface,
        skew_ms: event.skew_ms,
        latency_us: event
            .latency
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        reason: event.reason.map(spad_model::Reason::as_str),
        counts: &event.counts,
        detail: event.detail,
        command: run.map(|run| run.name.as_str()),
        exit: how.and_then(|how| match how {
            ExitKind::Exited(code) => Some(code),
            ExitKind::Signalled(_) | ExitKind::TimedOut => None,
        }),
        signal: how.and_then(|how| match how {
            ExitKind::Signalled(signal) => Some(signal),
            ExitKind::Exited(_) | ExitKind::TimedOut => None,
        }),
        timed_out: how.filter(|how| *how == ExitKind::TimedOut).map(|_| true),
        duration_ms: end.map(|(_, took)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        output: run.filter(|_| end.is_some()).map(|run| run.output.as_str()),
        output_more: run.map(|run| run.truncated).filter(|more| *more > 0),
    };
    // Strings, numbers and addresses always serialise; an empty line would be seen.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// RFC 3339, UTC, microseconds. A time that has no date is shown as the last that has.
pub(crate) fn time(at: Timestamp) -> String {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spad_engine::audit::event::Event;
    use spad_engine::audit::run::RunRecord;
    use spad_model::{ExitKind, Reason, RunExit, RunId};

    use super::*;

    #[test]
    fn a_grant_is_one_line_with_the_documented_fields_in_their_order() {
        let mut event =
            AuditEvent::new(Event::Grant, Timestamp::from_micros(1_800_000_000_000_001));
        event.client = Some("laptop".parse().unwrap());
        event.key = Some(spa_keys::KeyId::from_bytes([0xab; 8]));
        event.source = Some("192.0.2.1".parse().unwrap());
        event.granted_to = Some("2001:db8::1".parse::<IpAddr>().unwrap().into());
        event.service = Some("ssh".parse().unwrap());
        event.port = Some("tcp/22".parse().unwrap());
        event.ttl = Some(Duration::from_secs(30));
        event.skew_ms = Some(-12);
        event.latency = Some(Duration::from_micros(150));
        event.reason = Some(Reason::Opened);
        assert_eq!(
            render(&event, 7, Some("eth0")),
            concat!(
                r#"{"v":1,"ts":"2027-01-15T08:00:00.000001Z","seq":7,"event":"grant","client":"laptop","#,
                r#""key":"abababababababab","src":"192.0.2.1","granted_to":"2001:db8::1","service":"ssh","#,
                r#""proto":"tcp","port":22,"ttl_s":30,"iface":"eth0","skew_ms":-12,"latency_us":150,"#,
                r#""reason":"opened"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_does_not_apply_is_not_in_the_line_and_no_time_stops_it() {
        let mut event = AuditEvent::new(Event::Noise, Timestamp::from_micros(u64::MAX));
        event.counts = vec![("head_tag", 5), ("replay", 1)];
        let line = render(&event, 1, None);
        assert!(
            line.ends_with(
                r#""seq":1,"event":"noise","counts":{"head_tag":5,"replay":1}}"#
                    .to_owned()
                    .as_str()
            ) || line.ends_with("\"counts\":{\"head_tag\":5,\"replay\":1}}\n"),
            "{line}"
        );
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(read["ts"].as_str().unwrap().starts_with("9999-"));
    }

    fn run_line(output: &[u8]) -> String {
        let ended = RunExit {
            id: RunId(1),
            kind: ExitKind::Exited(3),
            duration: Duration::from_millis(12),
            output: output.to_vec(),
            truncated: 7,
        };
        let mut event = AuditEvent::new(Event::Run, Timestamp::from_micros(0));
        event.run = Some(Box::new(RunRecord::ended("backup".to_owned(), ended)));
        render(&event, 1, None)
    }

    #[test]
    fn no_output_makes_an_audit_line_of_its_own_or_commands_a_terminal() {
        let evil =
            b"done\"}\n{\"v\":1,\"event\":\"grant\"}\r\n\x1b[2J\x9b\xc2\x9b2J \xe2\x80\xae\xff\x00";
        let line = run_line(evil);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.ends_with("}\n"));
        let printable = |c: char| c == '\n' || !c.is_control();
        assert!(line.chars().all(printable), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["event"], "run");
        assert_eq!(read["exit"], 3);
        assert_eq!(read["duration_ms"], 12);
        assert_eq!(read["output_more"], 7);
        assert_eq!(
            read["output"],
            "done\"}\n{\"v\":1,\"event\":\"grant\"}\\u{d}\n\\u{1b}[2J\u{fffd}\\u{9b}2J \\u{202e}\u{fffd}\\u{0}"
        );
    }
}
