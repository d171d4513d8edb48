//! spad, in guard mode, one client that knocks; shared with the benchmark `way`.

use spa_tests::identity::{Identity, open};
use spa_tests::lab::Lab;
use spa_tests::settings::Settings;
use spa_tests::spad::Spad as Daemon;

use crate::pin::{SERVER, pin};

/// A server that hides the measured port, and its client.
pub(crate) struct Spad {
    pub(crate) daemon: Daemon,
    pub(crate) identity: Identity,
}

impl Spad {
    pub(crate) fn start(lab: &Lab) -> Self {
        Self::start_configured(lab, 1, None)
    }

    /// One client that knocks, and others, beside a strict door with this sequence.
    pub(crate) fn start_configured(lab: &Lab, clients: usize, sequence: Option<&str>) -> Self {
        let settings = Settings {
            ttl: "60s",
            max_per_client: 1000,
            rate: "1000/s",
            answer: "drop",
            trial: "0s",
            hide: &["chat"],
            ..Settings::default()
        };
        let mut daemon = Daemon::init(&lab.server, lab.path(), &settings);
        let server = daemon.public();
        let identity = Identity::new(&server);
        let key = identity.public().to_string();
        let _ = daemon
            .cli(&["client", "add", "laptop", "--key", &key, "--allow", "chat"])
            .ok();
        if let Some(sequence) = sequence {
            let file = daemon.config().join("spad.toml");
            let text = std::fs::read_to_string(&file).expect("spad.toml");
            let door = format!(
                "[[knock]]\nname = \"side\"\nsequence = \"{sequence}\"\nopen = [\"chat\"]\n"
            );
            std::fs::write(&file, format!("{text}\n{door}")).expect("spad.toml");
        }
        for other in 1..clients {
            let public = *Identity::new(&server).public();
            let text = format!("key = \"{public}\"\nallow = [\"chat\"]\n");
            let file = daemon
                .config()
                .join(format!("clients.d/other-{other}.toml"));
            std::fs::write(file, text).expect("a client's file");
        }
        // On a thread of its own, so that only the server's processes stay there.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(SERVER);
                daemon.start();
            });
        });
        Self { daemon, identity }
    }

    /// What knocks.
    pub(crate) fn packet(&self) -> Vec<u8> {
        self.identity.seal(&open(&["udp/9999"]))
    }
}
