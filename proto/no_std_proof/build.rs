//! `main` is called by the C library's start code, which also has memcpy;
//! without std, nobody else asks for it.
fn main() {
    println!("cargo::rustc-link-arg-bins=-lc");
}
