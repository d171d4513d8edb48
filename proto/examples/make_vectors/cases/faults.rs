//! Authentic packets whose request has a fault.

use spa_proto::RequestError::{self, *};

use super::craft::PacketDraft;
use super::fields;
use super::written::{Outcome, PacketCase};

/// The fields of a request, to be put together wrongly.
#[derive(Clone)]
pub(crate) struct Fields {
    pub(crate) version: u8,
    pub(crate) action: u8,
    pub(crate) flags: u8,
    pub(crate) duration: u32,
    pub(crate) source_port: u16,
    pub(crate) addresses: Vec<u8>,
    pub(crate) services: Vec<u8>,
    pub(crate) command: Vec<u8>,
    pub(crate) rest: Vec<u8>,
}

pub(crate) const OPEN: u8 = 1;
const CLOSE: u8 = 2;
pub(crate) const RUN: u8 = 3;
const JOIN: u8 = 4;

fn fields(action: u8) -> Fields {
    Fields {
        version: 1,
        action,
        flags: 0,
        duration: 0,
        source_port: 0,
        addresses: vec![0],
        services: vec![0],
        command: if action == RUN {
            b"\x06backup".to_vec()
        } else {
            vec![0]
        },
        rest: if action == JOIN {
            vec![9; 32]
        } else {
            Vec::new()
        },
    }
}

pub(crate) fn case(
    name: &str,
    fault: RequestError,
    about: &str,
    action: u8,
    tamper: impl FnOnce(&mut Fields),
) -> PacketCase {
    let mut fields = fields(action);
    tamper(&mut fields);
    let mut bytes = vec![fields.version, fields.action, fields.flags];
    bytes.extend(fields.duration.to_be_bytes());
    bytes.extend(fields.source_port.to_be_bytes());
    for part in [
        fields.addresses,
        fields.services,
        fields.command,
        fields.rest,
    ] {
        bytes.extend(part);
    }
    bytes.resize(bytes.len().max(64), 0);
    plaintext_case(name, fault, about, bytes)
}

fn plaintext_case(name: &str, fault: RequestError, about: &str, plaintext: Vec<u8>) -> PacketCase {
    let name = match name {
        "" => format!("refuse_request_{}", fault.reason()),
        name => format!("refuse_request_{}_{name}", fault.reason()),
    };
    PacketDraft::new(&name, plaintext).case(about, Outcome::refused("request", fault.reason()))
}

pub(crate) fn v4(address: [u8; 4]) -> Vec<u8> {
    [&[4], address.as_slice()].concat()
}

pub(crate) fn v6(segments: [u16; 8]) -> Vec<u8> {
    [&[6], segments.map(u16::to_be_bytes).concat().as_slice()].concat()
}

pub(crate) const V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];

pub(crate) fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(parts.len()).unwrap();
    [vec![count], parts.concat()].concat()
}

pub(crate) fn service(protocol: u8, port: u16) -> Vec<u8> {
    [&[protocol], port.to_be_bytes().as_slice()].concat()
}

pub(crate) fn all() -> Vec<PacketCase> {
    [heads(), fields::all(), truncated(), unused(), order()].concat()
}

fn heads() -> Vec<PacketCase> {
    vec![
        case("", UnknownVersion, "The version is 2.", OPEN, |f| {
            f.version = 2
        }),
        case("zero", UnknownVersion, "The version is 0.", OPEN, |f| {
            f.version = 0
        }),
        case("", UnknownAction, "The action is 5.", OPEN, |f| {
            f.action = 5
        }),
        case("zero", UnknownAction, "The action is 0.", OPEN, |f| {
            f.action = 0
        }),
        case("", UnknownFlag, "Flag 2 is set.", OPEN, |f| f.flags = 2),
        case(
            "with_once",
            UnknownFlag,
            "Flags 1 and 128 are set.",
            OPEN,
            |f| f.flags = 0x81,
        ),
        case(
            "",
            OnceWithSourcePort,
            "One connection only, and source port 40000.",
            OPEN,
            |f| {
                (f.flags, f.source_port) = (1, 40000);
            },
        ),
        case(
            "",
            NonzeroPadding,
            "The first byte of the padding is 1.",
            OPEN,
            |f| f.rest = vec![1],
        ),
        case(
            "last",
            NonzeroPadding,
            "The last byte of the padding is 1.",
            OPEN,
            |f| {
                f.rest = vec![0; 52];
                *f.rest.last_mut().unwrap() = 1;
            },
        ),
        case(
            "after_joiner",
            NonzeroPadding,
            "A byte after the joiner's key is 1.",
            JOIN,
            |f| f.rest.push(1),
        ),
    ]
}

