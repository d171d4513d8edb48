//! The words that all parts of the server share: values without behaviour of their own.

pub mod firewall;
pub mod on_state_error;
pub mod run;

pub use firewall::{
    ChangeResult, ConnectionFilter, FirewallError, PortState, TrialChange, TrialEvent, TrialRow,
};
pub use on_state_error::OnStateError;
pub use run::{
    ExitKind, HookEvent, MAX_OUTPUT, Requester, RunCommand, RunExit, RunHook, RunId, RunRefusal,
    RunRequest,
};
