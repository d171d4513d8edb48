//! The shipped units under a real systemd: `cargo test -p spa-tests --test boot`.
//!
//! Boots Debian 12 in a container whose network is the lab's. Not among the tests that
//! `cargo test --workspace` runs: the first run makes the tree, which takes a minute or two.
#![expect(
    clippy::expect_used,
    reason = "a helper of tests that fails is a test that fails"
)]

mod boots;
mod failing;
mod machine;
mod other_firewalls;
mod port_monitor;
