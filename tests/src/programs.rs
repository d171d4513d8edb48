//! What a server runs: scripts of the test, declared in its configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;
use spa_proto::Request;

use crate::test_bed::TestBed;
use crate::wait;

/// A request to run this command.
#[must_use]
pub fn run_request(name: &str) -> Request {
    let command = name.parse().expect("a command's name");
    Request::Run { command }
}

impl TestBed {
    /// Makes a shell script that everybody may execute.
    #[track_caller]
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("its mode");
        path
    }

    /// Makes a script that writes down who it is, which must be the user `daemon`, and what
    /// it reads.
    #[track_caller]
    pub fn recorder(&self, name: &str) -> PathBuf {
        let calls_dir = self.lab.path().join("told");
        std::fs::create_dir(&calls_dir).expect("a directory");
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&calls_dir, everybody).expect("its mode");
        let text = format!("echo \"$(id -un) $(cat)\" >> {}/lines", calls_dir.display());
        self.script(name, &text)
    }

    /// What the recorder was told so far.
    #[must_use]
    #[track_caller]
    pub fn recorded_calls(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(self.lab.path().join("told/lines"));
        let line = |line: &str| {
            let json = line.strip_prefix("daemon ").expect("the user's name first");
            serde_json::from_str(json).expect("a line of JSON")
        };
        lines.unwrap_or_default().lines().map(line).collect()
    }

    /// Adds text to a file of the server's configuration.
    #[track_caller]
    pub fn append_config(&self, file: &str, text: &str) {
        let path = self.spad.config().join(file);
        let before = std::fs::read_to_string(&path).expect("a file of the configuration");
        std::fs::write(&path, format!("{before}\n{text}\n")).expect("the same");
    }

    /// Writes a file of sequences for one use, which the daemon's group may read.
    #[track_caller]
    pub fn write_sequences(&self, file: &str, lines: &str) {
        let path = self.spad.config().join(file);
        std::fs::write(&path, lines).expect("the file");
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&path, mode).expect("its mode");
        // As `chgrp spad` does.
        let users = std::fs::read_to_string("/etc/passwd").expect("the users");
        let find_user = |name: &str| users.lines().find(|line| line.starts_with(name));
        let user = find_user("spad:").or_else(|| find_user("nobody:"));
        let user = user.expect("the engine's user");
        let group = user.split(':').nth(3).and_then(|group| group.parse().ok());
        std::os::unix::fs::chown(&path, None, group).expect("its group");
    }

    /// Puts one text in the place of another in a file of the server's configuration.
    #[track_caller]
    pub fn replace_in_config(&self, file: &str, from: &str, to: &str) {
        let path = self.spad.config().join(file);
        let before = std::fs::read_to_string(&path).expect("a file of the configuration");
        assert!(before.contains(from), "{before}");
        std::fs::write(&path, before.replace(from, to)).expect("the same");
    }

    /// Waits for so many audit lines of this event; gives the last of them.
    #[track_caller]
    pub fn wait_audit_event(&self, event: &str, count: usize) -> Value {
        wait::eventually(event, || {
            let lines = self.spad.audit().into_iter();
            let mut lines = lines.filter(|line| line.get("event").is_some_and(|is| is == event));
            lines.nth(count.saturating_sub(1))
        })
    }

    /// A process at the server's machine whose command line contains this, arguments
    /// parted by spaces.
    #[must_use]
    pub fn process_matching(&self, text: &str) -> Option<i32> {
        let mut ids = self.lab.server.processes().into_iter();
        ids.find(|id| {
            let line = std::fs::read_to_string(format!("/proc/{id}/cmdline"));
            line.is_ok_and(|line| line.replace('\0', " ").contains(text))
        })
    }
}
