//! Memory that was freed, given back to the kernel.
#![expect(unsafe_code, reason = "only the C library knows what it keeps")]

/// Gives back what the C library keeps of freed memory: a configuration of a hundred
/// thousand clients is taken beside the one in use, and would else be kept for good.
pub fn give_back() {
    // Others either have no such call or need none.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
