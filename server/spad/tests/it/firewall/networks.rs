//! Grants to networks in the kernel: every address of theirs, no other, and lengths that never meet.

use spad_firewall::{FromWriter, ToWriter};
use spad_model::{Element, FirewallError, Step, TrialChange};

use crate::firewall::netns::{
    GHOST4, GHOST6, SERVER4, SERVER6, TestNetns, echo, element, in_netns, nft, put,
};
use crate::firewall::wire::{SYN, Wire, tcp, tcp_flags};

const HIDE: &str = "\"ssh\"";
const GUARD: &str = "trial = \"0s\"";
const SYN_ACK: u8 = 0x12;

fn network(address: &str, prefix: u8) -> Element {
    let address: std::net::IpAddr = address.parse().unwrap();
    Element {
        prefix: Some(prefix),
        ..element(address, "tcp/22")
    }
}

/// A client more, for networks of these lengths.
fn let_networks_in(world: &TestNetns, four: u8, six: u8) {
    let client = format!(
        "shared_key = true\nallow = [\"ssh\"]\nipv6_prefix = {six}\nipv4_prefix = {four}\n"
    );
    let file = world.paths.clients_dir().join(format!("c{six}.toml"));
    std::fs::write(file, client).unwrap();
}

/// Whether a first segment from this address to ssh is answered as by an open port.
fn is_let_in(wire: &mut Wire, from: &str, port: u16) -> bool {
    let to: std::net::IpAddr = if from.contains(':') {
        SERVER6.into()
    } else {
        SERVER4.into()
    };
    let from: std::net::IpAddr = from.parse().unwrap();
    tcp_flags(&wire.exchange(&tcp(from, to, (port, 22), SYN))) == Some(SYN_ACK)
}

