//! The messages between the engine and the firewall writer, both ways: no bytes
//! panic, and what is read has one form.

use spad_firewall::{FromWriter, ToWriter};
use spad_ipc::Message as _;

/// Reads the bytes as a message of either way.
pub fn run(data: &[u8]) {
    if let Ok(message) = ToWriter::from_bytes(data) {
        assert_eq!(message.to_bytes(), data);
    }
    if let Ok(message) = FromWriter::from_bytes(data) {
        let bytes = message.to_bytes();
        assert_eq!(bytes, data);
        assert!(bytes.len() <= FromWriter::MAX);
    }
}
