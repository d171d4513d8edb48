//! The messages between the engine and the firewall writer: a closed set.
//!
//! One message is one datagram of a `SOCK_SEQPACKET` pair, of a fixed layout
//! that `codec` writes and reads. Neither side believes the other: whatever
//! does not have the layout is an error, and the writer checks every limit
//! again against its own reading of the configuration.

use std::time::Duration;

use spad_model::{Change, ChangeResult, ConnectionFilter, KernelElement, TrialEvent, TrialRow};

/// The longest message either way, in bytes.
pub const MAX_MESSAGE: usize = 65_536;

/// The most elements that one [`FromWriter::Listed`] carries.
pub const MAX_LISTED: usize = 1024;

/// The most that one [`ToWriter::Cut`] carries.
pub const MAX_FILTERS: usize = 1024;

/// The longest text of an error, in bytes; longer ones are cut.
pub const MAX_TEXT: usize = 8192;

/// What the engine asks of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWriter {
    /// No other daemon is at work: load the table. The first message; answered by
    /// [`FromWriter::Ready`], or by `Failed`.
    Begin,
    /// Change grants; answered by [`FromWriter::Answer`].
    Change(Change),
    /// Tell what the kernel holds; answered by one or more [`FromWriter::Listed`].
    List,
    /// Read the configuration again and load the table that it asks for;
    /// answered by [`FromWriter::Reloaded`].
    Reload,
    /// The administrator reached what is on trial: hide it for good; answered
    /// by [`FromWriter::Confirmed`].
    Confirm,
    /// End established connections, at most [`MAX_FILTERS`] kinds of them; answered by
    /// [`FromWriter::Cut`].
    Cut(Vec<ConnectionFilter>),
    /// Tell how each hidden port stands; answered by [`FromWriter::Trials`].
    Trials,
    /// Say that you live; answered by [`FromWriter::Pong`].
    Ping,
    /// End. The table stays.
    Stop,
}

/// What the writer tells the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWriter {
    /// The table stands; changes are taken. The first message, or `Failed` is.
    Ready,
    /// The writer cannot go on, for this reason. The last message.
    Failed(String),
    /// What became of a change.
    Answer(ChangeResult),
    /// Elements that the kernel holds; `last` in the last message of the answer.
    Listed {
        /// At most [`MAX_LISTED`].
        elements: Vec<KernelElement>,
        /// No more follow.
        last: bool,
    },
    /// What became of a reload; the error leaves everything as it was.
    Reloaded(Result<(), String>),
    /// Somebody removed or changed the table, or it could not be loaded before; it stands now.
    Restored {
        /// How many grants went back in.
        grants: u32,
    },
    /// The table could not be loaded or put back, for this reason; the text tells what hides
    /// meanwhile. It is tried again with growing pauses.
    NotRestored(String),
    /// A trial began, or ended.
    Trial(TrialEvent),
    /// How each hidden port stands.
    Trials(Vec<TrialRow>),
    /// A sign of life: the answer to `Ping`, and the end of `Busy`.
    Pong,
    /// Something is under way that takes so long at most, and nothing is answered meanwhile.
    Busy(Duration),
    /// What strangers get at hidden ports, in words; lines behind the first say what cannot be
    /// told for sure.
    StrangerReply(String),
    /// How many connections `Cut` ended, or why some may live on.
    Cut(Result<u32, String>),
    /// How many trials `Confirm` ended, or why it could not be written down.
    Confirmed(Result<u32, String>),
}
