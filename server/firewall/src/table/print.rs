//! Prints rules, chains and elements in nft's own language.
//!
//! Pure. Reads the same JSON that is loaded. It knows the nodes that our rules consist of,
//! with all their keys; anything else is an error, because a part that is left out would
//! show another rule than the one in the kernel.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::stmt::Stmt;

/// Data of ours that this module cannot print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("internal error: a firewall rule has a part that cannot be printed: {0}")]
pub struct PrintError(String);

type Printed = Result<String, PrintError>;

/// Prints a chain with its rules.
pub(super) fn chain(chain: &Value, rules: &[Vec<Stmt>]) -> Printed {
    let (name, base) = match fields(chain, ["family", "table", "name"]) {
        Ok([_, _, name]) => (name, String::new()),
        Err(_) => {
            let keys = ["family", "table", "name", "type", "hook", "prio", "policy"];
            let [_, _, name, kind, hook, priority, policy] = fields(chain, keys)?;
            let [kind, hook, policy] = [text(kind)?, text(hook)?, text(policy)?];
            let base =
                format!("\t\ttype {kind} hook {hook} priority {priority}; policy {policy};\n");
            (name, base)
        }
    };
    Ok(format!(
        "\tchain {} {{\n{base}{}\t}}\n",
        text(name)?,
        lines(rules)?
    ))
}

/// Prints rules as a chain's lines.
pub(super) fn lines(rules: &[Vec<Stmt>]) -> Printed {
    let mut printed = String::new();
    for one in rules {
        // Writing to a string cannot fail.
        let _ = writeln!(printed, "\t\t{}", rule(one)?);
    }
    Ok(printed)
}

/// Prints a rule.
pub(super) fn rule(rule: &[Stmt]) -> Printed {
    let statements: Result<Vec<String>, PrintError> =
        rule.iter().map(|one| statement(one.json())).collect();
    Ok(statements?.join(" "))
}

/// Prints an element of a set.
pub(super) fn element(element: &Value) -> Printed {
    expression(element)
}

fn statement(value: &Value) -> Printed {
    let (name, body) = node(value)?;
    match name {
        "accept" | "drop" | "return" | "counter" | "masquerade" => {
            let is_empty = body.is_null() || body.as_object().is_some_and(Map::is_empty);
            is_empty
                .then(|| name.to_owned())
                .ok_or_else(|| unknown(value))
        }
        "goto" | "jump" => {
            let [target] = fields(body, ["target"])?;
            Ok(format!("{name} {}", text(target)?))
        }
        "match" => comparison(body),
        "mangle" => {
            let [key, new] = fields(body, ["key", "value"])?;
            Ok(format!("{} set {}", expression(key)?, expression(new)?))
        }
        "set" => {
            let [op, key, set] = fields(body, ["op", "elem", "set"])?;
            let (op, key, set) = (text(op)?, expression(key)?, text(set)?);
            Ok(format!("{op} {set} {{ {key} }}"))
        }
        "reject" => reject(body),
        "dnat" => {
            let [family, address, port] = fields(body, ["family", "addr", "port"])?;
            let (address, port) = (text(address)?, number(port)?);
            match text(family)? {
                "ip" => Ok(format!("dnat ip to {address}:{port}")),
                "ip6" => Ok(format!("dnat ip6 to [{address}]:{port}")),
                _ => Err(unknown(family)),
            }
        }
        _ => Err(unknown(value)),
    }
}

fn comparison(body: &Value) -> Printed {
    let [op, left, right] = fields(body, ["op", "left", "right"])?;
    let (left_node, left_body) = node(left)?;
    let op = match text(op)? {
        // nft needs the sign only behind a mask.
        "==" if left_node == "&" => "== ",
        "==" | "in" => "",
        "!=" => "!= ",
        ">=" => ">= ",
        _ => return Err(unknown(op)),
    };
    let right = match right {
        Value::Bool(true) if left_node == "fib" => "exists".to_owned(),
        Value::String(name) if left_node == "meta" && left_body["key"] == "iifname" => {
            format!("\"{name}\"")
        }
        other => expression(other)?,
    };
    Ok(format!("{} {op}{right}", expression(left)?))
}

fn reject(body: &Value) -> Printed {
    if let Ok([kind]) = fields(body, ["type"]) {
        return Ok(format!("reject with {}", text(kind)?));
    }
    let [kind, code] = fields(body, ["type", "expr"])?;
    Ok(format!("reject with {} {}", text(kind)?, text(code)?))
}

