//! Finds `spad` and `spa` beside the running test, and refuses stale ones.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

static SPAD: OnceLock<PathBuf> = OnceLock::new();
static SPA: OnceLock<PathBuf> = OnceLock::new();

/// The server's binary.
#[must_use]
pub fn spad() -> &'static Path {
    SPAD.get_or_init(|| find("spad"))
}

/// The client's binary.
#[must_use]
pub fn spa() -> &'static Path {
    SPA.get_or_init(|| find("spa"))
}

/// Copies both into this directory and uses the copies from here on: that is how programs
/// are installed. What the linker wrote lies in smaller pieces in the kernel's cache, and
/// a start has nine page faults more.
pub fn install(directory: &Path) {
    for (place, name) in [(&SPAD, "spad"), (&SPA, "spa")] {
        let copy = directory.join(name);
        let copied = std::fs::copy(find(name), &copy);
        assert!(copied.is_ok(), "{}: {copied:?}", copy.display());
        assert_eq!(place.set(copy), Ok(()), "{name} was used before");
    }
}

fn find(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the running test");
    // Tests stand in target/PROFILE/deps, binaries one higher.
    let directory = own
        .ancestors()
        .skip(1)
        .find(|directory| directory.file_name().is_none_or(|last| last != "deps"))
        .expect("a directory above the test");
    let binary = directory.join(name);
    let release = directory.file_name().is_some_and(|last| last == "release");
    let help = match release {
        true => "help: cargo build --release -p spad -p spa",
        false => "help: cargo build -p spad -p spa, or ./check",
    };
    let built =
        modified(&binary).unwrap_or_else(|| panic!("{} is missing\n{help}", binary.display()));
    // Cargo lists beside each binary what it was made of.
    let listed = std::fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    let sources = listed.split_once(": ").map_or("", |(_, sources)| sources);
    for source in words(sources).iter().map(Path::new) {
        let newer = modified(source).is_some_and(|time| time > built);
        assert!(
            !newer,
            "{} is older than {}\n{help}",
            binary.display(),
            source.display()
        );
    }
    binary
}

/// Cargo puts a backslash before a space that is part of a path.
fn words(listed: &str) -> Vec<String> {
    listed
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|word| word.replace('\0', " "))
        .collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_space_is_one_word() {
        let listed = "/a/path\\ with/x.rs /b.rs\n";
        assert_eq!(words(listed), ["/a/path with/x.rs", "/b.rs"]);
    }
}
