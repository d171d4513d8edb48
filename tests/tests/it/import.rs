//! knockd's own file, imported into a fresh configuration, and knocked at as before.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;

use spa_tests::lab::{CLIENT4, CLIENT6, SERVER4, SERVER6};
use spa_tests::reach::{self, Reachability};
use spa_tests::settings::{SPA_PORT, SSH, Settings};
use spa_tests::sshd::Sshd;
use spa_tests::test_bed::TestBed;
use spa_tests::wait;

const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER4), IpAddr::V6(SERVER6)];
const CLIENTS: [IpAddr; 2] = [IpAddr::V4(CLIENT4), IpAddr::V6(CLIENT6)];

/// Debian's knockd.conf, as its package installed it.
fn debian_config() -> String {
    // ./check installs knockd.
    fs::read_to_string("/etc/knockd.conf").unwrap()
}

/// A server with the file that `spad init` writes, but for a grant's time and the audit's
/// place, and with what was imported of this.
fn with(knockd: &str, more: &[&str]) -> TestBed {
    let bed = TestBed::stopped(&Settings::default());
    let file = bed.spad.config().join("spad.toml");
    fs::remove_file(&file).unwrap();
    fs::remove_file(bed.spad.config().join("clients.d/laptop.toml")).unwrap();
    let _ = bed
        .spad
        .cli(&["init", "--port", &SPA_PORT.to_string()])
        .ok();
    let text = fs::read_to_string(&file).unwrap();
    let audit = format!("audit = {:?}", bed.spad.audit_file());
    let text = text
        .replace("hide = []", "hide = [\"ssh\"]")
        .replace("# ttl = \"30s\"", "ttl = \"2s\"")
        .replace("# audit = \"/var/log/spad/audit.jsonl\"", &audit);
    fs::write(&file, text).unwrap();
    bed.add_client("laptop", &bed.laptop, "ssh");
    let path = bed.lab.path().join("knockd.conf");
    let listed = bed.lab.path().join("sequences");
    fs::write(&listed, "#7000,8000\n 7001,8001\n 7002,8002:udp\n").unwrap();
    fs::write(&path, knockd.replace("LISTED", listed.to_str().unwrap())).unwrap();
    let words = ["import", "knockd", path.to_str().unwrap()];
    let _ = bed.spad.cli(&[&words[..], more].concat()).ok();
    bed
}

#[test]
fn debians_knockd_conf_imported_opens_ssh_to_debians_knock_and_closes() {
    let mut bed = with(&debian_config(), &[]);
    let check = bed.spad.cli(&["check"]).ok();
    assert!(check.stdout.contains("ok:"), "{}", check.stdout);
    bed.spad.start();
    let _sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    for (server, count) in SERVERS.into_iter().zip(1..) {
        let is_open = || reach::tcp(&bed.lab.client, server, SSH) == Reachability::Open;
        assert!(!is_open(), "before the knocks");
        let address = server.to_string();
        let knocks = ["-d", "20", &address, "7000", "8000", "9000"];
        bed.lab.client.run_ok("knock", &knocks);
        bed.spad.wait_verdict_count("knock_opened", count);
        assert!(is_open(), "{server}");
        wait::eventually("it closes by itself", || (!is_open()).then_some(()));
        bed.lab
            .client
            .run_ok("knock", &["-d", "20", &address, "9000", "8000", "7000"]);
    }
    let grant = bed
        .spad
        .wait_audited(&[("event", "grant"), ("door", "openssh")]);
    assert!(grant.get("client").is_none(), "{grant}");
    assert_eq!(
        bed.spad.verdict_count("knock_opened"),
        2,
        "closeSSH opens nothing"
    );
}

/// Debian's `knock`, from the client.
fn knock(bed: &TestBed, server: IpAddr, knocks: &[&str]) {
    let address = server.to_string();
    let words = [&["-d", "20", &address][..], knocks].concat();
    bed.lab.client.run_ok("knock", &words);
}

#[test]
fn an_imported_sequence_for_one_use_opens_once_and_the_next_one_after_it() {
    let mut bed = with(
        "[mail]\none_time_sequences = LISTED\ncommand = ufw allow from %IP% to any port 22 proto tcp\n",
        &[],
    );
    bed.spad.start();
    let _sshd = Sshd::start(&bed.lab.server, bed.lab.path(), SSH);
    let is_open = || reach::tcp(&bed.lab.client, SERVERS[0], SSH) == Reachability::Open;
    let turns: [(&[&str], u64); 4] = [
        (&["7000", "8000"], 0),
        (&["7001", "8001"], 1),
        (&["7001", "8001"], 1),
        (&["7002", "8002:udp"], 2),
    ];
    let mut before = 0;
    for (knocks, opened) in turns {
        knock(&bed, SERVERS[0], knocks);
        // What was sent before this packet was heard before it.
        bed.send_counted(&bed.laptop.open(&["tcp/8080"]), "service_not_allowed");
        bed.spad.wait_verdict_count("knock_opened", opened);
        assert_eq!(bed.spad.verdict_count("knock_opened"), opened, "{knocks:?}");
        assert_eq!(is_open(), opened > before, "{knocks:?}");
        before = opened;
        wait::eventually("it closes", || (!is_open()).then_some(()));
    }
}

#[test]
fn an_imported_command_runs_without_a_shell_and_gets_the_address_that_knocked() {
    let mut bed = with(
        "[tell]\nsequence = 7000,8000\ncommand = /bin/echo from %IP% to a=%IP%\n",
        &["--run-as", "daemon"],
    );
    bed.spad.start();
    for (server, client) in SERVERS.into_iter().zip(CLIENTS) {
        knock(&bed, server, &["7000", "8000"]);
        let output = format!("from {client} to a={client}\n");
        bed.spad
            .wait_audited(&[("event", "run"), ("output", &output)]);
    }
}

#[test]
fn an_import_tells_no_sequence_for_one_use_and_that_others_could_read_them() {
    let bed = TestBed::stopped(&Settings::default());
    let (file, listed) = (bed.lab.path().join("knockd"), bed.lab.path().join("listed"));
    let text = format!(
        "[side]\none_time_sequences = {}\ncommand = ufw allow from %IP% to any port 22 proto tcp\n",
        listed.display()
    );
    for (path, text) in [(&file, text.as_str()), (&listed, "7351,8351\n")] {
        std::fs::write(path, text).expect("a file");
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(path, mode).expect("a mode");
    }
    let path = file.display().to_string();
    let done = bed.spad.cli(&["import", "knockd", &path, "--json"]).ok();
    assert!(done.stdout.contains("one-time/side"), "{done:?}");
    assert!(
        done.stderr.contains("mode 0644 lets others read this"),
        "{done:?}"
    );
    assert!(!format!("{done:?}").contains("351"), "{done:?}");
}
