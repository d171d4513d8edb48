//! Stage `identify` against each of the server's keys in turn; pure.
//!
//! Holds what whoever knows the server's public key can compute, and no more:
//! threads that only tell noise from packets share it.

use std::sync::Arc;

use spa_keys::{HeadKeys, ServerSecret};
use spa_proto::{Identified, IdentifyError, identify};

/// The head's keys of each key of the server. A clone is the same in another place.
#[derive(Clone, Debug)]
pub struct HeadKeySet(Arc<[HeadKeys]>);

impl HeadKeySet {
    /// Of these keys, the present one first.
    #[must_use]
    pub fn new(servers: &[Arc<ServerSecret>]) -> Self {
        let head_keys = servers.iter().map(|secret| HeadKeys::new(&secret.public()));
        Self(head_keys.collect())
    }

    /// Reads a datagram's head.
    ///
    /// # Errors
    /// It is of none of these keys.
    pub fn identify<'a>(&self, payload: &'a [u8]) -> Result<Identified<'a>, IdentifyError> {
        let mut fault = IdentifyError::HeadTag;
        for head in self.0.iter() {
            match identify(head, payload) {
                Ok(identified) => return Ok(identified),
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }
}
