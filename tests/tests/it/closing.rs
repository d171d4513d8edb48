//! `spa close` is the inverse of `spa open`, and one connection is one.

use spa_tests::lab::SERVER4;
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::world::World;

/// The packet that `spa packet` writes.
#[track_caller]
fn written(world: &World, target: &str) -> Vec<u8> {
    let hex = world.spa(&["packet", target, "--hex"]).ok().stdout;
    let digits: Vec<u8> = hex.trim().bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("hex"), 16);
    digits
        .chunks(2)
        .map(|pair| byte(pair).expect("hex"))
        .collect()
}

#[test]
fn spa_close_closes_now_and_an_older_open_sent_later_is_refused() {
    let world = World::with(&Settings::ttl("30s"));
    world.enrol_spa(SERVER4.into());
    let held_back = written(&world, "gw:tcp/8080");
    let _ = world.spa(&["open", "gw:tcp/8080"]).ok();
    let mut connection = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    let closed = world.spa(&["close", "gw:tcp/8080"]).ok();
    assert!(
        closed.stderr.contains("tcp/8080 closed after"),
        "{closed:?}"
    );
    assert_eq!(world.tcp(WEB), Reach::Refused);
    assert!(reach::echoes(&mut connection), "what stands goes on");
    world.send_counted(&held_back, "older_than_close");
    assert_eq!(world.tcp(WEB), Reach::Refused);
    let _ = world.spa(&["open", "gw:tcp/8080"]).ok();
    assert_eq!(world.tcp(WEB), Reach::Open, "a newer one opens");
}

#[test]
fn spa_close_of_a_bare_host_closes_everything_and_of_a_service_that_alone() {
    let world = World::with(&Settings::ttl("30s"));
    world.enrol_spa(SERVER4.into());
    let _ = world.spa(&["open", "gw:tcp/8080,udp/9999"]).ok();
    assert_eq!(
        [world.tcp(WEB), world.udp(CHAT)],
        [Reach::Open, Reach::Open]
    );
    let one = world.spa(&["close", "gw:udp/9999"]);
    assert_eq!(one.code, Some(3), "no probe tells of UDP: {one:?}");
    world.spad.wait_counted("closed", 1);
    assert_eq!(
        [world.tcp(WEB), world.udp(CHAT)],
        [Reach::Open, Reach::Refused]
    );
    let _ = world.spa(&["close", "gw"]).ok();
    world.spad.wait_counted("closed", 2);
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn what_another_client_holds_open_at_this_address_is_not_called_closed() {
    let world = World::with(&Settings::ttl("30s"));
    world.enrol_spa(SERVER4.into());
    let other = world.client("other", "web", "");
    world.send_counted(&other.open(&["tcp/8080"]), "opened");
    let closed = world.spa(&["close", "gw:tcp/8080", "--timeout", "600ms"]);
    assert_eq!(closed.code, Some(4), "{closed:?}");
    assert!(
        closed.stderr.contains("tcp/8080 still open after"),
        "{closed:?}"
    );
}

#[test]
fn spa_open_once_lets_one_connection_in() {
    let world = World::with(&Settings::ttl("30s"));
    world.enrol_spa(SERVER4.into());
    let _ = world.spa(&["open", "gw:tcp/8080", "--once"]).ok();
    world.spad.wait_counted("opened", 1);
    let mut first = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    assert!(reach::echoes(&mut first));
    assert_eq!(world.tcp(WEB), Reach::Refused, "a second one");
    assert!(reach::echoes(&mut first), "the first goes on");
}
