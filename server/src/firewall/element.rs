//! What the kernel is asked to hold: elements of sets, and changes of them.
//!
//! Pure values. Nothing here knows how the kernel is told.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::Service;

/// The most steps one change may have: 16 services at 2 addresses are 32.
pub const MAX_STEPS: usize = 64;

/// The name of one change: its answer carries the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// One hole in the wall: who may reach what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The only source address that is let in.
    pub address: IpAddr,
    /// The hidden service that it may reach.
    pub service: Service,
    /// The only source port that is let in; none means any.
    pub source_port: Option<NonZeroU16>,
    /// True: the first connection uses the element up. Never together with a
    /// source port.
    pub once: bool,
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Let the element in for `ttl` from now; one that is there already is renewed, longer or shorter.
    Put {
        /// What is let in.
        element: Element,
        /// For how long, from when the kernel takes it. The kernel counts milliseconds.
        ttl: Duration,
    },
    /// Let the element in no longer; one that is gone already is no error.
    Remove {
        /// What is let in no longer.
        element: Element,
    },
}

impl Step {
    /// The element that the step is about.
    #[must_use]
    pub const fn element(&self) -> &Element {
        match self {
            Self::Put { element, .. } | Self::Remove { element } => element,
        }
    }
}

/// Steps that the kernel takes together: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Given back with the answer.
    pub id: ChangeId,
    /// At most [`MAX_STEPS`], done in this order.
    pub steps: Vec<Step>,
}

/// An element as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelElement {
    /// Who may reach what.
    pub element: Element,
    /// How long the kernel will go on holding it.
    pub remaining: Duration,
}
