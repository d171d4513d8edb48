//! What a program gets, and what becomes of it. Needs root, as the runner does.

use spad_config::Program;
use spad_sys::clock;

use super::*;

fn resolved_program(script: &str, timeout: Duration) -> ResolvedProgram {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned);
    ResolvedProgram {
        account: spad_sys::users::account("daemon").unwrap(),
        program: Program {
            argv: argv.to_vec(),
            user: "daemon".to_owned(),
            as_root: false,
            timeout,
        },
    }
}

fn boot() -> BootTime {
    clock::now().boot
}

fn start(script: &str, timeout: Duration, input: &str) -> Job {
    let facts = [("SPA_CLIENT", "anna".to_owned())];
    Job::start(
        RunId(1),
        &resolved_program(script, timeout),
        &facts,
        input,
        boot(),
    )
    .unwrap()
}

/// As the keeper does.
fn wait_for_exit(mut job: Job) -> RunExit {
    loop {
        let timeout = job.due.saturating_since(boot()) + Duration::from_millis(1);
        let descriptors = [Some(job.exit_fd()), job.output_fd()];
        let mut ready: Vec<_> = descriptors
            .into_iter()
            .flatten()
            .map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN))
            .collect();
        poll(&mut ready, Some(&Timespec::try_from(timeout).unwrap())).unwrap();
        job.read_output();
        if job.has_ended() {
            return job.reap(boot());
        }
        if job.due <= boot() {
            job.terminate(boot());
        }
    }
}

fn run(script: &str) -> RunExit {
    wait_for_exit(start(script, Duration::from_secs(20), ""))
}

fn output(ended: &RunExit) -> &str {
    std::str::from_utf8(&ended.output).unwrap()
}

#[test]
fn its_environment_is_what_was_told_and_nothing_else() {
    let ended = run("exec /usr/bin/env");
    let mut lines: Vec<_> = output(&ended).lines().collect();
    lines.sort_unstable();
    // The shell's own.
    lines.retain(|line| {
        !["PWD=", "_=", "SHLVL="]
            .iter()
            .any(|own| line.starts_with(own))
    });
    let path = format!("PATH={PATH}");
    assert_eq!(
        lines,
        ["HOME=/usr/sbin", &path, "SPA_CLIENT=anna", "USER=daemon"]
    );
    assert_eq!(ended.kind, ExitKind::Exited(0));
}

#[test]
fn it_is_the_declared_user_in_its_groups_alone_without_a_capability_or_a_way_to_one() {
    let ended =
        run("id -u; id -g; id -G; grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status");
    let account = spad_sys::users::account("daemon").unwrap().unwrap();
    let said = output(&ended);
    let numbers: Vec<_> = said.lines().take(3).collect();
    let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
    assert_eq!(numbers, [&uid, &gid, &gid]);
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(
            said.contains(&format!("{capabilities}:\t0000000000000000")),
            "{said}"
        );
    }
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
}

#[test]
fn root_keeps_no_capability_either() {
    let mut ready = resolved_program(
        "id -u; grep CapPrm /proc/self/status",
        Duration::from_secs(20),
    );
    ready.account = spad_sys::users::account("root").unwrap();
    ready.program.as_root = true;
    // As in the runner, where nothing can be gained.
    let ended = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        wait_for_exit(Job::start(RunId(1), &ready, &[], "", boot()).unwrap())
    });
    let ended = ended.join().unwrap();
    assert_eq!(output(&ended), "0\nCapPrm:\t0000000000000000\n");
}

#[test]
fn it_inherits_no_descriptor_but_the_standard_ones() {
    let leaked = std::fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // The last one is that of the listing itself.
    let ended = run("exec ls /proc/self/fd");
    assert_eq!(output(&ended), "0\n1\n2\n3\n");
    let ended = run("exec readlink /proc/self/fd/0");
    assert_eq!(output(&ended), "/dev/null\n");
    drop(leaked);
}

#[test]
fn a_hook_reads_what_it_is_told_and_then_the_end() {
    let job = start(
        "exec cat",
        Duration::from_secs(20),
        "{\"event\":\"open\"}\n",
    );
    assert_eq!(output(&wait_for_exit(job)), "{\"event\":\"open\"}\n");
}

#[test]
fn both_outputs_are_kept_up_to_the_bound_and_the_rest_is_counted() {
    let ended = run("echo one; echo two >&2; exit 7");
    assert_eq!((output(&ended), ended.truncated), ("one\ntwo\n", 0));
    assert_eq!(ended.kind, ExitKind::Exited(7));
    let ended = run("exec head -c 1000000 /dev/zero");
    assert_eq!(ended.output.len(), MAX_OUTPUT);
    assert_eq!(ended.truncated, 1_000_000 - 65_536);
}

#[test]
fn its_time_limit_ends_it_and_all_that_it_started() {
    // Neither heeds the first signal; the child says so only once it cannot be stopped by it.
    let script =
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait; sleep 60";
    let began = boot();
    let ended = wait_for_exit(start(script, Duration::from_millis(500), ""));
    let took = boot().saturating_since(began);
    assert_eq!(ended.kind, ExitKind::TimedOut);
    assert!(took >= Duration::from_millis(2500), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let child: i32 = output(&ended).trim().parse().unwrap();
    assert!(is_gone(child), "the child outlives its time");
}

#[test]
fn what_it_leaves_behind_in_its_group_ends_with_it_and_keeps_nobody_waiting() {
    let began = boot();
    let ended = run("sleep 60 & echo $!");
    assert!(boot().saturating_since(began) < Duration::from_secs(10));
    assert!(is_gone(output(&ended).trim().parse().unwrap()));
}

/// Killed, though perhaps not waited for by whoever adopted it.
fn is_gone(id: i32) -> bool {
    let dead = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z ") || status.contains(") X ")
    };
    // A signal is on its way for a moment.
    (0..500).any(|_| {
        let gone = dead();
        if !gone {
            std::thread::sleep(Duration::from_millis(10));
        }
        gone
    })
}

#[test]
fn a_missing_program_or_user_starts_nothing() {
    let mut absent = resolved_program("", Duration::from_secs(1));
    absent.program.argv = vec!["/no/such/program".to_owned()];
    assert!(Job::start(RunId(1), &absent, &[], "", boot()).is_err());
    let mut nobody = resolved_program("exit 0", Duration::from_secs(1));
    nobody.account = None;
    assert!(Job::start(RunId(1), &nobody, &[], "", boot()).is_err());
}

#[test]
fn a_program_that_others_may_write_to_or_replace_is_not_started() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let everybody = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(directory.path(), everybody(0o755)).unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let mut own = resolved_program("", Duration::from_secs(20));
    own.program.argv = vec![script.to_str().unwrap().to_owned()];
    for (mode, starts) in [(0o755, true), (0o757, false), (0o777, false)] {
        std::fs::set_permissions(&script, everybody(mode)).unwrap();
        let job = Job::start(RunId(1), &own, &[], "", boot());
        assert_eq!(job.is_ok(), starts, "{mode:o}");
        job.ok().map(wait_for_exit);
    }
    std::fs::set_permissions(&script, everybody(0o755)).unwrap();
    std::fs::set_permissions(directory.path(), everybody(0o757)).unwrap();
    assert!(Job::start(RunId(1), &own, &[], "", boot()).is_err());
}
