//! The target `config` over texts made of the server's own fixtures: lines and
//! pieces of them, put together at random, reach deeper than random bytes do.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

static FIXTURES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/spad/tests/it/config");
    let mut texts = Vec::new();
    for kind in ["good", "bad"] {
        for entry in fs::read_dir(tests.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "toml") {
                texts.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    texts.sort();
    assert!(texts.len() > 50);
    texts
});

/// A whole fixture, some of its lines, or a piece of it.
fn part() -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), 0..3_u8, any::<[u16; 2]>());
    cut.prop_map(|(which, how, [from, to])| {
        let text = which.get(&FIXTURES);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let between = |length: usize| {
            let (a, b) = (
                usize::from(from) % (length + 1),
                usize::from(to) % (length + 1),
            );
            a.min(b)..a.max(b)
        };
        match how {
            0 => text.clone(),
            1 => lines[between(lines.len())].concat(),
            _ => String::from_utf8_lossy(&text.as_bytes()[between(text.len())]).into_owned(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mixture_of_files_misleads_the_loader(
        parts in prop::collection::vec(part(), 1..6),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = parts.concat().into_bytes();
        for (place, byte) in noise {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        spa_fuzz::config::run(&bytes);
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        spa_fuzz::config::run(&bytes);
    }
}
