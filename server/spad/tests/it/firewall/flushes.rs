//! Others flush the ruleset beside the writer: what slips in meanwhile does not stay.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::firewall::admitted::spad_with_nft;
use crate::firewall::netns::{
    CLIENT4, CLIENT6, SERVER4, SERVER6, TestNetns, TestWriter, answers, echo, element, in_netns,
    nft, put, receives, sh, start, udp, wait_until,
};
use crate::firewall::table_persistence::wait_restored;

const HIDE: &str = "\"ssh\", \"web\", \"dns\"";
const GUARD: &str = "trial = \"0s\"";

in_netns! {
    fn who_connects_while_the_table_is_away_is_reset_when_it_is_back_and_who_was_let_in_stays() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let dns = udp(SERVER4, 53);
        let speaking = TcpListener::bind((SERVER4, 80)).unwrap();
        let mut older = world.connection(SERVER4, 22).unwrap();
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT6, "tcp/22"), 60_000)]).unwrap();
        let mut granted = world.connection(SERVER6, 22).unwrap();
        assert!(answers(&mut granted) && answers(&mut older));
        for round in 0..3_u16 {
            writer.suspend();
            nft("flush ruleset");
            let mut slipped_in = world.connection(SERVER4, 22).unwrap();
            let other = world.connection(SERVER4, 80).unwrap();
            let (mut at_the_service, _) = speaking.accept().unwrap();
            // The service speaks first once the table is back, and so does a UDP service.
            let asking = world.in_client(|| udp(CLIENT4, 4000 + round));
            asking.send_to(b"hello", (SERVER4, 53)).unwrap();
            assert!(receives(&dns), "without a table everybody gets in");
            writer.resume();
            wait_restored(&mut writer);
            assert!(!answers(&mut slipped_in) && !answers(&mut { other }), "round {round}");
            dns.send_to(b"answer", (CLIENT4, 4000 + round)).unwrap();
            asking.send_to(b"hello", (SERVER4, 53)).unwrap();
            assert!(!receives(&dns), "round {round}: an answer to it lets nobody in");
            assert!(answers(&mut granted), "through a grant, round {round}");
            assert!(answers(&mut older), "from before the hiding, round {round}");
            // Its end at a service that speaks is over, too.
            let _reset = at_the_service.write(b"x");
            at_the_service.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let error = at_the_service.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "round {round}");
        }
    }

    fn who_is_connected_when_a_port_is_first_hidden_goes_on_though_nft_fails_and_when_it_works_again() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let broken = world.directory().join("broken");
        let spad = spad_with_nft(&world, &format!("[ ! -e {} ] || exit 1", broken.display()));
        std::fs::write(&broken, "").unwrap();
        // The emergency table knows connections by connection tracking alone.
        nft("table inet host { chain in { type filter hook input priority 0; ct state established accept; } }");
        let mut mine = world.connection(SERVER4, 22).unwrap();
        let writer = TestWriter::new(start(&spad, &world.paths).unwrap());
        wait_until(|| sh("nft list ruleset").contains("chain emergency_hidden"));
        // Longer than the pause before it is tried again.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            assert!(answers(&mut mine), "after {:?}", began.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(&broken).unwrap();
        crate::firewall::netns::wait_until_within(Duration::from_secs(10), || {
            assert!(answers(&mut mine));
            sh("nft list ruleset").contains("chain prerouting")
        });
        assert!(answers(&mut mine) && !world.connects(SERVER4, 22));
        drop(writer);
    }

    fn who_slips_in_is_kept_out_by_the_emergency_table_too_and_who_was_let_in_stays() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let broken = world.directory().join("broken");
        let spad = spad_with_nft(&world, &format!("[ ! -e {} ] || exit 1", broken.display()));
        let mut writer = TestWriter::new(start(&spad, &world.paths).unwrap());
        writer.change(vec![put(element(CLIENT6, "tcp/22"), 60_000)]).unwrap();
        let mut granted = world.connection(SERVER6, 22).unwrap();
        assert!(answers(&mut granted));
        std::fs::write(broken, "").unwrap();
        writer.suspend();
        // As a firewall's service does it, whose rules keep connection tracking at work.
        nft("flush ruleset
             table inet theirs { chain in { type filter hook input priority 0; ct state established accept; } }");
        let mut slipped_in = world.connection(SERVER4, 22).unwrap();
        assert!(answers(&mut slipped_in), "without a table everybody gets in");
        writer.resume();
        wait_until(|| sh("nft list ruleset").contains("chain emergency_hidden"));
        assert!(!answers(&mut slipped_in) && !world.connects(SERVER4, 22));
        assert!(answers(&mut granted));
    }

    fn who_slips_in_while_nobody_runs_is_reset_whatever_loads_the_table_next() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut older = world.connection(SERVER4, 22).unwrap();
        world.spad(&["firewall", "load"]);
        assert!(answers(&mut older), "from before the hiding");
        for loads in ["the guard", "a daemon", "the guard beside the daemon"] {
            let mut running = None;
            if loads == "the guard beside the daemon" {
                let writer = world.writer();
                writer.suspend();
                running = Some(writer);
            }
            nft("flush ruleset");
            let mut slipped_in = world.connection(SERVER4, 22).unwrap();
            assert!(answers(&mut slipped_in), "without a table everybody gets in");
            if loads == "a daemon" {
                world.writer().writer.stop();
            } else {
                world.spad(&["firewall", "load"]);
            }
            assert!(!answers(&mut slipped_in), "{loads}");
            assert!(answers(&mut older), "{loads}");
            if let Some(writer) = running {
                writer.resume();
                writer.writer.stop();
            }
        }
    }

    fn who_is_connected_when_a_port_is_hidden_by_a_start_goes_on_though_a_table_stands_already() {
        let world = TestNetns::new("\"web\"", GUARD);
        echo(22);
        world.spad(&["firewall", "load"]);
        for loads in ["the guard", "a daemon"] {
            world.configure("\"web\"", GUARD);
            world.spad(&["firewall", "load"]);
            let mut mine = world.connection(SERVER4, 22).unwrap();
            let mut talking = world.connection(SERVER4, 22).unwrap();
            world.configure(HIDE, GUARD);
            let finished = AtomicBool::new(false);
            let talked = std::thread::scope(|scope| {
                let talk = scope.spawn(|| {
                    while !finished.load(Ordering::Relaxed) {
                        if !answers(&mut talking) {
                            return false;
                        }
                    }
                    true
                });
                if loads == "a daemon" {
                    world.writer().writer.stop();
                } else {
                    world.spad(&["firewall", "load"]);
                }
                finished.store(true, Ordering::Relaxed);
                talk.join().unwrap()
            });
            assert!(talked, "{loads}: a session in which somebody works");
            assert!(answers(&mut mine), "{loads}");
            assert!(!world.connects(SERVER4, 22), "{loads}");
        }
    }

    fn an_idle_connection_from_before_the_hiding_outlives_a_flush_while_nobody_runs() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut idle = world.connection(SERVER4, 22).unwrap();
        world.spad(&["firewall", "load"]);
        nft("flush ruleset");
        let mut slipped_in = world.connection(SERVER4, 22).unwrap();
        assert!(answers(&mut slipped_in), "without a table everybody gets in");
        world.spad(&["firewall", "load"]);
        assert!(!answers(&mut slipped_in));
        assert!(answers(&mut idle));
    }

    fn what_a_daemon_put_back_after_a_removal_is_remembered_again() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        world.spad(&["firewall", "remove"]);
        wait_restored(&mut writer);
        writer.writer.stop();
        nft("flush ruleset");
        let mut slipped_in = world.connection(SERVER4, 22).unwrap();
        assert!(answers(&mut slipped_in), "without a table everybody gets in");
        world.writer().writer.stop();
        assert!(!answers(&mut slipped_in));
    }

    fn the_guard_loads_the_table_beside_a_daemon_that_puts_it_back_and_neither_is_in_the_others_way() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT6, "tcp/22"), 60_000)]).unwrap();
        for _ in 0..12 {
            nft("flush ruleset");
            world.spad(&["firewall", "load"]);
            assert!(!world.connects(SERVER4, 22));
        }
        wait_until(|| {
            writer.writer.wait(Duration::from_millis(20)).unwrap();
            while let Some(message) = writer.writer.receive().unwrap() {
                assert!(!matches!(message, spad_firewall::FromWriter::NotRestored(_)), "{message:?}");
            }
            world.connects(SERVER6, 22)
        });
    }

    fn who_connects_once_the_administrator_took_the_table_away_goes_on_when_it_is_loaded_again() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        world.spad(&["firewall", "load"]);
        world.spad(&["firewall", "remove"]);
        let mut meanwhile = world.connection(SERVER4, 22).unwrap();
        world.spad(&["firewall", "load"]);
        assert!(answers(&mut meanwhile));
        assert!(!world.connects(SERVER4, 22));
    }

    fn flushes_in_a_loop_beside_connecting_strangers_leave_none_connected_and_start_nft_ever_more_seldom() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT6, "tcp/22"), 120_000)]).unwrap();
        let mut granted = world.connection(SERVER6, 22).unwrap();
        let finished = AtomicBool::new(false);
        let to = SocketAddr::new(SERVER4.into(), 22);
        let (mut connected, mut tries) = (Vec::new(), 0_u32);
        let mut windows = Vec::new();
        std::thread::scope(|scope| {
            let strangers = scope.spawn(|| {
                world.in_client(|| {
                    let (mut connected, mut tries) = (Vec::new(), 0_u32);
                    while !finished.load(Ordering::Relaxed) {
                        tries += 1;
                        let stream = TcpStream::connect_timeout(&to, Duration::from_millis(30));
                        connected.extend(stream.ok().filter(|_| connected.len() < 300));
                    }
                    (connected, tries)
                })
            });
            for _ in 0..40 {
                nft("flush ruleset");
                let flushed = Instant::now();
                wait_until(|| !sh("nft list tables").is_empty());
                windows.push(flushed.elapsed());
            }
            finished.store(true, Ordering::Relaxed);
            (connected, tries) = strangers.join().unwrap();
        });
        // With growing pauses; the emergency table hides meanwhile.
        crate::firewall::netns::wait_until_within(Duration::from_secs(20), || {
            writer.writer.wait(Duration::from_millis(50)).unwrap();
            while let Some(event) = writer.writer.receive().unwrap() {
                let put_back = matches!(event, spad_firewall::FromWriter::Restored { .. });
                writer.events.extend(put_back.then_some(event));
            }
            sh("nft list table inet spad").contains("chain prerouting")
        });
        let times = writer.events.len();
        windows.sort_unstable();
        println!("{} of {tries} strangers connected; put back {times} times in 40 flushes; a table was seen after {:?} at most, {:?} half of the times",
            connected.len(), windows.last().unwrap(), windows[windows.len() / 2]);
        // Also in the pauses, the longest of which takes 8 s.
        assert!(windows.last() < Some(&Duration::from_secs(2)), "{windows:?}");
        let alive = connected.iter_mut().map(answers_eventually).filter(|alive| *alive).count();
        assert_eq!(alive, 0, "of {}", connected.len());
        assert!(times <= 15, "{times} starts of nft");
        assert!(!world.connects(SERVER4, 22));
        assert!(answers(&mut granted));
    }
}

fn answers_eventually(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
}
