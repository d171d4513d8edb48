//! Grants in the kernel: in time, all or nothing, for one connection, in numbers.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use spad_firewall::table::SET_SIZE;
use spad_firewall::{FromWriter, ToWriter};
use spad_model::{Change, ChangeId, ChangeResult, Element, FirewallError, MAX_STEPS, Step};

use crate::firewall::netns::{
    CLIENT4, CLIENT6, GHOST4, SERVER4, TestNetns, TestWriter, Transactions, answers, echo, element,
    in_netns, nft, put, sh,
};
use crate::firewall::wire::{ACK, SYN, Wire, tcp, tcp_flags};

const HIDE: &str = "\"ssh\"";
const GUARD: &str = "trial = \"0s\"";
const SYN_ACK: Option<u8> = Some(0x12);

fn numbered(number: u32) -> Element {
    element(Ipv4Addr::from_bits(0x0b00_0000 + number), "tcp/22")
}

fn remaining(writer: &mut TestWriter, element: Element) -> Option<Duration> {
    let listed = writer.list();
    let found = listed.iter().find(|one| one.element == element);
    found.map(|one| one.remaining)
}

in_netns! {
    fn the_kernel_closes_on_time_though_the_writer_is_gone_and_what_is_established_lives_on() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 1500)]).unwrap();
        let granted = Instant::now();
        let mut stream = world.connection(SERVER4, 22).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(writer.process()).unwrap(),
            rustix::process::Signal::KILL,
        ).unwrap();
        assert!(world.connects(SERVER4, 22));
        assert!(granted.elapsed() < Duration::from_millis(1400), "this machine is too slow for this test");
        std::thread::sleep(Duration::from_millis(1600).saturating_sub(granted.elapsed()));
        assert!(!world.connects(SERVER4, 22));
        assert!(answers(&mut stream));
    }

    fn a_grant_can_be_renewed_longer_and_shorter_and_taken_away() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let grant = element(CLIENT4, "tcp/22");
        for milliseconds in [30_000, 60_000, 10_000] {
            writer.change(vec![put(grant, milliseconds)]).unwrap();
            let rest = remaining(&mut writer, grant).unwrap().as_millis();
            assert!(rest <= milliseconds.into() && rest > u128::from(milliseconds) - 2000);
        }
        writer.change(vec![Step::Remove { element: grant }]).unwrap();
        assert_eq!(remaining(&mut writer, grant), None);
        assert!(!world.connects(SERVER4, 22));
        writer.change(vec![Step::Remove { element: grant }]).unwrap();
        // One that ends between the writer's look and the kernel's.
        for milliseconds in 1..60 {
            writer.change(vec![put(grant, milliseconds)]).unwrap();
            std::thread::sleep(Duration::from_millis(milliseconds));
            writer.change(vec![put(grant, 30_000)]).unwrap();
            assert!(writer.has(grant), "after {milliseconds} ms");
            writer.change(vec![Step::Remove { element: grant }]).unwrap();
        }
    }

    fn a_stray_segment_uses_up_no_grant_for_one_connection_and_a_lost_one_may_come_again() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let mut wire = Wire::new(&world);
        let once = Element { once: true, ..element(GHOST4, "tcp/22") };
        writer.change(vec![put(once, 60_000)]).unwrap();
        wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), ACK));
        assert!(writer.has(once), "a stray ACK");
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), SYN_ACK);
        assert!(!writer.has(once), "used up");
        let flow = Element { once: false, source_port: NonZeroU16::new(4000), ..once };
        assert!(writer.has(flow), "moved to the connection");
        assert_ne!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4001, 22), SYN))), SYN_ACK, "a second connection");
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), SYN_ACK, "the same again");
        writer.change(vec![put(once, 60_000)]).unwrap();
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4002, 22), SYN))), SYN_ACK, "granted anew");
        writer.change(vec![put(once, 60_000)]).unwrap();
        writer.change(vec![Step::Remove { element: once }]).unwrap();
        assert_ne!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4003, 22), SYN))), SYN_ACK, "taken away");
    }

    fn a_grant_for_one_source_port_lets_in_no_other() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let mut wire = Wire::new(&world);
        let flow = Element { source_port: NonZeroU16::new(4000), ..element(GHOST4, "tcp/22") };
        writer.change(vec![put(flow, 5_000)]).unwrap();
        assert_ne!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4001, 22), SYN))), SYN_ACK);
        assert_eq!(tcp_flags(&wire.exchange(&tcp(GHOST4, SERVER4, (4000, 22), SYN))), SYN_ACK);
    }

    fn many_steps_are_one_transaction_in_both_families() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let all: Vec<Element> = (0..u32::try_from(MAX_STEPS).unwrap())
            .map(|number| match number {
                0 => element(CLIENT6, "tcp/22"),
                number => numbered(number),
            })
            .collect();
        for steps in [&all[..32], &all[..]] {
            writer.change(steps.iter().map(|one| put(*one, 30_000)).collect()).unwrap();
            assert_eq!(writer.list().len(), steps.len());
        }
        writer.change(all.iter().map(|one| Step::Remove { element: *one }).collect()).unwrap();
        assert_eq!(writer.list(), []);
    }

    fn limits_of_the_configuration_hold_whatever_the_message_says() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let undeclared = vec![put(element(CLIENT4, "tcp/22"), 1000), put(element(CLIENT4, "tcp/23"), 1000)];
        assert_eq!(writer.change(undeclared), Err(FirewallError::NotDeclared));
        let days = put(element(CLIENT4, "tcp/22"), 25 * 3_600_000);
        assert_eq!(writer.change(vec![days]), Err(FirewallError::TooLong));
        assert_eq!(writer.list(), []);
    }

    fn a_full_set_refuses_evicts_nothing_and_still_renews_and_fifty_thousand_are_listed_and_adopted() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let step = |number| put(numbered(number), 600_000);
        let steps = u32::try_from(MAX_STEPS).unwrap();
        for first in (0..SET_SIZE - steps).step_by(MAX_STEPS) {
            writer.change((first..first + steps).map(step).collect()).unwrap();
        }
        for number in SET_SIZE - steps..SET_SIZE - 1 {
            writer.change(vec![step(number)]).unwrap();
        }
        let both = vec![step(SET_SIZE - 1), step(SET_SIZE)];
        assert_eq!(writer.change(both), Err(FirewallError::SetFull), "one fits, two do not");
        assert!(!writer.has(numbered(SET_SIZE - 1)), "all or nothing");
        writer.change(vec![step(SET_SIZE - 1)]).unwrap();
        assert_eq!(writer.change(vec![step(SET_SIZE)]), Err(FirewallError::SetFull));
        writer.change(vec![step(7)]).unwrap();
        let start = Instant::now();
        assert_eq!(writer.list().len(), SET_SIZE as usize);
        let listed = start.elapsed();
        writer.writer.stop();
        let start = Instant::now();
        let mut writer = world.writer();
        println!("{SET_SIZE} elements: listed in {listed:?}, adopted in {:?}", start.elapsed());
        writer.change(vec![step(7)]).unwrap();
        nft("flush ruleset");
        crate::firewall::table_persistence::wait_restored(&mut writer);
        assert_eq!(writer.list().len(), SET_SIZE as usize);
    }

    fn changes_that_come_together_are_made_together_and_each_gets_its_own_answer() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let transactions = Transactions::watch(world.directory());
        let change = |id, step| ToWriter::Change(Change { id: ChangeId(id), steps: vec![step] });
        let mut burst: Vec<_> = (0..100).map(|id| change(id, put(numbered(id as u32), 30_000))).collect();
        // Twice the same, one that is taken away again, one that is not allowed.
        burst.push(change(100, put(numbered(7), 60_000)));
        burst.push(change(101, Step::Remove { element: numbered(8) }));
        burst.push(change(102, put(element(CLIENT4, "tcp/23"), 1000)));
        writer.suspend();
        for message in &burst {
            writer.writer.send(message.clone()).unwrap();
        }
        writer.resume();
        for id in 0..=102 {
            let answer = writer.wait_for(|message| matches!(message, FromWriter::Answer(_)));
            let result = if id == 102 { Err(FirewallError::NotDeclared) } else { Ok(()) };
            assert_eq!(answer, FromWriter::Answer(ChangeResult { id: ChangeId(id), result }));
        }
        let count = transactions.count();
        assert!((1..=3).contains(&count), "{count} transactions for 103 changes");
        assert_eq!(writer.list().len(), 99);
        assert!(remaining(&mut writer, numbered(7)).unwrap() > Duration::from_secs(31));
        assert!(!writer.has(numbered(8)));
    }

    fn of_changes_that_come_together_one_that_cannot_be_made_undoes_no_other() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let steps = u32::try_from(MAX_STEPS).unwrap();
        for first in (0..SET_SIZE - steps).step_by(MAX_STEPS) {
            let step = |number| put(numbered(number), 600_000);
            writer.change((first..first + steps).map(step).collect()).unwrap();
        }
        writer.suspend();
        // Two more than there is room for, and one of another set.
        for id in 0..steps + 2 {
            let steps = vec![put(numbered(SET_SIZE - steps + id), 600_000)];
            writer.writer.send(ToWriter::Change(Change { id: ChangeId(id.into()), steps })).unwrap();
        }
        let six = ToWriter::Change(Change { id: ChangeId(1000), steps: vec![put(element(CLIENT6, "tcp/22"), 600_000)] });
        writer.writer.send(six).unwrap();
        writer.resume();
        let mut refused = Vec::new();
        for _ in 0..steps + 3 {
            match writer.wait_for(|message| matches!(message, FromWriter::Answer(_))) {
                FromWriter::Answer(ChangeResult { result: Ok(()), .. }) => {}
                FromWriter::Answer(ChangeResult { id, result }) => refused.push((id.0, result)),
                other => panic!("{other:?}"),
            }
        }
        let full = Err(FirewallError::SetFull);
        assert_eq!(refused, [(u64::from(steps), full), (u64::from(steps) + 1, full)]);
        assert_eq!(writer.list().len(), SET_SIZE as usize + 1);
    }

    fn hiding_a_port_cuts_no_connection_of_a_host_without_connection_tracking() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut four = world.connection(SERVER4, 22).unwrap();
        let mut six = world.connection(crate::firewall::netns::SERVER6, 22).unwrap();
        assert_eq!(sh("nft list ruleset").trim(), "", "nothing tracks connections yet");
        let _writer = world.writer();
        assert!(answers(&mut four) && answers(&mut six));
        assert!(!world.connects(SERVER4, 22));
        assert!(answers(&mut four) && answers(&mut six));
    }
}
