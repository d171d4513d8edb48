//! Any text as knockd.conf: findings that point inside their lines, or a spad.toml that the
//! loader takes and to which a second import adds nothing. A line `#### PATH` begins a file
//! of sequences.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spa_findings::{Finding, Source};
use spa_proto::Timestamp;
use spad_config::{Files, check};
use spad_migrate::knockd::{ImportInput, Imported, import, one_time_files};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const SPAD: &str = "hide = []\n[services]\nssh = \"tcp/22\"\n[listen]\nport = 62201\n";

pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split("#### ");
    let knockd = parts.next().unwrap_or_default();
    let files: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('\n')).collect();
    let done = imported(SPAD, &BTreeMap::new(), knockd, &files);
    crate::config::check_spans(&done.findings);
    let shown = done.findings.to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(done.findings.iter().all(|finding| finding.help.is_some()));
    if done.findings.has_errors() {
        return;
    }
    let mut taken = Files::empty(Path::new("/etc/spad"));
    let path = Path::new("/etc/spad/spad.toml");
    taken.server = Some(Source::new(path, done.spad.clone()));
    let made = done.files.iter();
    let made = made.map(|(name, text)| (Path::new("/etc/spad").join(name), text.clone()));
    taken.one_time = made.collect();
    let loaded = check(&taken, NOW).expect("what was written is right");
    assert!(loaded.config.knock.len() >= done.doors.len());
    let again = imported(&done.spad, &taken.one_time, knockd, &files);
    assert_eq!(again.spad, done.spad);
}

fn imported(
    spad: &str,
    listed: &BTreeMap<PathBuf, String>,
    knockd: &str,
    files: &BTreeMap<&str, &str>,
) -> Imported {
    let knockd = Source::new(Path::new("/etc/knockd.conf"), knockd.to_owned());
    let read = |path: String| {
        let text = files.get(path.as_str());
        let source = text.map(|text| Source::new(Path::new(&path), (*text).to_owned()));
        let missing = || Finding::error(Path::new(&path), "cannot be read").help("write it");
        (path.clone(), source.ok_or_else(missing))
    };
    let one_time = one_time_files(&knockd).into_iter().map(read).collect();
    import(ImportInput {
        knockd: &knockd,
        spad: &Source::new(Path::new("/etc/spad/spad.toml"), spad.to_owned()),
        one_time: &one_time,
        existing_sequences: listed,
        run_as: "nobody",
        now: NOW,
    })
}
