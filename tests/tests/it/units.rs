//! What the shipped units promise is what the programs assume. A boot with them: tests/boot.

use std::path::Path;

/// A unit's settings: section, key, value, in the order of the file.
type Settings = Vec<(String, String, String)>;

fn unit(name: &str) -> Settings {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/systemd")
        .join(name);
    let text = std::fs::read_to_string(&path).expect("a shipped unit");
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            settings.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    settings
}

/// All words of a key, wherever it is repeated.
fn words(settings: &Settings, section: &str, key: &str) -> Vec<String> {
    settings
        .iter()
        .filter(|(of, name, _)| of == section && name == key)
        .flat_map(|(_, _, value)| value.split_whitespace().map(str::to_owned))
        .collect()
}

#[test]
fn the_run_directory_with_its_horizon_survives_a_stop_and_a_crash() {
    let daemon = unit("spad.service");
    assert_eq!(words(&daemon, "Service", "RuntimeDirectory"), ["spad"]);
    assert_eq!(
        words(&daemon, "Service", "RuntimeDirectoryPreserve"),
        ["yes"],
        "systemd would remove /run/spad/horizon.memory, and with a failed disk used packets would act again"
    );
}

#[test]
fn every_firewall_that_the_guard_comes_after_loads_the_table_again_when_it_starts_and_stops() {
    let guard = unit("spad-guard.service");
    let firewalls: Vec<String> = words(&guard, "Unit", "After")
        .into_iter()
        .filter(|unit| unit.ends_with(".service") && !unit.starts_with("systemd-"))
        .collect();
    assert_eq!(firewalls.len(), 4, "{firewalls:?}");
    for firewall in firewalls {
        let drop_in = unit(&format!("{firewall}.d/spad.conf"));
        for key in ["ExecStartPost", "ExecStopPost"] {
            let command = words(&drop_in, "Service", key).join(" ");
            // With `-`, or a failure of ours would be one of theirs.
            assert!(
                command.starts_with("-/") && command.contains("/usr/sbin/spad firewall load"),
                "{firewall} {key}={command}"
            );
        }
    }
}

#[test]
fn the_guard_needs_no_place_that_may_be_missing_or_read_only() {
    let guard = unit("spad-guard.service");
    for key in ["PrivateTmp", "PrivateDevices", "StateDirectory"] {
        assert_eq!(words(&guard, "Service", key), Vec::<String>::new(), "{key}");
    }
    // firewalld conflicts with nftables: its restart would then be refused.
    assert_eq!(words(&guard, "Unit", "PartOf"), Vec::<String>::new());
    for name in ["spad-guard.service", "spad.service"] {
        for path in words(&unit(name), "Service", "ReadWritePaths") {
            assert!(
                path.starts_with('-'),
                "{name}: without {path} it would not start"
            );
        }
    }
}
