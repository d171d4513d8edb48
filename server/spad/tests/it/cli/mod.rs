//! The command line, run as people run it: the real binary, in directories of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spa_keys::ClientSecret;

mod client;
mod files;
mod import;
mod init;
mod secrets;

/// A server's directories.
struct Server(tempfile::TempDir);

/// How a command ended.
struct CliOutput {
    code: i32,
    out: String,
    err: String,
}

impl Server {
    /// After `spad init`.
    fn new() -> Self {
        let server = Self(tempfile::tempdir().unwrap());
        server.run(&["init"]).exits_with(0);
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> CliOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spad"));
        command.args(arguments).stdin(Stdio::null());
        for (option, name) in [("--config", "etc"), ("--state", "var"), ("--run", "run")] {
            command.arg(option).arg(self.path(name));
        }
        let output = command.output().unwrap();
        CliOutput {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn add(&self, name: &str, seed: u8) -> CliOutput {
        self.run(&[
            "client",
            "add",
            name,
            "--key",
            &public_key(seed),
            "--allow",
            "ssh",
        ])
    }

    fn client(&self, name: &str) -> PathBuf {
        self.path(&format!("etc/clients.d/{name}.toml"))
    }

    /// A file with a secret, as its owner keeps it.
    fn secret(&self, text: &str) -> String {
        let path = self.path("secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn configure(&self, from: &str, to: &str) {
        let path = self.path("etc/spad.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Every file below, with its text.
    fn all_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn visit(directory: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(&path, found);
                } else {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        visit(self.0.path(), &mut found);
        found.sort();
        found
    }
}

impl CliOutput {
    #[track_caller]
    fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn prints(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "out: {}\nerr: {}",
            self.out,
            self.err
        );
        self
    }
}

fn public_key(seed: u8) -> String {
    ClientSecret::from_bytes([seed; 32]).public().to_string()
}
