//! `spa open --hold`: open for as long as it runs, wherever this machine is meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use spa_tests::binaries;
use spa_tests::lab::{CLIENT4, LINK, SERVER4, STRANGER4};
use spa_tests::process::Process;
use spa_tests::reach::Reach;
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// `spa open` with these words.
fn open(world: &World, words: &[&str]) -> Process {
    let mut command = world.lab.client.command(binaries::spa());
    command.arg("--config").arg(world.spa_directory());
    command.args(["open", "-4"]).args(words);
    Process::start(&mut command, &world.lab.path().join("held"))
}

/// `spa open --hold` with these words, once it says that it holds.
fn hold(world: &World, words: &[&str]) -> Process {
    let held = open(world, words);
    wait::soon("it holds", || {
        held.said().contains("held open").then_some(())
    });
    held
}

fn world(ttl: &'static str) -> World {
    let world = World::with(&Settings::ttl(ttl));
    world.enrol_spa(SERVER4.into());
    world
}

#[test]
fn what_is_held_stays_open_past_its_time_and_ends_by_itself_when_it_is_held_no_longer() {
    let world = world("1s");
    let mut held = hold(&world, &["gw:tcp/8080", "--hold=300ms"]);
    wait::throughout(Duration::from_secs(4), || {
        (world.tcp(WEB) != Reach::Open).then(|| "it was closed".to_owned())
    });
    let ended = held.end_by(Signal::TERM);
    assert_eq!(ended.code(), Some(0), "{}", held.said());
    assert!(held.said().contains("held no longer"), "{}", held.said());
    assert_eq!(world.wait_closed(WEB), Reach::Refused);
    assert!(world.spad.counted("opened") >= 10);
}

#[test]
fn asked_to_close_it_withdraws_at_the_end_what_it_held() {
    let world = world("60s");
    let mut held = hold(&world, &["gw:tcp/8080", "--hold", "--close"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    let ended = held.end_by(Signal::INT);
    assert_eq!(ended.code(), Some(0), "{}", held.said());
    world.spad.wait_counted("closed", 1);
    assert_eq!(world.wait_closed(WEB), Reach::Refused);
}

#[test]
fn a_udp_service_is_held_and_the_exit_code_says_that_nobody_could_tell() {
    let world = world("1s");
    let mut held = hold(&world, &["gw:udp/9999", "--hold=300ms"]);
    let chat = spa_tests::settings::CHAT;
    wait::soon("it opens", || {
        (world.udp(chat) == Reach::Open).then_some(())
    });
    wait::throughout(Duration::from_secs(2), || {
        (world.udp(chat) != Reach::Open).then(|| "it was closed".to_owned())
    });
    assert_eq!(held.end_by(Signal::TERM).code(), Some(3));
}

#[test]
fn what_is_held_follows_a_change_of_address_and_says_once_that_there_was_no_way() {
    let world = world("2s");
    let mut held = hold(&world, &["gw:tcp/8080", "--hold=200ms"]);
    let link = |state: &str| {
        let _ = world.lab.client.must("ip", &["link", "set", LINK, state]);
    };
    link("down");
    wait::soon("it says so", || {
        held.said().contains("trying again").then_some(())
    });
    // Four more find no way.
    wait::throughout(Duration::from_millis(900), || {
        held.ended().map(|status| format!("{status}"))
    });
    // Another network: the usual address is gone.
    let usual = format!("{CLIENT4}/24");
    let _ = world
        .lab
        .client
        .must("ip", &["addr", "del", &usual, "dev", LINK]);
    let other = format!("{STRANGER4}/24");
    let _ = world
        .lab
        .client
        .run("ip", &["addr", "add", &other, "dev", LINK]);
    link("up");
    wait::soon("the new address is let in", || {
        (world.tcp(WEB) == Reach::Open).then_some(())
    });
    let to = STRANGER4.to_string();
    world
        .spad
        .wait_audited(&[("event", "grant"), ("granted_to", &to)]);
    let said = held.said();
    assert_eq!(said.matches("trying again").count(), 1, "{said}");
    assert_eq!(said.matches("packets are sent again").count(), 1, "{said}");
    assert!(held.ended().is_none());
}

#[test]
fn a_door_that_stays_closed_is_not_held() {
    let world = world("2s");
    let _ = world.spad.cli(&["client", "disable", "laptop"]).ok();
    for (words, code, said) in [
        (&["--hold", "--timeout", "500ms"][..], 4, "still closed"),
        (
            &["--hold=5s", "--ttl", "5s"],
            2,
            "a --ttl longer than --hold",
        ),
        (&["--hold=1ms"], 2, "100ms or more"),
    ] {
        let words = [&["gw:tcp/8080"], words].concat();
        let mut done = open(&world, &words);
        // It ends by itself.
        let status = wait::soon("it is over", || done.ended());
        assert_eq!(status.code(), Some(code), "{words:?}: {}", done.said());
        assert!(done.said().contains(said), "{words:?}: {}", done.said());
    }
}

#[test]
fn under_nohup_it_goes_on_when_its_terminal_is_gone() {
    let world = world("60s");
    let script = format!(
        "trap '' HUP; exec {} --config {} open -4 gw:tcp/8080 --hold=200ms",
        binaries::spa().display(),
        world.spa_directory().display()
    );
    let mut command = world.lab.client.command("sh");
    command.args(["-c", &script]);
    let mut held = Process::start(&mut command, &world.lab.path().join("held"));
    wait::soon("it holds", || {
        held.said().contains("held open").then_some(())
    });
    held.signal(Signal::HUP);
    wait::throughout(Duration::from_secs(1), || {
        held.ended().map(|status| format!("{status}"))
    });
    assert_eq!(held.end_by(Signal::TERM).code(), Some(0));
}
