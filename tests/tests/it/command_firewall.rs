//! The mode "command": a firewall that is not ours, told by programs. Here it is a table of
//! nftables that a script changes, so that what is open is seen by real connections.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use spa_tests::binaries;
use spa_tests::process::run_with_input;
use spa_tests::reach::Reach;
use spa_tests::settings::{CHAT, Settings, WEB};
use spa_tests::wait;
use spa_tests::world::World;

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

struct Outside {
    world: World,
    directory: PathBuf,
}

impl Outside {
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
        let world = World::stopped(&settings);
        let directory = tempfile_in_reach();
        let script = directory.join("fw");
        std::fs::write(&script, SCRIPT).expect("the script");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        mode(&script, 0o755);
        mode(&directory, 0o777);
        world.lab.server.must("nft", &[TABLE]);
        let file = world.spad.config().join("spad.toml");
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
        let mut outside = Self { world, directory };
        outside.world.spad.start();
        outside
    }

    fn runs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn fail(&self, what: &str) {
        std::fs::write(self.directory.join(format!("fail-{what}")), "").expect("a file");
    }

    fn mend(&self, what: &str) {
        std::fs::remove_file(self.directory.join(format!("fail-{what}"))).expect("a file");
    }

    /// Both processes at once, so that none can close anything.
    fn kill_both(&mut self) {
        let engine = i32::try_from(self.world.spad.process().id()).expect("an id");
        let is_ours = |id: &i32| {
            std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == binaries::spad())
        };
        let mut all = self.world.lab.server.processes().into_iter();
        let writer = all
            .find(|id| *id != engine && is_ours(id))
            .expect("the writer");
        let writer = Pid::from_raw(writer).expect("an id");
        kill_process(writer, Signal::STOP).expect("the writer stops");
        self.world.spad.process().end_by(Signal::KILL);
        kill_process(writer, Signal::KILL).expect("the writer ends");
        self.world.spad.kill();
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A directory that the writer's user can reach.
fn tempfile_in_reach() -> PathBuf {
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
    let outside = Outside::new("2s");
    let world = &outside.world;
    assert_eq!(
        [world.tcp(WEB), world.udp(CHAT), world.tcp6(WEB)],
        [Reach::Refused; 3]
    );
    world.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Open; 2]);
    assert_eq!(world.tcp6(WEB), Reach::Refused);
    world.wait_closed(WEB);
    world.spad.wait_audited(&[("event", "expire")]);
    wait::soon("udp closes too", || {
        (world.udp(CHAT) == Reach::Refused).then_some(())
    });
    world.send6(&world.laptop.open(&["tcp/8080"]));
    wait::soon("IPv6 opens", || {
        (world.tcp6(WEB) == Reach::Open).then_some(())
    });
    let table = world.lab.server.must("nft", &["list", "tables"]);
    assert!(!table.contains("spad"), "no table of ours: {table}");
}

#[test]
fn a_close_and_a_disabled_client_close_the_outside_firewall_at_once() {
    let outside = Outside::new("60s");
    let world = &outside.world;
    world.open(&["tcp/8080", "udp/9999"]);
    world.send_counted(
        &world
            .laptop
            .seal(&spa_tests::identity::close(&["tcp/8080"])),
        "closed",
    );
    assert_eq!(
        [world.tcp(WEB), world.udp(CHAT)],
        [Reach::Refused, Reach::Open]
    );
    let _ = world.spad.cli(&["client", "disable", "laptop"]).ok();
    assert_eq!(world.udp(CHAT), Reach::Refused);
}

#[test]
fn where_the_program_fails_for_one_of_several_nothing_is_open_and_the_log_says_why() {
    let outside = Outside::new("60s");
    let world = &outside.world;
    outside.fail("open-9999");
    world.send_counted(
        &world.laptop.open(&["tcp/8080", "udp/9999"]),
        "firewall_command",
    );
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Refused; 2]);
    let said = world.spad.said();
    assert!(
        said.contains("out of order") && said.contains("udp/9999"),
        "{said}"
    );
    assert!(
        outside
            .runs()
            .iter()
            .any(|run| run.starts_with("close") && run.ends_with("8080"))
    );
    outside.mend("open-9999");
    world.open(&["tcp/8080", "udp/9999"]);
    assert_eq!([world.tcp(WEB), world.udp(CHAT)], [Reach::Open; 2]);
}

#[test]
fn a_program_is_not_blamed_for_a_file_that_could_not_be_opened_for_it() {
    let mut outside = Outside::new("60s");
    let world = &mut outside.world;
    world.spad.stop();
    // Root's own, and not the writer's.
    let file = world.lab.path().join("null");
    std::fs::write(&file, "").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    world.spad.put_in_place("/dev/null", file);
    world.spad.start();
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "firewall_command");
    let said = world.spad.said();
    let named = "/fw: cannot open /dev/null: Permission denied";
    assert!(said.contains(named), "{said}");
}

#[test]
fn what_was_open_when_all_was_killed_is_closed_on_time_after_a_restart() {
    let mut outside = Outside::new("3s");
    outside.world.open(&["tcp/8080"]);
    outside.kill_both();
    assert_eq!(
        outside.world.tcp(WEB),
        Reach::Open,
        "nobody is there to close it"
    );
    outside.world.spad.start();
    outside.world.wait_closed(WEB);
}

