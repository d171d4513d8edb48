//! The SipHash library, against the vectors of SipHash's reference code.
use std::array;

use siphasher::{sip, sip128};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn siphash_of_64_and_128_bits_agrees_with_the_reference_code_byte_for_byte() {
    let key: [u8; 16] = array::from_fn(|i| u8::try_from(i).unwrap());
    let message: [u8; 64] = array::from_fn(|i| u8::try_from(i).unwrap());
    let lines = include_str!("siphash_reference.txt").lines();
    let vectors: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    assert_eq!(vectors.len(), 64);
    for (length, vector) in vectors.into_iter().enumerate() {
        let message = &message[..length];
        let short = sip::SipHasher24::new_with_key(&key).hash(message);
        let long = sip128::SipHasher24::new_with_key(&key).hash(message);
        let both = format!("{} {}", hex(&short.to_le_bytes()), hex(&long.as_bytes()));
        assert_eq!(both, vector, "{length} bytes");
    }
}
