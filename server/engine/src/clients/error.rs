//! Why clients cannot be served; each error names the client and the mend.

use spad_model::ClientName;

/// Why the clients cannot be served as they are configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientsError {
    /// No server key at all.
    #[error("there is no server key; `spad init` makes one")]
    NoServerKey,
    /// Two clients with one key id, so that a packet would not say whose it is.
    #[error(
        "clients {first} and {second} have the same key; give each client a key of its own, or remove one of them"
    )]
    SameKey {
        /// The one that stands first.
        first: ClientName,
        /// The other; the same name where one client lists a key twice.
        second: ClientName,
    },
    /// The client's key is the server's.
    #[error(
        "client {0} has the server's own key; give it the key that `spa key show` prints on the client"
    )]
    ServersOwnKey(ClientName),
    /// The secret is missing.
    #[error(
        "the shared key of client {0} is missing; add the client anew with `spad client add {0} --shared-key-file FILE`"
    )]
    NoSharedKey(ClientName),
    /// The secret is missing.
    #[error(
        "the pre-shared key of client {0} is missing; add the client anew with --psk-file FILE, or remove pre_shared_key from its file"
    )]
    NoPreSharedKey(ClientName),
}
