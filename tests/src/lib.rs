//! The whole system with the real kernel: network namespaces, the two
//! binaries, OpenSSH, and somebody who listens in and forges.
//!
//! Takes the binaries beside the test's own; gives the tests one vocabulary
//! (`TestBed`, `Identity`, `Tap`, `Frame`). Never touches the machine's own
//! namespace, and removes what it made when dropped. A test that cannot run
//! fails and says what is missing; nothing is skipped.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests that fails is a test that fails; nothing else links this crate"
)]

pub mod wait;

pub mod namespace;

pub mod process;

pub mod programs;

pub mod binaries;

pub mod lab;

pub mod reach;

pub mod echo;

pub mod identity;

pub mod settings;

pub mod spad;

pub mod test_bed;

pub mod fake_nft;

pub mod sshd;

pub mod spa_cli;

pub mod stun;

pub mod tap;

pub mod frame;
pub mod gateway;

pub mod attacker;

pub mod rng;

pub mod crowd;
