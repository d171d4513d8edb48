//! Any text as the configuration's files: it loads into what every other part
//! relies on, or gives findings that point inside their lines and show no
//! secret. A line `#### clients.d/NAME.toml` begins another file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use spa_findings::{Findings, Source};
use spa_keys::Kind;
use spa_proto::Timestamp;
use spad_config::{ClientKey, ClientSummaries, Config, Files, check, edit};
use spad_model::ClientName;

/// 2026, so that clients may have expired.
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
/// A piece of a key this long tells of it.
const MIN_LEAK: usize = 12;
/// Characters of a key behind its prefix.
const SECRET_LEN: usize = 48;

pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let files = split_files(text);
    let findings = match check(&files, NOW) {
        Ok(loaded) => {
            check_config(&loaded.config, &loaded.warnings);
            assert!(!loaded.warnings.has_errors());
            loaded.warnings
        }
        Err(findings) => {
            assert!(findings.has_errors());
            findings
        }
    };
    check_spans(&findings);
    let surveyed = files
        .clients
        .iter()
        .map(|(name, source)| ClientSummaries::default().summarise(name, source));
    let shown = format!("{findings}{:?}", surveyed.collect::<Vec<_>>());
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    check_redaction(text, &shown);
    check_edits(text);
}

fn split_files(text: &str) -> Files {
    let mut files = Files::empty(Path::new("/etc/spad"));
    let mut parts = text.split("#### clients.d/");
    let server = parts.next().unwrap_or_default();
    files.server = Some(Source::new(
        Path::new("/etc/spad/spad.toml"),
        server.to_owned(),
    ));
    for part in parts {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        if let Ok(name) = name.trim_end_matches(".toml").parse::<ClientName>() {
            files.put_client(name, text.to_owned());
        }
    }
    files
}

/// What the types alone do not say.
fn check_config(config: &Config, warnings: &Findings) {
    let ports: Vec<_> = config.services.values().flat_map(|s| &s.ports).collect();
    let unique: BTreeSet<_> = ports.iter().collect();
    assert_eq!(ports.len(), unique.len(), "two services have one port");
    assert!(config.grants.ttl <= config.grants.max_ttl);
    for service in config.services.values() {
        assert!((1..=16).contains(&service.ports.len()));
        let max_ttl = service.max_ttl.unwrap_or(config.grants.max_ttl);
        assert!(service.ttl.is_none_or(|ttl| ttl <= max_ttl));
        assert!(max_ttl <= config.max_packet_ttl());
    }
    let known = |name| config.services.contains_key(name);
    assert!(config.hide.iter().all(known));
    let mut keys = BTreeSet::new();
    for client in &config.clients {
        assert!(!client.keys.is_empty());
        assert!(client.allow.iter().all(known));
        for key in &client.keys {
            if let ClientKey::Public(key) = &key.key {
                assert!(keys.insert(*key.as_bytes()), "two clients have one key");
            }
        }
    }
    for hidden in &config.hide {
        let may = |client: &&spad_config::ClientConfig| {
            client.is_active(NOW) && client.allow.contains(hidden)
        };
        let warned = || warnings.to_string().contains("nobody may open");
        assert!(config.clients.iter().any(|c| may(&c)) || warned());
    }
}

pub(crate) fn check_spans(findings: &Findings) {
    for finding in findings {
        assert!(!finding.message.is_empty());
        if let Some(place) = &finding.location {
            let width = place.excerpt.chars().count();
            assert!(place.indent <= width && place.carets >= 1);
            assert!(place.carets == 1 || place.indent + place.carets <= width);
        }
    }
}

/// No piece of a whole secret key in the text is shown.
fn check_redaction(text: &str, shown: &str) {
    let secrets = secrets(text);
    // What stands elsewhere too, such as the public key that a torn text put behind the
    // beginning of a secret one, is none.
    let mut rest = text.as_bytes().to_vec();
    for secret in &secrets {
        rest[secret.clone()].fill(b' ');
    }
    let rest = String::from_utf8(rest).unwrap();
    for piece in secrets
        .iter()
        .flat_map(|secret| text[secret.clone()].as_bytes().windows(MIN_LEAK))
    {
        // Shorter ones are talk, and a run of one letter is in every text.
        let varied = piece.iter().collect::<BTreeSet<_>>().len() >= MIN_LEAK / 2;
        let piece = str::from_utf8(piece).unwrap();
        if varied && !rest.contains(piece) {
            assert!(!shown.contains(piece), "a piece of a secret was shown");
        }
    }
}

/// Where the whole secret keys are, without their prefixes.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_secret());
    let starts = kinds.flat_map(|kind| {
        let found = text.match_indices(kind.prefix());
        found.map(|(start, prefix)| start + prefix.len())
    });
    let of_key = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'-' || **b == b'_';
    let whole = starts
        .filter(|start| text.as_bytes()[*start..].iter().take_while(of_key).count() >= SECRET_LEN);
    whole.map(|start| start..start + SECRET_LEN).collect()
}

/// Disabling disables, enabling enables, or neither says that it did.
fn check_edits(text: &str) {
    if let Some(edited) = edit::disabled(text) {
        assert_eq!(edit::is_enabled(&edited), Some(false));
        let back = edit::enabled(&edited).expect("what was disabled can be enabled");
        assert_eq!(edit::is_enabled(&back), Some(true));
    }
}
