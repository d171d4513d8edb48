//! A door's command, and hooks told of a door's grants: real programs, as their users.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// The first segment of a connection to each port.
fn knock(bed: &TestBed, server: impl Into<IpAddr>) {
    let server = server.into();
    bed.lab.client.enter(|| {
        for port in [7000, 8000, 9000] {
            let to = SocketAddr::new(server, port);
            let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
        }
    });
}

fn test_bed(door: &str) -> TestBed {
    let bed = TestBed::stopped(&Settings::default());
    let who = bed.script(
        "who",
        "echo \"$(id -un) door=$SPA_DOOR client=$SPA_CLIENT $SPA_SOURCE $SPA_COMMAND\"",
    );
    let more = format!(
        "[commands]\nwho = {{ argv = [{who:?}], user = \"daemon\" }}\nother = {{ argv = [{who:?}], user = \"daemon\" }}\n[[knock]]\nname = \"side\"\nsequence = \"7000,8000,9000\"\n{door}\n"
    );
    bed.append_config("spad.toml", &more);
    bed
}

#[test]
fn a_doors_command_runs_as_its_user_with_the_address_that_knocked_and_opens_nothing() {
    let mut bed = test_bed("run = \"who\"");
    bed.spad.start();
    knock(&bed, SERVER4);
    bed.spad.wait_verdict_count("knock_ran", 1);
    let ended = bed.wait_audit_event("run", 1);
    let output = format!("daemon door=side client= {CLIENT4} who\n");
    assert_eq!(ended["output"], output, "{ended}");
    assert_eq!(
        (&ended["door"], &ended["exit"]),
        (&"side".into(), &0.into())
    );
    assert_eq!(bed.wait_audit_event("run_start", 1)["door"], "side");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    knock(&bed, SERVER6);
    let ended = bed.wait_audit_event("run", 2);
    let output = format!("daemon door=side client= {CLIENT6} who\n");
    assert_eq!(ended["output"], output, "{ended}");
}

#[test]
fn a_door_may_open_and_run_and_a_reload_changes_what_it_runs() {
    let mut bed = test_bed("run = \"who\"\nopen = [\"web\"]");
    bed.spad.start();
    knock(&bed, SERVER4);
    bed.spad.wait_verdict_count("knock_opened", 1);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    assert_eq!(bed.wait_audit_event("run", 1)["command"], "who");
    bed.replace_in_config("spad.toml", "run = \"who\"", "run = \"other\"");
    bed.spad.reload();
    knock(&bed, SERVER4);
    bed.spad.wait_verdict_count("knock_opened", 2);
    assert_eq!(bed.wait_audit_event("run", 2)["command"], "other");
}

#[test]
fn hooks_are_told_of_a_doors_grant_with_its_door() {
    let mut bed = test_bed("open = [\"web\"]");
    let hook = bed.recorder("hook");
    let hooks = format!(
        "[hooks]\nopen = {{ argv = [{hook:?}], user = \"daemon\" }}\nclose = {{ argv = [{hook:?}], user = \"daemon\" }}\n"
    );
    bed.append_config("spad.toml", &hooks);
    bed.spad.start();
    knock(&bed, SERVER4);
    bed.spad.wait_verdict_count("knock_opened", 1);
    let lines = wait::eventually("both hooks ran", || {
        Some(bed.recorded_calls()).filter(|calls| calls.len() == 2)
    });
    for (line, event) in lines.iter().zip(["open", "close"]) {
        assert_eq!(line["event"], event, "{line}");
        assert_eq!(
            (&line["door"], &line["service"]),
            (&"side".into(), &"web".into())
        );
        assert_eq!(line["address"], CLIENT4.to_string());
        assert!(line["client"].is_null() && line["key"].is_null(), "{line}");
    }
    bed.spad
        .wait_audited(&[("event", "hook"), ("door", "side"), ("command", "close")]);
}
