//! Trials of newly hidden ports.

use std::time::Duration;

use spad_firewall::{FromWriter, ToWriter};
use spad_model::{Element, PortState, TrialChange};

use crate::firewall::netns::{
    CLIENT4, CLIENT6, SERVER4, SERVER6, TestNetns, TestWriter, answers, echo, element, in_netns,
    put, udp,
};

fn change(writer: &mut TestWriter, service: &str) -> TrialChange {
    let service = service.parse().unwrap();
    let is = |message: &FromWriter| matches!(message, FromWriter::Trial(event) if event.service == service);
    match writer.wait_for(is) {
        FromWriter::Trial(event) => event.change,
        other => panic!("{other:?}"),
    }
}

fn port_states(writer: &mut TestWriter) -> Vec<PortState> {
    match writer.request(&ToWriter::Trials, |message| {
        matches!(message, FromWriter::Trials(_))
    }) {
        FromWriter::Trials(rows) => rows.iter().map(|row| row.state).collect(),
        other => panic!("{other:?}"),
    }
}

fn confirm(writer: &mut TestWriter) -> u32 {
    match writer.request(&ToWriter::Confirm, |message| {
        matches!(message, FromWriter::Confirmed(_))
    }) {
        FromWriter::Confirmed(count) => count.unwrap(),
        other => panic!("{other:?}"),
    }
}

