//! `nft add rule inet filter input ip saddr %IP% tcp dport 22 accept` and its like. Pure.

use super::{ANYWHERE, NoGrant, Parts, Rule, is_knocker, no, of_others, ports, unknown};

/// The words as nft sees them: it puts its arguments together and splits them itself.
fn tokens(arguments: &[&str]) -> Vec<String> {
    let mut text = String::new();
    for letter in arguments.join(" ").chars() {
        match letter {
            '{' | '}' | ',' => text.extend([' ', letter, ' ']),
            other => text.push(other),
        }
    }
    let options = |word: &&str| word.starts_with('-');
    text.split_whitespace()
        .skip_while(options)
        .map(str::to_owned)
        .collect()
}

/// One value, or a set of them without its braces.
fn values<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, NoGrant> {
    let end = || no("it has no end");
    let mut found = Vec::new();
    match words.next().ok_or_else(end)? {
        "{" => loop {
            match words.next().ok_or_else(end)? {
                "}" => return Ok(found),
                "," => {}
                value => found.push(value),
            }
        },
        value => found.push(value),
    }
    Ok(found)
}

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NoGrant> {
    let tokens = tokens(arguments);
    let mut words = tokens.iter().map(String::as_str).peekable();
    match (words.next(), words.next()) {
        (Some("delete" | "destroy"), _) => return Ok(Rule::Close),
        (Some("add" | "insert"), Some("rule")) => {}
        (Some("add"), Some("element")) => {
            return Err(no(
                "it puts the address into a set, and which ports that opens stands elsewhere",
            ));
        }
        _ => return Err(no("it adds no rule")),
    }
    if matches!(words.peek(), Some(&("ip6" | "ip" | "inet"))) {
        words.next();
    }
    let (Some(_table), Some(chain)) = (words.next(), words.next()) else {
        return Err(no("it adds no rule"));
    };
    if let Some(no) = of_others(chain) {
        return Err(no);
    }
    if words
        .next_if(|word| matches!(*word, "handle" | "position" | "index"))
        .is_some()
    {
        words.next();
    }
    let mut parts = Parts::default();
    let mut any_protocol = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "ip" | "ip6" => match words.next() {
                Some("saddr") if words.next().is_some_and(is_knocker) => parts.for_knocker = true,
                Some("daddr") => {
                    let _ = values(&mut words)?;
                    parts.remarks.insert(ANYWHERE);
                }
                Some("protocol" | "nexthdr") => {
                    for value in values(&mut words)? {
                        any_protocol.push(ports::protocol(value)?);
                    }
                }
                _ => return Err(no("it lets in another address than the one that knocked")),
            },
            "meta" => match words.next() {
                Some("l4proto") => {
                    for value in values(&mut words)? {
                        any_protocol.push(ports::protocol(value)?);
                    }
                }
                Some("nfproto") if matches!(words.next(), Some("ipv4" | "ipv6")) => {}
                other => return Err(unknown(other.unwrap_or("meta"))),
            },
            "iif" | "iifname" => {
                let _ = values(&mut words)?;
                parts.remarks.insert(ANYWHERE);
            }
            "tcp" | "udp" | "sctp" | "th" => {
                if words.next() != Some("dport") || !parts.ports.is_empty() {
                    return Err(unknown(word));
                }
                if word == "th" {
                    parts.protocols.append(&mut any_protocol);
                } else {
                    parts.protocols.push(ports::protocol(word)?);
                }
                for value in values(&mut words)? {
                    parts.ports.extend(ports::list(value, '-')?);
                }
            }
            "ct" => {
                if words.next() != Some("state") {
                    return Err(unknown("ct"));
                }
                let mut states = values(&mut words)?;
                while words.next_if(|word| *word == ",").is_some() {
                    states.extend(words.next());
                }
                if !states.contains(&"new") {
                    return Err(no("it lets in no new connection"));
                }
            }
            "counter" => {
                for count in ["packets", "bytes"] {
                    if words.next_if(|word| *word == count).is_some() {
                        words.next();
                    }
                }
            }
            "comment" => {
                let first = words.next().unwrap_or_default();
                let is_whole =
                    |word: &str| !word.starts_with('"') || (word.len() > 1 && word.ends_with('"'));
                if !is_whole(first) {
                    let _ = words.by_ref().find(|word| word.ends_with('"'));
                }
            }
            "accept" => parts.accepts = true,
            other => return Err(unknown(other)),
        }
    }
    if !parts.ports.is_empty() && parts.protocols.is_empty() {
        return Err(no("it names ports and no protocol"));
    }
    parts.done()
}