/// A packet has 64 bytes of plaintext at least, so only what can be longer
/// can end early.
fn truncated() -> Vec<PacketCase> {
    let sixteen: Vec<Vec<u8>> = (1..=16).map(|port| service(6, port)).collect();
    let run = |name: usize, bytes: usize| {
        let mut plaintext = vec![
            1,
            RUN,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            u8::try_from(name).unwrap(),
        ];
        plaintext.resize(12 + bytes, b'a');
        plaintext
    };
    let with_both = list(&[v4([192, 0, 2, 1]), v6(V6)]);
    let mut services = [
        vec![1, OPEN, 0, 0, 0, 0, 0, 0, 0],
        with_both,
        list(&sixteen),
    ]
    .concat();
    services.truncate(64);
    let mut port = services.clone();
    port.push(6);
    let mut joiner = vec![1, JOIN, 0, 0, 0, 0, 0, 0, 0, 2];
    joiner.extend([v4([192, 0, 2, 1]), v6(V6)].concat());
    joiner.extend(list(&[service(6, 22)]));
    joiner.push(0);
    joiner.resize(64, 9);
    vec![
        plaintext_case(
            "services",
            Truncated,
            "The request ends within the services, between two of their fields.",
            services,
        ),
        plaintext_case(
            "port",
            Truncated,
            "The request ends within a service.",
            port,
        ),
        plaintext_case(
            "command",
            Truncated,
            "The command's length is 64, and 52 bytes follow.",
            run(64, 52),
        ),
        plaintext_case("joiner", Truncated, "The joiner's key ends early.", joiner),
    ]
}

fn unused() -> Vec<PacketCase> {
    let with = |name: &str, about: &str, action, harm: fn(&mut Fields)| {
        case(name, UnusedField, about, action, harm)
    };
    vec![
        with("close_once", "Close for one connection only.", CLOSE, |f| {
            f.flags = 1
        }),
        with("close_duration", "Close with a duration.", CLOSE, |f| {
            f.duration = 1
        }),
        with(
            "close_source_port",
            "Close with a source port.",
            CLOSE,
            |f| f.source_port = 1,
        ),
        with("open_command", "Open with a command.", OPEN, |f| {
            f.command = b"\x01a".to_vec()
        }),
        with("close_command", "Close with a command.", CLOSE, |f| {
            f.command = b"\x01a".to_vec()
        }),
        with("run_once", "Run with flag 1.", RUN, |f| f.flags = 1),
        with("run_addresses", "Run with an address.", RUN, |f| {
            f.addresses = list(&[v4([192, 0, 2, 1])])
        }),
        with("run_services", "Run with a service.", RUN, |f| {
            f.services = list(&[service(6, 22)])
        }),
        with("join_duration", "Join with a duration.", JOIN, |f| {
            f.duration = 1
        }),
        with("join_services", "Join with a service.", JOIN, |f| {
            f.services = list(&[service(6, 22)])
        }),
        with("join_command", "Join with a command.", JOIN, |f| {
            f.command = b"\x01a".to_vec()
        }),
    ]
}

/// Two faults: the first by the specification's order is reported.
fn order() -> Vec<PacketCase> {
    vec![
        case(
            "before_all_others",
            UnknownVersion,
            "Version and action are unknown: the version is reported.",
            OPEN,
            |f| {
                (f.version, f.action) = (2, 9);
            },
        ),
        case(
            "before_unused",
            ZeroPort,
            "A run with a service on port 0: the field's fault is reported, not its use.",
            RUN,
            |f| {
                f.services = list(&[service(6, 0)]);
            },
        ),
        case(
            "before_padding",
            UnusedField,
            "A close with a duration and padding that is not zero: the unused field is reported.",
            CLOSE,
            |f| {
                (f.duration, f.rest) = (1, vec![1]);
            },
        ),
        case(
            "before_exclusion",
            UnusedField,
            "A close with flag 1 and a source port: the unused field is reported.",
            CLOSE,
            |f| {
                (f.flags, f.source_port) = (1, 1);
            },
        ),
        case(
            "before_padding",
            OnceWithSourcePort,
            "Flag 1, a source port, and padding that is not zero: the exclusion is reported.",
            OPEN,
            |f| {
                (f.flags, f.source_port, f.rest) = (1, 1, vec![1]);
            },
        ),
        case(
            "before_unusable",
            DuplicateFamily,
            "A second IPv4 address, which could not be used either: the duplicate is reported.",
            OPEN,
            |f| {
                f.addresses = list(&[v4([192, 0, 2, 1]), v4([0, 0, 0, 0])]);
            },
        ),
    ]
}
