//! Request → bytes, without padding. docs/protocol.md §6.1. Pure.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use crate::limits::VERSION;
use crate::{Addresses, EncodeError, Open, Request, Services};

impl Request {
    /// The request as bytes, without padding.
    ///
    /// # Errors
    /// One connection only together with a source port.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let nothing = Open::default();
        let mut bytes = Vec::from([VERSION, self.action().number()]);
        match self {
            Self::Open(open) if open.once && open.source_port.is_some() => {
                return Err(EncodeError::OnceWithSourcePort);
            }
            Self::Open(open) => common(&mut bytes, open, &open.addresses, &open.services, ""),
            Self::Close {
                addresses,
                services,
            } => common(&mut bytes, &nothing, addresses, services, ""),
            Self::Run { command } => common(
                &mut bytes,
                &nothing,
                &Addresses::NONE,
                &Services::NONE,
                command.as_str(),
            ),
            Self::Join { join_key: joiner } => {
                common(&mut bytes, &nothing, &Addresses::NONE, &Services::NONE, "");
                bytes.extend_from_slice(joiner);
            }
        }
        Ok(bytes)
    }
}

/// The fields that every action has, flags to command.
fn common(
    bytes: &mut Vec<u8>,
    open: &Open,
    addresses: &Addresses,
    services: &Services,
    command: &str,
) {
    bytes.push(u8::from(open.once));
    bytes.extend_from_slice(&open.duration.to_be_bytes());
    let source_port = open.source_port.map_or(0, NonZeroU16::get);
    bytes.extend_from_slice(&source_port.to_be_bytes());

    bytes.push(count(addresses.iter().count()));
    if let Some(address) = addresses.v4() {
        bytes.push(4);
        bytes.extend_from_slice(&address.octets());
    }
    if let Some(address) = addresses.v6() {
        bytes.push(6);
        bytes.extend_from_slice(&address.octets());
    }

    bytes.push(count(services.as_slice().len()));
    for service in services.as_slice() {
        bytes.push(service.protocol.number());
        bytes.extend_from_slice(&service.port.get().to_be_bytes());
    }

    bytes.push(count(command.len()));
    bytes.extend_from_slice(command.as_bytes());
}

/// A count as a byte. The types hold at most 64 of anything.
fn count(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
