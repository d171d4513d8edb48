//! Links the optimised `spad` with way.ld, which lays what a knock runs through side by side.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=way.ld");
    println!("cargo::rerun-if-env-changed=SPAD_PLAIN_LINK");
    // Linkers that read no such scripts (mold, gold) can do without: it only makes knocks faster.
    let plain = var("SPAD_PLAIN_LINK").is_ok_and(|set| set == "1");
    let (profile, system, home) = (
        var("PROFILE"),
        var("CARGO_CFG_TARGET_OS"),
        var("CARGO_MANIFEST_DIR"),
    );
    if let (Ok("release"), Ok("linux"), Ok(home), false) =
        (profile.as_deref(), system.as_deref(), home, plain)
    {
        println!("cargo::rustc-link-arg-bin=spad=-T");
        println!("cargo::rustc-link-arg-bin=spad={home}/way.ld");
    }
}
