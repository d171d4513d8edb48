//! Any datagram: refused for its length or its tag, or read correctly; never
//! authentic, for the fuzzer has no keys. The tag is mended for the fuzzer
//! where there is room for one, or nothing behind it would be reached.

use spa_proto::limits::{HEAD, MAX_PACKET, MIN_PACKET, NONCE, TAGGED};
use spa_proto::{IdentifyError, identify};

use crate::world::WORLD;

pub fn run(data: &[u8]) {
    let sized = (MIN_PACKET..=MAX_PACKET).contains(&data.len());
    match identify(&WORLD.head, data) {
        Err(IdentifyError::Length) => assert!(!sized, "refused for a good length"),
        Err(IdentifyError::HeadTag) => assert!(sized, "the length was not refused"),
        Ok(_) => assert!(
            sized && tag_of(data) == data[TAGGED..HEAD],
            "a wrong tag passed"
        ),
    }
    if !sized {
        return;
    }
    let mut mended = data.to_vec();
    mended[TAGGED..HEAD].copy_from_slice(&tag_of(data));
    let identified = identify(&WORLD.head, &mended).expect("a right tag and length");

    let mut plain = identified.key_id().to_bytes().to_vec();
    plain.extend(identified.timestamp().as_micros().to_be_bytes());
    let nonce: &[u8; NONCE] = mended.first_chunk().expect("long enough");
    assert_eq!(identified.nonce(), nonce);
    let mask = WORLD.head.mask(nonce);
    for ((masked, mask), plain) in mended[NONCE..TAGGED].iter().zip(mask).zip(plain) {
        assert_eq!(masked ^ mask, plain, "the mask was taken off wrongly");
    }
    assert!(
        identified.authenticate(&WORLD.keys).is_err(),
        "authentic without the keys"
    );
}

fn tag_of(data: &[u8]) -> [u8; 8] {
    let tagged = data.first_chunk().expect("long enough");
    WORLD.head.tag(tagged)
}
