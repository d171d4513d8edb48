//! Who is withdrawn while a reload is under way is not brought back by it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};
use spa_tests::binaries;
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::world::World;

/// Asks the daemon without the command line, which would change the files too.
fn ask(world: &World, request: &str) -> UnixStream {
    let socket = world.spad.config().with_file_name("run/control.sock");
    let mut stream = UnixStream::connect(socket).expect("the control socket");
    writeln!(stream, "{request}").expect("a request");
    stream
}

fn answer(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The firewall writer, whose word a reload waits for.
fn writer(world: &mut World) -> Pid {
    let engine = i32::try_from(world.spad.process().id()).expect("an id");
    let is_ours = |id: &i32| {
        std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binaries::spad())
    };
    let mut all = world.lab.server.processes().into_iter();
    let writer = all.find(|id| *id != engine && is_ours(id));
    Pid::from_raw(writer.expect("the writer")).expect("an id")
}

#[test]
fn a_reload_that_read_the_files_before_a_client_was_disabled_does_not_bring_it_back() {
    let mut world = World::new();
    let writer = writer(&mut world);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    let clients = world.spad.config().join("clients.d");
    let read = inotify::WatchFlags::CLOSE_NOWRITE;
    let _ = inotify::add_watch(&watch, &clients, read).expect("a watch");
    let reload = ask(&world, r#"{"request":"reload"}"#);
    let mut ready = [PollFd::new(&watch, PollFlags::IN)];
    let patience = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let came = poll(&mut ready, Some(&patience)).expect("a wait");
    assert_eq!(came, 1, "the reload reads the clients");
    let disabled = answer(ask(&world, r#"{"request":"disable","client":"laptop"}"#));
    assert!(disabled.contains("served no more"), "{disabled}");
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    let reloaded = answer(reload);
    assert!(reloaded.contains("in use"), "{reloaded}");
    world.send(&world.laptop.open(&["tcp/8080"]));
    world.spad.wait_counted("disabled", 1);
    assert_eq!(world.tcp(WEB), Reach::Refused);
    // Whoever reads the files afterwards takes what they say.
    world.spad.reload();
    world.open(&["tcp/8080"]);
}

#[test]
fn who_disables_a_client_is_answered_once_the_kernel_has_closed_its_grants() {
    let mut world = World::with(&Settings::ttl("60s"));
    world.open(&["tcp/8080"]);
    let writer = writer(&mut world);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let disable = ask(&world, r#"{"request":"disable","client":"laptop"}"#);
    let mut ready = [PollFd::new(&disable, PollFlags::IN)];
    let moment = rustix::event::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let came = poll(&mut ready, Some(&moment)).expect("a wait");
    assert_eq!((came, world.tcp(WEB)), (0, Reach::Open));
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    let disabled = answer(disable);
    assert!(disabled.contains("closed"), "{disabled}");
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn what_an_engine_asked_to_open_before_it_was_killed_stays_closed_and_what_it_closed_is_closed() {
    let mut world = World::with(&Settings::ttl("60s"));
    let phone = world.client("phone", "chat", "");
    world.open(&["tcp/8080"]);
    let writer = writer(&mut world);
    kill_process(writer, Signal::STOP).expect("the writer stops");
    let _asked = ask(&world, r#"{"request":"disable","client":"laptop"}"#);
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "disabled");
    world.send(&phone.open(&["udp/9999"]));
    // One more that is refused at once: what came before it was judged.
    world.send_counted(&phone.open(&["tcp/8080"]), "service_not_allowed");
    world.spad.process().end_by(Signal::KILL);
    kill_process(writer, Signal::CONT).expect("the writer goes on");
    world.spad.kill();
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Refused; 2]);
    world.spad.start();
    let grants = world.spad.cli(&["grants"]).ok().stdout;
    assert!(!grants.contains("unknown"), "{grants}");
}
