//! Who is withdrawn while a reload is under way is not brought back by it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};
use spa_tests::binaries;
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;

/// Asks the daemon without the command line, which would change the files too.
fn send_control_request(bed: &TestBed, request: &str) -> UnixStream {
    let socket = bed.spad.config().with_file_name("run/control.sock");
    let mut stream = UnixStream::connect(socket).expect("the control socket");
    writeln!(stream, "{request}").expect("a request");
    stream
}

fn read_response(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The firewall writer, whose word a reload waits for.
fn writer_process(bed: &mut TestBed) -> Pid {
    let engine = i32::try_from(bed.spad.process().id()).expect("an id");
    let is_ours = |id: &i32| {
        std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binaries::spad())
    };
    let mut all = bed.lab.server.processes().into_iter();
    let writer = all.find(|id| *id != engine && is_ours(id));
    Pid::from_raw(writer.expect("the writer")).expect("an id")
}

#[test]
fn a_reload_that_read_the_files_before_a_client_was_disabled_does_not_bring_it_back() {
    let mut bed = TestBed::new();
    let writer = writer_process(&mut bed);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    let clients = bed.spad.config().join("clients.d");
    let read = inotify::WatchFlags::CLOSE_NOWRITE;
    let _ = inotify::add_watch(&watch, &clients, read).expect("a watch");
    let reload = send_control_request(&bed, r#"{"request":"reload"}"#);
    let mut ready = [PollFd::new(&watch, PollFlags::IN)];
    let timeout = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let came = poll(&mut ready, Some(&timeout)).expect("a wait");
    assert_eq!(came, 1, "the reload reads the clients");
    let disabled = read_response(send_control_request(
        &bed,
        r#"{"request":"disable","client":"laptop"}"#,
    ));
    assert!(disabled.contains("served no more"), "{disabled}");
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    let reloaded = read_response(reload);
    assert!(reloaded.contains("in use"), "{reloaded}");
    bed.send(&bed.laptop.open(&["tcp/8080"]));
    bed.spad.wait_verdict_count("disabled", 1);
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
    // Whoever reads the files afterwards takes what they say.
    bed.spad.reload();
    bed.open(&["tcp/8080"]);
}

#[test]
fn who_disables_a_client_is_answered_once_the_kernel_has_closed_its_grants() {
    let mut bed = TestBed::with(&Settings::ttl("60s"));
    bed.open(&["tcp/8080"]);
    let writer = writer_process(&mut bed);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let disable = send_control_request(&bed, r#"{"request":"disable","client":"laptop"}"#);
    let mut ready = [PollFd::new(&disable, PollFlags::IN)];
    let moment = rustix::event::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let came = poll(&mut ready, Some(&moment)).expect("a wait");
    assert_eq!((came, bed.tcp(WEB)), (0, Reachability::Open));
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    let disabled = read_response(disable);
    assert!(disabled.contains("closed"), "{disabled}");
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn what_an_engine_asked_to_open_before_it_was_killed_stays_closed_and_what_it_closed_is_closed() {
    let mut bed = TestBed::with(&Settings::ttl("60s"));
    let phone = bed.new_client("phone", "chat", "");
    bed.open(&["tcp/8080"]);
    let writer = writer_process(&mut bed);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let _asked = send_control_request(&bed, r#"{"request":"disable","client":"laptop"}"#);
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "disabled");
    bed.send(&phone.open(&["udp/9999"]));
    // One more that is refused at once: what came before it was judged.
    bed.send_counted(&phone.open(&["tcp/8080"]), "service_not_allowed");
    bed.spad.process().signal_and_wait(Signal::KILL);
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    bed.spad.kill();
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Refused; 2]);
    bed.spad.start();
    let grants = bed.spad.cli(&["grants"]).ok().stdout;
    assert!(!grants.contains("unknown"), "{grants}");
}
