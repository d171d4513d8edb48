//! [IO] Ties the server's key to the machine it was made on.
//!
//! A key found under another machine's id came with a copied disk or a backup,
//! and packets used there would count as new here: it is refused until the
//! administrator adopts it (docs/protocol.md, "Never twice").

use std::io;
use std::path::Path;

use crate::paths::Paths;

/// Where systemd and D-Bus keep the machine's id, in the order of trust.
const SOURCES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// What is written where the machine has no id.
const NONE: &str = "none";

/// How the key stands to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It was made or adopted here.
    Here,
    /// It belongs to another machine.
    Elsewhere,
    /// It was never tied to any.
    Untied,
}

/// This machine's id, or that it has none.
#[must_use]
pub fn id() -> String {
    SOURCES
        .iter()
        .find_map(|path| read(Path::new(path)))
        .unwrap_or_else(|| NONE.to_owned())
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    let right = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| text.to_ascii_lowercase())
}

/// Which machine the state belongs to.
///
/// # Errors
/// Where that cannot be read; a missing file is [`Tie::Untied`].
pub fn tie(paths: &Paths) -> io::Result<Tie> {
    tie_to(paths, &id())
}

fn tie_to(paths: &Paths, id: &str) -> io::Result<Tie> {
    match std::fs::read_to_string(paths.machine()) {
        Ok(text) if text.trim() == id => Ok(Tie::Here),
        Ok(_) => Ok(Tie::Elsewhere),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tie::Untied),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_at_home_only_under_the_id_it_was_tied_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let paths = Paths {
            config: path.clone(),
            state: path.clone(),
            run: path,
        };
        assert_eq!(tie_to(&paths, "a").unwrap(), Tie::Untied);
        std::fs::write(paths.machine(), "a\n").unwrap();
        assert_eq!(tie_to(&paths, "a").unwrap(), Tie::Here);
        assert_eq!(tie_to(&paths, "b").unwrap(), Tie::Elsewhere);
        assert_eq!(tie_to(&paths, NONE).unwrap(), Tie::Elsewhere);
    }
}
