//! The layout of the messages between engine and command runner.
//!
//! Pure: values to bytes and back. Integers are big-endian, times are
//! microseconds in 8 bytes. Whatever is too short, too long, out of range or
//! not in its one canonical form is refused; no bytes make it panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use spa_keys::KeyId;
use spa_proto::{Protocol, Service, Timestamp};

use spad_model::Peer;

use super::message::{FromRunner, MAX_TEXT, ToRunner};
use spad_model::{
    ExitKind, HookEvent, MAX_OUTPUT, Requester, RunCommand, RunExit, RunHook, RunId, RunRefusal,
    RunRequest,
};

/// The bytes do not have the layout of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the command runner ({0})")]
pub struct DecodeError(&'static str);

type Decoded<T> = Result<T, DecodeError>;

/// Words and their numbers, each way.
const EVENTS: [(HookEvent, u8); 3] = [
    (HookEvent::Open, 1),
    (HookEvent::Renew, 2),
    (HookEvent::Close, 3),
];
const REFUSALS: [(RunRefusal, u8); 5] = [
    (RunRefusal::Unknown, 1),
    (RunRefusal::NotAllowed, 2),
    (RunRefusal::Running, 3),
    (RunRefusal::Busy, 4),
    (RunRefusal::Failed, 5),
];

impl ToRunner {
    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Run(RunRequest::Command(run)) => {
                out.push(1);
                out.extend(run.id.0.to_be_bytes());
                put_name(&mut out, run.command.as_str());
                match &run.requester {
                    Requester::Client(name, key) => {
                        out.push(1);
                        put_name(&mut out, name.as_str());
                        out.extend(key.to_bytes());
                    }
                    Requester::Door(name) => {
                        out.push(2);
                        put_name(&mut out, name.as_str());
                    }
                }
                put_address(&mut out, run.source);
            }
            Self::Run(RunRequest::Hook(hook)) => {
                out.push(2);
                out.extend(hook.id.0.to_be_bytes());
                out.push(number(&EVENTS, hook.event));
                put_name(
                    &mut out,
                    hook.client.as_ref().map_or("", |name| name.as_str()),
                );
                put_name(
                    &mut out,
                    hook.door.as_ref().map_or("", |name| name.as_str()),
                );
                out.push(u8::from(hook.key.is_some()));
                out.extend(hook.key.map_or([0; 8], KeyId::to_bytes));
                put_address(&mut out, hook.peer.address);
                out.push(hook.peer.prefix.unwrap_or(0));
                put_name(
                    &mut out,
                    hook.service.as_ref().map_or("", |name| name.as_str()),
                );
                out.push(hook.port.protocol.number());
                out.extend(hook.port.port.get().to_be_bytes());
                let source_port = hook.source_port.map_or(0, NonZeroU16::get);
                out.extend(source_port.to_be_bytes());
                out.push(u8::from(hook.once));
                put_duration(&mut out, hook.ttl);
                out.extend(hook.at.as_micros().to_be_bytes());
            }
            Self::LoadConfig => out.push(3),
            Self::ApplyConfig => out.push(4),
            Self::Stop => out.push(5),
            Self::Ping => out.push(6),
        }
        out
    }

    /// Reads one message.
    ///
    /// # Errors
    /// Where the bytes do not have the layout.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            1 => Self::Run(RunRequest::Command(RunCommand {
                id: RunId(reader.number()?),
                command: reader.name()?.ok_or(DecodeError("no command"))?,
                requester: match reader.byte()? {
                    1 => Requester::Client(
                        reader.name()?.ok_or(DecodeError("no client"))?,
                        KeyId::from_bytes(reader.take()?),
                    ),
                    2 => Requester::Door(reader.name()?.ok_or(DecodeError("no door"))?),
                    _ => return Err(DecodeError("neither a client nor a door")),
                },
                source: reader.address()?,
            })),
            2 => Self::Run(RunRequest::Hook(RunHook {
                id: RunId(reader.number()?),
                event: reader.code(&EVENTS)?,
                client: reader.name()?,
                door: reader.name()?,
                key: reader.key()?,
                peer: reader.peer()?,
                service: reader.name()?,
                port: Service {
                    protocol: Protocol::from_number(reader.byte()?)
                        .ok_or(DecodeError("unknown protocol"))?,
                    port: reader.port()?.ok_or(DecodeError("port 0"))?,
                },
                source_port: reader.port()?,
                once: reader.code(&[(false, 0), (true, 1)])?,
                ttl: Duration::from_micros(reader.number()?),
                at: Timestamp::from_micros(reader.number()?),
            })),
            3 => Self::LoadConfig,
            4 => Self::ApplyConfig,
            5 => Self::Stop,
            6 => Self::Ping,
            _ => return Err(DecodeError("unknown kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

impl FromRunner {
    /// The message as bytes, at most [`super::message::MAX_MESSAGE`]; longer texts are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ready => out.push(1),
            Self::Failed(text) => {
                out.push(2);
                out.extend(truncate(text));
            }
            Self::Started(id) => {
                out.push(3);
                out.extend(id.0.to_be_bytes());
            }
            Self::Refused(id, refusal) => {
                out.push(4);
                out.extend(id.0.to_be_bytes());
                out.push(number(&REFUSALS, *refusal));
            }
            Self::Ended(ended) => {
                out.push(5);
                out.extend(ended.id.0.to_be_bytes());
                out.extend(match ended.kind {
                    ExitKind::Exited(code) => [1, code],
                    ExitKind::Signalled(signal) => [2, signal],
                    ExitKind::TimedOut => [3, 0],
                });
                put_duration(&mut out, ended.duration);
                out.extend(ended.truncated.to_be_bytes());
                out.extend(ended.output.iter().take(MAX_OUTPUT));
            }
            Self::Pong => out.push(7),
            Self::Busy(span) => {
                out.push(8);
                put_duration(&mut out, *span);
            }
            Self::ConfigLoaded(result) => {
                out.extend([6, u8::from(result.is_err())]);
                out.extend(truncate(result.as_ref().err().map_or("", String::as_str)));
            }
        }
        out
    }

    /// Reads one message.
    ///
    /// # Errors
    /// Where the bytes do not have the layout.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader(bytes);
        let message = match reader.byte()? {
            1 => Self::Ready,
            2 => Self::Failed(reader.text()?),
            3 => Self::Started(RunId(reader.number()?)),
            4 => Self::Refused(RunId(reader.number()?), reader.code(&REFUSALS)?),
            5 => Self::Ended(RunExit {
                id: RunId(reader.number()?),
                kind: match reader.take()? {
                    [1, code] => ExitKind::Exited(code),
                    [2, signal] => ExitKind::Signalled(signal),
                    [3, 0] => ExitKind::TimedOut,
                    _ => return Err(DecodeError("unknown end")),
                },
                duration: Duration::from_micros(reader.number()?),
                truncated: reader.number()?,
                output: reader.rest(MAX_OUTPUT)?.to_vec(),
            }),
            7 => Self::Pong,
            8 => Self::Busy(Duration::from_micros(reader.number()?)),
            6 => Self::ConfigLoaded(match (reader.byte()?, reader.text()?) {
                (0, text) if text.is_empty() => Ok(()),
                (1, text) => Err(text),
                _ => return Err(DecodeError("neither done nor refused")),
            }),
            _ => return Err(DecodeError("unknown kind")),
        };
        reader.end()?;
        Ok(message)
    }
}

