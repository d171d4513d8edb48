//! Port knocking in pure rules, as `spad rules` prints them, loaded and knocked at with
//! the tools that people have.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use spa_tests::binaries;
use spa_tests::echo::Echo;
use spa_tests::lab::{LINK, Lab, SERVER4, SERVER6, STRANGER4};
use spa_tests::process::{run, run_with_input};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::WEB;
use spa_tests::wait;
use spad_migrate::rules_export as tried;
use spad_migrate::rules_export::{RuleSpec, nftables};

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];
/// How the rules stand in the host.
const BOTH: [Loader; 2] = [Loader::Nftables, Loader::Iptables];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    Nftables,
    Iptables,
}

/// Two machines, an echo behind the rules.
struct RulesTestBed {
    lab: Lab,
    _echo: Echo,
}

fn rules(loader: Loader, sequence: &str, more: &[&str]) -> String {
    let mut command = Command::new(binaries::spad());
    command.args(["rules", "--sequence", sequence, "--open", "tcp/8080"]);
    if loader == Loader::Iptables {
        command.arg("--iptables");
    }
    run(command.args(more)).ok().stdout
}

impl RulesTestBed {
    fn with(loader: Loader, sequence: &str, more: &[&str]) -> Self {
        let lab = Lab::new();
        let rules = rules(loader, sequence, more);
        let programs: &[(&str, &[&str])] = match loader {
            Loader::Nftables => &[("nft", &["-f", "-"])],
            Loader::Iptables => &[("iptables-restore", &[]), ("ip6tables-restore", &[])],
        };
        for (program, arguments) in programs {
            run_with_input(lab.server.command(program).args(*arguments), &rules).ok();
        }
        let echo = Echo::tcp(&lab.server, WEB);
        // Neighbours know each other before anything is timed.
        for server in SERVERS {
            let _ = reach::tcp(&lab.client, server, 9);
        }
        Self { lab, _echo: echo }
    }

    fn is_open(&self, server: IpAddr) -> bool {
        reach::tcp(&self.lab.client, server, WEB) == Reachability::Open
    }

    /// The first segment of a connection to each port.
    fn knock(&self, server: IpAddr, ports: &[u16]) {
        self.lab.client.enter(|| {
            for port in ports {
                let to = SocketAddr::new(server, *port);
                let _ = TcpStream::connect_timeout(&to, Duration::from_millis(20));
            }
        });
    }
}

#[test]
fn the_sequence_opens_over_both_families_and_the_port_closes_by_itself() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "8881,7777,9991", &["--for", "2s"]);
        for server in SERVERS {
            assert!(!knocked.is_open(server), "{loader:?}: before any knock");
            knocked.knock(server, &[8881, 7777]);
            assert!(
                !knocked.is_open(server),
                "{loader:?}: before the last knock"
            );
        }
        for server in SERVERS {
            // The try above was a wrong knock itself, so from the beginning.
            knocked.knock(server, &[8881, 7777, 9991]);
            let mut connection = reach::connect(&knocked.lab.client, server, WEB);
            wait::eventually("the port closes", || {
                (!knocked.is_open(server)).then_some(())
            });
            assert!(
                reach::echoes(&mut connection),
                "{loader:?}: an established one lives on"
            );
        }
    }
}

#[test]
fn a_knock_opens_for_its_own_address_and_family_alone() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "8881,7777,9991", &[]);
        knocked.knock(SERVERS[0], &[8881, 7777, 9991]);
        assert!(knocked.is_open(SERVERS[0]));
        assert!(!knocked.is_open(SERVERS[1]), "{loader:?}: the other family");
        let stranger = STRANGER4.to_string();
        let from = knocked.lab.client.run(
            "nc",
            &[
                "-z",
                "-w",
                "1",
                "-s",
                &stranger,
                &SERVER4.to_string(),
                "8080",
            ],
        );
        assert!(!from.success, "{loader:?}: somebody else");
        let own = reach::tcp(&knocked.lab.server, [127, 0, 0, 1].into(), WEB);
        assert_eq!(own, Reachability::Open, "{loader:?}: the host itself");
    }
}

