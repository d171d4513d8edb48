//! Any plaintext in a valid packet: what is behind the cryptography. It comes
//! out as the decoder alone judges it, and never twice.

use spa_proto::limits::{MAX_PACKET, MIN_PACKET, OVERHEAD};
use spa_proto::{OpenError, Request, SealError, Timestamp, identify, seal_plaintext};

use crate::fixture::{FIXTURE, Seen};

pub fn run(data: &[u8]) {
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let nonce = [0x5a; 24];
    let plaintext = data.to_vec();
    let packet = match seal_plaintext(
        &FIXTURE.head,
        FIXTURE.id,
        &FIXTURE.keys,
        plaintext,
        now,
        &nonce,
    ) {
        Ok(packet) => packet,
        Err(fault) => {
            assert_eq!(fault, SealError::TooLong);
            assert!(data.len() + OVERHEAD > MAX_PACKET, "there was room");
            return;
        }
    };
    let Ok(identified) = identify(&FIXTURE.head, &packet) else {
        assert!(packet.len() < MIN_PACKET, "our own packet was refused");
        return;
    };
    assert_eq!(identified.key_id(), FIXTURE.id);
    assert_eq!(identified.timestamp(), now);
    let mut seen = Seen::default();
    let authentic = identified
        .authenticate(&FIXTURE.keys)
        .expect("our own packet");
    let recorded = authentic.record(&mut seen).expect("the first time");
    let opened = recorded
        .open(&FIXTURE.keys)
        .map(|opened| opened.into_request());
    let decoded = Request::decode(data).map_err(OpenError::Request);
    assert_eq!(opened, decoded, "the packet changed the request");

    let again = identify(&FIXTURE.head, &packet).expect("as before");
    let again = again.authenticate(&FIXTURE.keys).expect("as before");
    assert!(again.record(&mut seen).is_err(), "accepted twice");
}