fn number<T: PartialEq>(table: &[(T, u8)], value: T) -> u8 {
    let found = table.iter().find(|(known, _)| *known == value);
    // Every value has its line; 0 is refused by who reads it.
    found.map_or(0, |(_, number)| *number)
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    // At most 64 bytes: the types see to it.
    out.push(u8::try_from(name.len()).unwrap_or(0));
    out.extend(name.as_bytes());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend(address.octets());
        }
    }
}

fn put_duration(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    out.extend(micros.to_be_bytes());
}

/// As much of a text as goes into a message.
fn truncate(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.bytes().take(end)
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(DecodeError("it ends within a field"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn key(&mut self) -> Decoded<Option<KeyId>> {
        match (self.byte()?, self.take()?) {
            (0, [0, 0, 0, 0, 0, 0, 0, 0]) => Ok(None),
            (1, bytes) => Ok(Some(KeyId::from_bytes(bytes))),
            _ => Err(DecodeError("neither a key nor none")),
        }
    }

    fn byte(&mut self) -> Decoded<u8> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn number(&mut self) -> Decoded<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn code<T: Copy>(&mut self, table: &[(T, u8)]) -> Decoded<T> {
        let number = self.byte()?;
        let found = table.iter().find(|(_, known)| *known == number);
        found
            .map(|(value, _)| *value)
            .ok_or(DecodeError("unknown word"))
    }

    fn name<T: FromStr>(&mut self) -> Decoded<Option<T>> {
        let length = usize::from(self.byte()?);
        if length == 0 {
            return Ok(None);
        }
        let bytes = self.0.get(..length);
        let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
        let name = text.and_then(|text| text.parse().ok());
        self.0 = self.0.get(length..).unwrap_or(&[]);
        name.map(Some).ok_or(DecodeError("not a name"))
    }

    fn address(&mut self) -> Decoded<IpAddr> {
        match self.byte()? {
            4 => Ok(Ipv4Addr::from(self.take::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.take::<16>()?).into()),
            _ => Err(DecodeError("unknown family")),
        }
    }

    fn peer(&mut self) -> Decoded<Peer> {
        let address = self.address()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match self.byte()? {
            0 => Ok(address.into()),
            prefix if prefix <= longest => {
                let prefix = Some(prefix);
                Ok(Peer { address, prefix })
            }
            _ => Err(DecodeError("no network is so small")),
        }
    }

    fn port(&mut self) -> Decoded<Option<NonZeroU16>> {
        Ok(NonZeroU16::new(u16::from_be_bytes(self.take()?)))
    }

    fn rest(&mut self, max_len: usize) -> Decoded<&[u8]> {
        if self.0.len() > max_len {
            return Err(DecodeError("too long"));
        }
        Ok(std::mem::take(&mut self.0))
    }

    fn text(&mut self) -> Decoded<String> {
        let bytes = self.rest(MAX_TEXT)?;
        let text = str::from_utf8(bytes).map_err(|_| DecodeError("not a text"))?;
        Ok(text.to_owned())
    }

    fn end(&self) -> Decoded<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError("something follows it"))
        }
    }
}

#[cfg(test)]
mod tests;
