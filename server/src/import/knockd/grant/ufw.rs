//! `ufw allow from %IP% to any port 22 proto tcp` and its like. Pure.

use spa_proto::Protocol;

use super::{ANYWHERE, NoGrant, Over, Parts, Rule, is_knocker, no, ports, twice, unknown};

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NoGrant> {
    let mut words = arguments
        .iter()
        .copied()
        .filter(|word| *word != "--force")
        .peekable();
    if words.next_if_eq(&"delete").is_some() {
        return match words.next() {
            Some("deny" | "reject" | "limit" | "route") | None => Err(no(
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
            return Err(no(
                "it is about what this host routes, and a grant lets in to it",
            ));
        }
        _ => return Err(no("it allows nothing")),
    }
    let mut parts = Parts {
        accepts: true,
        over: Over::BOTH,
        ..Parts::default()
    };
    // Whose the next port is: ufw takes it for that of the last `from` or `to`.
    let mut of_here = false;
    let mut by_name = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| unknown(word));
        match word {
            "in" => {}
            "on" => {
                let _ = value()?;
                parts.remarks.insert(ANYWHERE);
            }
            "proto" => {
                if !parts.protocols.is_empty() {
                    return Err(twice("proto"));
                }
                parts.protocols.push(ports::protocol(value()?)?);
            }
            "from" => {
                if !is_knocker(value()?) {
                    return Err(no("it lets in another address than the one that knocked"));
                }
                parts.for_knocker = true;
                of_here = false;
            }
            "to" => {
                if value()? != "any" {
                    parts.remarks.insert(ANYWHERE);
                }
                of_here = true;
            }
            "port" | "app" if !of_here => {
                return Err(no("it names the knocker's own port"));
            }
            "port" | "app" if !parts.ports.is_empty() => return Err(twice(word)),
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
                    parts.ports.push(ports::one(text)?)
                }
                None => application(text, &mut parts)?,
            },
            other => return Err(unknown(other)),
        }
    }
    if parts.protocols.is_empty() {
        if parts.ports.len() > 1 {
            return Err(no("ufw takes several ports only with a protocol"));
        }
        // ufw looks into /etc/services for it.
        if by_name {
            return Err(no("it names a port by its name, and no protocol"));
        }
        // So does ufw.
        parts.protocols = vec![Protocol::Tcp, Protocol::Udp];
    }
    parts.done()
}

/// An application's profile that every ufw has.
fn application(name: &str, parts: &mut Parts) -> Result<(), NoGrant> {
    let ports: &[u16] = match name {
        "OpenSSH" | "ssh" | "SSH" => &[22],
        "http" | "www" | "WWW" | "Apache" | "Nginx HTTP" => &[80],
        "https" | "WWW Secure" | "Apache Secure" | "Nginx HTTPS" => &[443],
        "WWW Full" | "Apache Full" | "Nginx Full" => &[80, 443],
        other => return Err(unknown(other)),
    };
    if !parts.protocols.is_empty() {
        return Err(no("ufw takes no protocol beside an application"));
    }
    parts.ports.extend(ports);
    parts.protocols.push(Protocol::Tcp);
    Ok(())
}
