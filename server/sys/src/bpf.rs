//! An instruction of the kernel's classic packet filter (`struct sock_filter`).

/// One instruction in the kernel's layout (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the comparison is true.
    pub jt: u8,
    /// Instructions to skip if it is false.
    pub jf: u8,
    /// Offset, value, or distance of an unconditional jump.
    pub k: u32,
}
