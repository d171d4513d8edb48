//! `iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT` and its like. Pure.

use std::collections::BTreeSet;

use spa_proto::Protocol;

use super::{
    ANY_LOCAL, Families, MISSING_PROTOCOL, NotAGrant, Rule, RuleParts, foreign_chain, is_knocker,
    not_a_grant, ports, repeated_word, unknown_word,
};

/// The rule of iptables, or of ip6tables.
pub(super) fn read(arguments: &[&str], families: Families) -> Result<Rule, NotAGrant> {
    let has = |short: &str, long: &str| arguments.contains(&short) || arguments.contains(&long);
    if has("-D", "--delete") && !has("-A", "--append") && !has("-I", "--insert") {
        return close(arguments);
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
    let mut parts = RuleParts {
        families,
        ..RuleParts::default()
    };
    let mut adds = false;
    let (mut once, mut matches) = (BTreeSet::new(), BTreeSet::new());
    let mut list = false;
    while let Some(option) = words.next() {
        // Two of them are no rule, or one that both narrow.
        if let Some(what) = meaning(option)
            && !once.insert(what)
        {
            return Err(repeated_word(option));
        }
        let mut value = || words.next().ok_or_else(|| unknown_word(option));
        match option {
            "-A" | "--append" | "-I" | "--insert" => {
                adds = true;
                if let Some(no) = foreign_chain("chain", value()?) {
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
                    return Err(not_a_grant(format!(
                        "it is about the table {}",
                        spa_findings::redact::quote(other)
                    )));
                }
            },
            "-s" | "--source" | "--src" => {
                let address = value()?;
                if !is_knocker(address) {
                    return Err(not_a_grant(
                        "it lets in another address than the one that knocked",
                    ));
                }
                parts.for_knocker = true;
            }
            "-d" | "--destination" | "--dst" | "-i" | "--in-interface" => {
                let _ = value()?;
                parts.remarks.insert(ANY_LOCAL);
            }
            "-p" | "--protocol" | "--proto" => parts.protocols.push(ports::protocol(value()?)?),
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                let value = value()?;
                list = value.contains(',') || option.ends_with('s');
                parts.ports.extend(ports::list(value, ':')?);
            }
            "--syn" => {}
            "-m" | "--match" => match value()? {
                known @ ("tcp" | "udp" | "sctp" | "state" | "conntrack" | "comment"
                | "multiport") => {
                    matches.insert(known);
                }
                other => return Err(unknown_word(other)),
            },
            "--state" | "--ctstate" => {
                if !value()?
                    .split(',')
                    .any(|state| state.eq_ignore_ascii_case("new"))
                {
                    return Err(not_a_grant("it lets in no new connection"));
                }
            }
            "--comment" => {
                let _ = value()?;
            }
            "-j" | "--jump" => match value()? {
                "ACCEPT" => parts.accepts = true,
                _ => return Err(not_a_grant("it does something else than accept")),
            },
            other => return Err(unknown_word(other)),
        }
    }
    if !adds {
        return Err(not_a_grant("it adds no rule"));
    }
    if parts.protocols.is_empty() && !parts.ports.is_empty() {
        parts.protocols.push(Protocol::Tcp);
        parts.remarks.insert(MISSING_PROTOCOL);
    }
    if list && !matches.contains("multiport") {
        return Err(not_a_grant(
            "iptables takes several ports only with -m multiport --dports",
        ));
    }
    let others = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let mut others = others.iter().filter(|one| !parts.protocols.contains(one));
    if others.any(|other| matches.contains(other.as_str())) {
        return Err(not_a_grant("it is about two protocols at once"));
    }
    parts.finish()
}

/// What an option says that a rule says once.
fn meaning(option: &str) -> Option<&'static str> {
    Some(match option {
        "-A" | "--append" | "-I" | "--insert" => "chain",
        "-s" | "--source" | "--src" => "source",
        "-d" | "--destination" | "--dst" => "destination",
        "-i" | "--in-interface" => "interface",
        "-p" | "--protocol" | "--proto" => "protocol",
        "--dport" | "--dports" | "--destination-port" | "--destination-ports" => "ports",
        "-j" | "--jump" => "verdict",
        _ => return None,
    })
}

/// A rule that is taken away closes where it accepted.
fn close(arguments: &[&str]) -> Result<Rule, NotAGrant> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let verdict = match *word {
            "-j" | "--jump" | "-g" | "--goto" => words.next().copied().unwrap_or_default(),
            word => match word.split_once('=') {
                Some(("--jump" | "--goto", verdict)) => verdict,
                _ => continue,
            },
        };
        if verdict != "ACCEPT" {
            return Err(not_a_grant(
                "it takes a rule away that does something else than accept",
            ));
        }
    }
    Ok(Rule::Close)
}
