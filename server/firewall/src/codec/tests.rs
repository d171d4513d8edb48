//! The messages as bytes: round trips, and whatever is no message.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::prelude::*;
use spa_proto::Protocol;

use super::*;

fn service() -> impl Strategy<Value = Service> {
    let protocol = prop::sample::select(Protocol::ALL.to_vec());
    (protocol, 1..=u16::MAX).prop_map(|(protocol, port)| Service {
        protocol,
        port: NonZeroU16::new(port).unwrap(),
    })
}

fn element() -> impl Strategy<Value = Element> {
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ];
    let rest = (service(), any::<u16>(), any::<bool>());
    (address, rest, 0..=64_u8).prop_map(|(address, (service, port, once), length)| {
        let alone = Element {
            address,
            service,
            source_port: NonZeroU16::new(port).filter(|_| !once),
            once,
            prefix: None,
        };
        let network = Network::enclosing(address, length).map(|network| Element {
            address: network.address,
            source_port: None,
            prefix: Some(length),
            ..alone
        });
        network.filter(Element::is_valid).unwrap_or(alone)
    })
}

fn time() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_micros)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (element(), time()).prop_map(|(element, ttl)| Step::Put { element, ttl }),
        element().prop_map(|element| Step::Remove { element }),
    ]
}

fn cut() -> impl Strategy<Value = ConnectionFilter> {
    let address = any::<IpAddr>();
    (address, 0..=128_u8, service()).prop_map(|(address, prefix, service)| {
        let max_prefix = if address.is_ipv4() { 32 } else { 128 };
        let network = Network::enclosing(address, prefix.min(max_prefix)).unwrap();
        ConnectionFilter { network, service }
    })
}

fn to_writer() -> impl Strategy<Value = ToWriter> {
    prop_oneof![
        (any::<u64>(), vec(step(), 0..=MAX_STEPS)).prop_map(|(id, steps)| ToWriter::Change(
            Change {
                id: ChangeId(id),
                steps
            }
        )),
        vec(cut(), 0..50).prop_map(ToWriter::Cut),
        prop::sample::select(vec![
            ToWriter::List,
            ToWriter::Reload,
            ToWriter::Confirm,
            ToWriter::Trials,
            ToWriter::Stop,
            ToWriter::Begin,
            ToWriter::Ping
        ]),
    ]
}

fn error() -> impl Strategy<Value = FirewallError> {
    use FirewallError as R;
    prop_oneof![
        prop::sample::select(vec![
            R::SetFull,
            R::TableMissing,
            R::NotDeclared,
            R::TooLong,
            R::TooShort,
            R::Malformed
        ]),
        any::<i32>().prop_map(R::Kernel),
    ]
}

fn from_writer() -> impl Strategy<Value = FromWriter> {
    let result = || prop_oneof![Just(Ok(())), error().prop_map(Err)];
    let change = prop_oneof![
        time().prop_map(TrialChange::Began),
        prop::sample::select(vec![
            TrialChange::Reached,
            TrialChange::Confirmed,
            TrialChange::TimedOut
        ]),
    ];
    let state = prop_oneof![
        Just(PortState::Hidden),
        time().prop_map(PortState::OnTrial),
        Just(PortState::Exposed),
    ];
    let row = (service(), state).prop_map(|(service, standing)| TrialRow {
        service,
        state: standing,
    });
    let held =
        (element(), time()).prop_map(|(element, remaining)| KernelElement { element, remaining });
    prop_oneof![
        Just(FromWriter::Ready),
        any::<String>().prop_map(FromWriter::Failed),
        (any::<u64>(), result()).prop_map(|(id, result)| FromWriter::Answer(ChangeResult {
            id: ChangeId(id),
            result
        })),
        (vec(held, 0..50), any::<bool>())
            .prop_map(|(elements, last)| FromWriter::Listed { elements, last }),
        ".{1,40}".prop_map(|text| FromWriter::Reloaded(Err(text))),
        Just(FromWriter::Reloaded(Ok(()))),
        any::<u32>().prop_map(|grants| FromWriter::Restored { grants }),
        any::<String>().prop_map(FromWriter::StrangerReply),
        any::<String>().prop_map(FromWriter::NotRestored),
        (service(), change)
            .prop_map(|(service, change)| FromWriter::Trial(TrialEvent { service, change })),
        vec(row, 0..50).prop_map(FromWriter::Trials),
        any::<u32>().prop_map(|count| FromWriter::Confirmed(Ok(count))),
        ".{1,40}".prop_map(|text| FromWriter::Confirmed(Err(text))),
        Just(FromWriter::Pong),
        any::<u32>().prop_map(|s| FromWriter::Busy(Duration::from_secs(s.into()))),
        any::<u32>().prop_map(|count| FromWriter::Cut(Ok(count))),
        ".{1,40}".prop_map(|text| FromWriter::Cut(Err(text))),
    ]
}

