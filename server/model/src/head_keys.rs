//! Stage `identify` against each of the server's keys in turn; pure.
//!
//! Contains only what anyone with the server's public key can compute. The prefilter
//! threads share it to tell packets from noise.

use std::sync::Arc;

use spa_keys::{HeadKeys, ServerSecret};
use spa_proto::{Identified, IdentifyError, identify};

/// The head keys of each key of the server. Clones share them.
#[derive(Clone, Debug)]
pub struct HeadKeySet(Arc<[HeadKeys]>);

impl HeadKeySet {
    /// Makes the set from these keys, the current one first.
    #[must_use]
    pub fn new(servers: &[Arc<ServerSecret>]) -> Self {
        let head_keys = servers.iter().map(|secret| HeadKeys::new(&secret.public()));
        Self(head_keys.collect())
    }

    /// Reads a datagram's head.
    ///
    /// # Errors
    /// No key of the server matches the head.
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
