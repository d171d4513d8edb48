//! spad, in guard mode, one client; its packets are sealed before the clock starts.

use spa_tests::identity::{Identity, open};
use spa_tests::lab::Lab;
use spa_tests::settings::{KNOCK, Settings};
use spa_tests::spad::Spad;

use crate::opening::{self, Samples};
use crate::pin::{SERVER, pin};

/// A server that hides the measured port, and its client.
pub(crate) fn start(lab: &Lab) -> (Spad, Identity) {
    let settings = Settings {
        ttl: "60s",
        max_per_client: 1000,
        answer: "drop",
        trial: "0s",
        hide: &["chat"],
        ..Settings::default()
    };
    let mut spad = Spad::init(&lab.server, lab.path(), &settings);
    let identity = Identity::new(&spad.public());
    let key = identity.public().to_string();
    let _ = spad
        .cli(&["client", "add", "laptop", "--key", &key, "--allow", "chat"])
        .ok();
    // On a thread of its own, so that only the server's processes stay there.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(SERVER);
            spad.start();
        });
    });
    (spad, identity)
}

pub(crate) fn measure(knocks: usize) -> Samples {
    let lab = Lab::new();
    opening::add_addresses(&lab, knocks);
    let (_spad, identity) = start(&lab);
    opening::measure(&lab, knocks, |_, _| {
        (KNOCK, identity.seal(&open(&["udp/9999"])))
    })
}
