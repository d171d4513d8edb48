//! Any bytes as a request: refused, or one request with exactly one encoding.

use spa_proto::limits::{MAX_PACKET, OVERHEAD};
use spa_proto::{Addresses, CommandName, Open, Request, Services};

pub fn run(data: &[u8]) {
    let Ok(request) = Request::decode(data) else {
        return;
    };
    check_request(&request);
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

/// What the decoder made, the types' own constructors would have made.
fn check_request(request: &Request) {
    match request {
        Request::Open(Open {
            addresses,
            services,
            ..
        })
        | Request::Close {
            addresses,
            services,
        } => {
            assert_eq!(
                Addresses::new(addresses.v4(), addresses.v6()),
                Ok(*addresses)
            );
            let again = Services::from_iter(services.as_slice().iter().copied());
            assert_eq!(again.as_ref(), Ok(services), "unordered services passed");
        }
        Request::Run { command } => {
            assert_eq!(
                command.as_str().parse::<CommandName>().as_ref(),
                Ok(command)
            );
        }
        Request::Join { .. } => {}
    }
}
