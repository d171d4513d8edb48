//! Reloads as tables: what happens to one, in which phase, and what is done then.

use tokio::sync::oneshot;

use super::*;

fn at(seconds: u64) -> BootTime {
    BootTime::from_micros(seconds * 1_000_000)
}

fn candidate(config: u8, read_at: BootTime) -> Candidate<u8> {
    let (sender, _nobody) = oneshot::channel();
    Candidate {
        config,
        read_at,
        reply: sender.into(),
    }
}

/// The configuration with this number was read, when all before it were.
fn loaded(config: u8) -> Event<u8> {
    loaded_at(config, at(1))
}

fn loaded_at(config: u8, read_at: BootTime) -> Event<u8> {
    Event::Loaded {
        candidate: candidate(config, read_at),
        helpers: Ok(()),
    }
}

fn refused() -> Result<(), String> {
    Err("not this".to_owned())
}

fn disabled(client: &str, now: BootTime) -> Event<u8> {
    Event::ClientDisabled(client.parse().unwrap(), now)
}

fn trial(note: &str) -> Event<u8> {
    Event::TrialStarted(note.to_owned())
}

/// An action in words.
fn words(action: Action<u8>) -> String {
    match action {
        Action::AskRunnerToLoad => "runner loads".to_owned(),
        Action::AskWriterToLoad => "writer loads".to_owned(),
        Action::Commit {
            candidate,
            disabled,
            trial_notes,
        } => {
            let disabled = disabled.iter().map(|client| format!(" without {client}"));
            let notes = trial_notes.iter().map(|note| format!(" noting {note}"));
            let rest: String = disabled.chain(notes).collect();
            format!("commit {}{rest}", candidate.config)
        }
        Action::Refuse { by, why, .. } => format!("refuse by {by}: {why}"),
        Action::Answer(_, Response::Done { message }) => format!("done: {message}"),
        Action::Answer(_, Response::Failed { message }) => format!("failed: {message}"),
        Action::Answer(_, other) => format!("{other:?}"),
        Action::AuditFailed => "audit".to_owned(),
    }
}

/// Each event is followed by these actions.
fn follow<const N: usize>(reload: &mut Reload<u8>, steps: [(Event<u8>, &[&str]); N]) {
    for (event, expected) in steps {
        let label = format!("{event:?}");
        let actions: Vec<_> = reload.on(event).into_iter().map(words).collect();
        assert_eq!(actions, expected, "{label}");
    }
}

#[test]
fn a_reload_begins_when_the_one_before_it_is_over_and_not_earlier() {
    let mut reload = Reload::new(false);
    follow(
        &mut reload,
        [
            (loaded(1), &["writer loads"]),
            (loaded(2), &[]),
            (loaded(3), &[]),
            (Event::WriterLoaded(Ok(())), &["commit 1", "writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 2", "writer loads"]),
            (loaded(4), &[]),
            (Event::WriterLoaded(Ok(())), &["commit 3", "writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 4"]),
            (Event::WriterLoaded(Ok(())), &[]),
            (loaded(5), &["writer loads"]),
        ],
    );
}

#[test]
fn the_runner_reads_first_and_a_refusal_by_either_lets_the_next_reload_begin() {
    let mut reload = Reload::new(true);
    follow(
        &mut reload,
        [
            (Event::RunnerLoaded(Ok(())), &[]),
            (loaded(1), &["runner loads"]),
            (loaded(2), &[]),
            (loaded(3), &[]),
            (Event::WriterLoaded(Ok(())), &[]),
            (
                Event::RunnerLoaded(refused()),
                &["refuse by the command runner: not this", "runner loads"],
            ),
            (Event::RunnerLoaded(Ok(())), &["writer loads"]),
            (Event::RunnerLoaded(refused()), &[]),
            (
                Event::WriterLoaded(refused()),
                &["refuse by the firewall writer: not this", "runner loads"],
            ),
            (Event::RunnerLoaded(Ok(())), &["writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 3"]),
        ],
    );
}

#[test]
fn a_client_disabled_while_the_files_were_read_stays_disabled() {
    let mut reload = Reload::new(false);
    let _ = reload.on(disabled("anna", at(10)));
    for (read_at, expected) in [
        (at(9), "commit 0 without anna"),
        (at(10), "commit 0 without anna"),
        // Its files were read afterwards.
        (at(11), "commit 0"),
    ] {
        follow(
            &mut reload,
            [
                (loaded_at(0, read_at), &["writer loads"]),
                (Event::WriterLoaded(Ok(())), &[expected]),
            ],
        );
    }
}

