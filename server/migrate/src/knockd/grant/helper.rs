//! `knock_helper_ipt.sh -i -f %IP% -d 22 -p tcp`, which Debian has with knockd. Pure.

use spa_proto::Protocol;

use super::{
    Families, NotAGrant, Rule, RuleParts, foreign_chain, is_knocker, not_a_grant, ports,
    unknown_word,
};

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NotAGrant> {
    // It calls iptables.
    let mut parts = RuleParts {
        families: Families::IPV4,
        ..RuleParts::default()
    };
    let mut words = arguments.iter().copied();
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| unknown_word(option));
        match option {
            "-x" | "--delete" => return Ok(Rule::Close),
            "-a" | "--append" | "-i" | "--insert" => parts.accepts = true,
            "-v" | "--verbose" => {}
            "-f" | "--srcaddr" => {
                if !is_knocker(value()?) {
                    return Err(not_a_grant(
                        "it lets in another address than the one that knocked",
                    ));
                }
                parts.for_knocker = true;
            }
            // The last one counts.
            "-d" | "--dport" => {
                let value = value()?;
                if value.contains(',') {
                    return Err(not_a_grant(
                        "iptables takes several ports only with -m multiport",
                    ));
                }
                parts.ports = ports::list(value, ':')?;
            }
            "-p" | "--proto" => parts.protocols = vec![ports::protocol(value()?)?],
            "-c" | "--chain" => {
                if let Some(no) = foreign_chain("chain", value()?) {
                    return Err(no);
                }
            }
            // Its argument sticks to it, or it has none.
            comment if comment.starts_with("-m") || comment.starts_with("--comment") => {}
            other => return Err(unknown_word(other)),
        }
    }
    if parts.protocols.is_empty() {
        parts.protocols.push(Protocol::Tcp);
    }
    parts.finish()
}
