//! Promises of every codec, for requests and bytes of any kind.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use spa_keys::{HeadKeys, KeyId, PacketKeys, ServerSecret, SharedKey};
use spa_proto::limits::{MAX_PACKET, MIN_PACKET};
use spa_proto::{
    Addresses, CommandName, EncodeError, IdentifyError, Open, Protocol, Randomness, Record,
    Request, RequestError, Service, Services, Timestamp, identify, seal, usable_address,
};

fn service() -> impl Strategy<Value = Service> {
    let protocol = prop::sample::select(Protocol::ALL.to_vec());
    (protocol, 1..=u16::MAX).prop_map(|(protocol, port)| Service {
        protocol,
        port: port.try_into().unwrap(),
    })
}

fn services() -> impl Strategy<Value = Services> {
    vec(service(), 0..=16).prop_map(|list| Services::from_iter(list).unwrap())
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let v4 = any::<Ipv4Addr>().prop_filter("usable", |v4| usable_address(IpAddr::V4(*v4)));
    let v6 = any::<Ipv6Addr>().prop_filter("usable", |v6| usable_address(IpAddr::V6(*v6)));
    (option::of(v4), option::of(v6)).prop_map(|(v4, v6)| Addresses::new(v4, v6).unwrap())
}

fn open() -> impl Strategy<Value = Open> {
    let fields = (
        any::<bool>(),
        any::<u32>(),
        any::<u16>(),
        addresses(),
        services(),
    );
    fields.prop_map(|(once, duration, source_port, addresses, services)| Open {
        once,
        duration,
        source_port: NonZeroU16::new(source_port).filter(|_| !once),
        addresses,
        services,
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        open().prop_map(Request::Open),
        (addresses(), services()).prop_map(|(addresses, services)| Request::Close {
            addresses,
            services
        }),
        "[a-z0-9][a-z0-9_-]{0,63}".prop_map(|name| Request::Run {
            command: name.parse().unwrap()
        }),
        any::<[u8; 32]>().prop_map(|join_key| Request::Join { join_key }),
    ]
}

#[derive(Default)]
struct Seen(BTreeSet<(KeyId, [u8; 24])>);

impl Record for Seen {
    type Refusal = ();

    fn record(&mut self, id: KeyId, nonce: &[u8; 24], _: Timestamp) -> Result<(), ()> {
        if self.0.insert((id, *nonce)) {
            Ok(())
        } else {
            Err(())
        }
    }
}

proptest! {
    #[test]
    fn every_request_is_read_as_it_was_written_with_any_padding(
        request in request(),
        padding in 0..300_usize,
    ) {
        let mut bytes = request.encode().unwrap();
        bytes.resize(bytes.len() + padding, 0);
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
    }

    #[test]
    fn no_bytes_make_the_decoder_stop_and_what_it_takes_has_one_encoding(
        bytes in vec(any::<u8>(), 0..500),
    ) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert!(bytes.starts_with(&request.encode().unwrap()));
        }
    }

    #[test]
    fn a_changed_byte_of_a_request_gives_a_fault_or_another_request(
        request in request(),
        place: prop::sample::Index,
        change in 1..=u8::MAX,
    ) {
        let mut bytes = request.encode().unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        if let Ok(other) = Request::decode(&bytes) {
            prop_assert_ne!(&other, &request);
            prop_assert!(bytes.starts_with(&other.encode().unwrap()));
        }
    }

    #[test]
    fn every_cut_request_is_refused(request in request(), cut: prop::sample::Index) {
        let bytes = request.encode().unwrap();
        let cut = cut.index(bytes.len());
        prop_assert_eq!(Request::decode(&bytes[..cut]), Err(RequestError::Truncated));
    }

    #[test]
    fn once_together_with_a_source_port_cannot_be_written(
        open in open(),
        port in 1..=u16::MAX,
    ) {
        let source_port = NonZeroU16::new(port);
        let request = Request::Open(Open { once: true, source_port, ..open });
        prop_assert_eq!(request.encode(), Err(EncodeError::OnceWithSourcePort));
    }

    #[test]
    fn what_is_sealed_is_identified_authenticated_recorded_and_opened(
        request in request(),
        key: [u8; 32],
        nonce: [u8; 24],
        length: u8,
        time: u64,
    ) {
        let server = ServerSecret::from_bytes([1; 32]).public();
        let shared = SharedKey::from_bytes(key);
        let (head, id) = (HeadKeys::new(&server), shared.key_id(&server));
        let keys = PacketKeys::from_shared(&server, &shared);
        let now = Timestamp::from_micros(time);
        let randomness = Randomness { nonce, length };
        let packet = seal(&head, id, &keys, &request, now, &randomness).unwrap();

        let needed = (request.encode().unwrap().len() + 96).max(MIN_PACKET);
        prop_assert_eq!(packet.len(), needed + usize::from(length));
        prop_assert!(packet.len() <= MAX_PACKET);
        let identified = identify(&head, &packet).unwrap();
        prop_assert_eq!((identified.key_id(), identified.timestamp()), (id, now));
        prop_assert_eq!(identified.nonce(), &nonce);
        let recorded = identified.authenticate(&keys).unwrap().record(&mut Seen::default());
        let opened = recorded.unwrap().open(&keys).unwrap();
        prop_assert_eq!((opened.key_id(), opened.timestamp()), (id, now));
        prop_assert_eq!(opened.into_request(), request);
    }

    #[test]
    fn no_datagram_makes_the_reader_stop(bytes in vec(any::<u8>(), 0..700)) {
        let head = HeadKeys::new(&ServerSecret::from_bytes([1; 32]).public());
        let right = (MIN_PACKET..=MAX_PACKET).contains(&bytes.len());
        let fault = if right { IdentifyError::HeadTag } else { IdentifyError::Length };
        prop_assert_eq!(identify(&head, &bytes).unwrap_err(), fault);
    }

    #[test]
    fn services_and_commands_are_read_as_they_are_shown(service in service(), text in ".{0,70}") {
        prop_assert_eq!(service.to_string().parse(), Ok(service));
        if let Ok(name) = text.parse::<CommandName>() {
            prop_assert_eq!(name.as_str(), &text);
            let bytes = Request::Run { command: name }.encode().unwrap();
            prop_assert!(Request::decode(&bytes).is_ok());
        }
        if let Ok(service) = text.parse::<Service>() {
            prop_assert_eq!(service.to_string(), text);
        }
    }

    #[test]
    fn arithmetic_on_times_saturates(a: u64, b: u64) {
        let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
        let gap = a.abs_diff(b);
        prop_assert_eq!(a.min(b).saturating_add(gap), a.max(b));
        prop_assert_eq!(a.max(b).saturating_sub(gap), a.min(b));
        prop_assert_eq!(a.saturating_add(std::time::Duration::MAX).as_micros(), u64::MAX);
        prop_assert_eq!(a.saturating_sub(std::time::Duration::MAX).as_micros(), 0);
    }
}

#[test]
fn more_than_sixteen_services_are_refused_and_twice_the_same_is_once() {
    let service = |port: u16| Service {
        protocol: Protocol::Tcp,
        port: port.try_into().unwrap(),
    };
    assert!(Services::from_iter((1..=17).map(service)).is_err());
    let twice = Services::from_iter((1..=16).chain(1..=16).rev().map(service)).unwrap();
    assert_eq!(twice.as_slice().len(), 16);
    assert!(twice.as_slice().is_sorted());
}

#[test]
fn a_service_has_one_spelling() {
    for text in [
        "tcp/022",
        "tcp/+22",
        "tcp/0",
        "tcp/65536",
        "TCP/22",
        "tcp",
        "22",
        "tcp/22 ",
        "icmp/1",
        "tcp/",
    ] {
        assert!(text.parse::<Service>().is_err(), "{text}");
    }
}
