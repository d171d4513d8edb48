//! The committed test vectors are the generator's.

#[path = "../../examples/make_vectors/cases/mod.rs"]
mod cases;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_committed_vectors_are_what_the_generator_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let hint = "run: cargo run -p spa-proto --example make_vectors";
    let mut written = BTreeSet::new();
    for (path, text) in cases::all() {
        let committed = fs::read_to_string(folder.join(&path)).unwrap_or_default();
        assert!(
            committed == text,
            "tests/vectors/{path} is not as generated; {hint}"
        );
        assert!(written.insert(path.clone()), "two cases are named {path}");
    }
    for kind in ["packet", "key_text", "keys"] {
        for file in fs::read_dir(folder.join(kind)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let path = format!("{kind}/{name}");
            assert!(
                written.contains(&path),
                "no case is named {path}: remove the file"
            );
        }
    }
}
