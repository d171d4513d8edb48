//! The policy for packets while the state cannot be written. docs/protocol.md §8.

/// The policy while the state cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStateError {
    /// Continue in memory and log it; the next start is unclean.
    Memory,
    /// Refuse every packet.
    Refuse,
}
