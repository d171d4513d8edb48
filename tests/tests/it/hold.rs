//! `spa open --hold`: open for as long as it runs, wherever this machine is meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, LINK, SERVER4, STRANGER4};
use spa_tests::process::Process;
use spa_tests::reach::Reachability;
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// `spa open` with these words.
fn open(bed: &TestBed, words: &[&str]) -> Process {
    let mut command = bed.lab.client.command(binaries::spa());
    command.arg("--config").arg(bed.spa_directory());
    command.args(["open", "-4"]).args(words);
    Process::start(&mut command, &bed.lab.path().join("held"))
}

/// `spa open --hold` with these words, once it says that it holds.
fn hold(bed: &TestBed, words: &[&str]) -> Process {
    let held = open(bed, words);
    wait::eventually("it holds", || {
        held.output().contains("held open").then_some(())
    });
    held
}

fn test_bed(ttl: &'static str) -> TestBed {
    let bed = TestBed::with(&Settings::ttl(ttl));
    bed.enrol_spa(SERVER4.into());
    bed
}

#[test]
fn what_is_held_stays_open_past_its_time_and_ends_by_itself_when_it_is_held_no_longer() {
    let bed = test_bed("1s");
    let mut held = hold(&bed, &["gw:tcp/8080", "--hold=300ms"]);
    wait::never_within(Duration::from_secs(4), || {
        (bed.tcp(WEB) != Reachability::Open).then(|| "it was closed".to_owned())
    });
    let ended = held.signal_and_wait(Signal::TERM);
    assert_eq!(ended.code(), Some(0), "{}", held.output());
    assert!(
        held.output().contains("held no longer"),
        "{}",
        held.output()
    );
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
    assert!(bed.spad.verdict_count("opened") >= 10);
}

#[test]
fn asked_to_close_it_withdraws_at_the_end_what_it_held() {
    let bed = test_bed("60s");
    let mut held = hold(&bed, &["gw:tcp/8080", "--hold", "--close"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let ended = held.signal_and_wait(Signal::INT);
    assert_eq!(ended.code(), Some(0), "{}", held.output());
    bed.spad.wait_verdict_count("closed", 1);
    assert_eq!(bed.wait_closed(WEB), Reachability::Refused);
}

#[test]
fn a_udp_service_is_held_and_the_exit_code_says_that_nobody_could_tell() {
    let bed = test_bed("1s");
    let mut held = hold(&bed, &["gw:udp/9999", "--hold=300ms"]);
    let chat = spa_tests::settings::CHAT;
    wait::eventually("it opens", || {
        (bed.udp(chat) == Reachability::Open).then_some(())
    });
    wait::never_within(Duration::from_secs(2), || {
        (bed.udp(chat) != Reachability::Open).then(|| "it was closed".to_owned())
    });
    assert_eq!(held.signal_and_wait(Signal::TERM).code(), Some(3));
}

#[test]
fn what_is_held_follows_a_change_of_address_and_says_once_that_there_was_no_way() {
    let bed = test_bed("2s");
    let mut held = hold(&bed, &["gw:tcp/8080", "--hold=200ms"]);
    let link = |state: &str| {
        let _ = bed.lab.client.run_ok("ip", &["link", "set", LINK, state]);
    };
    link("down");
    wait::eventually("it says so", || {
        held.output().contains("trying again").then_some(())
    });
    // Four more find no way.
    wait::never_within(Duration::from_millis(900), || {
        held.try_wait().map(|status| format!("{status}"))
    });
    // Another network: the usual address is gone.
    let usual = format!("{CLIENT4}/24");
    let _ = bed
        .lab
        .client
        .run_ok("ip", &["addr", "del", &usual, "dev", LINK]);
    let other = format!("{STRANGER4}/24");
    let _ = bed
        .lab
        .client
        .run("ip", &["addr", "add", &other, "dev", LINK]);
    link("up");
    wait::eventually("the new address is let in", || {
        (bed.tcp(WEB) == Reachability::Open).then_some(())
    });
    let to = STRANGER4.to_string();
    bed.spad
        .wait_audited(&[("event", "grant"), ("granted_to", &to)]);
    let output = held.output();
    assert_eq!(output.matches("trying again").count(), 1, "{output}");
    assert_eq!(
        output.matches("packets are sent again").count(),
        1,
        "{output}"
    );
    assert!(held.try_wait().is_none());
}

#[test]
fn a_door_that_stays_closed_is_not_held() {
    let bed = test_bed("2s");
    let _ = bed.spad.cli(&["client", "disable", "laptop"]).ok();
    for (words, code, output) in [
        (&["--hold", "--timeout", "500ms"][..], 4, "still closed"),
        (
            &["--hold=5s", "--ttl", "5s"],
            2,
            "a --ttl longer than --hold",
        ),
        (&["--hold=1ms"], 2, "100ms or more"),
    ] {
        let words = [&["gw:tcp/8080"], words].concat();
        let mut done = open(&bed, &words);
        // It ends by itself.
        let status = wait::eventually("it is over", || done.try_wait());
        assert_eq!(status.code(), Some(code), "{words:?}: {}", done.output());
        assert!(
            done.output().contains(output),
            "{words:?}: {}",
            done.output()
        );
    }
}

#[test]
fn under_nohup_it_goes_on_when_its_terminal_is_gone() {
    let bed = test_bed("60s");
    let script = format!(
        "trap '' HUP; exec {} --config {} open -4 gw:tcp/8080 --hold=200ms",
        binaries::spa().display(),
        bed.spa_directory().display()
    );
    let mut command = bed.lab.client.command("sh");
    command.args(["-c", &script]);
    let mut held = Process::start(&mut command, &bed.lab.path().join("held"));
    wait::eventually("it holds", || {
        held.output().contains("held open").then_some(())
    });
    held.signal(Signal::HUP);
    wait::never_within(Duration::from_secs(1), || {
        held.try_wait().map(|status| format!("{status}"))
    });
    assert_eq!(held.signal_and_wait(Signal::TERM).code(), Some(0));
}
