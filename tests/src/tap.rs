//! Listens in at one end of the link and keeps what passes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};
use pnet::packet::Packet;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::icmpv6::Icmpv6Packet;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::udp::UdpPacket;
use pnet::util::MacAddr;

use crate::lab::LINK;
use crate::namespace::Namespace;
use crate::wait;

/// No test needs more; a tap that runs full fails instead of growing.
const LIMIT: usize = 20_000;

/// A running tap; ends when dropped.
#[derive(Debug)]
pub struct Tap {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens at the namespace's end of the link; when this returns it hears all.
    #[must_use]
    pub fn start(namespace: &Namespace) -> Self {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (sink, ended) = (Arc::clone(&frames), Arc::clone(&stop));
        let (ready, is_ready) = mpsc::channel();
        let thread = namespace.spawn(move || {
            let (_, mut receiver) = channel();
            let _ = ready.send(());
            while !ended.load(Ordering::Relaxed) {
                // An error is the time limit, or the link gone.
                let Ok(frame) = receiver.next() else { continue };
                let mut all = sink.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(all.len() < LIMIT, "the tap ran full");
                all.push(frame.to_vec());
            }
        });
        is_ready.recv().expect("listening in");
        Self {
            frames,
            stop,
            thread: Some(thread),
        }
    }

    /// All frames so far, in both directions.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Frames that this machine sent, address resolution aside.
    #[must_use]
    pub fn sent_by(&self, sender: MacAddr) -> Vec<Vec<u8>> {
        let mut frames = self.frames();
        frames.retain(|frame| {
            EthernetPacket::new(frame)
                .is_some_and(|parsed| parsed.get_source() == sender && !is_housekeeping(&parsed))
        });
        frames
    }

    /// Waits for a datagram to this port; gives its payload.
    #[must_use]
    #[track_caller]
    pub fn datagram_to(&self, port: u16) -> Vec<u8> {
        wait::eventually("a datagram passes", || {
            self.datagrams_to(port).into_iter().next()
        })
    }

    /// The payloads of all datagrams to this port so far.
    #[must_use]
    pub fn datagrams_to(&self, port: u16) -> Vec<Vec<u8>> {
        let frames = self.frames();
        let payload = |frame: &Vec<u8>| {
            let frame = EthernetPacket::new(frame)?;
            let transport = match frame.get_ethertype() {
                EtherTypes::Ipv4 => {
                    let ip = Ipv4Packet::new(frame.payload())?;
                    (ip.get_next_level_protocol() == IpNextHeaderProtocols::Udp)
                        .then(|| ip.payload().to_vec())?
                }
                EtherTypes::Ipv6 => {
                    let ip = Ipv6Packet::new(frame.payload())?;
                    (ip.get_next_header() == IpNextHeaderProtocols::Udp)
                        .then(|| ip.payload().to_vec())?
                }
                _ => return None,
            };
            let udp = UdpPacket::new(&transport)?;
            let length = usize::from(udp.get_length()).checked_sub(8)?;
            (udp.get_destination() == port)
                .then(|| udp.payload().get(..length).map(<[u8]>::to_vec))?
        };
        frames.iter().filter_map(payload).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// ARP, neighbour discovery and multicast listeners: every host sends these.
fn is_housekeeping(frame: &EthernetPacket<'_>) -> bool {
    match frame.get_ethertype() {
        EtherTypes::Arp => true,
        EtherTypes::Ipv6 => {
            Ipv6Packet::new(frame.payload()).is_some_and(|ip| match ip.get_next_header() {
                // Listener reports stand behind a hop-by-hop header.
                IpNextHeaderProtocols::Hopopt => true,
                IpNextHeaderProtocols::Icmpv6 => Icmpv6Packet::new(ip.payload())
                    .is_some_and(|icmp| (133..=137).contains(&icmp.get_icmpv6_type().0)),
                _ => false,
            })
        }
        _ => false,
    }
}

/// Puts raw frames on the link from the namespace's end.
pub fn inject(namespace: &Namespace, frames: &[Vec<u8>]) {
    namespace.enter(|| {
        let (mut sender, _) = channel();
        for frame in frames {
            sender
                .send_to(frame, None)
                .expect("room for a frame")
                .expect("the frame leaves");
        }
    });
}

/// A raw channel of the link in the calling thread's namespace.
fn channel() -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let link = datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == LINK)
        .expect("the link");
    let config = Config {
        read_timeout: Some(Duration::from_millis(20)),
        ..Config::default()
    };
    match datalink::channel(&link, config) {
        Ok(Channel::Ethernet(sender, receiver)) => (sender, receiver),
        Ok(_) => panic!("not an Ethernet link"),
        Err(error) => panic!("listening in: {error}\nhelp: these tests need root (CAP_NET_RAW)"),
    }
}
