//! A STUN server of a test: tells whoever asks where the question came from.
//! RFC 8489, made by hand, so that the client is not judged by its own library.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::namespace::Namespace;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct StunServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StunServer {
    /// Answers on `port` of every IPv4 and IPv6 address.
    #[must_use]
    pub fn start(namespace: &Namespace, port: u16) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)));
        let socket = socket.expect("a socket for STUN");
        let turn = Some(Duration::from_millis(50));
        socket.set_read_timeout(turn).expect("a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                if let Some(answer) = answer(bytes.get(..length).unwrap_or_default(), from) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

/// The Binding success response that names `from`.
fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let (begin, id) = (request.get(..8)?, request.get(8..20)?);
    if begin != [&[0, 1, 0, 0][..], &COOKIE].concat() {
        return None;
    }
    let mask = [&COOKIE[..], id].concat();
    let (family, address) = match from.ip().to_canonical() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let port = from.port().to_be_bytes();
    let value: Vec<u8> = [0, family]
        .into_iter()
        .chain(port.iter().zip(&mask).map(|(byte, mask)| byte ^ mask))
        .chain(address.iter().zip(&mask).map(|(byte, mask)| byte ^ mask))
        .collect();
    let length = u8::try_from(value.len()).ok()?;
    let mut answer = vec![1, 1, 0, length.checked_add(4)?];
    answer.extend(mask);
    answer.extend([0, 0x20, 0, length]);
    answer.extend(value);
    Some(answer)
}

impl Drop for StunServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
