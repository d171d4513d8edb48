//! What goes wrong around the server is counted and told, and ends nothing.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use spa_tests::attacker;
use spa_tests::lab::{CLIENT4, SERVER4};
use spa_tests::reach::Reach;
use spa_tests::settings::{KNOCK, SHOWN, WEB};
use spa_tests::wait;
use spa_tests::world::World;

#[test]
fn what_a_full_ring_loses_is_counted_and_told_and_the_next_knock_opens() {
    let mut world = World::new();
    // More than the ring holds, while nobody looks at it.
    const SENT: u64 = 10_000;
    world.spad.process().signal(Signal::STOP);
    let junk = attacker::forge(200);
    let junk = vec![junk.as_slice(); usize::try_from(SENT).expect("few")];
    let to = (SERVER4, KNOCK).into();
    attacker::send_all(&world.lab.client, CLIENT4.into(), to, &junk);
    world.spad.process().signal(Signal::CONT);
    let (seen, lost) = wait::soon("all of it is accounted for", || {
        let status = world.spad.status();
        let judged = status["verdicts"]["head_tag"].as_u64().unwrap_or(0);
        let lost = status["capture_dropped"].as_u64().unwrap_or(0);
        (judged + lost >= SENT).then_some((judged, lost))
    });
    assert_eq!(seen + lost, SENT, "each packet once");
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    let shown = world.spad.cli(&["status"]).ok().stdout;
    let line = format!("{lost} lost in the ring");
    assert!(shown.contains(&line), "{shown}");

    world.open(&["tcp/8080"]);
    assert_eq!(world.tcp(WEB), Reach::Open);
    let told = world.spad.wait_audited(&[("event", "capture_drop")]);
    assert_eq!(told["counts"]["packets"], lost, "{told}");
}

#[test]
fn capture_goes_on_when_the_link_goes_and_comes_under_load() {
    let world = World::new();
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let over = Arc::clone(&over);
        world.lab.client.spawn(move || {
            let junk = attacker::forge(300);
            while !over.load(Ordering::Acquire) {
                // While the link is away there is no address to send from, and no way.
                let Ok(socket) = UdpSocket::bind((CLIENT4, 0)) else {
                    std::thread::yield_now();
                    continue;
                };
                for _ in 0..100 {
                    let _ = socket.send_to(&junk, (SERVER4, KNOCK));
                }
            }
        })
    };
    for round in 1..=3 {
        world.lab.unplug();
        world.lab.plug();
        wait::soon("the way is back", || {
            (world.tcp(SHOWN) == Reach::Open).then_some(())
        });
        let before = world.spad.counted("head_tag");
        world.spad.wait_counted("head_tag", before + 1);
        // Clients send again where a flood fills the ring.
        wait::soon("a knock opens on the new link", || {
            world.send(&world.laptop.open(&["tcp/8080"]));
            (world.spad.counted("opened") >= round).then_some(())
        });
        assert_eq!(world.tcp(WEB), Reach::Open);
        world.wait_closed(WEB);
    }
    over.store(true, Ordering::Release);
    flood.join().expect("the flood ends");
}
