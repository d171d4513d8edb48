//! Keys and packet need no standard library: a program without one links
//! them, and runs; its allocator sees that nothing is allocated for a packet
//! before it is authentic.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[test]
fn keys_and_packet_work_in_a_program_without_the_standard_library() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("no_std_proof");
    let top = source.join("../..").canonicalize().unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std_proof");
    fs::create_dir_all(copy.join("src")).unwrap();
    for file in ["build.rs", "src/main.rs"] {
        fs::copy(source.join(file), copy.join(file)).unwrap();
    }
    // A copy, so that it is built with the workspace's own lock file, which
    // cargo cuts down to what is used.
    let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let manifest = manifest.replace("../..", top.to_str().unwrap());
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    fs::copy(top.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();

    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--offline", "--quiet"])
        .arg("--target-dir")
        .arg(copy.join("target"))
        .current_dir(&copy)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "it does not build without std:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status = Command::new(copy.join("target/release/no-std-proof"))
        .status()
        .unwrap();
    assert!(
        status.success(),
        "what was sealed was not opened, or something was allocated before it was authentic: {status}"
    );
}
