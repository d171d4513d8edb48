//! Brings the code that a knock runs through into the processor's caches.
//!
//! After a silence it is in none of them, and to miss its lines one after the other takes
//! several times as long as to ask for all of them at once. server/way.ld lays them side by
//! side, between the two functions below.
#![expect(unsafe_code, reason = "no safe function asks for a line of a cache")]

use std::hint::black_box;

/// Bytes that a processor caches together.
const LINE: usize = 64;
/// Bytes that a way has at most; what second-level caches hold.
const LONGEST: usize = 256 * 1024;

// They differ in what they give, or the linker could make one of them.
#[inline(never)]
fn first_of_a_way() -> u32 {
    black_box(1)
}

#[inline(never)]
fn last_of_a_way() -> u32 {
    black_box(2)
}

/// Asks for all of it. Does nothing in a program that was linked without server/way.ld and
/// has the two functions far apart.
pub fn bring_near() {
    let first = first_of_a_way as fn() -> u32 as usize;
    let last = last_of_a_way as fn() -> u32 as usize;
    if (first..first.saturating_add(LONGEST)).contains(&last) {
        (first..last).step_by(LINE).for_each(ask_for);
    }
}

#[cfg(target_arch = "x86_64")]
fn ask_for(line: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a hint: it reads nothing into the program and never faults, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(line)) };
}

#[cfg(target_arch = "aarch64")]
fn ask_for(line: usize) {
    // SAFETY: a hint: it reads nothing into the program and never faults, wherever it points.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{line}]", line = in(reg) line,
            options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn ask_for(_line: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_way_are_two() {
        bring_near();
        assert_ne!(first_of_a_way(), last_of_a_way());
    }
}
