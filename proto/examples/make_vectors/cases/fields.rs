//! Authentic packets with a fault in an address, a service or a command.

use spa_proto::RequestError::*;

use super::faults::{OPEN, RUN, V6, case, list, service, v4, v6};
use super::written::PacketCase;

pub(crate) fn all() -> Vec<PacketCase> {
    [addresses(), unusable(), services(), commands()].concat()
}

fn addresses() -> Vec<PacketCase> {
    let test = v4([192, 0, 2, 1]);
    vec![
        case(
            "",
            TooManyAddresses,
            "The count of addresses is 3.",
            OPEN,
            |f| f.addresses = vec![3],
        ),
        case("", UnknownFamily, "An address is of family 5.", OPEN, |f| {
            f.addresses = list(&[vec![5, 192, 0, 2, 1]])
        }),
        case("", DuplicateFamily, "Two IPv4 addresses.", OPEN, |f| {
            f.addresses = list(&[test.clone(), v4([192, 0, 2, 2])])
        }),
        case("ipv6", DuplicateFamily, "Two IPv6 addresses.", OPEN, |f| {
            f.addresses = list(&[v6(V6), v6(V6)])
        }),
        case(
            "",
            UnorderedFamily,
            "The IPv6 address stands before the IPv4 address.",
            OPEN,
            |f| f.addresses = list(&[v6(V6), test.clone()]),
        ),
    ]
}

fn unusable() -> Vec<PacketCase> {
    let kinds: [(&str, Vec<u8>); 14] = [
        ("ipv4_unspecified", v4([0, 0, 0, 0])),
        ("ipv4_loopback", v4([127, 255, 0, 1])),
        ("ipv4_multicast_first", v4([224, 0, 0, 0])),
        ("ipv4_multicast_last", v4([239, 255, 255, 255])),
        ("ipv4_broadcast", v4([255, 255, 255, 255])),
        ("ipv4_link_local", v4([169, 254, 1, 1])),
        ("ipv6_unspecified", v6([0; 8])),
        ("ipv6_loopback", v6([0, 0, 0, 0, 0, 0, 0, 1])),
        ("ipv6_multicast", v6([0xff02, 0, 0, 0, 0, 0, 0, 1])),
        ("ipv6_link_local_first", v6([0xfe80, 0, 0, 0, 0, 0, 0, 1])),
        (
            "ipv6_link_local_last",
            v6([0xfebf, 0xffff, 0, 0, 0, 0, 0, 1]),
        ),
        (
            "ipv6_mapped_ipv4",
            v6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]),
        ),
        ("ipv6_nat64", v6([0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0x0201])),
        ("second_of_two", [v4([192, 0, 2, 1]), v6([0; 8])].concat()),
    ];
    let case = |(name, address): (&str, Vec<u8>)| {
        let about = format!(
            "A stated address that cannot be used: {}.",
            name.replace('_', " ")
        );
        case(name, UnusableAddress, &about, OPEN, |f| {
            let count = if name == "second_of_two" { 2 } else { 1 };
            f.addresses = [vec![count], address].concat();
        })
    };
    kinds.into_iter().map(case).collect()
}

fn services() -> Vec<PacketCase> {
    let ssh = service(6, 22);
    vec![
        case(
            "",
            TooManyServices,
            "The count of services is 17.",
            OPEN,
            |f| f.services = vec![17],
        ),
        case(
            "",
            UnknownProtocol,
            "A service of protocol 1 (ICMP).",
            OPEN,
            |f| f.services = list(&[service(1, 22)]),
        ),
        case("", ZeroPort, "A service on port 0.", OPEN, |f| {
            f.services = list(&[service(6, 0)])
        }),
        case("", DuplicateService, "tcp/22 twice.", OPEN, |f| {
            f.services = list(&[ssh.clone(), ssh.clone()])
        }),
        case("", UnorderedService, "tcp/22 after tcp/80.", OPEN, |f| {
            f.services = list(&[service(6, 80), ssh.clone()])
        }),
        case(
            "protocol",
            UnorderedService,
            "tcp/80 after udp/22.",
            OPEN,
            |f| f.services = list(&[service(17, 22), service(6, 80)]),
        ),
    ]
}

fn commands() -> Vec<PacketCase> {
    let named = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        [&[length], name.as_bytes()].concat()
    };
    vec![
        case("", CommandTooLong, "A command of 65 bytes.", RUN, |f| {
            f.command = named(&"a".repeat(65))
        }),
        case("", MissingCommand, "Run, and no command.", RUN, |f| {
            f.command = vec![0]
        }),
        case("", MalformedCommand, "A command with a space.", RUN, |f| {
            f.command = named("back up")
        }),
        case(
            "capital",
            MalformedCommand,
            "A command with a capital letter.",
            RUN,
            |f| f.command = named("Backup"),
        ),
        case(
            "hyphen",
            MalformedCommand,
            "A command that begins with a hyphen.",
            RUN,
            |f| f.command = named("-rf"),
        ),
        case(
            "underscore",
            MalformedCommand,
            "A command that begins with an underscore.",
            RUN,
            |f| f.command = named("_a"),
        ),
        case(
            "not_ascii",
            MalformedCommand,
            "A command with a letter that is not ASCII.",
            RUN,
            |f| f.command = named("é"),
        ),
        case(
            "zero",
            MalformedCommand,
            "A command that ends with a zero byte.",
            RUN,
            |f| f.command = named("a\0"),
        ),
    ]
}
