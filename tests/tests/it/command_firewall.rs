//! The mode "command": a firewall that is not ours, told by programs. Here it is a table of
//! nftables that a script changes, so that what is open is seen by real connections.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use spa_tests::binaries;
use spa_tests::process::run_with_input;
use spa_tests::reach::Reachability;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

/// Refuses what nobody opened, in a table that spad knows nothing of.
const TABLE: &str = "table inet ext {
    set open_inet { type ipv4_addr . inet_proto . inet_service; }
    set open_inet6 { type ipv6_addr . inet_proto . inet_service; }
    chain input {
        type filter hook input priority 0;
        ip saddr . meta l4proto . th dport @open_inet accept
        ip6 saddr . meta l4proto . th dport @open_inet6 accept
        tcp dport { 22, 8080 } reject with tcp reset
        udp dport 9999 reject
    }
}";

/// Adds and deletes; where a file of this name lies beside it, it fails instead.
const SCRIPT: &str = "#!/bin/sh
[ -n \"$SECRET$HOME\" ] && exit 7
echo \"$@\" >> \"${0%/*}/runs\"
if [ -e \"${0%/*}/fail-$1\" ] || [ -e \"${0%/*}/fail-$1-$5\" ]; then echo 'out of order' >&2; exit 1; fi
PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $1 in
open) exec nft \"add element inet ext open_$2 { $3 . $4 . $5 }\" ;;
close) exec nft \"add element inet ext open_$2 { $3 . $4 . $5 }; delete element inet ext open_$2 { $3 . $4 . $5 }\" ;;
esac
";

struct CommandFirewall {
    bed: TestBed,
    directory: PathBuf,
}

impl CommandFirewall {
    fn new(ttl: &'static str) -> Self {
        Self::with(ttl, "keep_net_admin = true")
    }

    fn with(ttl: &'static str, more: &str) -> Self {
        let hide: &[&str] = &[];
        let settings = Settings {
            ttl,
            hide,
            ..Settings::default()
        };
        let bed = TestBed::stopped(&settings);
        let directory = accessible_tempdir();
        let script = directory.join("fw");
        std::fs::write(&script, SCRIPT).expect("the script");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        mode(&script, 0o755);
        mode(&directory, 0o777);
        bed.lab.server.run_ok("nft", &[TABLE]);
        let file = bed.spad.config().join("spad.toml");
        let text = std::fs::read_to_string(&file).expect("spad.toml");
        let text = text.replace("[guard]\n", "[guard]\nmode = \"command\"\n");
        let argv = |what: &str| {
            format!(
                "{what} = {{ argv = [{script:?}, \"{what}\", \"{{family}}\", \"{{address}}\", \"{{protocol}}\", \"{{port}}\"] }}\n"
            )
        };
        let text = format!(
            "{text}\n[firewall]\n{}{}{more}\n",
            argv("open"),
            argv("close")
        );
        std::fs::write(&file, text).expect("spad.toml");
        let mut outside = Self { bed, directory };
        outside.bed.spad.start();
        outside
    }

    fn runs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn fail(&self, what: &str) {
        std::fs::write(self.directory.join(format!("fail-{what}")), "").expect("a file");
    }

    fn restore(&self, what: &str) {
        std::fs::remove_file(self.directory.join(format!("fail-{what}"))).expect("a file");
    }

    /// Both processes at once, so that none can close anything.
    fn kill_both(&mut self) {
        let engine = i32::try_from(self.bed.spad.process().id()).expect("an id");
        let is_ours = |id: &i32| {
            std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binaries::spad())
        };
        let mut all = self.bed.lab.server.processes().into_iter();
        let writer = all
            .find(|id| *id != engine && is_ours(id))
            .expect("the writer");
        let writer = Pid::from_raw(writer).expect("an id");
        kill_process(writer, Signal::STOP).expect("the writer stops");
        self.bed.spad.process().signal_and_wait(Signal::KILL);
        kill_process(writer, Signal::KILL).expect("the writer ends");
        self.bed.spad.kill();
    }
}

