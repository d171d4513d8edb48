//! The table stands: adopted, put back, replaced, kept, taken away.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use spad_firewall::{FromWriter, StartingWriter, ToWriter};
use spad_model::Element;

use crate::firewall::netns::{
    CLIENT4, CLIENT6, SERVER4, SERVER6, TestNetns, TestWriter, echo, element, in_netns, nft, put,
    sh, start, wait_until,
};

const HIDE: &str = "\"ssh\"";
const GUARD: &str = "trial = \"0s\"";

/// Waits for the report that the table was put back; gives how many grants were.
pub(crate) fn wait_restored(writer: &mut TestWriter) -> u32 {
    match writer.wait_for(|message| matches!(message, FromWriter::Restored { .. })) {
        FromWriter::Restored { grants } => grants,
        other => panic!("{other:?}"),
    }
}

fn rules() -> String {
    let text = sh("nft -s list table inet spad");
    let lines = text
        .lines()
        .filter(|line| !line.contains("jhash") && !line.contains(" timeout "));
    lines.collect::<Vec<_>>().join("\n")
}

in_netns! {
    fn the_text_that_is_shown_and_the_data_that_is_loaded_mean_the_same_to_the_kernel() {
        for (hide, guard) in [
            ("", ""),
            ("\"ssh\", \"dns\"", "trial = \"0s\"\nanswer = \"drop\""),
            ("\"ssh\", \"web\"", "trial = \"5m\"\nalways_allow = [\"lo\", \"wg0\", \"10.0.0.0/8\", \"2001:db8::/32\", \"192.0.2.1\"]"),
            ("\"nas\"", "trial = \"5m\"\nalways_allow = [\"wg0\", \"10.9.0.0/16\"]\n[services.nas]\nports = [\"tcp/2222\"]\nto = [\"10.0.0.5:22\", \"[2001:db8::5]:22\"]\nmasquerade = true"),
        ] {
            let world = TestNetns::new(hide, guard);
            let shown = world.spad(&["firewall", "show"]);
            world.spad(&["firewall", "load"]);
            let loaded = rules();
            nft("delete table inet spad");
            nft(&shown);
            assert_eq!(rules(), loaded);
            sh("ip link del s0; nft flush ruleset");
        }
    }

    fn a_restart_keeps_every_grant_and_its_time() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let once = Element { once: true, ..element(CLIENT6, "tcp/22") };
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 20_000), put(once, 9_000)]).unwrap();
        writer.writer.stop();
        assert!(world.connects(SERVER4, 22), "nobody runs");
        let mut writer = world.writer();
        let mut grants: Vec<_> = writer.list().iter().map(|one| (one.element.once, one.remaining.as_secs())).collect();
        grants.sort_unstable();
        assert!(matches!(grants.as_slice(), [(false, 17..=19), (true, 6..=8)]), "{grants:?}");
        assert!(world.connects(SERVER4, 22));
    }

    fn what_others_flush_is_back_within_a_second_with_the_grants_and_the_rest_of_their_time() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let (short, long) = (element(CLIENT4, "tcp/22"), element(CLIENT6, "tcp/22"));
        let once = Element { once: true, ..element(CLIENT4, "tcp/22") };
        writer.change(vec![put(short, 5_000), put(long, 60_000), put(once, 60_000)]).unwrap();
        std::thread::sleep(Duration::from_millis(1000));
        nft("flush ruleset");
        let start = Instant::now();
        assert_eq!(wait_restored(&mut writer), 2);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let mut grants: Vec<_> = writer.list().iter().map(|one| one.remaining.as_millis()).collect();
        grants.sort_unstable();
        assert!(matches!(grants.as_slice(), [3000..=4100, 50_000..=59_100]), "{grants:?}");
        assert!(!writer.has(once), "it may have been used: never put back");
        assert!(world.connects(SERVER4, 22));
        nft("delete table inet spad");
        assert_eq!(wait_restored(&mut writer), 2);
    }

    fn each_change_by_others_is_undone() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        let grant = element(CLIENT4, "tcp/22");
        writer.change(vec![put(grant, 60_000)]).unwrap();
        let before = rules();
        for change in [
            "flush chain inet spad prerouting",
            "insert rule inet spad check_grant accept",
            "delete element inet spad hidden { tcp . 22 }",
            "add element inet spad grants4 { 10.9.0.99 . tcp . 22 timeout 1h }",
            "add element inet spad grants_once4 { 10.9.0.99 . tcp . 22 timeout 1h }",
            "delete element inet spad grants4 { 10.9.0.1 . tcp . 22 }",
            "flush set inet spad grants4",
            "add table inet spad { flags dormant; }",
        ] {
            nft(change);
            wait_restored(&mut writer);
            assert_eq!(rules(), before, "{change}");
            let grants: Vec<_> = writer.list().iter().map(|one| one.element).collect();
            assert_eq!(grants, [grant], "{change}");
        }
    }

    fn what_one_repair_undid_is_not_repaired_again_and_what_came_after_it_is() {
        let world = TestNetns::new(HIDE, GUARD);
        let path = world.directory().display().to_string();
        // An `nft` for the writer alone that waits while the file `hold` is there.
        sh(&format!("cd {path}; mkdir -m 777 marks; cp /usr/sbin/nft real
            printf '#!/bin/sh\nif [ -e {path}/hold ]; then : > {path}/marks/held; while [ -e {path}/hold ]; do sleep 0.01; done; fi\nexec {path}/real \"$@\"\n' > slow
            printf '#!/bin/sh\nexec unshare -m sh -c '\\''mount --bind {path}/slow /usr/sbin/nft; exec {spad} \"$@\"'\\'' sh \"$@\"\n' > spad
            chmod 755 real slow spad", spad = env!("CARGO_BIN_EXE_spad")));
        let script = world.directory().join("spad");
        let mut writer = TestWriter::new(start(&script, &world.paths).unwrap());
        let before = rules();
        std::fs::write(world.directory().join("hold"), "").unwrap();
        nft("insert rule inet spad check_grant accept");
        wait_until(|| world.directory().join("marks/held").exists());
        nft("insert rule inet spad accept_granted accept");
        std::fs::remove_file(world.directory().join("hold")).unwrap();
        wait_restored(&mut writer);
        assert_eq!(rules(), before);
        std::thread::sleep(Duration::from_millis(300));
        writer.list();
        assert_eq!(writer.events, [], "one repair put both right");
        nft("flush chain inet spad check_grant");
        wait_restored(&mut writer);
        assert_eq!(rules(), before);
    }

    fn changes_of_other_tables_are_nobodys_business() {
        let world = TestNetns::new(HIDE, GUARD);
        let mut writer = world.writer();
        nft("table inet other { chain input { type filter hook input priority 0; } }
             table ip spad { chain input { type filter hook input priority 0; } }");
        nft("flush table inet other");
        writer.change(vec![put(element(CLIENT4, "tcp/22"), 1000)]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        writer.list();
        assert_eq!(writer.events, []);
    }

    fn a_table_of_another_make_is_replaced_and_its_grants_are_kept() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let mut writer = world.writer();
        let grant = element(CLIENT4, "tcp/22");
        writer.change(vec![put(grant, 60_000)]).unwrap();
        writer.writer.stop();
        let text = sh("nft list table inet spad");
        let other = text.replace("set grants4 {\n\t\ttype ipv4_addr . inet_proto . inet_service\n\t\tsize 65536",
            "set grants4 {\n\t\ttype ipv4_addr . inet_proto . inet_service\n\t\tsize 77");
        let other = other.replace("set trial_pending6 {\n\t\ttype ipv6_addr", "set trial_pending6 {\n\t\ttype ipv4_addr");
        let other: String = other.lines().filter(|line| !line.contains("trial_pending6 ") || line.contains("set")).map(|line| format!("{line}\n")).collect();
        assert_ne!(other, text);
        nft(&format!("delete table inet spad\n{other}"));
        let mut writer = world.writer();
        assert!(writer.has(grant));
        assert!(world.connects(SERVER4, 22) && !world.connects(SERVER6, 22));
        assert!(!sh("nft list set inet spad trial_pending6").contains("ipv4_addr"));
    }

    fn a_reload_hides_and_shows_ports_and_keeps_grants_and_a_broken_one_changes_nothing() {
        let world = TestNetns::new(HIDE, GUARD);
        for port in [22, 80] {
            echo(port);
        }
        let mut writer = world.writer();
        let grant = element(CLIENT4, "tcp/22");
        writer.change(vec![put(grant, 60_000)]).unwrap();
        let reload = |writer: &mut TestWriter| match writer.request(&ToWriter::Reload, |message| matches!(message, FromWriter::Reloaded(_))) {
            FromWriter::Reloaded(result) => result,
            other => panic!("{other:?}"),
        };
        world.configure("\"sssh\"", GUARD);
        let error = reload(&mut writer).unwrap_err();
        assert!(error.contains("spad.toml:1"), "{error}");
        assert!(!world.connects(SERVER6, 22) && world.connects(SERVER6, 80));
        std::fs::write(world.paths.clients_dir().join("anna.toml"), "shared_key = true\nallow = [\"web\"]\n").unwrap();
        world.configure("\"web\"", GUARD);
        assert_eq!(reload(&mut writer), Ok(()));
        assert!(world.connects(SERVER6, 22) && !world.connects(SERVER6, 80));
        assert!(writer.has(grant));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(writer.events, [], "its own changes are not others'");
    }

    fn a_broken_configuration_at_start_is_replaced_by_the_last_good_one() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        world.writer().writer.stop();
        world.spad(&["firewall", "remove"]);
        assert!(world.connects(SERVER4, 22));
        std::fs::write(world.paths.config_file(), "hide = [").unwrap();
        world.spad(&["firewall", "load"]);
        assert!(!world.connects(SERVER4, 22));
        let _writer = world.writer();
        assert!(!world.connects(SERVER4, 22));
    }

    fn the_guard_stays_when_the_writer_ends_and_the_writer_ends_when_its_engine_does() {
        let world = TestNetns::new(HIDE, GUARD);
        echo(22);
        let writer = world.writer();
        let process = format!("/proc/{}", writer.process());
        let state = || std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        assert!(!state().is_empty());
        // The engine's end closes as it does when the engine is killed.
        drop(writer);
        wait_until(|| state().is_empty() || state().contains(") Z "));
        assert!(!world.connects(SERVER4, 22));
        world.spad(&["firewall", "remove"]);
        assert!(world.connects(SERVER4, 22));
    }

    fn the_writer_has_one_capability_and_is_not_root() {
        let world = TestNetns::new(HIDE, GUARD);
        let writer = world.writer();
        let status = std::fs::read_to_string(format!("/proc/{}/status", writer.process())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_ascii_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000001000", "{set}");
        }
        assert!(!field("Uid:").split(' ').any(|id| id == "0"));
        assert!(!field("Gid:").split(' ').any(|id| id == "0"));
        assert!(!field("Groups:").split(' ').any(|id| id == "0"));
        assert_eq!(field("NoNewPrivs:"), "1");
    }

    fn without_the_capability_the_start_says_which_is_missing() {
        let world = TestNetns::new(HIDE, GUARD);
        let script = world.directory().join("powerless");
        let binary = env!("CARGO_BIN_EXE_spad");
        std::fs::write(&script, format!("#!/bin/sh\nexec setpriv --bounding-set -net_admin --inh-caps -net_admin {binary} \"$@\"\n")).unwrap();
        sh(&format!("chmod 755 {}", script.display()));
        let error = start(&script, &world.paths).unwrap_err().to_string();
        assert!(error.contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(sh("nft list ruleset").trim(), "");
    }

    fn a_writer_without_leave_to_begin_changes_nothing_and_ends_with_its_engine() {
        let world = TestNetns::new(HIDE, GUARD);
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_spad"));
        let untouched = || {
            assert_eq!(sh("nft list ruleset").trim(), "");
            assert!(!world.paths.guard_state().exists());
        };
        // The start failed: it is ended at once.
        let idle = StartingWriter::spawn(binary, &world.paths).unwrap();
        let process = sh("pgrep -f [f]irewall-writer -P $PPID").trim().to_owned();
        // It has read everything where it waits for the word.
        wait_until(|| sh(&format!("cat /proc/{process}/wchan")).contains("poll"));
        untouched();
        drop(idle);
        let left = std::path::Path::new("/proc").join(process);
        assert!(!left.exists(), "ended, and waited for");
        untouched();
        // The engine was killed, before or after it said so; or it says something else.
        for (said, lives, ends_well) in [("", false, true), ("\u{8}", false, true), ("\u{6}", true, true), ("\u{2}", true, false)] {
            let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
            let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
            if !said.is_empty() {
                let _ = send(&ours, said.as_bytes(), SendFlags::NOSIGNAL).unwrap();
            }
            let ours = lives.then_some(ours);
            let mut command = Command::new(binary);
            command.arg("firewall-writer").stdin(Stdio::from(theirs));
            command.arg("--config").arg(&world.paths.config);
            command.arg("--state").arg(&world.paths.state);
            assert_eq!(command.status().unwrap().success(), ends_well, "{said:?}");
            drop(ours);
            untouched();
        }
        // Told to begin, it does.
        let writer = start(binary, &world.paths).unwrap();
        assert!(sh("nft list ruleset").contains("table inet spad"));
        drop(writer);
    }

    fn what_was_changed_or_mended_since_the_writer_read_it_counts_where_it_begins() {
        let world = TestNetns::new("oops", GUARD);
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_spad"));
        for (hide, both) in [(HIDE, false), ("\"ssh\", \"web\"", true)] {
            let idle = StartingWriter::spawn(binary, &world.paths).unwrap();
            let process = sh("pgrep -f [f]irewall-writer -P $PPID");
            wait_until(|| sh(&format!("cat /proc/{}/wchan", process.trim())).contains("poll"));
            world.configure(hide, GUARD);
            assert!(idle.begin().unwrap().stop().unwrap().success());
            let hidden = sh("nft list set inet spad hidden");
            assert!(hidden.contains("tcp . 22"), "{hidden}");
            assert_eq!(hidden.contains("tcp . 80"), both, "{hidden}");
        }
    }

    fn a_directory_that_somebody_else_put_in_its_place_is_not_used_and_hiding_goes_on() {
        let world = TestNetns::new(HIDE, GUARD);
        let guard = world.paths.guard_state();
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_spad"));
        for put in ["mkdir -p {0}; chown 4242 {0}", "rmdir {0}; mkdir {0}.other; chown 4242 {0}.other; ln -s {0}.other {0}"] {
            sh(&put.replace("{0}", &guard.display().to_string()));
            let writer = start(binary, &world.paths).unwrap();
            assert!(sh("nft list set inet spad hidden").contains("tcp . 22"));
            assert_eq!(std::fs::read_dir(&guard).unwrap().count(), 0, "{put}");
            drop(writer);
            sh("nft flush ruleset");
        }
    }
}
