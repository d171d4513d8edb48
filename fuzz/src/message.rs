//! The messages between the engine and the firewall writer, both ways: no bytes
//! panic, and what is read has one form.

use spad_firewall::message::MAX_MESSAGE;
use spad_firewall::{FromWriter, ToWriter};

/// Reads the bytes as a message of either way.
pub fn run(data: &[u8]) {
    if let Ok(message) = ToWriter::decode(data) {
        assert_eq!(message.encode(), data);
    }
    if let Ok(message) = FromWriter::decode(data) {
        let bytes = message.encode();
        assert_eq!(bytes, data);
        assert!(bytes.len() <= MAX_MESSAGE);
    }
}
