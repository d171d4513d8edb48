//! The layout of the messages between engine and writer.
//!
//! Pure: values to bytes and back. Integers are big-endian, times are
//! microseconds in 8 bytes. Whatever is too short, too long, out of range or
//! not in its one canonical form is refused; no bytes make it panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use spa_proto::{Protocol, Service};

use super::message::{FromWriter, MAX_FILTERS, MAX_LISTED, MAX_TEXT, ToWriter};
use spad_model::Network;
use spad_model::element::MAX_STEPS;
use spad_model::{Change, ChangeId, Element, KernelElement, Step};
use spad_model::{
    ChangeResult, ConnectionFilter, FirewallError, PortState, TrialChange, TrialEvent, TrialRow,
};

/// The bytes do not have the layout of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the firewall writer ({0})")]
pub struct DecodeError(&'static str);

type Decoded<T> = Result<T, DecodeError>;

/// Room for a change of one element, so that a knock's message never grows.
const INITIAL_CAPACITY: usize = 64;

impl ToWriter {
    /// The message as bytes, at most [`super::message::MAX_MESSAGE`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(INITIAL_CAPACITY);
        match self {
            Self::Change(change) => {
                out.push(1);
                out.extend(change.id.0.to_be_bytes());
                put_length(&mut out, change.steps.len());
                for step in &change.steps {
                    match step {
                        Step::Put { element, ttl } => {
                            out.push(1);
                            put_element(&mut out, element);
                            put_duration(&mut out, *ttl);
                        }
                        Step::Remove { element } => {
                            out.push(2);
                            put_element(&mut out, element);
                            put_duration(&mut out, Duration::ZERO);
                        }
                    }
                }
            }
            Self::List => out.push(2),
            Self::Reload => out.push(3),
            Self::Confirm => out.push(4),
            Self::Trials => out.push(5),
            Self::Stop => out.push(6),
            Self::Cut(cuts) => {
                out.push(7);
                put_length(&mut out, cuts.len());
                for cut in cuts {
                    put_address(&mut out, cut.network.address);
                    out.push(cut.network.prefix);
                    put_service(&mut out, cut.service);
                }
            }
            Self::Begin => out.push(8),
            Self::Ping => out.push(9),
        }
        out
    }

    /// Reads one message.
    ///
    /// # Errors
    /// Where the bytes do not have the layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            1 => {
                let id = ChangeId(reader.number()?);
                let count = reader.length(MAX_STEPS)?;
                let mut steps = Vec::with_capacity(count);
                for _ in 0..count {
                    steps.push(reader.step()?);
                }
                Self::Change(Change { id, steps })
            }
            2 => Self::List,
            3 => Self::Reload,
            4 => Self::Confirm,
            5 => Self::Trials,
            6 => Self::Stop,
            7 => {
                let count = reader.length(MAX_FILTERS)?;
                let mut cuts = Vec::with_capacity(count);
                for _ in 0..count {
                    cuts.push(reader.cut()?);
                }
                Self::Cut(cuts)
            }
            8 => Self::Begin,
            9 => Self::Ping,
            _ => return Err(DecodeError("unknown kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

impl FromWriter {
    /// The message as bytes, at most [`super::message::MAX_MESSAGE`]; longer texts are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ready => out.push(1),
            Self::Failed(text) => {
                out.push(2);
                put_text(&mut out, text);
            }
            Self::Answer(answer) => {
                out.push(3);
                out.extend(answer.id.0.to_be_bytes());
                put_result(&mut out, answer.result);
            }
            Self::Listed { elements, last } => {
                out.extend([4, u8::from(*last)]);
                put_length(&mut out, elements.len());
                for held in elements {
                    put_element(&mut out, &held.element);
                    put_duration(&mut out, held.remaining);
                }
            }
            Self::Reloaded(result) => {
                out.push(5);
                put_text(&mut out, result.as_ref().err().map_or("", String::as_str));
            }
            Self::Restored { grants } => {
                out.push(6);
                out.extend(grants.to_be_bytes());
            }
            Self::NotRestored(text) => {
                out.push(7);
                put_text(&mut out, text);
            }
            Self::Trial(event) => {
                out.push(8);
                put_service(&mut out, event.service);
                let (kind, time) = match event.change {
                    TrialChange::Began(time) => (1, time),
                    TrialChange::Reached => (2, Duration::ZERO),
                    TrialChange::Confirmed => (3, Duration::ZERO),
                    TrialChange::TimedOut => (4, Duration::ZERO),
                };
                out.push(kind);
                put_duration(&mut out, time);
            }
            Self::Trials(rows) => {
                out.push(9);
                put_length(&mut out, rows.len());
                for row in rows {
                    put_service(&mut out, row.service);
                    let (kind, time) = match row.state {
                        PortState::Hidden => (1, Duration::ZERO),
                        PortState::OnTrial(time) => (2, time),
                        PortState::Exposed => (3, Duration::ZERO),
                    };
                    out.push(kind);
                    put_duration(&mut out, time);
                }
            }
            Self::Confirmed(result) => {
                out.push(10);
                put_count(&mut out, result);
            }
            Self::Cut(result) => {
                out.push(11);
                put_count(&mut out, result);
            }
            Self::Pong => out.push(12),
            Self::Busy(span) => {
                out.push(13);
                put_duration(&mut out, *span);
            }
            Self::StrangerReply(text) => {
                out.push(14);
                put_text(&mut out, text);
            }
        }
        out
    }

    /// Reads one message.
    ///
    /// # Errors
    /// Where the bytes do not have the layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            1 => Self::Ready,
            2 => Self::Failed(reader.text()?),
            3 => Self::Answer(ChangeResult {
                id: ChangeId(reader.number()?),
                result: reader.result()?,
            }),
            4 => {
                let last = reader.flag()?;
                let count = reader.length(MAX_LISTED)?;
                let mut elements = Vec::with_capacity(count);
                for _ in 0..count {
                    elements.push(KernelElement {
                        element: reader.element()?,
                        remaining: reader.duration()?,
                    });
                }
                Self::Listed { elements, last }
            }
            5 => {
                let text = reader.text()?;
                Self::Reloaded(if text.is_empty() { Ok(()) } else { Err(text) })
            }
            6 => Self::Restored {
                grants: reader.short_number()?,
            },
            7 => Self::NotRestored(reader.text()?),
            8 => {
                let service = reader.service()?;
                let kind = reader.byte()?;
                let time = reader.duration()?;
                let change = match (kind, time.is_zero()) {
                    (1, _) => TrialChange::Began(time),
                    (2, true) => TrialChange::Reached,
                    (3, true) => TrialChange::Confirmed,
                    (4, true) => TrialChange::TimedOut,
                    _ => return Err(DecodeError("unknown change of a trial")),
                };
                Self::Trial(TrialEvent { service, change })
            }
            9 => {
                let count = reader.length(MAX_LISTED)?;
                let mut rows = Vec::with_capacity(count);
                for _ in 0..count {
                    rows.push(reader.trial_row()?);
                }
                Self::Trials(rows)
            }
            10 => Self::Confirmed(reader.count()?),
            11 => Self::Cut(reader.count()?),
            12 => Self::Pong,
            13 => Self::Busy(reader.duration()?),
            14 => Self::StrangerReply(reader.text()?),
            _ => return Err(DecodeError("unknown kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // A longer list than 65,535 would be refused by the reader's limits.
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_duration(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    out.extend(micros.to_be_bytes());
}

fn put_service(out: &mut Vec<u8>, service: Service) {
    out.push(service.protocol.number());
    out.extend(service.port.get().to_be_bytes());
}

fn put_count(out: &mut Vec<u8>, result: &Result<u32, String>) {
    out.extend(result.as_ref().copied().unwrap_or(0).to_be_bytes());
    put_text(out, result.as_ref().err().map_or("", String::as_str));
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend([0; 12]);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend(address.octets());
        }
    }
}

fn put_element(out: &mut Vec<u8>, element: &Element) {
    put_address(out, element.address);
    put_service(out, element.service);
    out.extend(element.source_port.map_or(0, NonZeroU16::get).to_be_bytes());
    out.push(u8::from(element.once));
    out.push(element.prefix.unwrap_or(0));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let text = text.get(..end).unwrap_or("");
    put_length(out, text.len());
    out.extend(text.as_bytes());
}

fn put_result(out: &mut Vec<u8>, result: Result<(), FirewallError>) {
    let (kind, code) = match result {
        Ok(()) => (0, 0),
        Err(FirewallError::SetFull) => (1, 0),
        Err(FirewallError::TableMissing) => (2, 0),
        Err(FirewallError::NotDeclared) => (3, 0),
        Err(FirewallError::TooLong) => (4, 0),
        Err(FirewallError::TooShort) => (5, 0),
        Err(FirewallError::Malformed) => (6, 0),
        Err(FirewallError::Kernel(code)) => (7, code),
        Err(FirewallError::Command) => (8, 0),
        Err(FirewallError::Unsupported) => (9, 0),
    };
    out.push(kind);
    out.extend(code.to_be_bytes());
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(DecodeError("truncated"))?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(u8::from_be_bytes(self.chunk()?))
    }

    fn port(&mut self) -> Decoded<u16> {
        Ok(u16::from_be_bytes(self.chunk()?))
    }

    fn short_number(&mut self) -> Decoded<u32> {
        Ok(u32::from_be_bytes(self.chunk()?))
    }

    fn number(&mut self) -> Decoded<u64> {
        Ok(u64::from_be_bytes(self.chunk()?))
    }

    fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError("neither yes nor no")),
        }
    }

    fn length(&mut self, max: usize) -> Decoded<usize> {
        let length = usize::from(self.port()?);
        if length > max {
            return Err(DecodeError("too many"));
        }
        Ok(length)
    }

    fn duration(&mut self) -> Decoded<Duration> {
        Ok(Duration::from_micros(self.number()?))
    }

    fn service(&mut self) -> Decoded<Service> {
        let protocol =
            Protocol::from_number(self.byte()?).ok_or(DecodeError("unknown protocol"))?;
        let port = NonZeroU16::new(self.port()?).ok_or(DecodeError("port 0"))?;
        Ok(Service { protocol, port })
    }

    fn address(&mut self) -> Decoded<IpAddr> {
        match self.byte()? {
            4 => {
                if self.chunk()? != [0; 12] {
                    return Err(DecodeError("padding"));
                }
                Ok(IpAddr::V4(Ipv4Addr::from(self.chunk::<4>()?)))
            }
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.chunk::<16>()?))),
            _ => Err(DecodeError("unknown family")),
        }
    }

    fn cut(&mut self) -> Decoded<ConnectionFilter> {
        let address = self.address()?;
        let network = Network::enclosing(address, self.byte()?);
        let network = network.filter(|network| network.address == address);
        Ok(ConnectionFilter {
            network: network.ok_or(DecodeError("not a network"))?,
            service: self.service()?,
        })
    }

    fn count(&mut self) -> Decoded<Result<u32, String>> {
        let count = self.short_number()?;
        let text = self.text()?;
        match (count, text.is_empty()) {
            (count, true) => Ok(Ok(count)),
            (0, false) => Ok(Err(text)),
            _ => Err(DecodeError("a number and an error")),
        }
    }

    fn element(&mut self) -> Decoded<Element> {
        let address = self.address()?;
        let element = Element {
            address,
            service: self.service()?,
            source_port: NonZeroU16::new(self.port()?),
            once: self.flag()?,
            prefix: Some(self.byte()?).filter(|prefix| *prefix != 0),
        };
        if !element.is_valid() {
            return Err(DecodeError("an element that cannot be"));
        }
        Ok(element)
    }

    fn step(&mut self) -> Decoded<Step> {
        let kind = self.byte()?;
        let element = self.element()?;
        let ttl = self.duration()?;
        match (kind, ttl.is_zero()) {
            (1, _) => Ok(Step::Put { element, ttl }),
            (2, true) => Ok(Step::Remove { element }),
            _ => Err(DecodeError("unknown step")),
        }
    }

    fn trial_row(&mut self) -> Decoded<TrialRow> {
        let service = self.service()?;
        let kind = self.byte()?;
        let time = self.duration()?;
        let state = match (kind, time.is_zero()) {
            (1, true) => PortState::Hidden,
            (2, _) => PortState::OnTrial(time),
            (3, true) => PortState::Exposed,
            _ => return Err(DecodeError("unknown standing")),
        };
        Ok(TrialRow { service, state })
    }

    fn text(&mut self) -> Decoded<String> {
        let length = self.length(MAX_TEXT)?;
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError("truncated"))?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| DecodeError("not UTF-8"))
    }

    fn result(&mut self) -> Decoded<Result<(), FirewallError>> {
        let kind = self.byte()?;
        let code = i32::from_be_bytes(self.chunk()?);
        Ok(match (kind, code) {
            (0, 0) => Ok(()),
            (1, 0) => Err(FirewallError::SetFull),
            (2, 0) => Err(FirewallError::TableMissing),
            (3, 0) => Err(FirewallError::NotDeclared),
            (4, 0) => Err(FirewallError::TooLong),
            (5, 0) => Err(FirewallError::TooShort),
            (6, 0) => Err(FirewallError::Malformed),
            (7, code) => Err(FirewallError::Kernel(code)),
            (8, 0) => Err(FirewallError::Command),
            (9, 0) => Err(FirewallError::Unsupported),
            _ => return Err(DecodeError("unknown answer")),
        })
    }

    fn end(&self) -> Decoded<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError("trailing bytes"))
        }
    }
}

#[cfg(test)]
mod tests;
