//! The files' layout, as tests/vectors/README.md tells it.

use serde::Serialize;
use serde_json::Value;

/// One packet and what becomes of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PacketCase {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) server: Pair,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pre_shared_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_key: Option<String>,
    pub(crate) key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) length_draw: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plaintext: Option<String>,
    pub(crate) packet: String,
    pub(crate) now: String,
    pub(crate) max_skew_seconds: u32,
    pub(crate) outcome: Outcome,
}

impl PacketCase {
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

/// A key pair, in hex.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Pair {
    pub(crate) secret_key: String,
    pub(crate) public_key: String,
}

/// What a receiver must conclude.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
}

impl Outcome {
    pub(crate) const ACCEPTED: Self = Self {
        accepted: true,
        stage: None,
        reason: None,
    };

    pub(crate) const fn refused(stage: &'static str, reason: &'static str) -> Self {
        Self {
            accepted: false,
            stage: Some(stage),
            reason: Some(reason),
        }
    }
}

/// One text, read as one kind of key.
#[derive(Debug, Serialize)]
pub(crate) struct TextCase {
    pub(crate) about: String,
    pub(crate) expected_prefix: &'static str,
    pub(crate) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    pub(crate) outcome: Outcome,
}

/// Keys, and what is derived from them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DerivationCase {
    pub(crate) about: String,
    pub(crate) server: Pair,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pre_shared_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) derived: Option<Derived>,
    pub(crate) outcome: Outcome,
}

/// In the order in which they are computed, in hex.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Derived {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pair_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_key_name: Option<String>,
    pub(crate) key_id: String,
    pub(crate) mask_key: String,
    pub(crate) tag_key: String,
    pub(crate) prk: String,
    pub(crate) encryption_key: String,
    pub(crate) authentication_key: String,
    pub(crate) mask: String,
    pub(crate) tag_of_40_zero_bytes: String,
    pub(crate) hmac_of_nonce: String,
}

pub(crate) fn json(case: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(case).unwrap();
    text.push('\n');
    text
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
