//! Services to hide: they send back what they get, over TCP and UDP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::namespace::Namespace;
use crate::wait;

/// How soon a service notices that it shall end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running service; ends when dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Answers on `port` of every IPv4 and IPv6 address.
    #[must_use]
    pub fn tcp(namespace: &Namespace, port: u16) -> Self {
        let listener = bound(namespace, || {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        });
        listener.set_nonblocking(true).expect("non-blocking");
        Self::serve(move |stop, received| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        received.fetch_add(1, Ordering::Relaxed);
                        let stop = Arc::clone(stop);
                        std::thread::spawn(move || echo_stream(stream, &stop));
                    }
                    Err(_) => wait_readable(&listener),
                }
            }
        })
    }

    /// Answers datagrams to `port` of every IPv4 and IPv6 address, from the address asked.
    #[must_use]
    pub fn udp(namespace: &Namespace, port: u16) -> Self {
        Self::udp_on(namespace, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// Answers datagrams at one address.
    #[must_use]
    pub fn udp_on(namespace: &Namespace, at: SocketAddr) -> Self {
        let socket = bound(namespace, || UdpSocket::bind(at));
        socket
            .set_read_timeout(Some(POLL_INTERVAL))
            .expect("a time limit");
        Self::serve(move |stop, received| {
            let mut bytes = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    received.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(bytes.get(..length).unwrap_or_default(), from);
                }
            }
        })
    }

    fn serve(work: impl FnOnce(&Arc<AtomicBool>, &AtomicU64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let (stop2, heard2) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = std::thread::spawn(move || work(&stop2, &heard2));
        Self {
            stop,
            received,
            thread: Some(thread),
        }
    }

    /// How many connections or datagrams reached it.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Binds, as soon as the port is free: a program that another test starts holds a
/// copy of a socket just closed here, from its fork until it executes.
fn bound<T: Send>(namespace: &Namespace, bind: impl Fn() -> std::io::Result<T> + Sync) -> T {
    wait::eventually("the port is free", || match namespace.enter(&bind) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        made => Some(made.expect("a socket on the port")),
    })
}

fn echo_stream(mut stream: TcpStream, stop: &AtomicBool) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(POLL_INTERVAL));
    let mut bytes = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => {
                let _ = stream.write_all(bytes.get(..length).unwrap_or_default());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn wait_readable(listener: &TcpListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let turn = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&turn));
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
