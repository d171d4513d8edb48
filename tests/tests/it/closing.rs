//! `spa close` is the inverse of `spa open`, and one connection is one.

use spa_tests::lab::SERVER4;
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;

/// The packet that `spa packet` writes.
#[track_caller]
fn spa_packet(bed: &TestBed, target: &str) -> Vec<u8> {
    let hex = bed.spa(&["packet", target, "--hex"]).ok().stdout;
    let digits: Vec<u8> = hex.trim().bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("hex"), 16);
    digits
        .chunks(2)
        .map(|pair| byte(pair).expect("hex"))
        .collect()
}

#[test]
fn spa_close_closes_now_and_an_older_open_sent_later_is_refused() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.enrol_spa(SERVER4.into());
    let held_back = spa_packet(&bed, "gw:tcp/8080");
    let _ = bed.spa(&["open", "gw:tcp/8080"]).ok();
    let mut connection = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    let closed = bed.spa(&["close", "gw:tcp/8080"]).ok();
    assert!(
        closed.stderr.contains("tcp/8080 closed after"),
        "{closed:?}"
    );
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    assert!(reach::echoes(&mut connection), "what stands goes on");
    bed.send_counted(&held_back, "older_than_close");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    let _ = bed.spa(&["open", "gw:tcp/8080"]).ok();
    assert_eq!(bed.tcp(WEB), Reachability::Open, "a newer one opens");
}

#[test]
fn spa_close_of_a_bare_host_closes_everything_and_of_a_service_that_alone() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.enrol_spa(SERVER4.into());
    let _ = bed.spa(&["open", "gw:tcp/8080,udp/9999"]).ok();
    assert_eq!(
        [bed.tcp(WEB), bed.udp(CHAT)],
        [Reachability::Open, Reachability::Open]
    );
    let one = bed.spa(&["close", "gw:udp/9999"]);
    assert_eq!(one.code, Some(3), "no probe tells of UDP: {one:?}");
    bed.spad.wait_verdict_count("closed", 1);
    assert_eq!(
        [bed.tcp(WEB), bed.udp(CHAT)],
        [Reachability::Open, Reachability::Refused]
    );
    let _ = bed.spa(&["close", "gw"]).ok();
    bed.spad.wait_verdict_count("closed", 2);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn what_another_client_holds_open_at_this_address_is_not_called_closed() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.enrol_spa(SERVER4.into());
    let other = bed.new_client("other", "web", "");
    bed.send_counted(&other.open(&["tcp/8080"]), "opened");
    let closed = bed.spa(&["close", "gw:tcp/8080", "--timeout", "600ms"]);
    assert_eq!(closed.code, Some(4), "{closed:?}");
    assert!(
        closed.stderr.contains("tcp/8080 still open after"),
        "{closed:?}"
    );
}

#[test]
fn spa_open_once_lets_one_connection_in() {
    let bed = TestBed::with(&Settings::ttl("30s"));
    bed.enrol_spa(SERVER4.into());
    let _ = bed.spa(&["open", "gw:tcp/8080", "--once"]).ok();
    bed.spad.wait_verdict_count("opened", 1);
    let mut first = reach::connect(&bed.lab.client, SERVER4.into(), WEB);
    assert!(reach::echoes(&mut first));
    assert_eq!(bed.tcp(WEB), Reachability::Refused, "a second one");
    assert!(reach::echoes(&mut first), "the first goes on");
}
