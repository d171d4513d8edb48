//! Errors by stage, each fault its own variant and its own reason. No strings,
//! no bytes of an attacker.

/// Why a datagram is not taken for a packet. docs/protocol.md §7, step 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IdentifyError {
    /// Shorter than 160 or longer than 512 bytes.
    #[error("not 160 to 512 bytes long")]
    Length,
    /// The head's tag is wrong: noise, or a packet for another server.
    #[error("the head's tag is wrong")]
    HeadTag,
}

impl IdentifyError {
    /// Every fault of this stage.
    pub const ALL: [Self; 2] = [Self::Length, Self::HeadTag];

    /// The reason in logs, counters and test vectors.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::HeadTag => "head_tag",
        }
    }
}

/// The HMAC is wrong: the packet is not from the holder of these keys.
/// docs/protocol.md §7, step 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the packet's HMAC is wrong")]
pub struct NotAuthentic;

impl NotAuthentic {
    /// The reason in logs, counters and test vectors.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        "hmac"
    }
}

/// Why an authentic packet cannot be opened. docs/protocol.md §7, step 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// The ciphertext's tag is wrong.
    #[error("the packet cannot be decrypted")]
    Decryption,
    /// The plaintext is no request.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl OpenError {
    /// The reason in logs, counters and test vectors.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Decryption => "decryption",
            Self::Request(fault) => fault.reason(),
        }
    }
}

macro_rules! request_errors {
    ($($variant:ident $reason:literal $text:literal)*) => {
        /// What is wrong with a request. docs/protocol.md §6.8.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum RequestError {
            $(#[doc = concat!("`", $reason, "`: ", $text, ".")]
            #[error($text)]
            $variant,)*
        }

        impl RequestError {
            /// Every fault, in the order in which docs/protocol.md lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The reason in logs, counters and test vectors.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$variant => $reason,)*
                }
            }
        }
    };
}

request_errors! {
    UnknownVersion "unknown_version" "the version is not 1"
    UnknownAction "unknown_action" "the action is not 1 to 4"
    UnknownFlag "unknown_flag" "a flag is set that version 1 does not have"
    TooManyAddresses "too_many_addresses" "there are more than 2 addresses"
    UnknownFamily "unknown_family" "an address is neither IPv4 nor IPv6"
    DuplicateFamily "duplicate_family" "there are two addresses of one family"
    UnorderedFamily "unordered_family" "the IPv6 address stands before the IPv4 address"
    UnusableAddress "unusable_address" "nobody connects from an address of this kind"
    TooManyServices "too_many_services" "there are more than 16 services"
    UnknownProtocol "unknown_protocol" "a service's protocol is neither TCP, UDP nor SCTP"
    ZeroPort "zero_port" "a service's port is 0"
    DuplicateService "duplicate_service" "a service stands there twice"
    UnorderedService "unordered_service" "the services are not in ascending order"
    CommandTooLong "command_too_long" "the command's name is longer than 64 bytes"
    MalformedCommand "malformed_command" "the command's name has characters other than a-z, 0-9, _ and -, or begins with _ or -"
    MissingCommand "missing_command" "there is no command to run"
    Truncated "truncated" "the request ends within a field"
    UnusedField "unused_field" "a field is set that the action does not use"
    OnceWithSourcePort "once_with_source_port" "one connection only, and one source port, exclude each other"
    NonzeroPadding "nonzero_padding" "the padding is not zero"
}

/// Why a request cannot be written down. docs/protocol.md §6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EncodeError {
    /// One connection only and a source port exclude each other.
    #[error("one connection only, and one source port, exclude each other; ask for one of them")]
    OnceWithSourcePort,
}

/// Why a packet cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// The request cannot be written down.
    #[error(transparent)]
    Request(#[from] EncodeError),
    /// The packet would be longer than 512 bytes.
    #[error("the packet would be longer than 512 bytes")]
    TooLong,
}