in_netns! {
    fn a_port_that_nobody_reached_is_shown_again_and_stays_so_until_it_is_confirmed() {
        let world = TestNetns::new("\"ssh\"", "trial = \"2s\"");
        echo(22);
        let mut writer = world.writer();
        assert_eq!(change(&mut writer, "tcp/22"), TrialChange::Began(Duration::from_secs(2)));
        assert!(!world.connects(SERVER4, 22));
        assert_eq!(change(&mut writer, "tcp/22"), TrialChange::TimedOut);
        assert!(world.connects(SERVER4, 22));
        writer.writer.stop();
        let mut writer = world.writer();
        assert_eq!(port_states(&mut writer), [PortState::Exposed]);
        assert!(world.connects(SERVER4, 22), "a restart does not hide it");
        assert_eq!(confirm(&mut writer), 1);
        assert_eq!(change(&mut writer, "tcp/22"), TrialChange::Confirmed);
        assert!(!world.connects(SERVER4, 22));
        writer.writer.stop();
        let mut writer = world.writer();
        assert_eq!(port_states(&mut writer), [PortState::Hidden]);
        assert!(!world.connects(SERVER4, 22));
    }

    fn who_connected_while_a_port_was_shown_goes_on_when_it_is_confirmed() {
        let world = TestNetns::new("\"ssh\"", "trial = \"1s\"");
        echo(22);
        let mut writer = world.writer();
        let _began = change(&mut writer, "tcp/22");
        assert_eq!(change(&mut writer, "tcp/22"), TrialChange::TimedOut);
        let mut four = world.connection(SERVER4, 22).unwrap();
        let mut six = world.connection(SERVER6, 22).unwrap();
        assert_eq!(confirm(&mut writer), 1);
        assert!(answers(&mut four) && answers(&mut six));
        assert!(!world.connects(SERVER4, 22));
    }

    fn the_kernel_ends_a_trial_though_nobody_runs() {
        let world = TestNetns::new("\"ssh\"", "trial = \"2s\"");
        echo(22);
        world.writer().writer.stop();
        assert!(!world.connects(SERVER4, 22));
        std::thread::sleep(Duration::from_millis(2200));
        assert!(world.connects(SERVER4, 22));
        let mut writer = world.writer();
        assert_eq!(change(&mut writer, "tcp/22"), TrialChange::TimedOut);
        assert!(world.connects(SERVER4, 22));
    }

    fn a_connection_through_a_grant_ends_the_trial_in_either_family_and_with_each_kind_of_grant() {
        for (address, server, once, source) in [
            (CLIENT4.into(), SERVER4.into(), false, None),
            (CLIENT6.into(), SERVER6.into(), false, None),
            (std::net::IpAddr::from(CLIENT6), std::net::IpAddr::from(SERVER6), true, None),
            (CLIENT4.into(), SERVER4.into(), false, std::num::NonZeroU16::new(40_000)),
        ] {
            let world = TestNetns::new("\"ssh\"", "trial = \"3s\"");
            let listener = std::net::TcpListener::bind((server, 22)).unwrap();
            let mut writer = world.writer();
            change(&mut writer, "tcp/22");
            let grant = Element { once, source_port: source, ..element(address, "tcp/22") };
            // One for a single source port lasts no longer than a client takes to connect.
            let lasts = if source.is_some() { 5_000 } else { 60_000 };
            writer.change(vec![put(grant, lasts)]).unwrap();
            if source.is_some() {
                sysctl_port_range();
                world.in_client(sysctl_port_range);
            }
            let stream = world.connection(server, 22);
            assert!(stream.is_some());
            assert_eq!(change(&mut writer, "tcp/22"), TrialChange::Reached);
            std::thread::sleep(Duration::from_millis(3200));
            assert_eq!(port_states(&mut writer), [PortState::Hidden]);
            assert!(!crate::firewall::netns::sh("nft list set inet spad hidden").contains("timeout "));
            drop((listener, writer));
            crate::firewall::netns::sh("ip link del s0; nft flush ruleset");
        }
    }

    fn neither_strangers_nor_what_was_there_before_nor_the_host_itself_end_a_trial() {
        let world = TestNetns::new("\"ssh\", \"dns\"", "trial = \"2s\"\nalways_allow = [\"lo\", \"fd09::/64\"]");
        echo(22);
        let mut before = world.connection(SERVER4, 22).unwrap();
        let service = udp(SERVER4, 53);
        let mut writer = world.writer();
        assert!(answers(&mut before) && answers(&mut before));
        assert!(!world.connects(SERVER4, 22));
        assert!(world.connects(SERVER6, 22));
        assert!(std::net::TcpStream::connect((SERVER4, 22)).is_ok());
        // A datagram that nobody answered proves nothing.
        writer.change(vec![put(element(CLIENT4, "udp/53"), 60_000)]).unwrap();
        assert!(world.datagram_arrives(&service, SERVER4, 53));
        for port in ["tcp/22", "udp/53"] {
            change(&mut writer, port);
            assert_eq!(change(&mut writer, port), TrialChange::TimedOut);
        }
    }

    fn a_trial_goes_on_across_restarts_boots_of_the_guard_and_repairs() {
        let world = TestNetns::new("\"ssh\"", "trial = \"60s\"");
        let mut writer = world.writer();
        change(&mut writer, "tcp/22");
        std::thread::sleep(Duration::from_millis(2100));
        writer.writer.stop();
        world.spad(&["firewall", "load"]);
        let mut writer = world.writer();
        let rest = |writer: &mut TestWriter| match port_states(writer).as_slice() {
            [PortState::OnTrial(rest)] => rest.as_secs(),
            other => panic!("{other:?}"),
        };
        assert!(rest(&mut writer) < 58);
        crate::firewall::netns::nft("flush ruleset");
        crate::firewall::table_persistence::wait_restored(&mut writer);
        assert!(rest(&mut writer) < 58);
        let listed = crate::firewall::netns::sh("nft list set inet spad hidden");
        assert!(listed.contains("expires 5"), "{listed}");
    }

    fn a_port_reached_just_before_the_engine_ended_was_reached() {
        let world = TestNetns::new("\"ssh\"", "trial = \"3s\"");
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 60_000)]).unwrap();
        assert!(world.connects(SERVER4, 22), "reached in time");
        writer.writer.stop();
        // Its trial would be over now.
        std::thread::sleep(Duration::from_millis(3200));
        let mut writer = world.writer();
        assert_eq!(port_states(&mut writer), [PortState::Hidden]);
    }

    fn a_port_reached_while_the_writer_could_not_look_was_reached_though_it_was_killed() {
        let world = TestNetns::new("\"ssh\"", "trial = \"3s\"");
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 60_000)]).unwrap();
        writer.suspend();
        assert!(world.connects(SERVER4, 22), "reached in time");
        writer.kill();
        std::thread::sleep(Duration::from_millis(3200));
        let mut writer = world.writer();
        assert_eq!(port_states(&mut writer), [PortState::Hidden]);
    }

    fn damage_to_the_memory_of_trials_opens_nothing() {
        let world = TestNetns::new("\"ssh\"", "trial = \"2s\"");
        echo(22);
        let mut writer = world.writer();
        confirm(&mut writer);
        writer.writer.stop();
        std::fs::write(world.paths.guard_state().join("trials.json"), "{").unwrap();
        let mut writer = world.writer();
        std::thread::sleep(Duration::from_millis(2300));
        assert_eq!(port_states(&mut writer), [PortState::Hidden]);
        assert!(!world.connects(SERVER4, 22));
    }

    fn an_older_memory_of_trials_and_a_lost_one_open_nothing() {
        let world = TestNetns::new("\"ssh\"", "trial = \"2s\"");
        echo(22);
        let memory = world.paths.guard_state().join("trials.json");
        let mut writer = world.writer();
        writer.writer.stop();
        let on_trial = std::fs::read(&memory).unwrap();
        writer = world.writer();
        confirm(&mut writer);
        writer.writer.stop();
        let flipped = String::from_utf8(std::fs::read(&memory).unwrap()).unwrap();
        let flipped = flipped.replace("tcp/22", "tcp/23").into_bytes();
        for bytes in [Some(on_trial), Some(flipped), None] {
            match bytes {
                Some(bytes) => std::fs::write(&memory, bytes).unwrap(),
                None => std::fs::remove_file(&memory).unwrap(),
            }
            let mut writer = world.writer();
            std::thread::sleep(Duration::from_millis(2300));
            assert_eq!(port_states(&mut writer), [PortState::Hidden]);
            assert!(!world.connects(SERVER4, 22));
            writer.writer.stop();
        }
    }
}

/// Lets the next connection come from port 40,000.
fn sysctl_port_range() {
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000").unwrap();
}
