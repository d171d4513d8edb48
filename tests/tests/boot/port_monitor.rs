//! A stranger who tries the hidden port again and again, and the shown one beside it.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use spa_tests::lab::{Lab, SERVER4};
use spa_tests::settings::{EXPOSED, WEB};
use spa_tests::wait;

/// How long one try may take where nothing answers.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// How often the hidden port was tried.
    pub(crate) tries: u32,
    /// How often it answered.
    pub(crate) reached: u32,
    /// The longest time in which each try reached it.
    pub(crate) max_exposure: Duration,
    /// How often the shown port answered.
    pub(crate) exposed: u32,
}

/// Goes on until it is asked.
pub(crate) struct PortMonitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Observations>,
}

impl PortMonitor {
    /// Begins.
    pub(crate) fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = lab.client.spawn(move || {
            let mut seen = Observations::default();
            let mut since: Option<Instant> = None;
            while !until.load(Ordering::Relaxed) {
                let reaches = |port| {
                    TcpStream::connect_timeout(
                        &SocketAddr::new(SERVER4.into(), port),
                        CONNECT_TIMEOUT,
                    )
                    .is_ok()
                };
                seen.tries += 1;
                let start = wait::now();
                if reaches(WEB) {
                    seen.reached += 1;
                    let since = since.get_or_insert(start);
                    seen.max_exposure = seen.max_exposure.max(since.elapsed());
                } else {
                    since = None;
                }
                seen.exposed += u32::from(reaches(EXPOSED));
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends, and tells.
    pub(crate) fn finish(self) -> Observations {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the stranger's thread")
    }
}
