//! `to` of a service: the inner host to which this machine, a gateway, forwards its clients.
//!
//! Pure. Addresses alone, at most one of each family: a name is never looked up.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use spa_findings::Finding;
use spa_findings::redact::quote;
use spa_proto::usable_address;

use super::inner_host::InnerHost;
use super::toml_reader::{Value, WithSpan};

/// Reads `to` and `masquerade` of a service with so many ports.
pub(super) fn read(
    to: Option<Value<'_>>,
    masquerade: Option<Value<'_>>,
    ports: usize,
) -> Option<InnerHost> {
    let masquerades = masquerade.and_then(|value| value.boolean());
    let Some(value) = to else {
        if let Some(value) = masquerade {
            let finding = value.error("there is no inner host whose connections to masquerade");
            value.report(finding.help("give the service its `to`, or take `masquerade` out"));
        }
        return None;
    };
    let items = if value.raw().is_array() {
        value.list(EXAMPLES)?
    } else {
        vec![value]
    };
    if items.is_empty() {
        value.report(
            value
                .error("this leads nowhere")
                .help(format!("write to = {EXAMPLES}, or take `to` out")),
        );
    }
    let mut hosts: Vec<(IpAddr, Option<NonZeroU16>)> = Vec::new();
    for item in &items {
        let Some(host) = host(*item) else { continue };
        let (address, port) = host.value;
        if hosts
            .iter()
            .any(|(other, _)| other.is_ipv4() == address.is_ipv4())
        {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let finding = item.error(format!("a second inner host for {family}"));
            item.report(
                finding.help(
                    "name one address of each family at most, and make a service of each host",
                ),
            );
        } else if ports > 1 && port.is_some() {
            let finding = item.error(format!("{ports} ports cannot lead to one"));
            item.report(
                finding
                    .help(format!(
                        "write \"{address}\": each port then leads to the same port there"
                    ))
                    .note("or make a service of each port"),
            );
        } else {
            hosts.push((address, port));
        }
    }
    (!hosts.is_empty()).then_some(InnerHost {
        hosts,
        masquerade: masquerades.unwrap_or(false),
    })
}

const EXAMPLES: &str = "[\"10.0.0.5:22\", \"[2001:db8::5]:22\"]";

/// "10.0.0.5:22", "[2001:db8::5]:22", or an address alone.
fn host(value: Value<'_>) -> Option<WithSpan<(IpAddr, Option<NonZeroU16>)>> {
    let text = value.text("10.0.0.5:22")?;
    match parse(text) {
        Ok(host) => Some(value.with_span(host)),
        Err(help) => {
            let message = format!("`{}` is not an inner host", quote(text));
            value.report(help.add_to(value.error(message)));
            None
        }
    }
}

/// How to mend a text that names no inner host.
#[derive(Debug, PartialEq, Eq)]
enum HostHelp {
    Shape,
    PortZero,
    Address(IpAddr),
}

impl HostHelp {
    fn add_to(self, finding: Finding) -> Finding {
        match self {
            Self::Shape => finding
                .help("write its address and port: \"10.0.0.5:22\" or \"[2001:db8::5]:22\"")
                .note("a name is never looked up: whoever answers for it could lead clients elsewhere"),
            Self::PortZero => finding.help("port 0 is not a port; write a number from 1 to 65535"),
            Self::Address(address) => finding
                .help("write an address of the inner host that this machine has a route to")
                .note(format!(
                    "{address} is unspecified, loopback, multicast, broadcast, link-local, IPv4-mapped or NAT64"
                )),
        }
    }
}

fn parse(text: &str) -> Result<(IpAddr, Option<NonZeroU16>), HostHelp> {
    let (address, port) = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(SocketAddr::V6(six)), _) if six.scope_id() != 0 => return Err(HostHelp::Shape),
        (Ok(host), _) => {
            let port = NonZeroU16::new(host.port()).ok_or(HostHelp::PortZero)?;
            (host.ip(), Some(port))
        }
        (_, Ok(address)) => (address, None),
        _ => return Err(HostHelp::Shape),
    };
    if usable_address(address) {
        Ok((address, port))
    } else {
        Err(HostHelp::Address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_a_port_is_an_inner_host() {
        let port = NonZeroU16::new(22);
        for (text, address, port) in [
            ("10.0.0.5:22", "10.0.0.5", port),
            ("[2001:db8::5]:22", "2001:db8::5", port),
            ("10.0.0.5", "10.0.0.5", None),
            ("2001:db8::5", "2001:db8::5", None),
        ] {
            assert_eq!(parse(text), Ok((address.parse().unwrap(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_another_host_is_refused() {
        for text in [
            "",
            "nas.lan:22",
            "10.0.0.5:",
            "[fe80::1%2]:22",
            "10.0.0.5:ssh",
            "10.0.0.5/24",
        ] {
            assert_eq!(parse(text), Err(HostHelp::Shape), "{text}");
        }
        assert_eq!(parse("10.0.0.5:0"), Err(HostHelp::PortZero));
        for text in [
            "127.0.0.1:22",
            "0.0.0.0:22",
            "[::1]:22",
            "224.0.0.1:22",
            "[::ffff:10.0.0.5]:22",
        ] {
            assert!(matches!(parse(text), Err(HostHelp::Address(_))), "{text}");
        }
    }
}
