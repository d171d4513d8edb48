//! Connections that an administrator cut: they end, and what the kernel takes up again is not let in.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use spad_firewall::{FromWriter, ToWriter};
use spad_model::{ConnectionFilter, Network, Step};

use crate::firewall::netns::{
    CLIENT4, CLIENT6, SERVER4, SERVER6, TestNetns, TestWriter, answers, element, in_netns, put, udp,
};

const GUARD: &str = "trial = \"0s\"";

fn cut(writer: &mut TestWriter, from: &str, service: &str) -> u32 {
    let network: Network = from.parse().unwrap();
    let service = service.parse().unwrap();
    let cut = ToWriter::Cut(vec![ConnectionFilter { network, service }]);
    match writer.request(&cut, |message| matches!(message, FromWriter::Cut(_))) {
        FromWriter::Cut(result) => result.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A service that gives back what it gets, and one whose connection is handed out.
fn serve(world: &TestNetns, server: IpAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((server, 22)).unwrap();
    let client = world.connection(server, 22).unwrap();
    let (served, _) = listener.accept().unwrap();
    (client, served)
}

fn delivers(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    to.set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    let mut reply = [0];
    from.write_all(b"x").is_ok() && std::io::Read::read_exact(to, &mut reply).is_ok()
}

in_netns! {
    fn a_connection_that_was_cut_ends_at_both_ends_whoever_speaks_first() {
        for server_first in [true, false] {
            for (client, server) in [(IpAddr::from(CLIENT4), IpAddr::from(SERVER4)), (CLIENT6.into(), SERVER6.into())] {
                let world = TestNetns::new("\"ssh\"", GUARD);
                let mut writer = world.writer();
                let grant = element(client, "tcp/22");
                writer.change(vec![put(grant, 60_000)]).unwrap();
                let (mut there, mut here) = serve(&world, server);
                assert!(delivers(&mut there, &mut here) && delivers(&mut here, &mut there));
                writer.change(vec![Step::Remove { element: grant }]).unwrap();
                assert!(delivers(&mut there, &mut here), "it lives on without its grant");
                // An earlier round's may linger.
                assert!(cut(&mut writer, &client.to_string(), "tcp/22") >= 1);
                if server_first {
                    // The kernel takes it up again as this host's own, and the answers with it.
                    let _ = delivers(&mut here, &mut there);
                }
                assert!(!delivers(&mut there, &mut here), "{client} {server_first}");
                assert!(!delivers(&mut there, &mut here), "{client} {server_first}");
                // The service hears a reset once it speaks.
                let _ = delivers(&mut here, &mut there);
                crate::firewall::netns::wait_until(|| here.write_all(b"x").is_err());
                drop(writer);
                crate::firewall::netns::sh("ip link del s0; nft flush ruleset");
            }
        }
    }

    fn a_cut_touches_no_other_address_and_no_other_port_and_a_new_grant_begins_anew() {
        let world = TestNetns::new("\"ssh\", \"web\"", GUARD);
        crate::firewall::netns::echo(80);
        crate::firewall::netns::echo(22);
        let mut writer = world.writer();
        writer.change(["tcp/22", "tcp/80"].map(|port| put(element(CLIENT4, port), 60_000)).to_vec()).unwrap();
        let mut other = world.connection(SERVER4, 80).unwrap();
        let mut target = world.connection(SERVER4, 22).unwrap();
        assert!(answers(&mut other) && answers(&mut target));
        assert_eq!(cut(&mut writer, "10.9.1.0/24", "tcp/22"), 0);
        assert!(answers(&mut target));
        assert_eq!(cut(&mut writer, "10.9.0.0/24", "tcp/22"), 1);
        assert!(!answers(&mut target));
        assert!(answers(&mut other));
        let mut again = world.connection(SERVER4, 22).unwrap();
        assert!(answers(&mut again), "the grant is still there");
    }

    fn udp_that_was_cut_is_heard_no_more_until_it_is_granted_again() {
        let world = TestNetns::new("\"dns\"", GUARD);
        let service = udp(SERVER4, 53);
        let mut writer = world.writer();
        let grant = element(CLIENT4, "udp/53");
        writer.change(vec![put(grant, 60_000)]).unwrap();
        let client: UdpSocket = world.in_client(|| udp(CLIENT4, 4000));
        let receives = || crate::firewall::netns::receives(&service);
        let send = || drop(client.send_to(b"hello", (SERVER4, 53)));
        let answer = || drop(service.send_to(b"hello", (CLIENT4, 4000)));
        send();
        assert!(receives());
        answer();
        writer.change(vec![Step::Remove { element: grant }]).unwrap();
        send();
        assert!(receives(), "it lives on without its grant");
        assert_eq!(cut(&mut writer, "10.9.0.1", "udp/53"), 1);
        answer();
        send();
        assert!(!receives());
        writer.change(vec![put(grant, 60_000)]).unwrap();
        send();
        assert!(receives());
        writer.change(vec![Step::Remove { element: grant }]).unwrap();
        answer();
        send();
        assert!(receives(), "and it is a connection as any other again");
    }

    fn what_the_configuration_does_not_declare_is_not_cut() {
        let world = TestNetns::new("\"ssh\"", GUARD);
        let mut writer = world.writer();
        let network: Network = "0.0.0.0/0".parse().unwrap();
        let service = "tcp/23".parse().unwrap();
        let cut = ToWriter::Cut(vec![ConnectionFilter { network, service }]);
        let answer = writer.request(&cut, |message| matches!(message, FromWriter::Cut(_)));
        assert!(matches!(answer, FromWriter::Cut(Err(_))), "{answer:?}");
    }
}
