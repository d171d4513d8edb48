//! An instruction of the kernel's classic packet filter (`struct sock_filter`).

/// One instruction as the kernel takes it (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped where the comparison holds.
    pub jt: u8,
    /// Instructions skipped where it does not.
    pub jf: u8,
    /// Offset, value, or distance of an unconditional jump.
    pub k: u32,
}
