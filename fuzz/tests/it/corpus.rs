//! The corpora, replayed; and every target has all its parts.

use std::fs;
use std::path::{Path, PathBuf};

use spa_fuzz::TARGETS;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_corpus_file_passes_its_target() {
    for (name, run) in TARGETS {
        let corpus = files(&folder().join("corpus").join(name));
        assert!(
            !corpus.is_empty(),
            "{name} has no file in fuzz/corpus/{name}/"
        );
        for file in corpus {
            // The harness shows this line only where the file fails.
            println!("{}", file.display());
            run(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_target_has_its_binary_and_every_corpus_its_target() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let wrapper = format!("fuzz_targets/{name}.rs");
        let text = fs::read_to_string(folder().join(&wrapper)).expect(&wrapper);
        assert!(
            text.contains(&format!("spa_fuzz::{name}::run(data)")),
            "{wrapper}"
        );
        assert!(
            manifest.contains(&format!("path = \"{wrapper}\"")),
            "{name} has no [[bin]]"
        );
    }
    for file in files(&folder().join("corpus")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            TARGETS.iter().any(|(target, _)| *target == name),
            "{name} is no target"
        );
    }
}