#[test]
fn a_wrong_knock_in_between_begins_anew_and_a_scan_upwards_opens_nothing() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        for server in SERVERS {
            knocked.knock(server, &[7000, 8000, 8500, 9000]);
            assert!(!knocked.is_open(server), "{loader:?}: a wrong port");
            knocked.knock(server, &[7000, 9000, 8000, 9000]);
            assert!(!knocked.is_open(server), "{loader:?}: another order");
            let (four, six) = ("-4", "-6");
            let family = if server.is_ipv4() { four } else { six };
            let scan = [
                "-Pn",
                "-n",
                "-r",
                "--max-retries",
                "0",
                "--min-rate",
                "2000",
                family,
                "-p",
                "6990-9010",
            ];
            let address = server.to_string();
            let all: Vec<&str> = scan.iter().copied().chain([address.as_str()]).collect();
            let _ = knocked.lab.client.run_ok("nmap", &all);
            assert!(!knocked.is_open(server), "{loader:?}: a scan upwards");
            knocked.knock(server, &[7000, 8000, 9000]);
            assert!(
                knocked.is_open(server),
                "{loader:?}: the sequence after all that"
            );
        }
    }
}

#[test]
fn a_repeated_packet_does_not_break_an_attempt() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        for server in SERVERS {
            knocked.knock(server, &[7000, 7000, 8000, 8000, 9000]);
            assert!(knocked.is_open(server), "{loader:?} {server}");
        }
    }
}

#[test]
fn knocks_that_take_too_long_open_nothing() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &["--within", "2s"]);
        knocked.knock(SERVERS[0], &[7000]);
        wait::until_after(wait::now(), Duration::from_millis(1300));
        knocked.knock(SERVERS[0], &[8000]);
        wait::until_after(wait::now(), Duration::from_millis(1300));
        knocked.knock(SERVERS[0], &[9000]);
        assert!(
            !knocked.is_open(SERVERS[0]),
            "{loader:?}: 2.6 s after the first"
        );
        knocked.knock(SERVERS[0], &[7000, 8000, 9000]);
        assert!(knocked.is_open(SERVERS[0]), "{loader:?}: in time");
    }
}

#[test]
fn who_knocks_anew_has_the_whole_time_again() {
    let [one, other] = SERVERS;
    let times = ["--within", "4s", "--for", "4s"];
    let later = || wait::until_after(wait::now(), Duration::from_millis(2600));
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &times);
        knocked.knock(one, &[7000, 8000, 9000]);
        knocked.knock(other, &[7000]);
        later();
        knocked.knock(one, &[7000, 8000, 9000]);
        knocked.knock(other, &[1234, 7000]);
        later();
        assert!(knocked.is_open(one), "{loader:?}: to connect");
        knocked.knock(other, &[8000, 9000]);
        assert!(knocked.is_open(other), "{loader:?}: to knock");
    }
}

#[test]
fn a_segment_that_begins_no_connection_is_no_wrong_knock() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        for (server, family) in SERVERS.into_iter().zip(["-4", "-6"]) {
            knocked.knock(server, &[7000, 8000]);
            let words = "-Pn -n -sA --max-retries 0 -p 1234".split(' ');
            let address = server.to_string();
            let words: Vec<&str> = words.chain([family, &address]).collect();
            let _ = knocked.lab.client.run_ok("nmap", &words);
            knocked.knock(server, &[9000]);
            assert!(knocked.is_open(server), "{loader:?} {server}");
        }
    }
}

#[test]
fn one_hosts_wrong_knocks_do_not_touch_anothers_attempt() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        let stranger = STRANGER4.to_string();
        let server = SERVER4.to_string();
        knocked.knock(SERVERS[0], &[7000, 8000]);
        for port in ["7000", "9000", "1234"] {
            let _ = knocked
                .lab
                .client
                .run("nc", &["-z", "-w", "1", "-s", &stranger, &server, port]);
        }
        knocked.knock(SERVERS[0], &[9000]);
        assert!(knocked.is_open(SERVERS[0]), "{loader:?}");
    }
}

