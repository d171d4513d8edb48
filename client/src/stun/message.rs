//! The two messages of STUN that are needed: a Binding request, and what an answer
//! to it says. RFC 8489 §5, §6, §14. Pure.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use msf_stun::{Message, MessageBuilder, MessageClass, Method};
use spa_proto::usable_address;

/// What tells one request's answer from another's; from the random source, so that
/// nobody answers who did not see the request.
pub type TransactionId = [u8; 12];

/// Why a datagram tells no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// No STUN, or not the answer to this request.
    #[error("it answered something else than was asked")]
    Unexpected,
    /// The server does not want to say it.
    #[error("it refused to answer")]
    Refused,
    /// No XOR-MAPPED-ADDRESS, or of another family than the request came by.
    #[error("its answer names no address of the family that it was asked by")]
    NoMappedAddress,
    /// An address that nothing can be opened for.
    #[error("its answer names an address that nothing can be opened for")]
    Unusable,
}

/// A Binding request.
#[must_use]
pub fn binding_request(transaction: TransactionId) -> Bytes {
    MessageBuilder::binding_request(transaction).build()
}

/// The address in the answer to the request of this transaction, which went to `server`.
///
/// # Errors
/// What is wrong with it. Whoever is on the way can send such a datagram too.
pub fn parse_response(
    datagram: Vec<u8>,
    transaction: TransactionId,
    server: SocketAddr,
) -> Result<IpAddr, ResponseError> {
    let message = Message::from_frame(datagram.into()).map_err(|_| ResponseError::Unexpected)?;
    let attributes = message.attributes();
    let sealed = attributes
        .iter()
        .any(|attribute| matches!(attribute, msf_stun::Attribute::Fingerprint(_)));
    let is_answer = message.is_rfc5389_message()
        && matches!(message.method(), Method::Binding)
        && message.is_response()
        && message.transaction_id() == transaction
        && (!sealed || message.check_fingerprint());
    if !is_answer {
        return Err(ResponseError::Unexpected);
    }
    // What must be understood and is not makes an answer void (§6.3.3).
    if matches!(message.class(), MessageClass::Error) || !message.unknown_attributes().is_empty() {
        return Err(ResponseError::Refused);
    }
    let mapped = attributes.get_xor_mapped_address();
    let mapped = mapped.filter(|mapped| mapped.is_ipv4() == server.is_ipv4());
    let address = mapped.ok_or(ResponseError::NoMappedAddress)?.ip();
    if usable_address(address) {
        Ok(address)
    } else {
        Err(ResponseError::Unusable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRANSACTION_ID: TransactionId = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];
    const V4: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3478);
    const V6: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 3478);

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// RFC 5769 §2.2 and §2.3.
    fn samples() -> [(Vec<u8>, SocketAddr, &'static str); 2] {
        let begin = "2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220";
        let v4 = format!(
            "0101003c {begin} 00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96"
        );
        let v6 = format!(
            "01010048 {begin} 00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c"
        );
        let six = "2001:db8:1234:5678:11:2233:4455:6677";
        [(hex(&v4), V4, "192.0.2.1"), (hex(&v6), V6, six)]
    }

    fn success_response(address: &str, transaction: TransactionId) -> Vec<u8> {
        let mut builder = MessageBuilder::new(MessageClass::Success, Method::Binding, transaction);
        let address = SocketAddr::new(address.parse().unwrap(), 4);
        builder.xor_mapped_address(address).build().to_vec()
    }

    #[test]
    fn the_samples_of_rfc_5769_are_read() {
        for (datagram, server, expected) in samples() {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(
                parse_response(datagram, TRANSACTION_ID, server),
                Ok(expected)
            );
        }
    }

    #[test]
    fn a_request_is_a_bare_header() {
        let expected = hex("00010000 2112a442 b7e7a701bc34d686fa87dfae");
        assert_eq!(binding_request(TRANSACTION_ID), expected);
    }

    #[test]
    fn an_answer_to_another_request_or_from_the_other_family_is_none() {
        let [(v4, ..), (v6, ..)] = samples();
        assert_eq!(
            parse_response(v4.clone(), [1; 12], V4),
            Err(ResponseError::Unexpected)
        );
        assert_eq!(
            parse_response(v4, TRANSACTION_ID, V6),
            Err(ResponseError::NoMappedAddress)
        );
        assert_eq!(
            parse_response(v6, TRANSACTION_ID, V4),
            Err(ResponseError::NoMappedAddress)
        );
        let own_request = binding_request(TRANSACTION_ID).to_vec();
        assert_eq!(
            parse_response(own_request, TRANSACTION_ID, V4),
            Err(ResponseError::Unexpected)
        );
    }

    #[test]
    fn errors_and_addresses_that_are_good_for_nothing_are_told_apart() {
        for (address, server) in [("127.0.0.1", V4), ("0.0.0.0", V4), ("fe80::1", V6)] {
            let answer = parse_response(
                success_response(address, TRANSACTION_ID),
                TRANSACTION_ID,
                server,
            );
            assert_eq!(answer, Err(ResponseError::Unusable), "{address}");
        }
        let error =
            MessageBuilder::new(MessageClass::Error, Method::Binding, TRANSACTION_ID).build();
        assert_eq!(
            parse_response(error.to_vec(), TRANSACTION_ID, V4),
            Err(ResponseError::Refused)
        );
        let empty =
            MessageBuilder::new(MessageClass::Success, Method::Binding, TRANSACTION_ID).build();
        assert_eq!(
            parse_response(empty.to_vec(), TRANSACTION_ID, V4),
            Err(ResponseError::NoMappedAddress)
        );
        // A comprehension-required attribute that nobody knows.
        let mut unknown = success_response("203.0.113.5", TRANSACTION_ID);
        unknown.splice(2..4, [0, 16]);
        unknown.extend([0x7f, 0xff, 0, 0]);
        assert_eq!(
            parse_response(unknown, TRANSACTION_ID, V4),
            Err(ResponseError::Refused)
        );
    }

    #[test]
    fn a_bit_that_changed_on_the_way_is_noticed_where_there_is_a_fingerprint() {
        let (datagram, server, expected) = samples()[0].clone();
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let answer = parse_response(changed, TRANSACTION_ID, server);
            let same = answer == Ok(expected.parse().unwrap());
            assert!(answer.is_err() || same, "bit {bit}: {answer:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_brings_it_down(
            datagram in proptest::collection::vec(any::<u8>(), 0..600),
            keep in 0_usize..28,
        ) {
            let _ = parse_response(datagram.clone(), TRANSACTION_ID, V4);
            let mut begun = samples()[0].0.clone();
            begun.truncate(keep);
            begun.extend(datagram);
            let _ = parse_response(begun, TRANSACTION_ID, V4);
        }
    }
}
