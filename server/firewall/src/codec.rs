//! The layout of the messages between engine and writer. Pure.

use std::net::IpAddr;
use std::time::Duration;

use spa_proto::Service;
use spad_ipc::{DecodeError, Decoder, Encoder, Message};
use spad_model::{
    Change, ChangeId, ChangeResult, ConnectionFilter, Element, FirewallError, KernelElement,
    MAX_STEPS, Network, PortState, Step, TrialChange, TrialEvent, TrialRow,
};

use super::message::{FromWriter, MAX_FILTERS, MAX_LISTED, MAX_MESSAGE, MAX_TEXT, ToWriter};

#[cfg(test)]
mod tests;

type Decoded<T> = Result<T, DecodeError>;

/// What errors call the writer.
const WRITER: &str = "the firewall writer";

impl Message for ToWriter {
    const HELPER: &'static str = WRITER;
    const MAX: usize = MAX_MESSAGE;

    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Change(change) => {
                out.put_u8(1);
                out.put_u64(change.id.0);
                out.put_list(&change.steps, put_step);
            }
            Self::List => out.put_u8(2),
            Self::Reload => out.put_u8(3),
            Self::Confirm => out.put_u8(4),
            Self::Trials => out.put_u8(5),
            Self::Stop => out.put_u8(6),
            Self::Cut(filters) => {
                out.put_u8(7);
                out.put_list(filters, put_filter);
            }
            Self::Begin => out.put_u8(8),
            Self::Ping => out.put_u8(9),
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        Ok(match input.u8()? {
            1 => Self::Change(Change {
                id: ChangeId(input.u64()?),
                steps: input.list(MAX_STEPS, step)?,
            }),
            2 => Self::List,
            3 => Self::Reload,
            4 => Self::Confirm,
            5 => Self::Trials,
            6 => Self::Stop,
            7 => Self::Cut(input.list(MAX_FILTERS, filter)?),
            8 => Self::Begin,
            9 => Self::Ping,
            _ => return Err(DecodeError("unknown kind")),
        })
    }
}

impl Message for FromWriter {
    const HELPER: &'static str = WRITER;
    const MAX: usize = MAX_MESSAGE;

    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Ready => out.put_u8(1),
            Self::Failed(text) => {
                out.put_u8(2);
                out.put_text(text, MAX_TEXT);
            }
            Self::Answer(answer) => {
                out.put_u8(3);
                out.put_u64(answer.id.0);
                put_result(out, answer.result);
            }
            Self::Listed { elements, last } => {
                out.put_u8(4);
                out.put_flag(*last);
                out.put_list(elements, |out, held| {
                    put_element(out, &held.element);
                    out.put_duration(held.remaining);
                });
            }
            Self::Reloaded(result) => {
                out.put_u8(5);
                put_error(out, result.as_ref().err());
            }
            Self::Restored { grants } => {
                out.put_u8(6);
                out.put_u32(*grants);
            }
            Self::NotRestored(text) => {
                out.put_u8(7);
                out.put_text(text, MAX_TEXT);
            }
            Self::Trial(event) => {
                out.put_u8(8);
                put_trial_event(out, event);
            }
            Self::Trials(rows) => {
                out.put_u8(9);
                out.put_list(rows, put_trial_row);
            }
            Self::Confirmed(result) => {
                out.put_u8(10);
                put_count(out, result);
            }
            Self::Cut(result) => {
                out.put_u8(11);
                put_count(out, result);
            }
            Self::Pong => out.put_u8(12),
            Self::Busy(span) => {
                out.put_u8(13);
                out.put_duration(*span);
            }
            Self::StrangerReply(text) => {
                out.put_u8(14);
                out.put_text(text, MAX_TEXT);
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        Ok(match input.u8()? {
            1 => Self::Ready,
            2 => Self::Failed(input.text(MAX_TEXT)?),
            3 => Self::Answer(ChangeResult {
                id: ChangeId(input.u64()?),
                result: result(input)?,
            }),
            4 => Self::Listed {
                last: input.flag()?,
                elements: input.list(MAX_LISTED, |input| {
                    Ok(KernelElement {
                        element: element(input)?,
                        remaining: input.duration()?,
                    })
                })?,
            },
            5 => {
                let text = input.text(MAX_TEXT)?;
                Self::Reloaded(if text.is_empty() { Ok(()) } else { Err(text) })
            }
            6 => Self::Restored {
                grants: input.u32()?,
            },
            7 => Self::NotRestored(input.text(MAX_TEXT)?),
            8 => Self::Trial(trial_event(input)?),
            9 => Self::Trials(input.list(MAX_LISTED, trial_row)?),
            10 => Self::Confirmed(count(input)?),
            11 => Self::Cut(count(input)?),
            12 => Self::Pong,
            13 => Self::Busy(input.duration()?),
            14 => Self::StrangerReply(input.text(MAX_TEXT)?),
            _ => return Err(DecodeError("unknown kind")),
        })
    }
}

/// Pads an IPv4 address, so that all elements have one size.
fn put_address(out: &mut Encoder, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.put_u8(4);
            out.put_bytes(&[0; 12]);
            out.put_bytes(&address.octets());
        }
        IpAddr::V6(_) => out.put_address(address),
    }
}

