//! What happened, as a value. Pure.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Service, Timestamp};
use spad_model::{ClientName, DoorName, Peer, Reason, ServiceName};

use crate::audit::run::RunRecord;

macro_rules! events {
    ($($name:ident $text:literal $doc:literal;)+) => {
        /// What kind of thing happened: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $doc] $name,)+
        }

        impl Event {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word in the line's `event`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $doc,)+ }
            }
        }
    };
}

events! {
    Start "start" "The daemon judges packets from here on.";
    Stop "stop" "The daemon ended.";
    Reload "reload" "A new configuration is in force.";
    ReloadFailed "reload_failed" "A new configuration was refused; the old one stays.";
    Grant "grant" "The kernel lets a client in; or, with `door`, whoever knocked; or, with `uid`, whom an administrator granted by hand.";
    Expire "expire" "A grant's time is over; or, with the detail `gave_way`, a newer one of its client took its place.";
    Revoke "revoke" "A grant was withdrawn without its client asking; `uid` says which user did by hand.";
    Refuse "refuse" "An authentic packet was refused.";
    Noise "noise" "What was not authentic, and what clients were refused beyond twenty a second each, counted over the last minute.";
    RunStart "run_start" "A declared command was started.";
    Run "run" "A declared command ended: how, how long it took, and what it wrote.";
    Hook "hook" "A hook ended, or could not be run: `command` says which, and the rest is as for `run`.";
    Close "close" "A client withdrew its grant.";
    ClientAdd "client_add" "A client was added.";
    ClientRemove "client_remove" "A client was removed or disabled.";
    Invite "invite" "An invitation was made.";
    Join "join" "A client joined.";
    State "state" "Something about the state directory, the audit file, the clock or the kernel's connection tracking; `detail` says what.";
    GuardOn "guard_on" "A service is hidden.";
    GuardOff "guard_off" "A service is shown again.";
    FirewallRestored "firewall_restored" "Somebody changed our table; it was put back.";
    CaptureDrop "capture_drop" "The capture ring was full; packets were lost.";
}

/// One thing that happened. What does not apply is none, and not in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// What kind of thing.
    pub event: Event,
    /// When.
    pub at: Timestamp,
    /// Which client.
    pub client: Option<ClientName>,
    /// Which door of `[[knock]]`.
    pub door: Option<DoorName>,
    /// The user of this host who asked for it by hand.
    pub uid: Option<u32>,
    /// Which of its keys.
    pub key: Option<KeyId>,
    /// Where the packet came from.
    pub source: Option<IpAddr>,
    /// Who is let in.
    pub granted_to: Option<Peer>,
    /// To what, by name.
    pub service: Option<ServiceName>,
    /// To what.
    pub port: Option<Service>,
    /// From this source port alone.
    pub source_port: Option<NonZeroU16>,
    /// For one connection.
    pub once: bool,
    /// For how long.
    pub ttl: Option<Duration>,
    /// Index of the interface that the packet came in by.
    pub interface: Option<u32>,
    /// The client's clock minus the server's, in milliseconds, the way included.
    pub skew_ms: Option<i64>,
    /// From the packet's arrival to the kernel's answer.
    pub latency: Option<Duration>,
    /// Why.
    pub reason: Option<Reason>,
    /// How many (packets, grants, lines), by what; for sums.
    pub counts: Vec<(&'static str, u64)>,
    /// More, from a closed set: static, so that no stranger's byte gets here.
    pub detail: Option<&'static str>,
    /// A program that was run.
    pub run: Option<Box<RunRecord>>,
}

impl AuditEvent {
    /// An event about nothing in particular yet.
    #[must_use]
    pub const fn new(event: Event, at: Timestamp) -> Self {
        Self {
            event,
            at,
            client: None,
            door: None,
            uid: None,
            key: None,
            source: None,
            granted_to: None,
            service: None,
            port: None,
            source_port: None,
            once: false,
            ttl: None,
            interface: None,
            skew_ms: None,
            latency: None,
            reason: None,
            counts: Vec::new(),
            detail: None,
            run: None,
        }
    }
}
