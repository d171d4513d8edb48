//! The layout of the messages between engine and command runner. Pure.

use spa_keys::KeyId;
use spa_proto::Timestamp;
use spad_ipc::{DecodeError, Decoder, Encoder, Message};
use spad_model::{
    ExitKind, HookEvent, MAX_OUTPUT, Peer, Requester, RunCommand, RunExit, RunHook, RunId,
    RunRefusal, RunRequest,
};

use super::message::{FromRunner, MAX_MESSAGE, MAX_REQUEST, MAX_TEXT, ToRunner};

#[cfg(test)]
mod tests;

type Decoded<T> = Result<T, DecodeError>;

/// What errors call the runner.
const RUNNER: &str = "the command runner";

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

impl Message for ToRunner {
    const HELPER: &'static str = RUNNER;
    const MAX: usize = MAX_REQUEST;

    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Run(RunRequest::Command(run)) => {
                out.put_u8(1);
                put_command(out, run);
            }
            Self::Run(RunRequest::Hook(hook)) => {
                out.put_u8(2);
                put_hook(out, hook);
            }
            Self::LoadConfig => out.put_u8(3),
            Self::ApplyConfig => out.put_u8(4),
            Self::Stop => out.put_u8(5),
            Self::Ping => out.put_u8(6),
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        Ok(match input.u8()? {
            1 => Self::Run(RunRequest::Command(command(input)?)),
            2 => Self::Run(RunRequest::Hook(hook(input)?)),
            3 => Self::LoadConfig,
            4 => Self::ApplyConfig,
            5 => Self::Stop,
            6 => Self::Ping,
            _ => return Err(DecodeError("unknown kind")),
        })
    }
}

impl Message for FromRunner {
    const HELPER: &'static str = RUNNER;
    const MAX: usize = MAX_MESSAGE;

    fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Ready => out.put_u8(1),
            Self::Failed(text) => {
                out.put_u8(2);
                out.put_last_text(text, MAX_TEXT);
            }
            Self::Started(id) => {
                out.put_u8(3);
                out.put_u64(id.0);
            }
            Self::Refused(id, refusal) => {
                out.put_u8(4);
                out.put_u64(id.0);
                out.put_code(&REFUSALS, refusal);
            }
            Self::Ended(ended) => {
                out.put_u8(5);
                put_exit(out, ended);
            }
            Self::ConfigLoaded(result) => {
                out.put_u8(6);
                out.put_flag(result.is_err());
                let error = result.as_ref().err();
                out.put_last_text(error.map_or("", String::as_str), MAX_TEXT);
            }
            Self::Pong => out.put_u8(7),
            Self::Busy(span) => {
                out.put_u8(8);
                out.put_duration(*span);
            }
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        Ok(match input.u8()? {
            1 => Self::Ready,
            2 => Self::Failed(input.last_text(MAX_TEXT)?),
            3 => Self::Started(RunId(input.u64()?)),
            4 => Self::Refused(RunId(input.u64()?), input.code(&REFUSALS)?),
            5 => Self::Ended(exit(input)?),
            6 => Self::ConfigLoaded(match (input.flag()?, input.last_text(MAX_TEXT)?) {
                (false, text) if text.is_empty() => Ok(()),
                (true, text) => Err(text),
                (false, _) => return Err(DecodeError("neither done nor refused")),
            }),
            7 => Self::Pong,
            8 => Self::Busy(input.duration()?),
            _ => return Err(DecodeError("unknown kind")),
        })
    }
}

fn put_command(out: &mut Encoder, run: &RunCommand) {
    out.put_u64(run.id.0);
    out.put_name(Some(run.command.as_str()));
    match &run.requester {
        Requester::Client(name, key) => {
            out.put_u8(1);
            out.put_name(Some(name.as_str()));
            out.put_bytes(&key.to_bytes());
        }
        Requester::Door(name) => {
            out.put_u8(2);
            out.put_name(Some(name.as_str()));
        }
    }
    out.put_address(run.source);
}

