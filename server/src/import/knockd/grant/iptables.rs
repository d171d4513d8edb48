//! `iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT` and its like. Pure.

use spa_proto::Protocol;

use super::{
    ANYWHERE, NO_PROTOCOL, NoGrant, Parts, Rule, is_knocker, no, of_others, ports, unknown,
};

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NoGrant> {
    if arguments
        .iter()
        .any(|word| matches!(*word, "-D" | "--delete"))
    {
        return Ok(Rule::Close);
    }
    // `--dport=22` is `--dport 22`.
    let words = arguments
        .iter()
        .flat_map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => vec![option, value],
            _ => vec![*word],
        });
    let mut words = words.peekable();
    let number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = Parts::default();
    let mut adds = false;
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or_else(|| unknown(option));
        match option {
            "-A" | "--append" | "-I" | "--insert" => {
                adds = true;
                if let Some(no) = of_others(value()?) {
                    return Err(no);
                }
                let _ = words.next_if(number);
            }
            "-w" | "--wait" | "-W" | "--wait-interval" => {
                let _ = words.next_if(number);
            }
            "-t" | "--table" => match value()? {
                "filter" => {}
                other => {
                    return Err(no(format!(
                        "it is about the table {}",
                        spa_findings::redact::quote(other)
                    )));
                }
            },
            "-s" | "--source" | "--src" => {
                let address = value()?;
                if !is_knocker(address) {
                    return Err(no("it lets in another address than the one that knocked"));
                }
                parts.for_knocker = true;
            }
            "-d" | "--destination" | "--dst" | "-i" | "--in-interface" => {
                let _ = value()?;
                parts.remarks.insert(ANYWHERE);
            }
            "-p" | "--protocol" | "--proto" => parts.protocols.push(ports::protocol(value()?)?),
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                parts.ports.extend(ports::list(value()?, ':')?);
            }
            "--syn" => {}
            "-m" | "--match" => match value()? {
                "tcp" | "udp" | "sctp" | "state" | "conntrack" | "comment" | "multiport" => {}
                other => return Err(unknown(other)),
            },
            "--state" | "--ctstate" => {
                if !value()?
                    .split(',')
                    .any(|state| state.eq_ignore_ascii_case("new"))
                {
                    return Err(no("it lets in no new connection"));
                }
            }
            "--comment" => {
                let _ = value()?;
            }
            "-j" | "--jump" => match value()? {
                "ACCEPT" => parts.accepts = true,
                _ => return Err(no("it does something else than accept")),
            },
            other => return Err(unknown(other)),
        }
    }
    if !adds {
        return Err(no("it adds no rule"));
    }
    if parts.protocols.is_empty() && !parts.ports.is_empty() {
        parts.protocols.push(Protocol::Tcp);
        parts.remarks.insert(NO_PROTOCOL);
    }
    parts.done()
}
