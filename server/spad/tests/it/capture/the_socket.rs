//! What holds of the socket itself: its lock, its interfaces, its errors.

use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::process::Command;

use spad_capture::{CaptureError, CaptureOptions, filter};
use spad_model::{CarrierSet, FrameFault, Ports};
use spad_sys::packet_socket::{attach_filter, detach_filter};

use crate::capture::craft::packet;
use crate::capture::own_network::{
    PORT, Wire, cable, in_own_network, open, open_with, receive, run_ip,
};

fn genuine() -> (u16, Vec<u8>) {
    let source = "192.0.2.7:40000".parse().unwrap();
    let destination = format!("198.51.100.1:{PORT}").parse().unwrap();
    packet(source, destination, &[], &[3; 200])
}

#[test]
fn nobody_can_take_off_or_widen_the_filter_of_an_open_capture() {
    in_own_network(|| {
        let capture = open();
        let refused = detach_filter(capture.as_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let refused = attach_filter(
            capture.as_fd(),
            &filter::program(&CarrierSet::udp(Ports::any())),
        )
        .unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    });
}

#[test]
fn an_interface_that_appears_after_the_start_is_seen_and_one_that_goes_does_no_harm() {
    in_own_network(|| {
        let mut capture = open();
        for _ in 0..2 {
            cable();
            Wire::new("near").send(&genuine());
            let seen = receive(&mut capture, 1);
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].as_ref().unwrap().2, [3; 200]);
            run_ip("link set far down");
            run_ip("link del near");
        }
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[1; 200], ("127.0.0.1", PORT)).unwrap();
        assert!(receive(&mut capture, 1)[0].is_ok());
    });
}

#[test]
fn of_named_interfaces_only_those_are_judged_though_they_appear_later_or_get_renamed() {
    in_own_network(|| {
        let mut capture = open_with(CaptureOptions {
            carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
            interfaces: Some(vec!["wan".to_owned(), "far".to_owned()]),
            ring_frames: 64,
        });
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[1; 200], ("127.0.0.1", PORT)).unwrap();
        assert_eq!(receive(&mut capture, 1), [Err(FrameFault::OtherInterface)]);
        cable();
        let mut wire = Wire::new("near");
        wire.send(&genuine());
        assert!(receive(&mut capture, 1)[0].is_ok());
        for (name, judged) in [("lan", false), ("wan", true)] {
            let before = if name == "lan" { "far" } else { "lan" };
            run_ip(&format!("link set {before} name {name}"));
            capture.clear_interface_cache();
            wire.send(&genuine());
            assert_eq!(receive(&mut capture, 1)[0].is_ok(), judged, "{name}");
        }
    });
}

#[test]
fn an_open_capture_goes_on_without_any_privilege() {
    in_own_network(|| {
        cable();
        let mut wire = Wire::new("near");
        let mut capture = open_with(CaptureOptions {
            carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(PORT).unwrap())),
            interfaces: Some(vec!["far".to_owned()]),
            ring_frames: 64,
        });
        let nobody = spad_sys::users::user("nobody").unwrap().unwrap();
        spad_sys::process::become_user(nobody.uid, nobody.gid, &[]).unwrap();
        assert!(Wire::try_new("near").is_none());
        wire.send(&genuine());
        assert!(receive(&mut capture, 1)[0].is_ok());
        assert_eq!(capture.statistics().seen, 1);
    });
}

#[test]
fn without_the_capability_the_error_names_it_and_the_mend() {
    const ASKED: &str = "SPAD_TEST_WITHOUT_CAPABILITY";
    let options = CaptureOptions {
        carriers: CarrierSet::udp(Ports::any()),
        interfaces: None,
        ring_frames: 64,
    };
    if std::env::var_os(ASKED).is_some() {
        let error = spad_capture::Capture::open(&options).unwrap_err();
        assert!(matches!(error, CaptureError::Permission));
        let text = error.to_string();
        assert!(
            text.contains("CAP_NET_RAW") && text.contains("help: start spad as root"),
            "{text}"
        );
        return;
    }
    let name = "capture::the_socket::without_the_capability_the_error_names_it_and_the_mend";
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(ASKED, "1")
        .output()
        .expect("`setpriv` is needed (package util-linux)");
    let message = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && message.contains("1 passed"),
        "{message}\n{output:?}"
    );
}

#[test]
fn a_ring_of_no_frames_or_too_many_is_refused_with_the_range() {
    for ring_frames in [0, 65_537, u32::MAX] {
        let options = CaptureOptions {
            carriers: CarrierSet::udp(Ports::any()),
            interfaces: None,
            ring_frames,
        };
        let error = spad_capture::Capture::open(&options).unwrap_err();
        assert!(error.to_string().contains("1 to 65536 frames"), "{error}");
    }
}
