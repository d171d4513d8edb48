//! [IO] Standard error as the journal of systemd reads it: each line with its priority before
//! it (sd-daemon(3)), which the journal takes off. A terminal or a file gets the lines alone.

use std::borrow::Cow;
use std::sync::OnceLock;

/// How grave a line is; the numbers are syslog's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Error = 3,
    /// Somebody should look at it.
    Warning = 4,
    /// All is well.
    Info = 6,
}

/// This text as standard error is to have it.
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

/// Whether the journal reads standard error; it never changes while a process runs.
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
