//! What goes wrong around the server is counted and told, and ends nothing.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use spa_tests::attacker;
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::Reachability;
use spa_tests::settings::{EXPOSED, SPA_PORT, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

#[test]
fn what_a_full_ring_loses_is_counted_and_told_and_the_next_knock_opens() {
    let mut bed = TestBed::new();
    // More than the ring holds, while nobody looks at it.
    const SENT: u64 = 10_000;
    bed.spad.process().signal(Signal::STOP);
    let junk = attacker::random_packet(200);
    let junk = vec![junk.as_slice(); usize::try_from(SENT).expect("few")];
    let to = (SERVER4, SPA_PORT).into();
    attacker::send_all(&bed.lab.client, CLIENT4.into(), to, &junk);
    bed.spad.process().signal(Signal::CONT);
    let (seen, lost) = wait::eventually("all of it is accounted for", || {
        let status = bed.spad.status();
        let judged = status["verdicts"]["head_tag"].as_u64().unwrap_or(0);
        let lost = status["capture_dropped"].as_u64().unwrap_or(0);
        (judged + lost >= SENT).then_some((judged, lost))
    });
    assert_eq!(seen + lost, SENT, "each packet once");
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    let shown = bed.spad.cli(&["status"]).ok().stdout;
    let line = format!("{lost} lost in the ring");
    assert!(shown.contains(&line), "{shown}");

    bed.open(&["tcp/8080"]);
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let drop_event = bed.spad.wait_audited(&[("event", "capture_drop")]);
    assert_eq!(drop_event["counts"]["packets"], lost, "{drop_event}");
}

#[test]
fn capture_goes_on_when_the_link_goes_and_comes_under_load() {
    let bed = TestBed::new();
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let over = Arc::clone(&over);
        bed.lab.client.spawn(move || {
            let junk = attacker::random_packet(300);
            while !over.load(Ordering::Acquire) {
                // While the link is away there is no address to send from, and no way.
                let Ok(socket) = UdpSocket::bind((CLIENT4, 0)) else {
                    std::thread::yield_now();
                    continue;
                };
                for _ in 0..100 {
                    let _ = socket.send_to(&junk, (SERVER4, SPA_PORT));
                }
            }
        })
    };
    for round in 1..=3 {
        bed.lab.unplug();
        bed.lab.plug();
        wait::eventually("the way is back", || {
            (bed.tcp(EXPOSED) == Reachability::Open).then_some(())
        });
        let before = bed.spad.verdict_count("head_tag");
        bed.spad.wait_verdict_count("head_tag", before + 1);
        // Clients send again where a flood fills the ring.
        wait::eventually("a knock opens on the new link", || {
            bed.send(&bed.laptop.open(&["tcp/8080"]));
            (bed.spad.verdict_count("opened") >= round).then_some(())
        });
        assert_eq!(bed.tcp(WEB), Reachability::Open);
        bed.wait_closed(WEB);
    }
    over.store(true, Ordering::Release);
    flood.join().expect("the flood ends");
}
