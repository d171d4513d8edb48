//! Which commands open a port for whoever knocked, and which close one. One file a program.
//!
//! Pure. A rule is taken for a grant only where every word of it is understood.

use std::collections::BTreeSet;

use spa_proto::{Protocol, Service};

mod helper;
mod iptables;
mod nft;
mod ports;
#[cfg(test)]
mod tests;
mod ufw;

pub(super) use ports::service_name;

/// The most ports that a door opens.
const MAX_PORTS: usize = 16;

/// What a command does to the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It lets new connections in.
    Open(OpenRule),
    /// It takes a rule away.
    Close,
}

/// What it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenRule {
    pub(super) ports: BTreeSet<Service>,
    /// Over which IP it does; the program refuses an address of the other one.
    pub(super) families: Families,
    /// In which way a grant is something else.
    pub(super) remarks: BTreeSet<&'static str>,
}

/// Over which IP a command opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Families {
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

impl Families {
    const IPV4: Self = Self {
        ipv4: true,
        ipv6: false,
    };
    const IPV6: Self = Self {
        ipv4: false,
        ipv6: true,
    };
    const BOTH: Self = Self {
        ipv4: true,
        ipv6: true,
    };

    /// What either does.
    pub(super) const fn union(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 || other.ipv4,
            ipv6: self.ipv6 || other.ipv6,
        }
    }

    /// What passes both.
    const fn intersection(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
        }
    }
}

/// Why a firewall's command is no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotAGrant(pub(super) String);

/// It let everybody in.
const OPEN_TO_ALL: &str =
    "the command let everybody in; a grant lets in the address that knocked alone";
/// One address or interface of this host.
const ANY_LOCAL: &str =
    "the command named an address or interface of this host; a grant holds for all of them";
/// As the first example of knockd's manual.
const MISSING_PROTOCOL: &str = "iptables refuses a port without a protocol; it is taken for TCP";

/// None where the program is no firewall's.
pub(super) fn recognise(command: &[String]) -> Option<Result<Rule, NotAGrant>> {
    let (program, arguments) = command.split_first()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = program.rsplit('/').next().unwrap_or_default();
    // A=/sbin/iptables is a variable, and ./nft is whatever lies there.
    if program.contains('=') || (program.contains('/') && !program.starts_with('/')) {
        return None;
    }
    Some(match name {
        "iptables" | "iptables-nft" | "iptables-legacy" => {
            iptables::read(&arguments, Families::IPV4)
        }
        "ip6tables" | "ip6tables-nft" | "ip6tables-legacy" => {
            iptables::read(&arguments, Families::IPV6)
        }
        "nft" => nft::read(&arguments),
        "ufw" => ufw::read(&arguments),
        "knock_helper_ipt.sh" | "knock_add" => helper::read(&arguments),
        "sudo" if arguments.first().is_some_and(|word| word.starts_with('-')) => {
            Err(not_a_grant("what sudo is to do in it is not understood"))
        }
        "sudo" => return recognise(command.get(1..)?),
        "firewall-cmd" | "ipset" | "iptables-restore" | "ip6tables-restore" | "conntrack"
        | "ip" | "shorewall" | "csf" | "fwknopd" | "ebtables" | "arptables" | "pfctl" => Err(
            not_a_grant(format!("what `{name}` does here is not understood")),
        ),
        "env" | "doas" | "nice" | "nohup" | "setsid" | "timeout" | "flock" | "nsenter" | "sh"
        | "bash" | "dash"
            if arguments.iter().any(|word| is_firewall_program(word)) =>
        {
            Err(not_a_grant(format!(
                "what `{name}` does here is not understood"
            )))
        }
        _ => return None,
    })
}

/// Whether a word names a program that no command of ours could use: it has no right to.
fn is_firewall_program(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    matches!(name, "nft" | "ufw" | "firewall-cmd" | "ipset")
        || name.starts_with("iptables")
        || name.starts_with("ip6tables")
}

fn not_a_grant(why: impl Into<String>) -> NotAGrant {
    NotAGrant(why.into())
}

/// A word that nothing is known of.
fn unknown_word(word: &str) -> NotAGrant {
    let word = spa_findings::redact::quote(word);
    not_a_grant(format!("`{word}` in it is not understood"))
}

/// Whether this is whoever knocked.
fn is_knocker(address: &str) -> bool {
    matches!(address, "%IP%" | "%IP%/32" | "%IP%/128")
}

/// A chain or a table through which other than this host's own connections come, or in which
/// accepting lets nobody in.
fn foreign_chain(what: &str, name: &str) -> Option<NotAGrant> {
    let small = name.to_ascii_lowercase();
    // As in DOCKER-USER, ufw-before-forward, lan_fwd.
    let words = ["forward", "fwd", "routing", "output", "egress", "docker"];
    let is_foreign = matches!(small.as_str(), "nat" | "mangle" | "raw")
        || words.iter().any(|word| small.contains(word));
    is_foreign.then(|| {
        let name = spa_findings::redact::quote(name);
        not_a_grant(format!(
            "it is about the {what} {name}, and a grant lets in to this host"
        ))
    })
}

/// A word of a rule that stands in it once more than its program takes it.
fn repeated_word(word: &str) -> NotAGrant {
    not_a_grant(format!("`{word}` stands in it twice"))
}

/// The rule, its parts read one by one.
#[derive(Default)]
struct RuleParts {
    protocols: Vec<Protocol>,
    ports: Vec<u16>,
    families: Families,
    for_knocker: bool,
    accepts: bool,
    remarks: BTreeSet<&'static str>,
}

impl RuleParts {
    fn finish(mut self) -> Result<Rule, NotAGrant> {
        if !self.accepts {
            return Err(not_a_grant("it accepts nothing"));
        }
        if self.ports.is_empty() {
            return Err(not_a_grant(
                "it opens every port, and a door opens services by name",
            ));
        }
        if !self.for_knocker {
            self.remarks.insert(OPEN_TO_ALL);
        }
        let mut ports = BTreeSet::new();
        for protocol in self.protocols {
            for port in &self.ports {
                let port = std::num::NonZeroU16::new(*port)
                    .ok_or_else(|| not_a_grant("port 0 is not a port"))?;
                ports.insert(Service { protocol, port });
            }
        }
        if ports.len() > MAX_PORTS {
            return Err(not_a_grant(format!(
                "it opens {} ports, and a door at most {MAX_PORTS}",
                ports.len()
            )));
        }
        Ok(Rule::Open(OpenRule {
            ports,
            families: self.families,
            remarks: self.remarks,
        }))
    }
}
