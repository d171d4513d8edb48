//! Writes the test vectors: `cargo run -p spa-proto --example make_vectors`.
//! They are the same every time; a test compares them with the files.
#![forbid(unsafe_code)]

mod cases;

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    for (path, text) in cases::all() {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}
