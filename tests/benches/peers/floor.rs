//! The machine's floor: one thread that reads a packet ring and adds the element
//! of each marked packet to a set, over netlink. It checks nothing.
//!
//! The ring is spad's own, the message is made by the crate that spad's writer
//! uses too; there is one process and no journal, key, audit or answer.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spa_tests::lab::Lab;
use spa_tests::settings::{CHAT, SPA_PORT};
use spa_tests::{attacker, wait};
use spad_capture::{Capture, CaptureOptions};
use spad_model::Ports;
use spad_model::{CarrierSet, Received};

use crate::measure::Server;
use crate::pin::{SERVER, pin};

/// What a knock begins with; a flood does not.
const MARK: [u8; 8] = *b"the-mark";
/// More frames than this in one look are a flood.
const MAX_BATCH: usize = 16;
const PAUSE: Duration = Duration::from_micros(150);

/// The running reader.
pub(crate) struct Floor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Floor {
    pub(crate) fn start(lab: &Lab) -> Self {
        lab.server.nft(&format!(
            "table inet floor {{\n set open {{ type ipv4_addr . inet_proto . inet_service; flags timeout; timeout 30s; }}\n chain guard {{ type filter hook prerouting priority mangle - 5; policy accept;\n  udp dport {CHAT} ip saddr . meta l4proto . th dport @open accept\n  udp dport {CHAT} drop\n }}\n}}\n"
        ));
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = lab.server.spawn(move || {
            pin(SERVER);
            serve(&seen);
        });
        // The socket is open when the kernel lists it; a moment is enough for one thread.
        wait::until_after(wait::now(), Duration::from_millis(200));
        Self {
            stop: over,
            thread: Some(thread),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Server for Floor {
    fn prepare(&mut self, _: usize, _: &UdpSocket) -> (u16, Vec<u8>) {
        let mut packet = attacker::random_packet(200);
        packet[..8].copy_from_slice(&MARK);
        (SPA_PORT, packet)
    }
}

fn serve(over: &AtomicBool) {
    let mut capture = Capture::open(&CaptureOptions {
        carriers: CarrierSet::udp(Ports::one(SPA_PORT.try_into().expect("a port"))),
        interfaces: None,
        ring_frames: 8192,
    })
    .expect("a packet socket");
    let mut kernel = Kernel::open();
    while !over.load(Ordering::Relaxed) {
        let mut knocks = Vec::new();
        let came = capture.drain(usize::MAX, |frame| {
            if let Some(datagram) = frame.ok().and_then(Received::datagram)
                && datagram.payload().starts_with(&MARK)
            {
                knocks.push(datagram.source().ip());
            }
        });
        for address in knocks {
            kernel.open_for(address);
        }
        if came > MAX_BATCH {
            std::thread::sleep(PAUSE);
        } else if came == 0 {
            let tenth = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            let _ = poll(&mut [PollFd::new(&capture, PollFlags::IN)], Some(&tenth));
        }
    }
}

struct Kernel {
    socket: Socket,
    answer: Vec<u8>,
}

impl Kernel {
    fn open() -> Self {
        let mut socket = Socket::new(NETLINK_NETFILTER).expect("a netlink socket");
        socket.bind_auto().expect("its address");
        Self {
            socket,
            answer: Vec::with_capacity(4096),
        }
    }

    fn open_for(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else { return };
        let mut key = address.octets().to_vec();
        key.extend([17, 0, 0, 0]);
        key.extend(CHAT.to_be_bytes());
        key.extend([0, 0]);
        let element = vec![
            SetElementAttribute::Key(DataAttribute::Value(key)),
            SetElementAttribute::Timeout(60_000),
        ];
        let message = SetElementMessage {
            attributes: vec![
                SetElementList::Table("floor".to_owned()),
                SetElementList::Set("open".to_owned()),
                SetElementList::Elements(vec![ListAttribute::Element(element)]),
            ],
        };
        let mut bytes = Vec::new();
        let inner = NfTablesMessage::NewSetElement(message).into();
        append(&mut bytes, ControlMessage::BatchBegin.into(), 10, 0);
        append(&mut bytes, inner, 0, NLM_F_CREATE | NLM_F_ACK);
        append(&mut bytes, ControlMessage::BatchEnd.into(), 10, 0);
        let kernel = SocketAddr::new(0, 0);
        let sent = self.socket.send_to(&bytes, &kernel, 0);
        assert!(sent.is_ok(), "{sent:?}");
        self.answer.clear();
        let _ = self.socket.recv_from(&mut self.answer, 0);
        // Length 36 to 40, an acknowledgement: error code 0 behind the header.
        assert_eq!(self.answer.get(16..20), Some(&[0; 4][..]), "refused");
    }
}

fn append(bytes: &mut Vec<u8>, inner: NetfilterMessageInner, subsystem: u16, flags: u16) {
    let family = match inner {
        NetfilterMessageInner::None(_) => NetfilterProtoFamily::Unspec,
        _ => NetfilterProtoFamily::Inet,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let netfilter = NetfilterHeader::new(family, 0, subsystem);
    let payload = NetlinkPayload::from(NetfilterMessage::new(netfilter, inner));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}