in_netns! {
    fn a_network_is_let_in_with_all_its_addresses_and_its_neighbour_is_not() {
        let world = TestNetns::new(HIDE, GUARD);
        let_networks_in(&world, 24, 64);
        echo(22);
        let (four, six) = (GHOST4.to_string(), GHOST6.to_string());
        let mut writer = world.writer();
        let mut wire = Wire::new(&world);
        assert!(!is_let_in(&mut wire, &four, 4000) && !is_let_in(&mut wire, &six, 4000));
        let (right4, right6) = (network("10.9.0.0", 24), network("fd09::", 64));
        let (wrong4, wrong6) = (network("10.9.1.0", 24), network("fd09:0:0:1::", 64));
        writer.change(vec![put(wrong4, 60_000), put(wrong6, 60_000)]).unwrap();
        assert!(!is_let_in(&mut wire, &four, 4001) && !is_let_in(&mut wire, &six, 4001));
        writer.change(vec![put(right4, 60_000), put(right6, 60_000)]).unwrap();
        assert!(is_let_in(&mut wire, &four, 4002) && is_let_in(&mut wire, &six, 4002));
        let mut grants: Vec<Element> = writer.list().iter().map(|one| one.element).collect();
        grants.sort();
        assert_eq!(grants, [right4, wrong4, right6, wrong6]);
        writer.change(vec![Step::Remove { element: right6 }]).unwrap();
        assert!(is_let_in(&mut wire, &four, 4003) && !is_let_in(&mut wire, &six, 4003));
    }

    fn networks_of_different_lengths_stand_beside_each_other() {
        let world = TestNetns::new(HIDE, GUARD);
        let_networks_in(&world, 24, 64);
        let_networks_in(&world, 20, 60);
        echo(22);
        let (four, six) = (GHOST4.to_string(), GHOST6.to_string());
        let mut writer = world.writer();
        let mut wire = Wire::new(&world);
        let both = [
            [network("10.9.0.0", 24), network("fd09::", 64)],
            [network("10.9.0.0", 20), network("fd09::", 60)],
        ];
        for [four, six] in both {
            writer.change(vec![put(four, 60_000), put(six, 60_000)]).unwrap();
        }
        for (port, [narrow, wide]) in [(4000, both[0]), (4001, both[1])] {
            assert!(is_let_in(&mut wire, &four, port) && is_let_in(&mut wire, &six, port));
            let gone = [narrow, wide].map(|element| Step::Remove { element });
            writer.change(gone.to_vec()).unwrap();
        }
        assert!(!is_let_in(&mut wire, &four, 4002) && !is_let_in(&mut wire, &six, 4002));
    }

    fn a_length_that_the_configuration_does_not_use_is_refused_and_taken_up_by_a_reload() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        for length in [48, 56, 62, 64] {
            let grant = network("fd09::", length);
            assert_eq!(writer.change(vec![put(grant, 60_000)]), Err(FirewallError::NotDeclared));
        }
        let grant = network("fd09::", 62);
        let_networks_in(&world, 24, 62);
        let reloaded = |message: &FromWriter| matches!(message, FromWriter::Reloaded(_));
        assert_eq!(writer.request(&ToWriter::Reload, reloaded), FromWriter::Reloaded(Ok(())));
        writer.change(vec![put(grant, 60_000)]).unwrap();
        let mut wire = Wire::new(&world);
        assert!(is_let_in(&mut wire, &GHOST6.to_string(), 4000));
    }

    fn grants_to_networks_are_put_back_and_those_that_others_add_are_taken_out() {
        let world = TestNetns::new(HIDE, GUARD);
        let_networks_in(&world, 24, 64);
        let mut writer = world.writer();
        let grant = network("fd09::", 64);
        writer.change(vec![put(grant, 60_000)]).unwrap();
        nft("flush ruleset");
        assert_eq!(crate::firewall::table_persistence::wait_restored(&mut writer), 1);
        nft("add element inet spad grants_net4 { 10.9.0.24 . tcp . 22 timeout 1h }");
        crate::firewall::table_persistence::wait_restored(&mut writer);
        let grants: Vec<Element> = writer.list().iter().map(|one| one.element).collect();
        assert_eq!(grants, [grant]);
    }

    fn a_connection_from_a_granted_network_ends_the_trial() {
        for (granted, server) in [
            (network("10.9.0.0", 24), std::net::IpAddr::from(SERVER4)),
            (network("fd09::", 64), std::net::IpAddr::from(SERVER6)),
        ] {
            let world = TestNetns::new(HIDE, "trial = \"60s\"");
            let_networks_in(&world, 24, 64);
            let _listener = std::net::TcpListener::bind((server, 22)).unwrap();
            let mut writer = world.writer();
            writer.change(vec![put(granted, 60_000)]).unwrap();
            let _stream = world.connection(server, 22).unwrap();
            let reached = |message: &FromWriter| {
                matches!(message, FromWriter::Trial(event) if event.change == TrialChange::Reached)
            };
            writer.wait_for(reached);
            drop(writer);
            crate::firewall::netns::sh("ip link del s0; nft flush ruleset");
        }
    }

    fn the_table_as_nft_lists_it_can_be_loaded_again_and_means_the_same() {
        let world = TestNetns::new(HIDE, GUARD);
        for length in 32..=64 {
            let_networks_in(&world, 16 + length % 9, length);
        }
        echo(22);
        let mut writer = world.writer();
        writer.change(vec![put(network("10.9.0.0", 20), 60_000), put(network("fd09::", 44), 60_000)]).unwrap();
        writer.writer.stop();
        let listed = crate::firewall::netns::sh("nft list ruleset");
        crate::firewall::netns::sh("nft flush ruleset");
        nft(&listed);
        let mut wire = Wire::new(&world);
        assert!(is_let_in(&mut wire, &GHOST4.to_string(), 4000) && is_let_in(&mut wire, &GHOST6.to_string(), 4000));
        let mut writer = world.writer();
        assert!(writer.has(network("fd09::", 44)) && writer.has(network("10.9.0.0", 20)));
    }
}
