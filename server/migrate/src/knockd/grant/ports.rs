//! Ports and protocols by the names that people write. Pure.

use spa_proto::{Protocol, Service};

use super::{MAX_PORTS, NotAGrant, not_a_grant, unknown_word};

/// Usual services; of several names for one port the first is ours.
const SERVICE_NAMES: [(&str, Protocol, u16); 24] = [
    ("ftp", Protocol::Tcp, 21),
    ("ssh", Protocol::Tcp, 22),
    ("telnet", Protocol::Tcp, 23),
    ("smtp", Protocol::Tcp, 25),
    ("dns", Protocol::Udp, 53),
    ("domain", Protocol::Udp, 53),
    ("http", Protocol::Tcp, 80),
    ("www", Protocol::Tcp, 80),
    ("pop3", Protocol::Tcp, 110),
    ("imap", Protocol::Tcp, 143),
    ("imap2", Protocol::Tcp, 143),
    ("https", Protocol::Tcp, 443),
    ("smb", Protocol::Tcp, 445),
    ("submissions", Protocol::Tcp, 465),
    ("submission", Protocol::Tcp, 587),
    ("rsync", Protocol::Tcp, 873),
    ("imaps", Protocol::Tcp, 993),
    ("pop3s", Protocol::Tcp, 995),
    ("openvpn", Protocol::Udp, 1194),
    ("mysql", Protocol::Tcp, 3306),
    ("rdp", Protocol::Tcp, 3389),
    ("postgresql", Protocol::Tcp, 5432),
    ("vnc", Protocol::Tcp, 5900),
    ("wg", Protocol::Udp, 51820),
];

/// What a service is called: `ssh`, or `tcp-8080` where it has no usual name.
pub(in crate::knockd) fn service_name(service: Service) -> String {
    let known = SERVICE_NAMES
        .iter()
        .find(|(_, protocol, port)| *protocol == service.protocol && *port == service.port.get());
    match known {
        Some((name, ..)) => (*name).to_owned(),
        None => format!("{}-{}", service.protocol.as_str(), service.port),
    }
}

/// One port, by number or name.
pub(super) fn port(text: &str) -> Result<u16, NotAGrant> {
    if let Some((.., port)) = SERVICE_NAMES.iter().find(|(name, ..)| *name == text) {
        return Ok(*port);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| unknown_word(text))
}

/// Ports between commas, ranges with `to` between their ends.
pub(super) fn list(text: &str, separator: char) -> Result<Vec<u16>, NotAGrant> {
    let mut ports = Vec::new();
    for part in text.split(',') {
        let Some((first, last)) = part.split_once(separator) else {
            ports.push(port(part)?);
            continue;
        };
        let (first, last) = (port(first)?, port(last)?);
        let count = usize::from(last.saturating_sub(first)).saturating_add(1);
        if last < first || count > MAX_PORTS {
            return Err(not_a_grant(format!(
                "it opens the range {part}, and a door opens at most {MAX_PORTS} ports"
            )));
        }
        ports.extend(first..=last);
    }
    Ok(ports)
}

/// A protocol, by name or number.
pub(super) fn protocol(text: &str) -> Result<Protocol, NotAGrant> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" | "6" => Ok(Protocol::Tcp),
        "udp" | "17" => Ok(Protocol::Udp),
        "sctp" | "132" => Ok(Protocol::Sctp),
        _ => Err(not_a_grant(format!(
            "a grant is for TCP, UDP or SCTP, not for `{}`",
            spa_findings::redact::quote(text)
        ))),
    }
}
