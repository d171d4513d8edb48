//! Which thread is stepped through, and where its part of a knock ends.

use std::path::{Path, PathBuf};

use spa_tests::binaries;
use spa_tests::lab::Lab;
use spad::firewall::link::SUBCOMMAND;

/// A thread of spad.
pub(crate) struct Who {
    pub(crate) name: &'static str,
    pub(crate) process: i32,
    pub(crate) thread: i32,
    /// Its part ends when it sends by a socket that the kernel lists in this file.
    sockets: &'static str,
}

impl Who {
    /// The engine's thread, until it has sent the change to the writer.
    pub(crate) fn engine(lab: &Lab) -> Result<Self, String> {
        for process in processes(lab) {
            let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let name = std::fs::read_to_string(task.path().join("comm"));
                let thread = task.file_name().to_string_lossy().parse();
                if let (Ok("engine\n"), Ok(thread)) = (name.as_deref(), thread) {
                    return Ok(Self {
                        name: "engine",
                        process,
                        thread,
                        sockets: "unix",
                    });
                }
            }
        }
        Err("no thread of spad is called `engine`".to_owned())
    }

    /// The writer, until it has sent the change to the kernel.
    pub(crate) fn writer(lab: &Lab) -> Result<Self, String> {
        let is_writer = |process: &i32| {
            std::fs::read_to_string(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| line.split('\0').any(|word| word == SUBCOMMAND))
        };
        let process = processes(lab).into_iter().find(is_writer);
        let process = process.ok_or_else(|| format!("no process of spad is a {SUBCOMMAND}"))?;
        Ok(Self {
            name: "writer",
            process,
            thread: process,
            sockets: "netlink",
        })
    }

    /// Its files under /proc.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.process.to_string()).join(name)
    }

    /// Whether to send by this descriptor ends its part.
    pub(crate) fn ends_by(&self, descriptor: u64) -> bool {
        let Ok(target) = std::fs::read_link(self.proc(&format!("fd/{descriptor}"))) else {
            return false;
        };
        let target = target.to_string_lossy();
        let Some(inode) = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'))
        else {
            return false;
        };
        let sockets = std::fs::read_to_string(self.proc(&format!("net/{}", self.sockets)));
        let sockets = sockets.unwrap_or_default();
        let head = sockets.lines().next().unwrap_or_default();
        let column = head.split_whitespace().position(|title| title == "Inode");
        column.is_some_and(|column| {
            let found = |line: &str| line.split_whitespace().nth(column) == Some(inode);
            sockets.lines().any(found)
        })
    }
}

/// The lab's processes that run spad.
fn processes(lab: &Lab) -> Vec<i32> {
    let runs_spad = |process: &i32| {
        std::fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|exe| exe == binaries::spad())
    };
    let all = lab.server.processes();
    all.into_iter().filter(runs_spad).collect()
}
