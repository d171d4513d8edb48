//! The kernel closes on time, whoever still watches.

use std::time::Duration;

use spa_proto::Addresses;
use spa_tests::identity::{open_for, open_stating};
use spa_tests::lab::SERVER4;
use spa_tests::reach::{self, Reach};
use spa_tests::settings::{Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

/// Room for a loaded machine; far below the spans that the tests tell apart.
const SLACK: Duration = Duration::from_millis(700);

#[test]
fn the_port_closes_when_its_time_is_over() {
    let world = World::new();
    let sent = wait::now();
    world.open(&["tcp/8080"]);
    let known = wait::now();
    world.wait_closed(WEB);
    assert!(
        known.elapsed() <= Duration::from_secs(2) + SLACK,
        "open for {:?}",
        known.elapsed()
    );
    assert!(
        sent.elapsed() >= Duration::from_millis(1900),
        "open for {:?} only",
        sent.elapsed()
    );
    world
        .spad
        .wait_audited(&[("event", "expire"), ("client", "laptop")]);
}

#[test]
fn an_established_connection_lives_on() {
    let world = World::with(&Settings::ttl("1s"));
    world.open(&["tcp/8080"]);
    let mut connection = reach::connection(&world.lab.client, SERVER4.into(), WEB);
    world.wait_closed(WEB);
    assert!(reach::echoes(&mut connection), "after the grant's end");
    assert_eq!(world.tcp(WEB), Reach::Refused, "but no new one");
}

#[test]
fn a_second_packet_renews_the_grant() {
    let world = World::new();
    world.open(&["tcp/8080"]);
    let first = wait::now();
    wait::until_after(first, Duration::from_millis(1200));
    world.open(&["tcp/8080"]);
    let second = wait::now();
    wait::until_after(first, Duration::from_millis(2400));
    assert_eq!(world.tcp(WEB), Reach::Open, "after the first one's end");
    world.wait_closed(WEB);
    assert!(
        second.elapsed() <= Duration::from_secs(2) + SLACK,
        "{:?}",
        second.elapsed()
    );
}

#[test]
fn a_client_gets_the_time_it_asks_for_but_never_more_than_the_maximum() {
    let world = World::with(&Settings {
        ttl: "1s",
        max_ttl: "3s",
        ..Settings::default()
    });
    let sent = wait::now();
    world.send_counted(
        &world.laptop.seal(&open_for(&["tcp/8080"], u32::MAX)),
        "opened",
    );
    let known = wait::now();
    wait::until_after(sent, Duration::from_millis(1500));
    assert_eq!(
        world.tcp(WEB),
        Reach::Open,
        "longer than the policy's usual time"
    );
    world.wait_closed(WEB);
    assert!(
        known.elapsed() <= Duration::from_secs(3) + SLACK,
        "{:?}",
        known.elapsed()
    );
}

#[test]
fn a_thousand_grants_all_end_on_time() {
    let world = World::with(&Settings {
        ttl: "4s",
        max_per_client: 1024,
        ..Settings::default()
    });
    let grants = || {
        let listed = world.spad.cli(&["grants", "--json"]).ok().stdout;
        listed.matches("\"remaining_s\"").count()
    };
    for last in 1..=250u8 {
        let stated = Addresses::new(
            Some([198, 51, 100, last].into()),
            Some([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(last)].into()),
        );
        world.send(&world.laptop.seal(&open_stating(
            &["tcp/22", "tcp/8080"],
            stated.expect("usable addresses"),
        )));
    }
    world.spad.wait_counted("opened", 250);
    let known = wait::now();
    assert!(grants() > 900, "{} grants", grants());
    wait::soon("all of them ended", || (grants() == 0).then_some(()));
    assert!(
        known.elapsed() <= Duration::from_secs(4) + SLACK * 2,
        "{:?}",
        known.elapsed()
    );
    wait::within(SLACK, "nothing of them is left in the kernel", || {
        let left = world
            .lab
            .server
            .must("nft", &["list", "table", "inet", "spad"]);
        (!left.contains("198.51.100.")).then_some(())
    });
}