fn address(input: &mut Decoder<'_>) -> Decoded<IpAddr> {
    match input.u8()? {
        4 => match input.array()? {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Ok(IpAddr::from(input.array::<4>()?)),
            _ => Err(DecodeError("padding")),
        },
        6 => Ok(IpAddr::from(input.array::<16>()?)),
        _ => Err(DecodeError("unknown family")),
    }
}

fn put_element(out: &mut Encoder, element: &Element) {
    put_address(out, element.address);
    out.put_service(element.service);
    out.put_port(element.source_port);
    out.put_flag(element.once);
    out.put_u8(element.prefix.unwrap_or(0));
}

fn element(input: &mut Decoder<'_>) -> Decoded<Element> {
    let element = Element {
        address: address(input)?,
        service: input.service()?,
        source_port: input.port()?,
        once: input.flag()?,
        prefix: Some(input.u8()?).filter(|prefix| *prefix != 0),
    };
    match element.is_valid() {
        true => Ok(element),
        false => Err(DecodeError("an element that cannot be")),
    }
}

fn put_step(out: &mut Encoder, step: &Step) {
    let (kind, element, ttl) = match step {
        Step::Put { element, ttl } => (1, element, *ttl),
        Step::Remove { element } => (2, element, Duration::ZERO),
    };
    out.put_u8(kind);
    put_element(out, element);
    out.put_duration(ttl);
}

fn step(input: &mut Decoder<'_>) -> Decoded<Step> {
    let kind = input.u8()?;
    let element = element(input)?;
    let ttl = input.duration()?;
    match (kind, ttl.is_zero()) {
        (1, _) => Ok(Step::Put { element, ttl }),
        (2, true) => Ok(Step::Remove { element }),
        _ => Err(DecodeError("unknown step")),
    }
}

fn put_filter(out: &mut Encoder, filter: &ConnectionFilter) {
    put_address(out, filter.network.address);
    out.put_u8(filter.network.prefix);
    out.put_service(filter.service);
}

fn filter(input: &mut Decoder<'_>) -> Decoded<ConnectionFilter> {
    let address = address(input)?;
    let network = Network::enclosing(address, input.u8()?);
    let network = network.filter(|network| network.address == address);
    Ok(ConnectionFilter {
        network: network.ok_or(DecodeError("not a network"))?,
        service: input.service()?,
    })
}

fn put_trial_event(out: &mut Encoder, event: &TrialEvent) {
    let (kind, time) = match event.change {
        TrialChange::Began(time) => (1, time),
        TrialChange::Reached => (2, Duration::ZERO),
        TrialChange::Confirmed => (3, Duration::ZERO),
        TrialChange::TimedOut => (4, Duration::ZERO),
    };
    put_timed(out, event.service, kind, time);
}

fn trial_event(input: &mut Decoder<'_>) -> Decoded<TrialEvent> {
    let (service, kind, time) = timed(input)?;
    let change = match (kind, time.is_zero()) {
        (1, _) => TrialChange::Began(time),
        (2, true) => TrialChange::Reached,
        (3, true) => TrialChange::Confirmed,
        (4, true) => TrialChange::TimedOut,
        _ => return Err(DecodeError("unknown change of a trial")),
    };
    Ok(TrialEvent { service, change })
}

fn put_trial_row(out: &mut Encoder, row: &TrialRow) {
    let (kind, time) = match row.state {
        PortState::Hidden => (1, Duration::ZERO),
        PortState::OnTrial(time) => (2, time),
        PortState::Exposed => (3, Duration::ZERO),
    };
    put_timed(out, row.service, kind, time);
}

fn trial_row(input: &mut Decoder<'_>) -> Decoded<TrialRow> {
    let (service, kind, time) = timed(input)?;
    let state = match (kind, time.is_zero()) {
        (1, true) => PortState::Hidden,
        (2, _) => PortState::OnTrial(time),
        (3, true) => PortState::Exposed,
        _ => return Err(DecodeError("unknown standing")),
    };
    Ok(TrialRow { service, state })
}

/// Writes a port with its state, and the time of the state that has one.
fn put_timed(out: &mut Encoder, service: Service, kind: u8, time: Duration) {
    out.put_service(service);
    out.put_u8(kind);
    out.put_duration(time);
}

fn timed(input: &mut Decoder<'_>) -> Decoded<(Service, u8, Duration)> {
    Ok((input.service()?, input.u8()?, input.duration()?))
}

/// Writes an error as its text; success as the empty text.
fn put_error(out: &mut Encoder, error: Option<&String>) {
    out.put_text(error.map_or("", String::as_str), MAX_TEXT);
}

fn put_count(out: &mut Encoder, result: &Result<u32, String>) {
    out.put_u32(result.as_ref().copied().unwrap_or(0));
    put_error(out, result.as_ref().err());
}

fn count(input: &mut Decoder<'_>) -> Decoded<Result<u32, String>> {
    let count = input.u32()?;
    let text = input.text(MAX_TEXT)?;
    match (count, text.is_empty()) {
        (count, true) => Ok(Ok(count)),
        (0, false) => Ok(Err(text)),
        _ => Err(DecodeError("a number and an error")),
    }
}

fn put_result(out: &mut Encoder, result: Result<(), FirewallError>) {
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
    out.put_u8(kind);
    out.put_i32(code);
}

fn result(input: &mut Decoder<'_>) -> Decoded<Result<(), FirewallError>> {
    Ok(match (input.u8()?, input.i32()?) {
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
