//! The firewall in real kernels: namespaces, packets, and what became of them.
//!
//! Each test runs anew in a network namespace of its own, as root, with a second
//! one behind a link for the stranger and the client. It fails, and is never
//! skipped, where that is impossible. Nothing of the machine's own firewall is touched.

mod admitted;
mod closed_port_likeness;
mod cut;
mod flushes;
mod grants;
mod guard;
mod netns;
mod networks;
mod probes;
mod reloads;
mod situations;
mod table_persistence;
mod trials;
mod wire;
