//! `ufw allow from %IP% to any port 22 proto tcp` and its like. Pure.

use spa_proto::Protocol;

use super::{
    ANY_LOCAL, Families, NotAGrant, Rule, RuleParts, is_knocker, not_a_grant, ports, repeated_word,
    unknown_word,
};

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NotAGrant> {
    let mut words = arguments
        .iter()
        .copied()
        .filter(|word| *word != "--force")
        .peekable();
    if words.next_if_eq(&"delete").is_some() {
        return match words.next() {
            Some("deny" | "reject" | "limit" | "route") | None => Err(not_a_grant(
                "it takes a rule away that does something else than accept",
            )),
            Some(_) => Ok(Rule::Close),
        };
    }
    match words.next_if(|word| matches!(*word, "insert" | "prepend")) {
        Some("insert") => {
            words.next();
        }
        _ => {
            let _ = words.next_if_eq(&"rule");
        }
    }
    match words.next() {
        Some("allow") => {}
        Some("route") => {
            return Err(not_a_grant(
                "it is about what this host routes, and a grant lets in to it",
            ));
        }
        _ => return Err(not_a_grant("it allows nothing")),
    }
    let mut parts = RuleParts {
        accepts: true,
        families: Families::BOTH,
        ..RuleParts::default()
    };
    // Whose the next port is: ufw takes it for that of the last `from` or `to`.
    let mut is_local = false;
    let mut by_name = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| unknown_word(word));
        match word {
            "in" => {}
            "on" => {
                let _ = value()?;
                parts.remarks.insert(ANY_LOCAL);
            }
            "proto" => {
                if !parts.protocols.is_empty() {
                    return Err(repeated_word("proto"));
                }
                parts.protocols.push(ports::protocol(value()?)?);
            }
            "from" => {
                if !is_knocker(value()?) {
                    return Err(not_a_grant(
                        "it lets in another address than the one that knocked",
                    ));
                }
                parts.for_knocker = true;
                is_local = false;
            }
            "to" => {
                if value()? != "any" {
                    parts.remarks.insert(ANY_LOCAL);
                }
                is_local = true;
            }
            "port" | "app" if !is_local => {
                return Err(not_a_grant("it names the knocker's own port"));
            }
            "port" | "app" if !parts.ports.is_empty() => return Err(repeated_word(word)),
            "port" => {
                let value = value()?;
                by_name = value.bytes().any(|byte| byte.is_ascii_alphabetic());
                parts.ports.extend(ports::list(value, ':')?);
            }
            "app" => application(value()?, &mut parts)?,
            "comment" => {
                let _ = value()?;
            }
            // The short form: `ufw allow 22/tcp`.
            text if !parts.for_knocker && parts.ports.is_empty() => match text.split_once('/') {
                Some((port, protocol)) => {
                    parts.ports.extend(ports::list(port, ':')?);
                    parts.protocols.push(ports::protocol(protocol)?);
                }
                None if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    parts.ports.push(ports::port(text)?)
                }
                None => application(text, &mut parts)?,
            },
            other => return Err(unknown_word(other)),
        }
    }
    if parts.protocols.is_empty() {
        if parts.ports.len() > 1 {
            return Err(not_a_grant("ufw takes several ports only with a protocol"));
        }
        // ufw looks into /etc/services for it.
        if by_name {
            return Err(not_a_grant("it names a port by its name, and no protocol"));
        }
        // So does ufw.
        parts.protocols = vec![Protocol::Tcp, Protocol::Udp];
    }
    parts.finish()
}

/// An application's profile that every ufw has.
fn application(name: &str, parts: &mut RuleParts) -> Result<(), NotAGrant> {
    let ports: &[u16] = match name {
        "OpenSSH" | "ssh" | "SSH" => &[22],
        "http" | "www" | "WWW" | "Apache" | "Nginx HTTP" => &[80],
        "https" | "WWW Secure" | "Apache Secure" | "Nginx HTTPS" => &[443],
        "WWW Full" | "Apache Full" | "Nginx Full" => &[80, 443],
        other => return Err(unknown_word(other)),
    };
    if !parts.protocols.is_empty() {
        return Err(not_a_grant("ufw takes no protocol beside an application"));
    }
    parts.ports.extend(ports);
    parts.protocols.push(Protocol::Tcp);
    Ok(())
}
