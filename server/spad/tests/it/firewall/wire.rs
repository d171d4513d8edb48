//! Frames as a stranger makes them, and whatever comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};

use crate::firewall::netns::TestNetns;

pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// The client's end of the link.
pub(crate) struct Wire {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
}

impl Wire {
    pub(crate) fn new(world: &TestNetns) -> Self {
        let (sender, receiver) = world.in_client(|| {
            let interfaces = datalink::interfaces();
            let interface = interfaces.iter().find(|one| one.name == "c0").unwrap();
            let config = Config {
                read_timeout: Some(Duration::from_millis(20)),
                ..Config::default()
            };
            match datalink::channel(interface, config).unwrap() {
                Channel::Ethernet(sender, receiver) => (sender, receiver),
                _ => panic!("no Ethernet"),
            }
        });
        Self { sender, receiver }
    }

    /// Sends an IP packet to the server's interface.
    pub(crate) fn send(&mut self, packet: &[u8]) {
        self.send_to([2, 0, 0, 0, 0, 2], packet);
    }

    pub(crate) fn send_to(&mut self, station: [u8; 6], packet: &[u8]) {
        let mut frame = station.to_vec();
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(if packet[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        });
        frame.extend(packet);
        self.sender.send_to(&frame, None).unwrap().unwrap();
    }

    /// What the server sends within this time, as IP packets; neighbour discovery is not counted.
    pub(crate) fn receive(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = Instant::now() + time;
        let mut packets = Vec::new();
        while Instant::now() < end {
            packets.extend(self.next_frame());
        }
        packets
    }

    /// What the server sends before this, which comes within two seconds.
    pub(crate) fn receive_until(&mut self, is_last: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let end = Instant::now() + Duration::from_secs(2);
        let mut packets = Vec::new();
        while Instant::now() < end {
            if let Some(packet) = self.next_frame() {
                if is_last(&packet) {
                    return packets;
                }
                packets.push(packet);
            }
        }
        panic!("it did not come; others: {packets:02x?}");
    }

    /// The next IP packet of the server's, if one comes soon.
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let frame = self.receiver.next().ok()?;
        let (head, packet) = frame.split_at(14);
        let from_server = head[6..12] == [2, 0, 0, 0, 0, 2];
        let ip = head[12..] == [8, 0] || head[12..] == [0x86, 0xdd];
        let discovery =
            head[12..] == [0x86, 0xdd] && (packet[6] == 0 || packet[6] == 58 && packet[40] >= 130);
        (from_server && ip && !discovery).then(|| packet.to_vec())
    }

    /// Sends and hears what comes back: waits long for the first, and a moment for more.
    pub(crate) fn exchange(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.receive(Duration::from_millis(1));
        self.send(packet);
        for _ in 0..25 {
            let mut packets = self.receive(Duration::from_millis(40));
            if !packets.is_empty() {
                packets.extend(self.receive(Duration::from_millis(40)));
                return packets;
            }
        }
        Vec::new()
    }
}

/// The flags of the first TCP segment among these packets.
pub(crate) fn tcp_flags(packets: &[Vec<u8>]) -> Option<u8> {
    packets.iter().find_map(|packet| match packet[0] >> 4 {
        4 if packet[9] == 6 => Some(packet[33]),
        6 if packet[6] == 6 => Some(packet[53]),
        _ => None,
    })
}

pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut total: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => head.extend(address.octets()),
            IpAddr::V6(address) => head.extend(address.octets()),
        }
    }
    head.extend(u32::try_from(length).unwrap().to_be_bytes());
    head.extend([0, 0, 0, protocol]);
    head
}

/// The same with a checksum that is right for the bytes there are.
pub(crate) fn with_checksum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    mut bytes: Vec<u8>,
) -> Vec<u8> {
    let at = if protocol == 6 { 16 } else { 6 };
    bytes[at..at + 2].fill(0);
    let check = checksum(&[
        &pseudo_header(source, destination, protocol, bytes.len()),
        &bytes,
    ]);
    bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// A TCP segment without options, of as many zeros.
pub(crate) fn segment(
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    flags: u8,
    zeros: usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(1000_u32.to_be_bytes());
    let acknowledged: u32 = if flags & ACK == 0 { 0 } else { 77 };
    bytes.extend(acknowledged.to_be_bytes());
    bytes.extend([5 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.resize(20 + zeros, 0);
    let check = checksum(&[&pseudo_header(source, destination, 6, bytes.len()), &bytes]);
    bytes[16..18].copy_from_slice(&check.to_be_bytes());
    bytes
}

pub(crate) fn datagram(
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(u16::try_from(payload.len() + 8).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let check = checksum(&[&pseudo_header(source, destination, 17, bytes.len()), &bytes]);
    bytes[6..8].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// An IP packet around this.
pub(crate) fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet4(source, destination, protocol, payload, 0x4000)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet6(source, destination, protocol, payload)
        }
        _ => panic!("two families"),
    }
}

/// `fragment` is the word of flags and offset.
pub(crate) fn packet4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    fragment: u16,
) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(payload.len() + 20).unwrap().to_be_bytes());
    bytes.extend([0x12, 0x34]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    let check = checksum(&[&bytes]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn packet6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    bytes
}

/// A whole TCP packet.
pub(crate) fn tcp(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    ports: (u16, u16),
    flags: u8,
) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    packet(
        source,
        destination,
        6,
        &segment(source, destination, ports, flags, 0),
    )
}

/// A whole UDP packet.
pub(crate) fn udp(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    ports: (u16, u16),
) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    packet(
        source,
        destination,
        17,
        &datagram(source, destination, ports, b"01234567890123456789"),
    )
}

/// A TCP connection of this thread's namespace from a port of its own choice.
pub(crate) fn connected_from(port: u16, to: (Ipv4Addr, u16)) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    connect(&socket, &SocketAddrV4::new(to.0, to.1)).unwrap();
    socket.into()
}
