//! Audit events of the engine; pure. Names come from the configuration, numbers
//! from authentic packets; of anything else only sums.

use std::time::Duration;

use spad_model::{Class, Element, Now, Reason};

use super::Engine;
use super::firewall::PacketOrigin;
use crate::audit::event::{AuditEvent, Event};
use crate::grants::Owner;

impl Engine {
    pub(super) fn refusal_event(
        &self,
        origin: &PacketOrigin,
        reason: Reason,
        now: Now,
    ) -> AuditEvent {
        let mut event = AuditEvent::new(Event::Refuse, now.wall);
        event.client = origin.client.clone();
        event.key = Some(origin.sender.id);
        event.source = Some(origin.source);
        event.interface = Some(origin.interface);
        event.skew_ms = Some(skew_ms(origin));
        event.reason = Some(reason);
        event
    }

    /// One line an element for what was opened or closed, one for a refusal.
    pub(super) fn packet_events(
        &self,
        origin: &PacketOrigin,
        reason: Reason,
        elements: &[(Element, Duration)],
        now: Now,
    ) -> Vec<AuditEvent> {
        let mut line = self.refusal_event(origin, reason, now);
        line.event = match reason.class() {
            Class::Opened => Event::Grant,
            Class::Closed => Event::Close,
            Class::Started | Class::Refused | Class::Counted => return vec![line],
        };
        line.latency = Some(now.boot.saturating_since(origin.at.boot));
        if elements.is_empty() {
            return vec![line];
        }
        let event_for = |(element, ttl): &(Element, Duration)| {
            let mut line = line.clone();
            self.describe(&mut line, element);
            line.ttl = Some(*ttl).filter(|ttl| !ttl.is_zero());
            line
        };
        elements.iter().map(event_for).collect()
    }

    /// What happened to a holder's grant without a packet of its own.
    pub(super) fn grant_event(
        &self,
        event: Event,
        owner: Owner,
        element: &Element,
        now: Now,
    ) -> AuditEvent {
        let mut line = AuditEvent::new(event, now.wall);
        if owner == Owner::Admin {
            line.detail = Some("by hand");
        }
        if let Owner::Door(id) = owner {
            line.door = self.clients.config().door(id).map(|door| door.name.clone());
        }
        if let Owner::Client(id) = owner {
            line.key = Some(id);
            line.client = self
                .clients
                .by_key_id(id)
                .map(|(_, client)| client.name.clone());
        }
        self.describe(&mut line, element);
        line
    }

    pub(super) fn describe(&self, line: &mut AuditEvent, element: &Element) {
        line.granted_to = Some(element.peer());
        line.port = Some(element.service);
        line.source_port = element.source_port;
        line.once = element.once;
        line.service = self.clients.service_at(element.service).cloned();
    }

    /// What was not authentic since this was last asked, and what was refused without
    /// a line of its own; none if there was nothing.
    pub(super) fn noise_summary(&mut self, now: Now) -> Option<AuditEvent> {
        let unreported = std::mem::take(&mut self.unreported);
        let mut counts: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| reason.class() == Class::Counted)
            .map(|reason| {
                let (sum, reported) = (self.counters.get(*reason), self.reported.get(*reason));
                (reason.as_str(), sum.saturating_sub(reported))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        counts.extend(
            unreported
                .iter()
                .map(|(reason, count)| (reason.as_str(), count)),
        );
        if counts.is_empty() {
            return None;
        }
        self.reported = self.counters.clone();
        let mut event = AuditEvent::new(Event::Noise, now.wall);
        event.counts = counts;
        Some(event)
    }
}

/// The client's clock minus ours, the packet's way included.
fn skew_ms(origin: &PacketOrigin) -> i64 {
    let (theirs, ours) = (origin.sender.timestamp, origin.at.wall);
    let millis = i64::try_from(theirs.abs_diff(ours).as_millis()).unwrap_or(i64::MAX);
    if theirs < ours {
        millis.saturating_neg()
    } else {
        millis
    }
}

pub mod event;

pub mod run;
