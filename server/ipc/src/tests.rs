//! A helper's end and the engine's, on one socket.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::*;

/// A message of this many bytes.
#[derive(Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Message for Bytes {
    const HELPER: &'static str = "the tester";
    const MAX: usize = 8;

    fn encode(&self, out: &mut Encoder) {
        out.put_bytes(&self.0);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        input
            .last_bytes(Self::MAX)
            .map(|bytes| Self(bytes.to_vec()))
    }
}

fn endpoint() -> (Endpoint<Bytes, Bytes>, OwnedFd) {
    let (ours, theirs) = socket::pair().unwrap();
    (Endpoint::new(ours), theirs)
}

#[test]
fn messages_come_one_by_one_and_then_the_end() {
    let (mut endpoint, engine) = endpoint();
    assert_eq!(endpoint.receive().unwrap(), Incoming::Nothing);
    for len in [1, 8] {
        try_send(&engine, &Bytes(vec![7; len])).unwrap();
    }
    drop(engine);
    assert!(endpoint.peer_closed(), "though messages wait");
    for len in [1, 8] {
        assert_eq!(
            endpoint.receive().unwrap(),
            Incoming::Message(Bytes(vec![7; len]))
        );
    }
    assert_eq!(endpoint.receive().unwrap(), Incoming::Closed);
    endpoint.send(&Bytes(vec![7])).unwrap();
}

#[test]
fn a_datagram_longer_than_any_message_is_refused() {
    let (mut endpoint, engine) = endpoint();
    try_send(&engine, &Bytes(vec![7; 9])).unwrap();
    let error = endpoint.receive().unwrap_err();
    assert_eq!(error.to_string(), "not a message of the tester (too long)");
}

#[test]
fn an_engine_that_reads_nothing_is_noticed_after_the_timeout() {
    let (endpoint, _engine) = endpoint();
    endpoint
        .set_send_timeout(Duration::from_millis(20))
        .unwrap();
    let error = loop {
        if let Err(error) = endpoint.send(&Bytes(vec![7; 8])) {
            break error;
        }
    };
    assert_eq!(error.to_string(), "the engine takes no answers");
}

#[test]
fn errors_name_the_helper() {
    let text = |kind| {
        let name = "the tester";
        HelperError { name, kind }.to_string()
    };
    let span = Duration::from_secs(20);
    assert_eq!(text(HelperErrorKind::Ended), "the tester has ended");
    assert_eq!(
        text(HelperErrorKind::Unresponsive { process: 7, span }),
        "the tester (process 7) has not responded for 20 seconds"
    );
    assert_eq!(
        text(HelperErrorKind::Message(DecodeError("truncated"))),
        "not a message of the tester (truncated)"
    );
    assert_eq!(
        text(HelperErrorKind::Socket(std::io::Error::other("broken"))),
        "the socket to the tester: broken"
    );
    assert_eq!(
        text(HelperErrorKind::NotStarted("why".to_owned())),
        "the tester did not start: why\n  help: see what was said before, and what limits the unit has (`systemctl show spad`)"
    );
}
