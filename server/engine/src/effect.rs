//! What the engine wants done, as values, in the order in which it must be done.

use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::Service;
use spad_model::knock::Sequence;
use spad_model::{
    Change, ChangeId, ClientName, DoorName, Element, Peer, RunId, RunRequest, Verdict,
};
use spad_replay::JournalRecord;

use crate::audit::event::AuditEvent;
use crate::grants::Owner;

/// One thing to be done. What is recorded is recorded before the firewall changes:
/// where a record cannot be written and the packet must not act, the change that
/// follows is not sent, and [`super::Engine::abort_change`] is told so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append this to the journal.
    Record(JournalRecord),
    /// Note that this sequence is used, where it survives the machine. What follows is
    /// held back as behind a record.
    MarkSequenceUsed(UsedSequence),
    /// Send this to the firewall writer; its answer comes back by
    /// [`super::Engine::on_firewall_answer`].
    Firewall(Change),
    /// Ask the command runner for this; what it says comes back by
    /// [`super::Engine::run_started`] and its like.
    Run(RunRequest),
    /// Write this audit line.
    Audit(Box<AuditEvent>),
}

/// A sequence for one use whose knocks were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedSequence {
    /// At which door.
    pub door: DoorName,
    /// Which.
    pub sequence: Sequence,
    /// How many that door has left.
    pub remaining: usize,
}

/// What became of a packet, now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// This.
    Verdict(Verdict),
    /// What the firewall writer answers to this change.
    AwaitingFirewall(ChangeId),
    /// What the command runner says to this run.
    AwaitingRunner(RunId),
}

/// A list of what is open that grows a portion at a time, while packets come and go.
#[derive(Debug, Default)]
pub struct GrantListing {
    /// How far it came.
    pub(super) after: Option<(Owner, Element)>,
    pub(super) rows: Vec<GrantRow>,
}

impl GrantListing {
    /// The rows, in the order of addresses and services.
    #[must_use]
    pub fn into_rows(self) -> Vec<GrantRow> {
        let mut rows = self.rows;
        rows.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        rows
    }
}

/// One holder of one open element, for `spad grants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// Which client holds it; none where an administrator does, or nobody knows who (adopted
    /// without a holder).
    pub client: Option<ClientName>,
    /// The door of `[[knock]]` by which it came.
    pub door: Option<DoorName>,
    /// An administrator granted it by hand.
    pub admin: bool,
    /// Who is let in.
    pub peer: Peer,
    /// To what.
    pub service: Service,
    /// From which source port alone.
    pub source_port: Option<NonZeroU16>,
    /// For one connection only. It may have been used already.
    pub once: bool,
    /// For how much longer.
    pub remaining: Duration,
}

impl GrantRow {
    fn sort_key(&self) -> impl Ord + '_ {
        (self.peer, self.service, self.source_port, &self.client)
    }
}
