//! Packets of strangers, as many as one processor sends: what comes beside the knocks.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn, connect,
    sendmmsg, socket,
};
use spa_tests::frame::{self, Endpoints};
use spa_tests::lab::{SERVER4, STRANGER4};

/// Packets of one system call.
pub(crate) const BATCH: usize = 16;

/// What is sent, over and over, and where to.
#[derive(Clone)]
pub(crate) struct Flood {
    /// One datagram goes to each of these in turn; several spread it over many ports.
    /// None: the payloads are whole IP packets.
    pub(crate) ports: Vec<u16>,
    /// The payloads; a multiple of [`BATCH`].
    pub(crate) payloads: Vec<Vec<u8>>,
    /// Packets a second; none is as fast as they go.
    pub(crate) rate: Option<f64>,
}

/// A flood on its way, from an address of its own.
pub(crate) struct FloodHandle<'a> {
    flood: &'a Flood,
    sockets: Vec<OwnedFd>,
    headers: MultiHeaders<SockaddrIn>,
    turn: usize,
    sent: u64,
}

impl<'a> FloodHandle<'a> {
    pub(crate) fn new(flood: &'a Flood) -> Self {
        assert_eq!(flood.payloads.len() % BATCH, 0);
        let connected = |port: &u16| {
            let socket = UdpSocket::bind((STRANGER4, 0)).expect("a socket");
            let to: (Ipv4Addr, u16) = (SERVER4, *port);
            socket.connect(to).expect("a way to the server");
            OwnedFd::from(socket)
        };
        let mut sockets: Vec<OwnedFd> = flood.ports.iter().map(connected).collect();
        if sockets.is_empty() {
            sockets.push(for_packets());
        }
        Self {
            flood,
            sockets,
            headers: MultiHeaders::preallocate(BATCH, None),
            turn: 0,
            sent: 0,
        }
    }

    /// Sends the next packets, if they are due by now; `since` the flood began.
    pub(crate) fn keep_sending(&mut self, since: Duration) {
        if let Some(rate) = self.flood.rate
            && self.sent as f64 > since.as_secs_f64() * rate
        {
            return;
        }
        // A slow flood comes packet by packet.
        let batch = match self.flood.rate {
            Some(rate) if rate < 100_000.0 => 1,
            _ => BATCH,
        };
        let start = self.turn * batch % self.flood.payloads.len();
        let payloads = &self.flood.payloads[start..start + batch];
        let slices: Vec<[IoSlice<'_>; 1]> =
            payloads.iter().map(|bytes| [IoSlice::new(bytes)]).collect();
        let socket = &self.sockets[self.turn % self.sockets.len()];
        // Refused is what a closed port may say.
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            slices.iter(),
            [None; BATCH],
            [],
            MsgFlags::empty(),
        );
        self.turn += 1;
        self.sent += batch as u64;
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

/// First segments to many ports where nothing is, from one address.
pub(crate) fn segments() -> Flood {
    build_flood(512, |one| (STRANGER4, 20_000 + one * 61))
}

/// First segments to one port, from an address each that nobody has: of more than a
/// server remembers.
pub(crate) fn forged_segments(port: u16) -> Flood {
    build_flood(65_520, |one| {
        let [high, low] = one.to_be_bytes();
        (Ipv4Addr::new(198, 18, high, low), port)
    })
}

fn build_flood(packets: u16, segment: impl Fn(u16) -> (Ipv4Addr, u16)) -> Flood {
    let packet = |one| {
        let (from, port) = segment(one);
        let endpoints = Endpoints::new((from, 1024 + one % 60_000), (SERVER4, port));
        frame::ipv4(from, SERVER4, 6, &frame::syn(endpoints), 0, false)
    };
    Flood {
        ports: Vec::new(),
        payloads: (0..packets).map(packet).collect(),
        rate: None,
    }
}

/// A socket whose payloads begin with their IP header.
fn for_packets() -> OwnedFd {
    let (inet, raw) = (AddressFamily::Inet, SockType::Raw);
    let socket = socket(inet, raw, SockFlag::empty(), SockProtocol::Raw).expect("a raw socket");
    let server = SockaddrIn::from(SocketAddrV4::new(SERVER4, 0));
    connect(socket.as_raw_fd(), &server).expect("a way to the server");
    socket
}