#[test]
fn a_client_disabled_while_the_helpers_read_the_files_stays_disabled() {
    let mut reload = Reload::new(true);
    follow(
        &mut reload,
        [
            (loaded(1), &["runner loads"]),
            (disabled("anna", at(2)), &[]),
            (Event::RunnerLoaded(Ok(())), &["writer loads"]),
            (disabled("bert", at(3)), &[]),
            (
                Event::WriterLoaded(Ok(())),
                &["commit 1 without anna without bert"],
            ),
        ],
    );
}

#[test]
fn an_older_reading_never_replaces_a_newer_one() {
    let mut reload = Reload::new(false);
    let superseded = "done: a later reload was faster, and its configuration is in use";
    follow(
        &mut reload,
        [
            (loaded_at(1, at(5)), &["writer loads"]),
            (loaded_at(2, at(7)), &[]),
            (loaded_at(3, at(6)), &[superseded]),
            (loaded_at(4, at(7)), &[]),
            (Event::WriterLoaded(Ok(())), &["commit 1", "writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 2", "writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 4"]),
            (loaded_at(5, at(6)), &[superseded]),
        ],
    );
}

#[test]
fn what_is_kept_is_bounded_in_time() {
    let mut reload = Reload::new(false);
    for minute in 0..10_000 {
        let _ = reload.on(disabled(&format!("c{minute}"), at(60 * minute)));
    }
    assert_eq!(reload.disabled.len(), 24 * 60);
}

#[test]
fn no_reload_begins_while_a_helper_does_not_respond() {
    let mut reload = Reload::new(true);
    let event = Event::Loaded {
        candidate: candidate(1, at(1)),
        helpers: Err("the firewall writer has not responded for 3 s".to_owned()),
    };
    let answer = "failed: the running configuration stays: the firewall writer has not responded for 3 s\n  help: reload again once it responds; `spad status` says so";
    follow(
        &mut reload,
        [(event, &[answer]), (loaded(2), &["runner loads"])],
    );
}

#[test]
fn a_trial_is_told_to_whoever_reloads_and_to_nobody_else() {
    let mut reload = Reload::new(false);
    follow(
        &mut reload,
        [
            (trial("at the start"), &[]),
            (loaded(1), &["writer loads"]),
            (trial("of 1"), &[]),
            (Event::WriterLoaded(Ok(())), &["commit 1 noting of 1"]),
            (loaded(2), &["writer loads"]),
            (trial("of 2"), &[]),
            (
                Event::WriterLoaded(refused()),
                &["refuse by the firewall writer: not this"],
            ),
            (loaded(3), &["writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 3"]),
        ],
    );
}

#[test]
fn both_warnings_hold_until_a_configuration_is_accepted() {
    let mut reload = Reload::new(false);
    reload.started_from_last_good = true;
    assert_eq!(reload.warnings().count(), 1);
    follow(&mut reload, [(Event::LoadFailed, &["audit"])]);
    assert_eq!(reload.warnings().count(), 2);
    follow(&mut reload, [(loaded(1), &["writer loads"])]);
    assert_eq!(reload.warnings().count(), 2);
    follow(&mut reload, [(Event::WriterLoaded(Ok(())), &["commit 1"])]);
    assert_eq!(reload.warnings().count(), 0);
    let _ = reload.on(loaded(2));
    let _ = reload.on(Event::WriterLoaded(refused()));
    assert_eq!(reload.warnings().count(), 1);
}

#[test]
fn everybody_who_waits_is_answered_once_and_the_reloads_go_on() {
    let mut reload = Reload::new(false);
    let mut receivers = Vec::new();
    for config in [1, 2] {
        let (sender, receiver) = oneshot::channel();
        let mut candidate = candidate(config, at(1));
        candidate.reply = sender.into();
        receivers.push(receiver);
        let _ = reload.on(Event::Loaded {
            candidate,
            helpers: Ok(()),
        });
    }
    let failed = Response::Failed {
        message: "no response".to_owned(),
    };
    reload.answer_all(&failed);
    for receiver in &mut receivers {
        assert_eq!(receiver.try_recv().unwrap(), failed);
    }
    reload.answer_all(&failed);
    follow(
        &mut reload,
        [
            (Event::WriterLoaded(Ok(())), &["commit 1", "writer loads"]),
            (Event::WriterLoaded(Ok(())), &["commit 2"]),
        ],
    );
}
