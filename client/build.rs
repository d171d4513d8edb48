//! Links the unwinder into `spa`, instead of loading libgcc_s.so.1 at each start,
//! which is a tenth of what a knock costs. Only a backtrace calls it. It is
//! under the GCC Runtime Library Exception, as is what every program begins with
//! on such a system (crtbegin.o). A linker that keeps to the order of its
//! arguments takes the shared one as before.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let linux = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    let glibc = var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu");
    if linux && glibc {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
