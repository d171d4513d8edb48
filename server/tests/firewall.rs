//! The firewall in real kernels: namespaces, packets, and what became of them.
//!
//! Each test runs anew in a network namespace of its own, as root, with a second
//! one behind a link for the stranger and the client. It fails, and is never
//! skipped, where that is impossible. Nothing of the machine's own firewall is touched.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise; clippy.toml exempts only #[test] functions; a test measures real time"
)]

#[path = "firewall/admitted.rs"]
mod admitted;
#[path = "firewall/cut.rs"]
mod cut;
#[path = "firewall/flushes.rs"]
mod flushes;
#[path = "firewall/grants.rs"]
mod grants;
#[path = "firewall/guard.rs"]
mod guard;
#[path = "firewall/likeness.rs"]
mod likeness;
#[path = "firewall/networks.rs"]
mod networks;
#[path = "firewall/probes.rs"]
mod probes;
#[path = "firewall/reloads.rs"]
mod reloads;
#[path = "firewall/situations.rs"]
mod situations;
#[path = "firewall/standing.rs"]
mod standing;
#[path = "firewall/trials.rs"]
mod trials;
#[path = "firewall/wire.rs"]
mod wire;
#[path = "firewall/world.rs"]
mod world;