proptest! {
    #[test]
    fn whatever_is_sent_to_the_writer_is_read_as_it_was_meant(message in to_writer()) {
        let bytes = message.to_bytes();
        prop_assert!(bytes.len() <= MAX_MESSAGE);
        prop_assert_eq!(ToWriter::from_bytes(&bytes), Ok(message));
    }

    #[test]
    fn whatever_the_writer_sends_is_read_as_it_was_meant(message in from_writer()) {
        let bytes = message.to_bytes();
        prop_assert!(bytes.len() <= MAX_MESSAGE);
        prop_assert_eq!(FromWriter::from_bytes(&bytes), Ok(message));
    }

    #[test]
    fn a_message_has_one_form_and_no_bytes_panic(mut bytes in vec(any::<u8>(), 0..200), kind in 0_u8..12) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(message) = ToWriter::from_bytes(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes.clone());
        }
        if let Ok(message) = FromWriter::from_bytes(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_truncated_or_lengthened_message_is_refused(message in to_writer(), cut in 1_usize..40) {
        let bytes = message.to_bytes();
        prop_assert!(ToWriter::from_bytes(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(ToWriter::from_bytes(&longer).is_err());
    }
}

#[test]
fn the_longest_messages_fit_into_one_datagram() {
    let element = Element {
        address: Ipv6Addr::LOCALHOST.into(),
        service: "tcp/22".parse().unwrap(),
        source_port: None,
        once: false,
        prefix: None,
    };
    let remaining = Duration::from_secs(1);
    let held = KernelElement { element, remaining };
    let elements = vec![held; MAX_LISTED];
    let listed = FromWriter::Listed {
        elements,
        last: true,
    };
    let texts = [listed, FromWriter::Failed("é".repeat(MAX_TEXT))];
    for message in texts {
        assert!(message.to_bytes().len() <= MAX_MESSAGE);
        assert!(FromWriter::from_bytes(&message.to_bytes()).is_ok());
    }
}

#[test]
fn more_steps_than_a_change_may_have_are_refused() {
    let element = Element {
        address: Ipv4Addr::LOCALHOST.into(),
        service: "tcp/22".parse().unwrap(),
        source_port: None,
        once: false,
        prefix: None,
    };
    let change = |count| {
        let steps = vec![Step::Remove { element }; count];
        ToWriter::Change(Change {
            id: ChangeId(1),
            steps,
        })
        .to_bytes()
    };
    assert!(ToWriter::from_bytes(&change(MAX_STEPS)).is_ok());
    assert!(ToWriter::from_bytes(&change(MAX_STEPS + 1)).is_err());
}

/// A message of each kind, and each form of what is in it.
fn examples() -> (Vec<ToWriter>, Vec<FromWriter>) {
    let service: Service = "tcp/22".parse().unwrap();
    let plain = Element {
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        service,
        source_port: None,
        once: false,
        prefix: None,
    };
    let from_port = Element {
        address: "2001:db8::1".parse().unwrap(),
        service: "udp/53".parse().unwrap(),
        source_port: NonZeroU16::new(4242),
        ..plain
    };
    let once = Element {
        once: true,
        ..plain
    };
    let network = Element {
        address: "2001:db8::".parse().unwrap(),
        prefix: Some(64),
        ..plain
    };
    let ttl = Duration::from_micros(30_000_001);
    let filter = |address: &str, prefix| ConnectionFilter {
        network: Network::enclosing(address.parse().unwrap(), prefix).unwrap(),
        service,
    };
    let to_writer = vec![
        ToWriter::Begin,
        ToWriter::Change(Change {
            id: ChangeId(7),
            steps: vec![
                Step::Put {
                    element: plain,
                    ttl,
                },
                Step::Put {
                    element: from_port,
                    ttl,
                },
                Step::Put {
                    element: once,
                    ttl: Duration::MAX,
                },
                Step::Remove { element: network },
            ],
        }),
        ToWriter::List,
        ToWriter::Reload,
        ToWriter::Confirm,
        ToWriter::Cut(vec![filter("192.0.2.0", 24), filter("2001:db8::", 32)]),
        ToWriter::Trials,
        ToWriter::Ping,
        ToWriter::Stop,
    ];
    let answer = |result| {
        FromWriter::Answer(ChangeResult {
            id: ChangeId(7),
            result,
        })
    };
    let trial = |change| FromWriter::Trial(TrialEvent { service, change });
    let mut from_writer = vec![
        FromWriter::Ready,
        FromWriter::Failed("why".to_owned()),
        answer(Ok(())),
    ];
    let refusals = [
        FirewallError::SetFull,
        FirewallError::TableMissing,
        FirewallError::NotDeclared,
        FirewallError::TooLong,
        FirewallError::TooShort,
        FirewallError::Malformed,
        FirewallError::Kernel(-28),
        FirewallError::Command,
        FirewallError::Unsupported,
    ];
    from_writer.extend(refusals.map(|error| answer(Err(error))));
    from_writer.extend([
        FromWriter::Listed {
            elements: vec![KernelElement {
                element: plain,
                remaining: ttl,
            }],
            last: true,
        },
        FromWriter::Reloaded(Ok(())),
        FromWriter::Reloaded(Err("é".to_owned())),
        FromWriter::Restored { grants: 3 },
        FromWriter::NotRestored("why".to_owned()),
        trial(TrialChange::Began(ttl)),
        trial(TrialChange::Reached),
        trial(TrialChange::Confirmed),
        trial(TrialChange::TimedOut),
        FromWriter::Trials(
            [
                PortState::Hidden,
                PortState::OnTrial(ttl),
                PortState::Exposed,
            ]
            .map(|state| TrialRow { service, state })
            .to_vec(),
        ),
        FromWriter::Pong,
        FromWriter::Busy(ttl),
        FromWriter::StrangerReply("a reset".to_owned()),
        FromWriter::Cut(Ok(2)),
        FromWriter::Cut(Err("why".to_owned())),
        FromWriter::Confirmed(Ok(2)),
        FromWriter::Confirmed(Err("why".to_owned())),
    ]);
    (to_writer, from_writer)
}

#[test]
fn each_message_has_the_bytes_of_the_fixture() {
    let (to_writer, from_writer) = examples();
    let to_writer = to_writer
        .iter()
        .map(|one| (format!("{one:?}"), one.to_bytes()));
    let from_writer = from_writer
        .iter()
        .map(|one| (format!("{one:?}"), one.to_bytes()));
    let mut text = String::new();
    for (message, bytes) in to_writer.chain(from_writer) {
        text.push_str(&message);
        text.push_str("\n ");
        for byte in bytes {
            text.push_str(&format!(" {byte:02x}"));
        }
        text.push('\n');
    }
    assert_eq!(text, include_str!("bytes.txt"));
}
