//! Privileges given away, each in a process of its own, for it cannot be undone.
//!
//! Needs root and the user `nobody`; without them a test fails and says so.

mod compromised;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use spad::control::client::send_request;
use spad::control::message::{Request, Response};
use spad::control::server::{self, IncomingRequest};
use spad_sys::{process, users};

const INSIDE: &str = "SPAD_TEST_INSIDE_OWN_PROCESS";
const SOCKET: &str = "SPAD_TEST_CONTROL_SOCKET";

/// This test once more, in a process of its own, and as far in as `depth` says.
fn rerun(depth: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let thread = std::thread::current();
    command
        .args(["--exact", thread.name().unwrap(), "--nocapture"])
        .env(INSIDE, depth)
        .stdin(Stdio::null());
    command
}

fn assert_passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "failed in its own process (it needs root): {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn depth() -> String {
    std::env::var(INSIDE).unwrap_or_default()
}

fn nobody() -> users::User {
    users::user("nobody").unwrap().unwrap()
}

#[test]
fn who_became_another_user_has_no_number_group_or_capability_of_roots() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    let user = nobody();
    process::become_user(user.uid, user.gid, &[user.gid, user.gid]).unwrap();
    // Every thread of the process, not this one alone.
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let of = |name: &str| -> Vec<&str> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace().collect()
        };
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        assert_eq!(of("Uid:"), [&uid; 4]);
        assert_eq!(of("Gid:"), [&gid; 4]);
        assert!(of("Groups:").iter().all(|group| *group == gid));
        assert_eq!(of("CapEff:"), ["0000000000000000"]);
        assert_eq!(of("CapPrm:"), ["0000000000000000"]);
    }
    assert!(std::fs::read("/etc/shadow").is_err());
    assert!(process::become_user(user.uid + 1, user.gid, &[]).is_err());
}

#[test]
fn root_is_no_user_to_become() {
    for (uid, gid, groups) in [(0, 5, vec![]), (5, 0, vec![]), (5, 5, vec![7, 0])] {
        let refused = process::become_user(uid, gid, &groups).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn no_privilege_comes_back_by_executing_and_memory_is_unreadable() {
    if depth().is_empty() {
        return assert_passes(rerun("1"));
    }
    process::set_no_new_privs().unwrap();
    process::set_undumpable().unwrap();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::NotDumpable
    );
}

#[test]
fn a_child_that_asked_for_it_dies_with_its_parent() {
    match depth().as_str() {
        "" => {
            // Comes back when the last process that has this standard error has ended.
            let output = rerun("parent").output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("child is ready"), "{text}");
            assert!(!text.contains("child survived"), "{text}");
        }
        "parent" => {
            let mut child = rerun("child").stdout(Stdio::piped()).spawn().unwrap();
            let text = BufReader::new(child.stdout.take().unwrap());
            let ready = text
                .lines()
                .map_while(Result::ok)
                .find(|line| line.contains("is ready"));
            eprintln!("{}", ready.unwrap());
            std::process::exit(0);
        }
        _ => {
            process::set_parent_death_signal().unwrap();
            println!("\nchild is ready");
            std::thread::sleep(Duration::from_secs(3));
            eprintln!("child survived");
        }
    }
}

#[test]
fn who_is_not_root_takes_no_place_of_roots_at_the_control_socket_and_resets_nothing() {
    let user = nobody();
    let path = std::path::PathBuf::from(std::env::var(SOCKET).unwrap_or_default());
    if !depth().is_empty() {
        process::become_user(user.uid, user.gid, &[user.gid]).unwrap();
        let Ok(Response::Failed { message }) = send_request(&path, &Request::ResetReplay) else {
            panic!("not refused");
        };
        assert_eq!(message, "only root may do that");
        // As many as come, with requests that are answered late.
        let crowd: Vec<_> = (0..100).map(|_| UnixStream::connect(&path)).collect();
        for mut stream in crowd.iter().flatten() {
            // Some have no place and are closed.
            let _closed = stream.write_all(b"{\"request\":\"status\"}\n");
        }
        println!("\nthe crowd is there");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("control.sock");
    let listener = server::bind(&path, Some(user.gid)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (sender, mut asks) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let answering = tokio::spawn(async move {
                // The crowd's requests wait for their answers.
                let mut kept = Vec::new();
                while let Some(IncomingRequest { uid, answer, .. }) = asks.recv().await {
                    let message = "root is heard".to_owned();
                    match uid {
                        0 => drop(answer.send(Response::Done { message })),
                        _ => kept.push(answer),
                    }
                }
            });
            server::serve(listener, sender).await;
            answering.await.unwrap();
        });
    });
    let mut crowd = rerun("crowd");
    crowd
        .env(SOCKET, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut crowd = crowd.spawn().unwrap();
    let output = BufReader::new(crowd.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the crowd is there")));
    let heard = send_request(&path, &Request::Confirm);
    drop(crowd.stdin.take());
    lines.for_each(drop);
    assert!(crowd.wait().unwrap().success());
    assert!(matches!(heard, Ok(Response::Done { .. })), "{heard:?}");
}
