//! Debian's fwknopd as it is installed (pcap), the port opened by iptables; the
//! packets are made by its own client before the clock starts.

use std::net::UdpSocket;

use spa_tests::attacker;
use spa_tests::lab::{LINK, Lab, SERVER4};
use spa_tests::process::{Process, run};
use spa_tests::settings::CHAT;
use spa_tests::wait;

use crate::addresses::address;
use crate::flood::{BATCH, Flood};
use crate::measure::Server;
use crate::pin::{SERVER, pin};

/// Where fwknopd looks for packets.
const PORT: u16 = 62201;
/// Any keys will do.
const KEY: &str = "c2luZ2xlIHBhY2tldCBhdXRob3JpemF0aW9uIGtleSE=";
const HMAC: &str =
    "YW5vdGhlciBrZXksIGZvciB0aGUgSE1BQyBvZiB0aGVzZSBwYWNrZXRzISEhISEhISEhISEhISEhISEhISE=";

/// fwknopd, and the packets of its client.
pub(crate) struct Fwknopd {
    packets: Vec<Vec<u8>>,
    process: Process,
}

impl Fwknopd {
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }
}

impl Server for Fwknopd {
    fn prepare(&mut self, number: usize, _: &UdpSocket) -> (u16, Vec<u8>) {
        (PORT, self.packets[number].clone())
    }
}

/// Text of the length and alphabet of a packet.
pub(crate) fn forged(rate: Option<f64>) -> Flood {
    let one = || {
        let random = attacker::random_packet(200);
        let letter = |byte: &u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::from(byte % 32)];
        random.iter().map(letter).collect()
    };
    Flood {
        ports: vec![PORT],
        payloads: (0..BATCH * 32).map(|_| one()).collect(),
        rate,
    }
}

/// With so many clients: stanzas of access.conf, of which it tries each.
pub(crate) fn start(lab: &Lab, knocks: usize, clients: usize) -> Fwknopd {
    let chat = CHAT.to_string();
    let _ = lab.server.run_ok(
        "iptables",
        &["-A", "INPUT", "-p", "udp", "--dport", &chat, "-j", "DROP"],
    );
    let directory = lab.path().join("fwknop");
    std::fs::create_dir_all(&directory).expect("its directory");
    let file = |name: &str| directory.join(name);
    std::fs::write(
        file("fwknopd.conf"),
        format!(
            "PCAP_INTF {LINK};\nFWKNOP_RUN_DIR {0};\nDIGEST_FILE {0}/digest.cache;\n",
            directory.display()
        ),
    )
    .expect("fwknopd.conf");
    std::fs::write(
        file("access.conf"),
        format!("SOURCE ANY\nOPEN_PORTS udp/{chat}\nKEY_BASE64 {KEY}\nHMAC_KEY_BASE64 {HMAC}\nFW_ACCESS_TIMEOUT 60\n").repeat(clients),
    )
    .expect("access.conf");
    for name in ["fwknopd.conf", "access.conf"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(file(name), mode).expect("its mode");
    }
    let mut command = lab.server.command("fwknopd");
    command
        .arg("-f")
        .arg("-c")
        .arg(file("fwknopd.conf"))
        .arg("-a")
        .arg(file("access.conf"));
    let output = file("output");
    let process = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            pin(SERVER);
            Process::start(&mut command, &output)
        });
        started.join().expect("fwknopd starts")
    });
    wait::eventually("fwknopd listens", || {
        process
            .output()
            .contains("Starting fwknopd main event loop")
            .then_some(())
    });
    Fwknopd {
        packets: (0..knocks).map(|number| packet(lab, number)).collect(),
        process,
    }
}

/// What the client would send.
fn packet(lab: &Lab, number: usize) -> Vec<u8> {
    let saved = lab.path().join(format!("packet.{number}"));
    let mut command = lab.client.command("fwknop");
    command
        .args([
            "-A",
            &format!("udp/{CHAT}"),
            "-a",
            &address(number).to_string(),
        ])
        .args(["-D", &SERVER4.to_string(), "--key-base64-rijndael", KEY])
        .args([
            "--use-hmac",
            "--key-base64-hmac",
            HMAC,
            "--no-save-args",
            "--test",
            "-B",
        ])
        .arg(&saved)
        .env("HOME", lab.path());
    let _ = run(&mut command).ok();
    let text = std::fs::read_to_string(&saved).expect("the saved packet");
    text.trim().as_bytes().to_vec()
}
