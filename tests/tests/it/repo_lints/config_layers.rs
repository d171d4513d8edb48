//! The layers of the configuration: one list in its root, and the imports of its modules.

use std::collections::BTreeSet;

use super::top;

/// Where the configuration is.
const CONFIG: &str = "server/config/src";

/// The names behind `super::` or `crate::`, with those of a list in braces.
fn siblings(text: &str) -> BTreeSet<String> {
    let text = text.replace("crate::", "super::");
    let identifier = |text: &str| -> String {
        let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        text.split(end).next().unwrap_or_default().to_owned()
    };
    let mut found = BTreeSet::new();
    for (start, _) in text.match_indices("super::") {
        let above = text[..start].ends_with("super::");
        let rest = &text[start + "super::".len()..];
        if let Some(list) = rest.strip_prefix('{').filter(|_| !above) {
            let mut depth = 0_usize;
            let mut first = true;
            for (at, c) in list.char_indices() {
                if first && depth == 0 && c.is_ascii_alphabetic() {
                    found.insert(identifier(&list[at..]));
                    first = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => first = true,
                    _ => {}
                }
            }
        } else if !above {
            found.insert(identifier(rest));
        }
    }
    found
}

#[test]
fn a_layer_of_the_configuration_imports_only_those_before_it() {
    let directory = top().join(CONFIG);
    let root = std::fs::read_to_string(directory.join("lib.rs")).expect("the list");
    let mut layers: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in root.lines() {
        if let Some(layer) = line.strip_prefix("// Layer ") {
            layers.push((layer.split(':').next().unwrap(), Vec::new()));
        } else if let Some((_, module)) = line.split_once("mod ")
            && let Some(module) = module.strip_suffix(';')
            && !line.starts_with(['/', ' '])
        {
            let (_, modules) = layers.last_mut().expect("a module of no layer");
            modules.push(module);
        }
    }
    let names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["types", "toml", "schema", "check", "load"]);
    let layer_of = |module: &str| {
        let mut layers = layers.iter();
        layers.position(|(_, modules)| modules.contains(&module))
    };
    let mut wrong = Vec::new();
    for (own, (layer, modules)) in layers.iter().enumerate() {
        for module in modules {
            let path = directory.join(format!("{module}.rs"));
            let text = std::fs::read_to_string(path).expect("a module");
            let code = text.split("#[cfg(test)]").next().unwrap();
            for used in siblings(code) {
                // What the root has belongs to the last layer.
                let other = layer_of(&used).unwrap_or(layers.len() - 1);
                if other > own {
                    wrong.push(format!("{layer}/{module} uses {used}"));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}
