//! The time from a knock to the first datagram that gets through.
//!
//! Datagrams that carry the time at which they were sent are sent to the hidden
//! port as fast as they go; the first that the service receives tells when the
//! port was open, so the service's own waking up does not count; it is part of the
//! measuring, and on its processor. Each knock is
//! from an address of its own, so that nothing has to close in between. A flood
//! comes from the same thread between the probes, so that it neither stops while
//! a knock is measured nor keeps the knock from being sent.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use spa_tests::lab::{Lab, SERVER4};
use spa_tests::settings::CHAT;
use spa_tests::wait;

use crate::addresses::address;
use crate::flood::{Flood, FloodHandle};
use crate::pin::{CLIENT, pin};
use crate::samples::Samples;

/// A knock that opens nothing for this long has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two knocks: longer than any server needs to settle, and from one knock to
/// the next another time, so that no server that looks now and then is always met at
/// the same moment.
fn pause(knock: usize) -> Duration {
    // Parts of the golden ratio fall evenly over the interval.
    let part = (knock as f64 * 0.618_033_988_75).fract();
    Duration::from_millis(30) + Duration::from_millis(100).mul_f64(part)
}

/// What is measured: a server that opens [`CHAT`] to whom it hears knock.
pub(crate) trait Server {
    /// Does everything that comes before the last packet of the knock with this
    /// number, from a socket at its address, and gives what to send last: port
    /// and payload. The clock starts when that was sent.
    fn prepare(&mut self, number: usize, socket: &UdpSocket) -> (u16, Vec<u8>);
}

/// Knocks so many times, beside a flood if there is one. Gives the times, and
/// how many packets of the flood were sent in a second.
pub(crate) fn measure(
    lab: &Lab,
    knocks: usize,
    flood: Option<&Flood>,
    server: &mut (impl Server + Send),
) -> (Samples, Option<f64>) {
    let start = wait::now();
    let first: Arc<Vec<AtomicU64>> = Arc::new((0..knocks).map(|_| AtomicU64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let receiver = {
        let (first, over) = (Arc::clone(&first), Arc::clone(&over));
        lab.server.spawn(move || receive(&first, &over))
    };
    let measured = lab.client.enter(|| {
        pin(CLIENT);
        let mut flooding = flood.map(FloodHandle::new);
        let began = wait::now();
        let mut opened = Vec::new();
        for number in 0..knocks {
            let here = address(number);
            let probe = UdpSocket::bind((here, 0)).expect("a socket");
            let sender = UdpSocket::bind((here, 0)).expect("a socket");
            let settled = wait::now();
            let pause = pause(number);
            while settled.elapsed() < pause {
                match &mut flooding {
                    Some(flooding) => flooding.keep_sending(began.elapsed()),
                    None => wait::until_after(settled, pause),
                }
            }
            let (port, payload) = server.prepare(number, &sender);
            let knocked = start.elapsed();
            sender
                .send_to(&payload, (SERVER4, port))
                .expect("a way to the server");
            let service = SocketAddr::new(IpAddr::V4(SERVER4), CHAT);
            while start.elapsed() - knocked < ANSWER_TIMEOUT {
                if let Some(flooding) = &mut flooding {
                    flooding.keep_sending(began.elapsed());
                }
                let now = u64::try_from(start.elapsed().as_nanos()).unwrap();
                let mut datagram = [0_u8; 16];
                datagram[..8].copy_from_slice(&now.to_be_bytes());
                datagram[8..].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
                // Refused is what a closed port may say.
                let _ = probe.send_to(&datagram, service);
                let through = first[number].load(Ordering::Acquire);
                if through != 0 {
                    opened.push(Duration::from_nanos(through).saturating_sub(knocked));
                    break;
                }
            }
        }
        let rate = flooding.map(|flooding| flooding.sent() as f64 / began.elapsed().as_secs_f64());
        (Samples::new(opened, knocks), rate)
    });
    over.store(true, Ordering::Release);
    receiver.join().expect("the receiver ends");
    measured
}

/// Notes when the first datagram of each knock that came through was sent.
fn receive(first: &[AtomicU64], over: &AtomicBool) {
    pin(CLIENT);
    let socket = UdpSocket::bind((SERVER4, CHAT)).expect("the hidden service's socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time-out");
    let mut datagram = [0_u8; 16];
    while !over.load(Ordering::Acquire) {
        if let Ok((16, _)) = socket.recv_from(&mut datagram) {
            let (sent, number) = datagram.split_at(8);
            let sent = u64::from_be_bytes(sent.try_into().unwrap());
            let number = u64::from_be_bytes(number.try_into().unwrap());
            if let Some(first) = first.get(usize::try_from(number).unwrap()) {
                let _ = first.compare_exchange(0, sent, Ordering::AcqRel, Ordering::Acquire);
            }
        }
    }
}
