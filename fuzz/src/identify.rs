//! Any datagram: refused for its length or its tag, or read correctly; never
//! authentic, for the fuzzer has no keys. The tag is mended for the fuzzer
//! where there is room for one, or nothing behind it would be reached.

use spa_proto::limits::{HEAD_LEN, MAX_PACKET, MIN_PACKET, NONCE_LEN, TAGGED_LEN};
use spa_proto::{IdentifyError, identify};

use crate::fixture::FIXTURE;

pub fn run(data: &[u8]) {
    let sized = (MIN_PACKET..=MAX_PACKET).contains(&data.len());
    match identify(&FIXTURE.head, data) {
        Err(IdentifyError::Length) => assert!(!sized, "refused for a good length"),
        Err(IdentifyError::HeadTag) => assert!(sized, "the length was not refused"),
        Ok(_) => assert!(
            sized && head_tag(data) == data[TAGGED_LEN..HEAD_LEN],
            "a wrong tag passed"
        ),
    }
    if !sized {
        return;
    }
    let mut retagged = data.to_vec();
    retagged[TAGGED_LEN..HEAD_LEN].copy_from_slice(&head_tag(data));
    let identified = identify(&FIXTURE.head, &retagged).expect("a right tag and length");

    let mut plain = identified.key_id().to_bytes().to_vec();
    plain.extend(identified.timestamp().as_micros().to_be_bytes());
    let nonce: &[u8; NONCE_LEN] = retagged.first_chunk().expect("long enough");
    assert_eq!(identified.nonce(), nonce);
    let mask = FIXTURE.head.mask(nonce);
    for ((masked, mask), plain) in retagged[NONCE_LEN..TAGGED_LEN].iter().zip(mask).zip(plain) {
        assert_eq!(masked ^ mask, plain, "the mask was taken off wrongly");
    }
    assert!(
        identified.authenticate(&FIXTURE.keys).is_err(),
        "authentic without the keys"
    );
}

fn head_tag(data: &[u8]) -> [u8; 8] {
    let tagged = data.first_chunk().expect("long enough");
    FIXTURE.head.tag(tagged)
}
