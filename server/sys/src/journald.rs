//! [IO] Writes to standard error in the format of systemd's journal, with a priority before
//! each line (sd-daemon(3)). A terminal or a file gets the lines without it.

use std::borrow::Cow;
use std::sync::OnceLock;

/// Priority of a line; the numbers are syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Error = 3,
    /// Needs attention.
    Warning = 4,
    /// Informational.
    Info = 6,
}

/// Formats this text for standard error.
pub fn for_stderr(priority: Priority, text: &str) -> Cow<'_, str> {
    if stderr_is_journal() {
        Cow::Owned(prefix_lines(priority, text))
    } else {
        Cow::Borrowed(text)
    }
}

fn prefix_lines(priority: Priority, text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| format!("<{}>{line}", priority as u8))
        .collect()
}

/// Whether standard error is the journal; this never changes while a process runs.
fn stderr_is_journal() -> bool {
    static IS_STDERR: OnceLock<bool> = OnceLock::new();
    *IS_STDERR.get_or_init(|| {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let status = rustix::fs::fstat(std::io::stderr());
        status.is_ok_and(|status| stream == format!("{}:{}", status.st_dev, status.st_ino))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority_before_it() {
        assert_eq!(
            prefix_lines(Priority::Warning, "one\n  help: two\n"),
            "<4>one\n<4>  help: two\n"
        );
        assert_eq!(prefix_lines(Priority::Error, "one"), "<3>one");
        assert_eq!(prefix_lines(Priority::Info, ""), "");
    }
}
