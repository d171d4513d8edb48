//! Messages of the command runner, there and back, and whatever else the bytes may be.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use super::*;

fn to_runner() -> Vec<ToRunner> {
    let run = RunCommand {
        id: RunId(7),
        command: "backup".parse().unwrap(),
        requester: Requester::Client("anna".parse().unwrap(), KeyId::from_bytes([3; 8])),
        source: "192.0.2.1".parse().unwrap(),
    };
    let knocked = RunCommand {
        requester: Requester::Door("side".parse().unwrap()),
        ..run.clone()
    };
    let hook = RunHook {
        id: RunId(u64::MAX),
        event: HookEvent::Renew,
        client: Some("anna".parse().unwrap()),
        door: None,
        key: Some(KeyId::from_bytes([3; 8])),
        peer: Peer {
            address: "2001:db8::".parse().unwrap(),
            prefix: Some(64),
        },
        service: Some("ssh".parse().unwrap()),
        port: "tcp/22".parse().unwrap(),
        source_port: NonZeroU16::new(4242),
        once: true,
        ttl: Duration::from_secs(30),
        at: Timestamp::from_micros(1),
    };
    let gone = RunHook {
        event: HookEvent::Close,
        client: None,
        door: Some("side".parse().unwrap()),
        service: None,
        source_port: None,
        peer: "192.0.2.1".parse::<IpAddr>().unwrap().into(),
        once: false,
        ..hook.clone()
    };
    vec![
        ToRunner::Run(RunRequest::Command(run)),
        ToRunner::Run(RunRequest::Command(knocked)),
        ToRunner::Run(RunRequest::Hook(hook)),
        ToRunner::Run(RunRequest::Hook(gone)),
        ToRunner::LoadConfig,
        ToRunner::ApplyConfig,
        ToRunner::Stop,
        ToRunner::Ping,
    ]
}

fn from_runner() -> Vec<FromRunner> {
    let ended = |how| {
        FromRunner::Ended(RunExit {
            id: RunId(1),
            kind: how,
            duration: Duration::from_millis(5),
            output: b"\0\xff\n".to_vec(),
            truncated: 9,
        })
    };
    let refused = |(refusal, _)| FromRunner::Refused(RunId(3), refusal);
    let mut all = vec![
        FromRunner::Ready,
        FromRunner::Pong,
        FromRunner::Busy(Duration::from_secs(9)),
        FromRunner::Failed("why".to_owned()),
        FromRunner::Started(RunId(3)),
        ended(ExitKind::Exited(255)),
        ended(ExitKind::Signalled(9)),
        ended(ExitKind::TimedOut),
        FromRunner::ConfigLoaded(Ok(())),
        FromRunner::ConfigLoaded(Err("no".to_owned())),
    ];
    all.extend(REFUSALS.map(refused));
    all
}

#[test]
fn what_is_said_is_what_is_heard() {
    for message in to_runner() {
        assert_eq!(ToRunner::from_bytes(&message.to_bytes()), Ok(message));
    }
    for message in from_runner() {
        assert_eq!(FromRunner::from_bytes(&message.to_bytes()), Ok(message));
    }
}

#[test]
fn a_message_that_is_cut_or_continued_is_refused_but_for_its_last_text() {
    for bytes in to_runner().iter().map(ToRunner::to_bytes) {
        for length in 0..bytes.len() {
            assert!(ToRunner::from_bytes(&bytes[..length]).is_err(), "{bytes:?}");
        }
        assert!(ToRunner::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn no_bytes_name_what_is_no_name() {
    let message = &to_runner()[0];
    for evil in ["../sh", "BACKUP", "back p", "-backu", "bac\nup"] {
        let mut bytes = message.to_bytes();
        bytes[10..16].copy_from_slice(
            &evil
                .as_bytes()
                .iter()
                .copied()
                .chain([b'x'; 6])
                .take(6)
                .collect::<Vec<_>>(),
        );
        assert!(ToRunner::from_bytes(&bytes).is_err(), "{evil}");
    }
}

#[test]
fn the_longest_message_fits_and_a_longer_text_is_cut() {
    let ended = RunExit {
        id: RunId(1),
        kind: ExitKind::TimedOut,
        duration: Duration::MAX,
        output: vec![b'x'; MAX_OUTPUT + 1],
        truncated: u64::MAX,
    };
    let bytes = FromRunner::Ended(ended).to_bytes();
    assert!(bytes.len() <= FromRunner::MAX);
    assert!(FromRunner::from_bytes(&bytes).is_ok());
    let long = FromRunner::Failed("é".repeat(MAX_TEXT)).to_bytes();
    assert!(long.len() <= FromRunner::MAX);
    assert!(FromRunner::from_bytes(&long).is_ok());
}

#[test]
fn no_bytes_make_it_panic() {
    let mut seed = 1_u32;
    for _ in 0..20_000 {
        let mut bytes = [0_u8; 40];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        bytes[0] %= 7;
        let length = (seed >> 8) as usize % 41;
        if let Ok(message) = ToRunner::from_bytes(&bytes[..length]) {
            assert_eq!(message.to_bytes(), bytes[..length]);
        }
        if let Ok(message) = FromRunner::from_bytes(&bytes[..length]) {
            assert_eq!(message.to_bytes(), bytes[..length]);
        }
    }
}

#[test]
fn each_message_has_the_bytes_of_the_fixture() {
    let to_runner = to_runner()
        .into_iter()
        .map(|one| (format!("{one:?}"), one.to_bytes()));
    let from_runner = from_runner()
        .into_iter()
        .map(|one| (format!("{one:?}"), one.to_bytes()));
    let mut text = String::new();
    for (message, bytes) in to_runner.chain(from_runner) {
        text.push_str(&message);
        text.push_str("\n ");
        for byte in bytes {
            text.push_str(&format!(" {byte:02x}"));
        }
        text.push('\n');
    }
    assert_eq!(text, include_str!("bytes.txt"));
}
