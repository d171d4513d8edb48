//! The kernel closes on time, whoever still watches.

use std::time::Duration;

use spa_proto::Addresses;
use spa_tests::identity::{open_for, open_with_addresses};
use spa_tests::lab::SERVER4;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Room for a loaded machine; far below the spans that the tests tell apart.
const SLACK: Duration = Duration::from_millis(700);

#[test]
fn the_port_closes_when_its_time_is_over() {
    let bed = TestBed::new();
    let sent = wait::now();
    bed.open(&["tcp/8080"]);
    let known = wait::now();
    bed.wait_closed(WEB);
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
    bed.spad
        .wait_audited(&[("event", "expire"), ("client", "laptop")]);
}

#[test]
fn an_established_connection_lives_on() {
    let bed = TestBed::with(&Settings::ttl("1s"));
    bed.open(&["tcp/8080"]);
    let mut connection = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    bed.wait_closed(WEB);
    assert!(reach::echoes(&mut connection), "after the grant's end");
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "but no new one");
}

#[test]
fn a_second_packet_renews_the_grant() {
    let bed = TestBed::new();
    bed.open(&["tcp/8080"]);
    let first = wait::now();
    wait::until_after(first, Duration::from_millis(1200));
    bed.open(&["tcp/8080"]);
    let second = wait::now();
    wait::until_after(first, Duration::from_millis(2400));
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "after the first one's end"
    );
    bed.wait_closed(WEB);
    assert!(
        second.elapsed() <= Duration::from_secs(2) + SLACK,
        "{:?}",
        second.elapsed()
    );
}

#[test]
fn a_client_gets_the_time_it_asks_for_but_never_more_than_the_maximum() {
    let bed = TestBed::with(&Settings {
        ttl: "1s",
        max_ttl: "3s",
        ..Settings::default()
    });
    let sent = wait::now();
    bed.send_counted(
        &bed.laptop.seal(&open_for(&["tcp/8080"], u32::MAX)),
        "opened",
    );
    let known = wait::now();
    wait::until_after(sent, Duration::from_millis(1500));
    assert_eq!(
        bed.tcp(WEB),
        Reachability::Open,
        "longer than the policy's usual time"
    );
    bed.wait_closed(WEB);
    assert!(
        known.elapsed() <= Duration::from_secs(3) + SLACK,
        "{:?}",
        known.elapsed()
    );
}

#[test]
fn a_thousand_grants_all_end_on_time() {
    let bed = TestBed::with(&Settings {
        ttl: "4s",
        max_per_client: 1024,
        ..Settings::default()
    });
    let grants = || {
        let listed = bed.spad.cli(&["grants", "--json"]).ok().stdout;
        listed.matches("\"remaining_s\"").count()
    };
    for last in 1..=250u8 {
        let stated = Addresses::new(
            Some([198, 51, 100, last].into()),
            Some([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(last)].into()),
        );
        bed.send(&bed.laptop.seal(&open_with_addresses(
            &["tcp/22", "tcp/8080"],
            stated.expect("usable addresses"),
        )));
    }
    bed.spad.wait_verdict_count("opened", 250);
    let known = wait::now();
    assert!(grants() > 900, "{} grants", grants());
    wait::eventually("all of them ended", || (grants() == 0).then_some(()));
    assert!(
        known.elapsed() <= Duration::from_secs(4) + SLACK * 2,
        "{:?}",
        known.elapsed()
    );
    wait::within(SLACK, "nothing of them is left in the kernel", || {
        let left = bed
            .lab
            .server
            .run_ok("nft", &["list", "table", "inet", "spad"]);
        (!left.contains("198.51.100.")).then_some(())
    });
}