#[test]
fn what_was_open_before_a_boot_is_closed_by_the_walls_clock() {
    let mut outside = Outside::new("2s");
    outside.world.open(&["tcp/8080"]);
    outside.kill_both();
    wait::until_after(wait::now(), Duration::from_secs(2));
    assert_eq!(outside.world.tcp(WEB), Reach::Open);
    outside.world.spad.pretend_new_boot();
    outside.world.spad.start();
    outside.world.wait_closed(WEB);
}

#[test]
fn a_close_that_fails_is_tried_again_until_it_succeeds() {
    let outside = Outside::new("1s");
    let world = &outside.world;
    world.open(&["tcp/8080"]);
    outside.fail("close");
    let tries = || {
        outside
            .runs()
            .iter()
            .filter(|run| run.starts_with("close"))
            .count()
    };
    wait::soon("it is tried twice", || (tries() >= 2).then_some(()));
    assert_eq!(world.tcp(WEB), Reach::Open);
    let said = world.spad.said();
    assert!(said.contains("tcp/8080 IS STILL OPEN"), "{said}");
    outside.mend("close");
    world.wait_closed(WEB);
}

#[test]
fn what_the_firewall_would_not_close_is_not_called_closed() {
    let outside = Outside::new("60s");
    let world = &outside.world;
    world.open(&["tcp/8080"]);
    outside.fail("close");
    for withdraw in [&["revoke", "laptop"][..], &["client", "disable", "laptop"]] {
        let said = world.spad.cli(withdraw);
        assert_eq!(world.tcp(WEB), Reach::Open);
        assert!(
            !said.success && said.stderr.contains("STILL OPEN"),
            "{withdraw:?}: {said:?}"
        );
    }
    outside.mend("close");
    world.wait_closed(WEB);
}

#[test]
fn the_end_of_spad_closes_what_nobody_would_close_later() {
    let mut outside = Outside::new("60s");
    outside.world.open(&["tcp/8080"]);
    outside.world.spad.stop();
    assert_eq!(outside.world.tcp(WEB), Reach::Refused);
}

#[test]
fn ctrl_c_at_a_terminal_closes_what_nobody_would_close_later() {
    let mut outside = Outside::new("60s");
    outside.world.spad.stop();
    outside.world.spad.start_behind(&["setsid"]);
    outside.world.spad.start();
    outside.world.open(&["tcp/8080"]);
    let spad = outside.world.spad.process();
    let group = i32::try_from(spad.id()).ok().and_then(Pid::from_raw);
    kill_process_group(group.expect("an id"), Signal::INT).expect("Ctrl-C");
    let status = wait::soon("spad ends", || spad.ended());
    assert!(status.success(), "{status}\n{}", spad.said());
    assert_eq!(outside.world.tcp(WEB), Reach::Refused);
}

#[test]
fn programs_have_no_capability_unless_it_is_kept_for_them() {
    let outside = Outside::with("60s", "");
    let world = &outside.world;
    world.send_counted(&world.laptop.open(&["tcp/8080"]), "firewall_command");
    assert!(!outside.runs().is_empty());
    assert_eq!(world.tcp(WEB), Reach::Refused);
}

#[test]
fn a_change_of_the_mode_needs_a_restart_and_says_so() {
    let outside = Outside::new("60s");
    let world = &outside.world;
    world.spad.configure(&Settings::default());
    let reloaded = world.spad.cli(&["reload"]);
    assert_eq!(reloaded.code, Some(1));
    assert!(
        reloaded.stderr.contains("systemctl restart spad"),
        "{}",
        reloaded.stderr
    );
}

#[test]
fn ipset_and_iptables_with_the_printed_lines_open_and_close_though_everything_is_killed() {
    let mut world = World::stopped(&Settings {
        ttl: "3s",
        hide: &[],
        ..Settings::default()
    });
    let snippet = world
        .spad
        .cli(&["firewall", "snippet", "--ipset"])
        .ok()
        .stdout;
    let lines = snippet.lines().filter_map(|line| line.strip_prefix("#   "));
    let settings: Vec<&str> = lines.collect();
    let (guard, firewall) = settings.split_at(2);
    let file = world.spad.config().join("spad.toml");
    let text = std::fs::read_to_string(&file).expect("spad.toml");
    let text = text.replace("[guard]", &guard.join("\n"));
    std::fs::write(&file, format!("{text}\n{}\n", firewall.join("\n"))).expect("spad.toml");
    let dropping = "for program in iptables ip6tables; do $program -w -P INPUT DROP; done
ip6tables -w -A INPUT -p ipv6-icmp -j ACCEPT\n";
    let server = &world.lab.server;
    run_with_input(
        server.command("sh").args(["-e"]),
        &format!("{dropping}{snippet}"),
    )
    .ok();
    world.spad.start();
    let ports = |world: &World| {
        [
            world.tcp(WEB),
            world.udp(CHAT),
            world.tcp6(WEB),
            world.udp6(CHAT),
        ]
    };
    assert_eq!(ports(&world), [Reach::Silent; 4]);
    world.open(&["tcp/8080", "udp/9999"]);
    world.send6(&world.laptop.open(&["tcp/8080", "udp/9999"]));
    world.spad.wait_counted("opened", 2);
    assert_eq!(ports(&world), [Reach::Open; 4]);
    let outside = Outside {
        world,
        directory: tempfile_in_reach(),
    };
    let mut outside = outside;
    outside.kill_both();
    let world = &outside.world;
    wait::soon("the kernel closes by itself", || {
        (ports(world) == [Reach::Silent; 4]).then_some(())
    });
}
