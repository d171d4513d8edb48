//! Any bytes as a request: refused, or one request with exactly one encoding.

use spa_proto::Request;
use spa_proto::limits::{MAX_PACKET, OVERHEAD};

pub fn run(data: &[u8]) {
    let Ok(request) = Request::decode(data) else {
        return;
    };
    let encoded = request.encode().expect("what was decoded can be encoded");
    let (fields, padding) = data.split_at(encoded.len());
    assert_eq!(fields, encoded, "two encodings of {request:?}");
    assert!(padding.iter().all(|byte| *byte == 0), "padding passed");
    assert!(
        encoded.len() + OVERHEAD + 255 <= MAX_PACKET,
        "no room for it"
    );
    assert_eq!(Request::decode(&encoded).as_ref(), Ok(&request));
    for end in 0..encoded.len() {
        assert!(
            Request::decode(&encoded[..end]).is_err(),
            "half a request passed"
        );
    }
}
