//! What becomes of packets while the state cannot be written. docs/protocol.md §8.

/// What to do while the state cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStateError {
    /// Go on in memory, loudly; the next start is unclean.
    Memory,
    /// Refuse every packet.
    Refuse,
}
