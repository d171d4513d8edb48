//! The words that all parts of the server share: addresses, times, verdicts, elements of the firewall.
//!
//! Pure values. Nothing here opens a file, a socket or a clock.

#![forbid(unsafe_code)]

pub mod carrier;
pub mod check_line;
pub mod clock;
pub mod datagram;
pub mod element;
pub mod firewall;
pub mod frame_fault;
pub mod head_keys;
pub mod help;
pub mod key_id_hash;
pub mod knock;
pub mod names;
pub mod network;
pub mod on_state_error;
pub mod paths;
pub mod ports;
pub mod prefix_lengths;
pub mod run;
pub mod verdict;

pub use carrier::{Carrier, CarrierSet};
pub use clock::{BootTime, Now};
pub use datagram::{Datagram, OwnedDatagram, Received};
pub use element::{
    CONNECT_TIMEOUT, Change, ChangeId, Element, KernelElement, MAX_STEPS, PREFIXES4, PREFIXES6,
    Peer, Step,
};
pub use firewall::{
    ChangeResult, ConnectionFilter, FirewallError, PortState, TrialChange, TrialEvent, TrialRow,
};
pub use frame_fault::FrameFault;
pub use head_keys::HeadKeySet;
pub use help::{Explanation, Help};
pub use key_id_hash::KeyIdHash;
pub use names::{ClientName, DoorId, DoorName, MAX_NAME, NameError, ServiceName};
pub use network::{Network, NetworkError};
pub use on_state_error::OnStateError;
pub use paths::Paths;
pub use ports::Ports;
pub use prefix_lengths::PrefixLengths;
pub use run::{
    ExitKind, HookEvent, MAX_OUTPUT, Requester, RunCommand, RunExit, RunHook, RunId, RunRefusal,
    RunRequest,
};
pub use verdict::{Class, Counters, Reason, Verdict};
