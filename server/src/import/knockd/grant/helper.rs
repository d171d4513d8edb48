//! `knock_helper_ipt.sh -i -f %IP% -d 22 -p tcp`, which Debian has with knockd. Pure.

use spa_proto::Protocol;

use super::{NoGrant, Over, Parts, Rule, is_knocker, no, of_others, ports, unknown};

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NoGrant> {
    // It calls iptables.
    let mut parts = Parts {
        over: Over::IPV4,
        ..Parts::default()
    };
    let mut words = arguments.iter().copied();
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| unknown(option));
        match option {
            "-x" | "--delete" => return Ok(Rule::Close),
            "-a" | "--append" | "-i" | "--insert" => parts.accepts = true,
            "-v" | "--verbose" => {}
            "-f" | "--srcaddr" => {
                if !is_knocker(value()?) {
                    return Err(no("it lets in another address than the one that knocked"));
                }
                parts.for_knocker = true;
            }
            // The last one counts.
            "-d" | "--dport" => {
                let value = value()?;
                if value.contains(',') {
                    return Err(no("iptables takes several ports only with -m multiport"));
                }
                parts.ports = ports::list(value, ':')?;
            }
            "-p" | "--proto" => parts.protocols = vec![ports::protocol(value()?)?],
            "-c" | "--chain" => {
                if let Some(no) = of_others("chain", value()?) {
                    return Err(no);
                }
            }
            // Its argument sticks to it, or it has none.
            comment if comment.starts_with("-m") || comment.starts_with("--comment") => {}
            other => return Err(unknown(other)),
        }
    }
    if parts.protocols.is_empty() {
        parts.protocols.push(Protocol::Tcp);
    }
    parts.done()
}