/// The server's link-local address, in the client's zone.
fn near(lab: &Lab) -> String {
    let shown = ["-6", "-o", "addr", "show", "scope", "link"];
    let shown = lab.server.run_ok("ip", &shown);
    let address = shown.split_once("inet6 ").unwrap_or_default().1;
    let address = address.split('/').next().unwrap_or_default();
    format!("{address}%{LINK}")
}

#[test]
fn what_dhcp_answers_over_ipv6_comes_through_the_iptables_rules() {
    let knocked = RulesTestBed::with(Loader::Iptables, "7000,8000,9000", &[]);
    let lab = &knocked.lab;
    let client = lab
        .server
        .enter(|| UdpSocket::bind("[::]:546"))
        .expect("a port");
    let timeout = Some(Duration::from_secs(2));
    client.set_read_timeout(timeout).expect("a time limit");
    let near = near(lab);
    lab.client.enter(|| {
        let server = UdpSocket::bind("[::]:547").expect("a port");
        server
            .send_to(b"reply", (near.as_str(), 546))
            .expect("it is sent");
    });
    client.recv_from(&mut [0; 8]).expect("it arrives");
}

#[test]
fn spa_knock_opens_it_over_both_families() {
    let knocked = RulesTestBed::with(Loader::Nftables, "7000,8000:udp,9000", &[]);
    for (server, family) in SERVERS.into_iter().zip(["-4", "-6"]) {
        let address = server.to_string();
        let words = [
            "knock", family, "-v", "-d", "20", &address, "7000", "8000:udp", "9000",
        ];
        let output = run(knocked.lab.client.command(binaries::spa()).args(words)).ok();
        assert!(
            output
                .stderr
                .contains(&format!("hitting udp {address}:8000")),
            "{}",
            output.stderr
        );
        assert!(knocked.is_open(server), "{server}");
    }
    let near = near(&knocked.lab);
    let words = ["knock", &near, "7000", "8000:udp"];
    run(knocked.lab.client.command(binaries::spa()).args(words)).ok();
    let set = ["list", "set", "inet", "knocking", "stage2_6"];
    let came = knocked.lab.server.run_ok("nft", &set);
    assert!(came.contains("fe80:"), "{came}");
    let address = SERVER4.to_string();
    for wrong in [
        vec!["knock", &address],
        vec!["knock", &address, "0"],
        vec!["knock", &address, "7000:sctp"],
    ] {
        let output = run(knocked.lab.client.command(binaries::spa()).args(&wrong));
        assert_eq!(output.code, Some(2), "{wrong:?}: {}", output.stderr);
    }
}

#[test]
fn debians_knock_and_nmap_and_nc_open_it() {
    let four = SERVER4.to_string();
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000:udp,9000", &[]);
        let lab = &knocked.lab;
        lab.client
            .run_ok("knock", &["-d", "20", &four, "7000", "8000:udp", "9000"]);
        assert!(knocked.is_open(SERVERS[0]), "{loader:?}: knock");

        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        for port in ["7000", "8000", "9000"] {
            let arguments = [
                "-Pn",
                "-n",
                "--host-timeout",
                "201ms",
                "--max-retries",
                "0",
                "-p",
                port,
                &four,
            ];
            let _ = knocked.lab.client.run_ok("nmap", &arguments);
        }
        assert!(knocked.is_open(SERVERS[0]), "{loader:?}: nmap");

        let knocked = RulesTestBed::with(loader, "7000,8000,9000", &[]);
        for port in ["7000", "8000", "9000"] {
            let _ = knocked
                .lab
                .client
                .run("nc", &["-z", "-w", "1", &four, port]);
        }
        assert!(knocked.is_open(SERVERS[0]), "{loader:?}: nc");
    }
}

#[test]
fn a_knocked_port_looks_like_every_other_closed_one() {
    for loader in BOTH {
        let knocked = RulesTestBed::with(loader, "7000,8000:udp,9000", &[]);
        let client = &knocked.lab.client;
        for server in SERVERS {
            let other = reach::tcp(client, server, 12_345);
            // In each stage, as a wrong knock, as the next and as the last once more.
            for port in [9000, 7000, 7000, 9000, 7000] {
                assert_eq!(reach::tcp(client, server, port), other, "{loader:?} {port}");
            }
            let other = reach::udp(client, server, 12_345);
            assert_eq!(reach::udp(client, server, 8000), other, "{loader:?}");
            let _ = reach::tcp(client, server, 7000);
            assert_eq!(reach::udp(client, server, 8000), other, "{loader:?}");
            assert_eq!(reach::tcp(client, server, WEB), Reachability::NoAnswer);
        }
    }
}

