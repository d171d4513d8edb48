//! Debian's knockd: three UDP knocks, the port opened by iptables. The clock
//! starts at the last knock.

use std::net::UdpSocket;
use std::time::Duration;

use spa_tests::lab::{LINK, Lab, SERVER4};
use spa_tests::process::Process;
use spa_tests::settings::CHAT;
use spa_tests::wait;

use crate::flood::{BATCH, Flood};
use crate::measure::Server;
use crate::pin::{SERVER, pin};

const SEQUENCE: [u16; 3] = [7001, 7002, 7003];

/// A running knockd.
pub(crate) struct Knockd {
    _process: Process,
}

impl Server for Knockd {
    fn prepare(&mut self, _: usize, socket: &UdpSocket) -> (u16, Vec<u8>) {
        let [one, two, three] = SEQUENCE;
        for port in [one, two] {
            socket
                .send_to(b"x", (SERVER4, port))
                .expect("a way to the server");
            wait::until_after(wait::now(), Duration::from_millis(60));
        }
        (three, b"x".to_vec())
    }
}

/// Knocks at the first port of the sequence, from one stranger.
pub(crate) fn forged(rate: Option<f64>) -> Flood {
    Flood {
        ports: vec![SEQUENCE[0]],
        payloads: vec![b"x".to_vec(); BATCH],
        rate,
    }
}

pub(crate) fn start(lab: &Lab) -> Knockd {
    let chat = CHAT.to_string();
    let _ = lab.server.run_ok(
        "iptables",
        &["-A", "INPUT", "-p", "udp", "--dport", &chat, "-j", "DROP"],
    );
    let [one, two, three] = SEQUENCE;
    let configuration = lab.path().join("knockd.conf");
    let text = format!(
        "[options]\n\tlogfile = {log}\n\n[open]\n\tsequence = {one}:udp,{two}:udp,{three}:udp\n\tseq_timeout = 5\n\tcommand = iptables -I INPUT -s %IP% -p udp --dport {chat} -j ACCEPT\n",
        log = lab.path().join("knockd.log").display(),
    );
    std::fs::write(&configuration, text).expect("knockd.conf");
    let output = lab.path().join("knockd.output");
    let mut command = lab.server.command("knockd");
    command.args(["-i", LINK, "-c"]).arg(&configuration);
    let process = std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            pin(SERVER);
            Process::start(&mut command, &output)
        });
        started.join().expect("knockd starts")
    });
    wait::eventually("knockd listens", || {
        std::fs::read_to_string(lab.path().join("knockd.log"))
            .is_ok_and(|log| log.contains("listening"))
            .then_some(())
    });
    Knockd { _process: process }
}
