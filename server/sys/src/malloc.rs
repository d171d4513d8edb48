//! Memory that was freed, given back to the kernel.
#![expect(unsafe_code, reason = "only the C library knows what it keeps")]

/// How much of freed memory may be kept at the end of each thread's part, in bytes: what glibc
/// begins with. Set, it stays so, and so does the length from which a piece is mapped alone.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 128 << 10;

/// Lets the C library keep little of freed memory, for good. Else it keeps the more, the larger
/// the pieces were: a reload that reads ten clients left a mebibyte behind, in the part of a
/// thread that has nothing more to do, which [`malloc_trim`] does not reach.
pub fn limit_malloc_cache() {
    // Others keep nothing of the kind.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers only, and may be called from any thread.
    unsafe {
        // It refuses no number, and without it memory is all that is lost.
        let _ = libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    }
}

/// Gives back what the C library keeps of freed memory: a configuration of a hundred
/// thousand clients is taken beside the one in use, and would else be kept for good.
pub fn malloc_trim() {
    // Others either have no such call or need none.
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