#[test]
fn a_trial_that_is_killed_leaves_no_namespace_behind() {
    let mut command = Command::new(binaries::spad());
    command.args([
        "rules",
        "--sequence",
        "7000,8000,9000",
        "--open",
        "tcp/22",
        "--check",
    ]);
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = silent.spawn().expect("spad");
    let ours = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
    wait::eventually("a thread of it is in a namespace of its own", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).ok()?;
        let mut inside = threads.flatten().map(|thread| thread.path().join("ns/net"));
        inside
            .any(|path| std::fs::read_link(path).is_ok_and(|theirs| theirs != ours))
            .then_some(())
    });
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let named = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let of_it = format!("-{}", child.id());
    let left: Vec<_> = named
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(&of_it))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_rules_are_tried_out_in_a_namespace_before_they_are_printed() {
    for loader in BOTH {
        let mut command = Command::new(binaries::spad());
        command.args([
            "rules",
            "--sequence",
            "7000,8000:udp,9000",
            "--open",
            "tcp/22,udp/51820",
            "--check",
        ]);
        if loader == Loader::Iptables {
            command.arg("--iptables");
        }
        let output = run(&mut command).ok();
        assert_eq!(
            output
                .stderr
                .matches("a wrong knock; open after 7000,8000:udp,9000")
                .count(),
            2,
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_trial_names_the_file_that_failed_and_does_not_wait_for_a_program_that_hangs() {
    let directory = tempfile::tempdir().expect("a directory");
    let (socket, hangs) = (directory.path().join("null"), directory.path().join("nft"));
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    std::fs::write(&hangs, "#!/bin/sh\nwhile :; do sleep 600; done\n").expect("a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hangs, mode).expect("a mode");
    let output = |file: &std::path::Path, place: &str| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(file).arg(place).arg(binaries::spad());
        let rules = "rules --sequence 7000,8000 --open tcp/22 --check";
        let finished = run(command.args(rules.split(' ')));
        assert!(!finished.success);
        finished.stderr
    };
    let without = output(&socket, "/dev/null");
    let named = "`ip -batch -` failed: cannot open /dev/null: No such device";
    assert!(without.contains(named), "{without}");
    let hung = output(&hangs, "/usr/sbin/nft");
    let named = "`nft -f -` failed: it did not end within 10 seconds, and was killed";
    assert!(hung.contains(named), "{hung}");
}

#[test]
fn a_trial_finds_rules_that_do_not_hold() {
    let recipe = |sequence: &str| RuleSpec {
        sequence: sequence.parse().expect("a sequence"),
        open: vec!["tcp/22".parse().expect("a service")],
        window: Duration::from_secs(15),
        open_for: Duration::from_secs(30),
    };
    let found = |sequence: &str, rules: &str| {
        let outcome = tried::verify(&recipe(sequence), rules, tried::Loader::Nftables);
        outcome.expect_err("they do not hold").to_string()
    };
    let (up, down) = ("7000,8000,9000", "9000,8000,7000");
    let none = found(up, "table inet knocking {}\n");
    assert!(none.contains("open before any knock"), "{none}");
    let others = found(up, &nftables(&recipe(down)));
    assert!(others.contains("the sequence does not open"), "{others}");
    // Nothing is forgotten for a wrong knock.
    let lax = |sequence: &str| {
        let rules = nftables(&recipe(sequence));
        let kept = rules
            .lines()
            .filter(|line| !line.starts_with("\t\tdelete @"));
        kept.fold(String::new(), |all, line| all + line + "\n")
    };
    let scanned = found(up, &lax(up));
    assert!(scanned.contains("a scan upwards opens"), "{scanned}");
    let wrong = found(down, &lax(down));
    assert!(wrong.contains("a wrong knock in between"), "{wrong}");
}
