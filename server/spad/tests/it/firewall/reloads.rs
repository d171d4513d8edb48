//! A reload reads beside the work: whoever knocks meanwhile does not wait for many files.

use std::net::IpAddr;

use spad_firewall::{FromWriter, ToWriter};
use spad_model::{Change, ChangeId, ChangeResult};

use crate::firewall::netns::{CLIENT4, TestNetns, element, in_netns, put, wait_until};

/// To read so many takes longer than to answer.
const CLIENTS: usize = 3000;
const HIDE: &str = "\"ssh\"";
const GUARD: &str = "trial = \"0s\"";
const COMMAND: &str = r#"mode = "command"
[firewall]
open = { argv = ["/usr/bin/true", "{address}", "{protocol}", "{port}"] }
close = { argv = ["/usr/bin/true", "{address}", "{protocol}", "{port}"] }
"#;
const SLOW: &str = r#"mode = "command"
[firewall]
open = { argv = ["/bin/sh", "-c", "sleep 0.1", "{address}", "{protocol}", "{port}"] }
close = { argv = ["/usr/bin/true", "{address}", "{protocol}", "{port}"] }
"#;

fn is_reloaded(message: &FromWriter) -> bool {
    matches!(message, FromWriter::Reloaded(_))
}

fn answers_while_it_reads(hide: &str, guard: &str) {
    let world = TestNetns::new(hide, guard);
    let mut writer = world.writer();
    for number in 0..CLIENTS {
        let file = world
            .paths
            .clients_dir()
            .join(format!("client-{number}.toml"));
        std::fs::write(file, "shared_key = true\nallow = [\"ssh\"]\n").unwrap();
    }
    writer.writer.send(ToWriter::Reload).unwrap();
    let grant = element(CLIENT4, "tcp/22");
    writer.change(vec![put(grant, 60_000)]).unwrap();
    assert_eq!(writer.events, [], "it reads still");
    // Two at once would be told apart by nobody.
    match writer.request(&ToWriter::Reload, is_reloaded) {
        FromWriter::Reloaded(Err(why)) => assert!(why.contains("under way"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(writer.wait_for(is_reloaded), FromWriter::Reloaded(Ok(())));
    assert!(writer.has(grant));
    // And the next one is taken.
    assert_eq!(
        writer.request(&ToWriter::Reload, is_reloaded),
        FromWriter::Reloaded(Ok(()))
    );
}

/// So many of them, each for all these addresses, take longer than to read.
fn ends_amid_packets(hide: &str, guard: &str, packets: u64, addresses: Vec<IpAddr>) {
    let world = TestNetns::new(hide, guard);
    let mut writer = world.writer();
    writer.suspend();
    writer.writer.send(ToWriter::Reload).unwrap();
    for id in (0..packets).map(ChangeId) {
        let service = ["tcp/22", "tcp/80"][usize::from(id.0 % 2 == 0)];
        let opened = |address: &IpAddr| put(element(*address, service), 60_000);
        let steps = addresses.iter().map(opened).collect();
        let change = Change { id, steps };
        writer.writer.send(ToWriter::Change(change)).unwrap();
    }
    writer.resume();
    let last = |message: &FromWriter| match message {
        FromWriter::Answer(ChangeResult { id, result }) => {
            *id == ChangeId(packets - 1) && result.is_ok()
        }
        _ => false,
    };
    let first = writer.wait_for(|message| is_reloaded(message) || last(message));
    assert_eq!(first, FromWriter::Reloaded(Ok(())));
    writer.wait_for(last);
}

in_netns! {
    fn no_knock_waits_for_the_files_of_a_reload() {
        answers_while_it_reads(HIDE, GUARD);
    }

    fn no_knock_waits_for_the_files_of_a_reload_in_the_mode_command() {
        answers_while_it_reads("", COMMAND);
    }

    fn no_reload_waits_for_the_end_of_a_row_of_knocks() {
        let addresses = (1..=32).map(|last| IpAddr::from([10, 9, 1, last]));
        ends_amid_packets("", GUARD, 300, addresses.collect());
    }

    fn no_reload_waits_for_the_end_of_a_row_of_knocks_in_the_mode_command() {
        ends_amid_packets("", SLOW, 12, vec![CLIENT4.into()]);
    }

    fn an_engine_that_takes_no_answers_keeps_nothing_open_in_the_mode_command() {
        let world = TestNetns::new("", COMMAND);
        let mut writer = world.writer();
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 2_000)]).unwrap();
        let file = world.paths.guard_state().join("command.json");
        let open = || std::fs::read_to_string(&file).unwrap().contains("tcp/22");
        assert!(open());
        wait_until(|| {
            // As many as find room.
            while writer.writer.send(ToWriter::Reload).is_ok() && !writer.writer.has_backlog() {}
            !open()
        });
    }
}
