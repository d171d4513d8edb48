//! A network namespace for one test, and what is needed in it.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::process::Command;
use std::time::Duration;

use pnet::datalink::{self, Channel, DataLinkSender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spad_capture::{Capture, CaptureOptions};
use spad_model::{CarrierSet, FrameFault, Ports};

pub(crate) const PORT: u16 = 62_201;
const INSIDE: &str = "SPAD_TEST_INSIDE_OWN_NETWORK";

/// Runs `test` in a new network namespace, by executing this test once more
/// under `unshare -n`. The namespace goes with the process.
pub(crate) fn in_own_network(test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run_ip("link set lo up");
        return test();
    }
    let thread = std::thread::current();
    let name = thread.name().expect("tests run in named threads");
    let output = Command::new("timeout")
        .args(["60", "unshare", "-n", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("`timeout` and `unshare` are needed (packages coreutils, util-linux)");
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && output_text.contains("1 passed"),
        "{name} failed in its namespace (it needs root, `unshare` and `ip`): {}\n{output_text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// `ip` with these words.
pub(crate) fn run_ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("`ip` is needed (package iproute2)");
    assert!(status.success(), "ip {arguments}: {status}");
}

pub(crate) const NEAR: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const FAR: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A cable from the interface `near` to the interface `far`.
pub(crate) fn cable() {
    run_ip(
        "link add near address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02",
    );
    run_ip("link set near up");
    run_ip("link set far up");
    // Both ends carry once `far` says that it is up.
    for _ in 0..200 {
        let state = std::fs::read_to_string("/sys/class/net/far/operstate").unwrap_or_default();
        let is_up = Command::new("ip")
            .args(["-o", "link", "show", "far"])
            .output()
            .unwrap();
        if state.trim() == "up" || String::from_utf8_lossy(&is_up.stdout).contains("LOWER_UP") {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the cable does not come up");
}

/// Sends whole Ethernet frames out of `near`.
pub(crate) struct Wire(Box<dyn DataLinkSender>);

impl Wire {
    pub(crate) fn new(name: &str) -> Self {
        Self::try_new(name).expect("the interface exists and may be sent from")
    }

    pub(crate) fn try_new(name: &str) -> Option<Self> {
        let interface = datalink::interfaces()
            .into_iter()
            .find(|it| it.name == name)
            .unwrap();
        let config = datalink::Config {
            promiscuous: false,
            ..Default::default()
        };
        match datalink::channel(&interface, config).ok()? {
            Channel::Ethernet(sender, _) => Some(Self(sender)),
            _ => None,
        }
    }

    /// From `near` to this address.
    pub(crate) fn send_to(&mut self, address: [u8; 6], (ethertype, bytes): &(u16, Vec<u8>)) {
        let mut frame = Vec::from(address);
        frame.extend_from_slice(&NEAR);
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.extend_from_slice(bytes);
        self.0.send_to(&frame, None).unwrap().unwrap();
    }

    /// From `near` to `far`.
    pub(crate) fn send(&mut self, packet: &(u16, Vec<u8>)) {
        self.send_to(FAR, packet);
    }
}

pub(crate) fn open() -> Capture {
    open_with(CaptureOptions {
        carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
        interfaces: None,
        ring_frames: 2048,
    })
}

pub(crate) fn open_with(options: CaptureOptions) -> Capture {
    Capture::open(&options).unwrap()
}

/// One frame as capture judged it, copied out of the ring.
pub(crate) type Seen = Result<(SocketAddr, SocketAddr, Vec<u8>), FrameFault>;

/// Waits until `count` frames came, for 3 s at most, and gives them.
pub(crate) fn receive(capture: &mut Capture, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..30 {
        if seen.len() >= count {
            break;
        }
        wait(capture, 100);
        seen.extend(drain_all(capture));
    }
    seen
}

/// Whether frames wait within so many milliseconds.
pub(crate) fn wait(capture: &Capture, milliseconds: i64) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: milliseconds * 1_000_000,
    };
    let mut descriptors = [PollFd::new(capture, PollFlags::IN)];
    poll(&mut descriptors, Some(&timeout)).unwrap() > 0
}

/// The frames that wait now.
pub(crate) fn drain_all(capture: &mut Capture) -> Vec<Seen> {
    let mut seen = Vec::new();
    capture.drain(usize::MAX, |judged| {
        let judged = judged.map(|received| received.datagram().unwrap());
        seen.push(judged.map(|it| (it.source(), it.destination(), it.payload().to_vec())));
    });
    seen
}

/// A packet that must arrive after others that must not: what came before it came.
pub(crate) fn end_mark() -> Vec<u8> {
    vec![0xee; 163]
}
