//! Returns freed memory to the kernel.
#![expect(unsafe_code, reason = "only the C library knows what it keeps")]

/// How much freed memory each arena may retain, in bytes: glibc's initial value. Setting it
/// disables the automatic adjustment, also of the size from which blocks are mapped.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 128 << 10;

/// Limits the freed memory that the C library retains, permanently. Otherwise it retains more
/// after larger blocks were freed. A reload of ten clients left a mebibyte behind in the arena
/// of an idle thread, which [`malloc_trim`] does not reach.
pub fn limit_malloc_cache() {
    // Other C libraries retain no such memory.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers only, and may be called from any thread.
    unsafe {
        // It refuses no number, and a failure only costs memory.
        let _ = libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    }
}

/// Returns the C library's freed memory to the kernel. A reload of a hundred thousand
/// clients needs twice the memory, and half of it would be retained otherwise.
pub fn malloc_trim() {
    // Others have no such call or need none.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