impl Drop for CommandFirewall {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A directory that the writer's user can reach.
fn accessible_tempdir() -> PathBuf {
    let name = format!(
        "/tmp/spad-ext-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = PathBuf::from(name.replace(['(', ')'], ""));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

#[test]
fn a_knock_opens_the_outside_firewall_for_its_sender_and_it_is_closed_on_time() {
    let outside = CommandFirewall::new("2s");
    let bed = &outside.bed;
    assert_eq!(
        [bed.tcp(WEB), bed.udp(CHAT), bed.tcp6(WEB)],
        [Reachability::Refused; 3]
    );
    bed.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Open; 2]);
    assert_eq!(bed.tcp6(WEB), Reachability::Refused);
    bed.wait_closed(WEB);
    bed.spad.wait_audited(&[("event", "expire")]);
    wait::eventually("udp closes too", || {
        (bed.udp(CHAT) == Reachability::Refused).then_some(())
    });
    bed.send6(&bed.laptop.open(&["tcp/8080"]));
    wait::eventually("IPv6 opens", || {
        (bed.tcp6(WEB) == Reachability::Open).then_some(())
    });
    let table = bed.lab.server.run_ok("nft", &["list", "tables"]);
    assert!(!table.contains("spad"), "no table of ours: {table}");
}

#[test]
fn a_close_and_a_disabled_client_close_the_outside_firewall_at_once() {
    let outside = CommandFirewall::new("60s");
    let bed = &outside.bed;
    bed.open(&["tcp/8080", "udp/9999"]);
    bed.send_counted(
        &bed.laptop.seal(&spa_tests::identity::close(&["tcp/8080"])),
        "closed",
    );
    assert_eq!(
        [bed.tcp(WEB), bed.udp(CHAT)],
        [Reachability::Refused, Reachability::Open]
    );
    let _ = bed.spad.cli(&["client", "disable", "laptop"]).ok();
    assert_eq!(bed.udp(CHAT), Reachability::Refused);
}

#[test]
fn where_the_program_fails_for_one_of_several_nothing_is_open_and_the_log_says_why() {
    let outside = CommandFirewall::new("60s");
    let bed = &outside.bed;
    outside.fail("open-9999");
    bed.send_counted(
        &bed.laptop.open(&["tcp/8080", "udp/9999"]),
        "firewall_command",
    );
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Refused; 2]);
    let output = bed.spad.output();
    assert!(
        output.contains("out of order") && output.contains("udp/9999"),
        "{output}"
    );
    assert!(
        outside
            .runs()
            .iter()
            .any(|run| run.starts_with("close") && run.ends_with("8080"))
    );
    outside.restore("open-9999");
    bed.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([bed.tcp(WEB), bed.udp(CHAT)], [Reachability::Open; 2]);
}

#[test]
fn a_program_is_not_blamed_for_a_file_that_could_not_be_opened_for_it() {
    let mut outside = CommandFirewall::new("60s");
    let bed = &mut outside.bed;
    bed.spad.stop();
    // Root's own, and not the writer's.
    let file = bed.lab.path().join("null");
    std::fs::write(&file, "").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    bed.spad.bind_mount("/dev/null", file);
    bed.spad.start();
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "firewall_command");
    let output = bed.spad.output();
    let named = "/fw: cannot open /dev/null: Permission denied";
    assert!(output.contains(named), "{output}");
}

#[test]
fn what_was_open_when_all_was_killed_is_closed_on_time_after_a_restart() {
    let mut outside = CommandFirewall::new("3s");
    outside.bed.open(&["tcp/8080"]);
    outside.kill_both();
    assert_eq!(
        outside.bed.tcp(WEB),
        Reachability::Open,
        "nobody is there to close it"
    );
    outside.bed.spad.start();
    outside.bed.wait_closed(WEB);
}

#[test]
fn what_was_open_before_a_boot_is_closed_by_the_walls_clock() {
    let mut outside = CommandFirewall::new("2s");
    outside.bed.open(&["tcp/8080"]);
    outside.kill_both();
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert_eq!(outside.bed.tcp(WEB), Reachability::Open);
    outside.bed.spad.fake_new_boot();
    outside.bed.spad.start();
    outside.bed.wait_closed(WEB);
}

#[test]
fn a_close_that_fails_is_tried_again_until_it_succeeds() {
    let outside = CommandFirewall::new("1s");
    let bed = &outside.bed;
    bed.open(&["tcp/8080"]);
    outside.fail("close");
    let tries = || {
        outside
            .runs()
            .iter()
            .filter(|run| run.starts_with("close"))
            .count()
    };
    wait::eventually("it is tried twice", || (tries() >= 2).then_some(()));
    assert_eq!(bed.tcp(WEB), Reachability::Open);
    let output = bed.spad.output();
    assert!(output.contains("tcp/8080 IS STILL OPEN"), "{output}");
    outside.restore("close");
    bed.wait_closed(WEB);
}