fn command(input: &mut Decoder<'_>) -> Decoded<RunCommand> {
    Ok(RunCommand {
        id: RunId(input.u64()?),
        command: input.name()?.ok_or(DecodeError("no command"))?,
        requester: match input.u8()? {
            1 => Requester::Client(
                input.name()?.ok_or(DecodeError("no client"))?,
                KeyId::from_bytes(input.array()?),
            ),
            2 => Requester::Door(input.name()?.ok_or(DecodeError("no door"))?),
            _ => return Err(DecodeError("neither a client nor a door")),
        },
        source: input.address()?,
    })
}

fn put_hook(out: &mut Encoder, hook: &RunHook) {
    out.put_u64(hook.id.0);
    out.put_code(&EVENTS, &hook.event);
    out.put_name(hook.client.as_ref().map(|name| name.as_str()));
    out.put_name(hook.door.as_ref().map(|name| name.as_str()));
    out.put_flag(hook.key.is_some());
    out.put_bytes(&hook.key.map_or([0; 8], KeyId::to_bytes));
    out.put_address(hook.peer.address);
    out.put_u8(hook.peer.prefix.unwrap_or(0));
    out.put_name(hook.service.as_ref().map(|name| name.as_str()));
    out.put_service(hook.port);
    out.put_port(hook.source_port);
    out.put_flag(hook.once);
    out.put_duration(hook.ttl);
    out.put_u64(hook.at.as_micros());
}

fn hook(input: &mut Decoder<'_>) -> Decoded<RunHook> {
    Ok(RunHook {
        id: RunId(input.u64()?),
        event: input.code(&EVENTS)?,
        client: input.name()?,
        door: input.name()?,
        key: key(input)?,
        peer: peer(input)?,
        service: input.name()?,
        port: input.service()?,
        source_port: input.port()?,
        once: input.flag()?,
        ttl: input.duration()?,
        at: Timestamp::from_micros(input.u64()?),
    })
}

fn key(input: &mut Decoder<'_>) -> Decoded<Option<KeyId>> {
    match (input.flag()?, input.array()?) {
        (false, [0, 0, 0, 0, 0, 0, 0, 0]) => Ok(None),
        (true, bytes) => Ok(Some(KeyId::from_bytes(bytes))),
        (false, _) => Err(DecodeError("neither a key nor none")),
    }
}

fn peer(input: &mut Decoder<'_>) -> Decoded<Peer> {
    let address = input.address()?;
    let max_prefix = if address.is_ipv4() { 32 } else { 128 };
    match input.u8()? {
        0 => Ok(address.into()),
        prefix if prefix <= max_prefix => {
            let prefix = Some(prefix);
            Ok(Peer { address, prefix })
        }
        _ => Err(DecodeError("no network is so small")),
    }
}

fn put_exit(out: &mut Encoder, exit: &RunExit) {
    out.put_u64(exit.id.0);
    out.put_bytes(&match exit.kind {
        ExitKind::Exited(code) => [1, code],
        ExitKind::Signalled(signal) => [2, signal],
        ExitKind::TimedOut => [3, 0],
    });
    out.put_duration(exit.duration);
    out.put_u64(exit.truncated);
    out.put_bytes(exit.output.get(..MAX_OUTPUT).unwrap_or(&exit.output));
}

fn exit(input: &mut Decoder<'_>) -> Decoded<RunExit> {
    Ok(RunExit {
        id: RunId(input.u64()?),
        kind: match input.array()? {
            [1, code] => ExitKind::Exited(code),
            [2, signal] => ExitKind::Signalled(signal),
            [3, 0] => ExitKind::TimedOut,
            _ => return Err(DecodeError("unknown end")),
        },
        duration: input.duration()?,
        truncated: input.u64()?,
        output: input.last_bytes(MAX_OUTPUT)?.to_vec(),
    })
}