fn expression(value: &Value) -> Printed {
    match value {
        Value::String(word) => return Ok(word.clone()),
        Value::Number(number) => return Ok(number.to_string()),
        Value::Array(_) => return joined(value, ","),
        _ => {}
    }
    let (name, body) = node(value)?;
    match name {
        "concat" => joined(body, " . "),
        "set" => Ok(format!("{{ {} }}", joined(body, ", ")?)),
        "prefix" => {
            let [address, length] = fields(body, ["addr", "len"])?;
            Ok(format!("{}/{}", text(address)?, number(length)?))
        }
        "range" => joined(body, "-"),
        "elem" => {
            let [key, timeout] = fields(body, ["val", "timeout"])?;
            Ok(format!(
                "{} timeout {}s",
                expression(key)?,
                number(timeout)?
            ))
        }
        "|" => joined(body, " | "),
        "&" => mask(body),
        "payload" => payload(body),
        "meta" => {
            let [key] = fields(body, ["key"])?;
            match text(key)? {
                "iifname" => Ok("iifname".to_owned()),
                key => Ok(format!("meta {key}")),
            }
        }
        "ct" => {
            if let Ok([key]) = fields(body, ["key"]) {
                return Ok(format!("ct {}", text(key)?));
            }
            let [key, direction] = fields(body, ["key", "dir"])?;
            Ok(format!("ct {} {}", text(direction)?, text(key)?))
        }
        "fib" => fib(body),
        "jhash" => {
            let [modulus, key, seed] = fields(body, ["mod", "expr", "seed"])?;
            let (modulus, key, seed) = (number(modulus)?, expression(key)?, number(seed)?);
            Ok(format!("jhash {key} mod {modulus} seed {seed:#x}"))
        }
        _ => Err(unknown(value)),
    }
}

/// Numbers of a mask are hexadecimal; alternatives need parentheses.
fn mask(operands: &Value) -> Printed {
    let operands = operands.as_array().ok_or_else(|| unknown(operands))?;
    let printed: Result<Vec<String>, PrintError> = operands
        .iter()
        .map(|operand| match operand {
            Value::Number(_) => Ok(format!("{:#06x}", number(operand)?)),
            Value::Object(node) if node.contains_key("|") => {
                Ok(format!("({})", expression(operand)?))
            }
            _ => expression(operand),
        })
        .collect();
    Ok(printed?.join(" & "))
}

fn payload(body: &Value) -> Printed {
    if let Ok([protocol, field]) = fields(body, ["protocol", "field"]) {
        return Ok(format!("{} {}", text(protocol)?, text(field)?));
    }
    let [base, offset, length] = fields(body, ["base", "offset", "len"])?;
    Ok(format!(
        "@{},{},{}",
        text(base)?,
        number(offset)?,
        number(length)?
    ))
}

fn fib(body: &Value) -> Printed {
    /// The flags have no order in the data.
    const ORDER: [&str; 5] = ["saddr", "daddr", "mark", "iif", "oif"];
    let [result, given] = fields(body, ["result", "flags"])?;
    let given = given.as_array().ok_or_else(|| unknown(given))?;
    let mut flags = ORDER.to_vec();
    flags.retain(|flag| given.iter().any(|one| one == flag));
    if flags.len() != given.len() {
        return Err(unknown(body));
    }
    Ok(format!("fib {} {}", flags.join(" . "), text(result)?))
}

fn joined(items: &Value, separator: &str) -> Printed {
    let items = items.as_array().ok_or_else(|| unknown(items))?;
    let printed: Result<Vec<String>, PrintError> = items.iter().map(expression).collect();
    Ok(printed?.join(separator))
}

/// The only key of an object, and what belongs to it.
fn node(value: &Value) -> Result<(&str, &Value), PrintError> {
    let object = value.as_object().filter(|object| object.len() == 1);
    let entry = object.and_then(|object| object.iter().next());
    let (name, body) = entry.ok_or_else(|| unknown(value))?;
    Ok((name, body))
}

/// The values of these keys, where the object has these and no others.
fn fields<'a, const COUNT: usize>(
    value: &'a Value,
    keys: [&str; COUNT],
) -> Result<[&'a Value; COUNT], PrintError> {
    let object = value.as_object().filter(|object| object.len() == COUNT);
    let object = object.ok_or_else(|| unknown(value))?;
    let mut found = [&Value::Null; COUNT];
    for (slot, key) in found.iter_mut().zip(keys) {
        *slot = object.get(key).ok_or_else(|| unknown(value))?;
    }
    Ok(found)
}

fn text(value: &Value) -> Result<&str, PrintError> {
    value.as_str().ok_or_else(|| unknown(value))
}

fn number(value: &Value) -> Result<u64, PrintError> {
    value.as_u64().ok_or_else(|| unknown(value))
}

fn unknown(value: &Value) -> PrintError {
    PrintError(value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_or_key_that_is_not_known_is_an_error_and_never_left_out() {
        let known =
            json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}});
        assert_eq!(statement(&known).unwrap(), "meta l4proto tcp");
        let ports = super::super::stmt::udp_ports(&(62_300..=62_310));
        assert_eq!(rule(&[ports]).unwrap(), "udp dport 62300-62310");
        for unknown in [
            json!({"queue": null}),
            json!("accept"),
            json!({"accept": null, "drop": null}),
            json!({"counter": {"packets": 1}}),
            json!({"goto": {"target": "a", "comment": "b"}}),
            json!({"match": {"op": "<", "left": {"meta": {"key": "l4proto"}}, "right": 1}}),
            json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": true}}),
            json!({"match": {"op": "==", "left": {"rt": {"key": "mtu"}}, "right": 1}}),
            json!({"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "?"]}}, "right": true}}),
            json!({"dnat": {"family": "ip", "addr": "10.0.0.5", "port": 22, "flags": ["random"]}}),
            json!({"reject": {"type": "icmp", "expr": "host-prohibited", "more": 1}}),
        ] {
            assert!(statement(&unknown).is_err(), "{unknown}");
        }
    }
}
