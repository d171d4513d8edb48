//! `nft add rule inet filter input ip saddr %IP% tcp dport 22 accept` and its like. Pure.

use spa_proto::Protocol;

use super::{
    ANY_LOCAL, Families, NotAGrant, Rule, RuleParts, foreign_chain, is_knocker, not_a_grant, ports,
    repeated_word, unknown_word,
};

/// The words as nft sees them: it puts its arguments together and splits them itself.
fn tokens(arguments: &[&str]) -> Vec<String> {
    let mut text = String::new();
    for letter in arguments.join(" ").chars() {
        match letter {
            '{' | '}' | ',' => text.extend([' ', letter, ' ']),
            other => text.push(other),
        }
    }
    // Of the others one only tries, one reads a file.
    let options = |word: &&str| {
        matches!(
            *word,
            "-a" | "-e" | "-n" | "-s" | "--handle" | "--echo" | "--numeric" | "--stateless"
        )
    };
    text.split_whitespace()
        .skip_while(options)
        .map(str::to_owned)
        .collect()
}

/// One value, or a set of them without its braces.
fn values<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, NotAGrant> {
    let end = || not_a_grant("it has no end");
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

pub(super) fn read(arguments: &[&str]) -> Result<Rule, NotAGrant> {
    let tokens = tokens(arguments);
    let mut words = tokens.iter().map(String::as_str).peekable();
    match (words.next(), words.next()) {
        (Some("delete" | "destroy"), Some("rule" | "element")) => return Ok(Rule::Close),
        (Some("add" | "insert"), Some("rule")) => {}
        (Some("add"), Some("element")) => {
            return Err(not_a_grant(
                "it puts the address into a set, and which ports that opens stands elsewhere",
            ));
        }
        _ => return Err(not_a_grant("it adds no rule")),
    }
    let families = match words.next_if(|word| matches!(*word, "ip6" | "ip" | "inet")) {
        Some("inet") => Families::BOTH,
        Some("ip6") => Families::IPV6,
        _ => Families::IPV4,
    };
    let (Some(table), Some(chain)) = (words.next(), words.next()) else {
        return Err(not_a_grant("it adds no rule"));
    };
    if let Some(no) = foreign_chain("table", table).or_else(|| foreign_chain("chain", chain)) {
        return Err(no);
    }
    if words
        .next_if(|word| matches!(*word, "handle" | "position" | "index"))
        .is_some()
    {
        words.next();
    }
    let mut parts = RuleParts {
        families,
        ..RuleParts::default()
    };
    let mut any_protocol = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "ip" | "ip6" => match words.next() {
                Some("saddr") if words.next().is_some_and(is_knocker) => {
                    parts.for_knocker = true;
                    parts.families = parts.families.intersection(family_of(word));
                }
                Some("daddr") => {
                    let _ = values(&mut words)?;
                    parts.remarks.insert(ANY_LOCAL);
                }
                Some("protocol" | "nexthdr") => {
                    parts.families = parts.families.intersection(family_of(word));
                    protocols(&mut words, &mut any_protocol)?;
                }
                _ => {
                    return Err(not_a_grant(
                        "it lets in another address than the one that knocked",
                    ));
                }
            },
            "meta" => match words.next() {
                Some("l4proto") => protocols(&mut words, &mut any_protocol)?,
                Some("nfproto") => match words.next() {
                    Some("ipv4") => parts.families = parts.families.intersection(Families::IPV4),
                    Some("ipv6") => parts.families = parts.families.intersection(Families::IPV6),
                    other => return Err(unknown_word(other.unwrap_or("nfproto"))),
                },
                other => return Err(unknown_word(other.unwrap_or("meta"))),
            },
            "iif" | "iifname" => {
                let _ = values(&mut words)?;
                parts.remarks.insert(ANY_LOCAL);
            }
            "tcp" | "udp" | "sctp" | "th" => {
                if words.next() != Some("dport") || !parts.ports.is_empty() {
                    return Err(unknown_word(word));
                }
                if word == "th" {
                    parts.protocols.clone_from(&any_protocol);
                } else {
                    parts.protocols.push(ports::protocol(word)?);
                }
                for value in values(&mut words)? {
                    parts.ports.extend(ports::list(value, '-')?);
                }
            }
            "ct" => {
                if words.next() != Some("state") {
                    return Err(unknown_word("ct"));
                }
                let mut states = values(&mut words)?;
                while words.next_if(|word| *word == ",").is_some() {
                    states.extend(words.next());
                }
                if !states.contains(&"new") {
                    return Err(not_a_grant("it lets in no new connection"));
                }
            }
            "counter" => {
                for count in ["packets", "bytes"] {
                    if words.next_if(|word| *word == count).is_some() {
                        words.next();
                    }
                }
            }
            "comment" => comment(&mut words)?,
            "accept" => parts.accepts = true,
            other => return Err(unknown_word(other)),
        }
    }
    if !parts.ports.is_empty() && parts.protocols.is_empty() {
        return Err(not_a_grant("it names ports and no protocol"));
    }
    let contrary = |protocol| !any_protocol.is_empty() && !any_protocol.contains(protocol);
    if parts.protocols.iter().any(contrary) || (!parts.families.ipv4 && !parts.families.ipv6) {
        return Err(not_a_grant("no packet is of all the kinds that it names"));
    }
    parts.finish()
}

fn family_of(word: &str) -> Families {
    match word {
        "ip6" => Families::IPV6,
        _ => Families::IPV4,
    }
}

/// Named once: a second time they would narrow the first.
fn protocols<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    found: &mut Vec<Protocol>,
) -> Result<(), NotAGrant> {
    if !found.is_empty() {
        return Err(repeated_word("protocol"));
    }
    for value in values(words)? {
        found.push(ports::protocol(value)?);
    }
    Ok(())
}

/// One word, or what stands between two quotes; what follows it is not part of it.
fn comment<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<(), NotAGrant> {
    let open = || not_a_grant("its comment has no end");
    let first = words.next().ok_or_else(open)?;
    let Some(mut part) = first.strip_prefix('"') else {
        return Ok(());
    };
    loop {
        match part.split_once('"') {
            None => part = words.next().ok_or_else(open)?,
            Some((_, "")) => return Ok(()),
            Some((_, behind)) => return Err(unknown_word(behind)),
        }
    }
}