#[test]
fn what_the_firewall_would_not_close_is_not_called_closed() {
    let outside = CommandFirewall::new("60s");
    let bed = &outside.bed;
    bed.open(&["tcp/8080"]);
    outside.fail("close");
    for withdraw in [&["revoke", "laptop"][..], &["client", "disable", "laptop"]] {
        let output = bed.spad.cli(withdraw);
        assert_eq!(bed.tcp(WEB), Reachability::Open);
        assert!(
            !output.success && output.stderr.contains("STILL OPEN"),
            "{withdraw:?}: {output:?}"
        );
    }
    outside.restore("close");
    bed.wait_closed(WEB);
}

#[test]
fn the_end_of_spad_closes_what_nobody_would_close_later() {
    let mut outside = CommandFirewall::new("60s");
    outside.bed.open(&["tcp/8080"]);
    outside.bed.spad.stop();
    assert_eq!(outside.bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn ctrl_c_at_a_terminal_closes_what_nobody_would_close_later() {
    let mut outside = CommandFirewall::new("60s");
    outside.bed.spad.stop();
    outside.bed.spad.set_wrapper(&["setsid"]);
    outside.bed.spad.start();
    outside.bed.open(&["tcp/8080"]);
    let spad = outside.bed.spad.process();
    let group = i32::try_from(spad.id()).ok().and_then(Pid::from_raw);
    kill_process_group(group.expect("an id"), Signal::INT).expect("Ctrl-C");
    let status = wait::eventually("spad ends", || spad.try_wait());
    assert!(status.success(), "{status}\n{}", spad.output());
    assert_eq!(outside.bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn programs_have_no_capability_unless_it_is_kept_for_them() {
    let outside = CommandFirewall::with("60s", "");
    let bed = &outside.bed;
    bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "firewall_command");
    assert!(!outside.runs().is_empty());
    assert_eq!(bed.tcp(WEB), Reachability::Refused);
}

#[test]
fn a_change_of_the_mode_needs_a_restart_and_says_so() {
    let outside = CommandFirewall::new("60s");
    let bed = &outside.bed;
    bed.spad.configure(&Settings::default());
    let reloaded = bed.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    assert!(
        reloaded.stderr.contains("systemctl restart spad"),
        "{}",
        reloaded.stderr
    );
}

#[test]
fn ipset_and_iptables_with_the_printed_lines_open_and_close_though_everything_is_killed() {
    let mut bed = TestBed::stopped(&Settings {
        ttl: "3s",
        hide: &[],
        ..Settings::default()
    });
    let snippet = bed
        .spad
        .cli(&["firewall", "snippet", "--ipset"])
        .ok()
        .stdout;
    let lines = snippet.lines().filter_map(|line| line.strip_prefix("#   "));
    let settings: Vec<&str> = lines.collect();
    let (guard, firewall) = settings.split_at(2);
    let file = bed.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let text = text.replace("[guard]", &guard.join("\n"));
    std::fs::write(&file, format!("{text}\n{}\n", firewall.join("\n"))).expect("spad.toml");
    let dropping = "for program in iptables ip6tables; do $program -w -P INPUT DROP; done
ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT\n";
    let server = &bed.lab.server;
    run_with_input(
        server.command("sh").args(["-e"]),
        &format!("{dropping}{snippet}"),
    )
    .ok();
    bed.spad.start();
    let ports = |bed: &TestBed| [bed.tcp(WEB), bed.udp(CHAT), bed.tcp6(WEB), bed.udp6(CHAT)];
    assert_eq!(ports(&bed), [Reachability::NoAnswer; 4]);
    bed.open(&["tcp/8080", "udp/9999"]);
    bed.send6(&bed.laptop.open(&["tcp/8080", "udp/9999"]));
    bed.spad.wait_verdict_count("opened", 2);
    assert_eq!(ports(&bed), [Reachability::Open; 4]);
    let outside = CommandFirewall {
        bed,
        directory: accessible_tempdir(),
    };
    let mut outside = outside;
    outside.kill_both();
    let bed = &outside.bed;
    wait::eventually("the kernel closes by itself", || {
        (ports(bed) == [Reachability::NoAnswer; 4]).then_some(())
    });
}
