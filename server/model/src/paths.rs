//! Paths of the server's files.

use std::path::PathBuf;

/// The three directories, as the options `--config`, `--state` and `--run` give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The configuration, which root writes: `spad.toml` and `clients.d/`.
    pub config: PathBuf,
    /// The engine's state: keys, journal, horizon.
    pub state: PathBuf,
    /// Runtime files, removed at shutdown of the machine: the control socket.
    pub run: PathBuf,
}

impl Paths {
    /// The server's configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("spad.toml")
    }

    /// The directory of the clients' files, one per client.
    #[must_use]
    pub fn clients_dir(&self) -> PathBuf {
        self.config.join("clients.d")
    }

    /// The server's secret key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.state.join("server.key")
    }

    /// The directory of the clients' shared and pre-shared keys: `NAME.shared`, `NAME.psk`.
    #[must_use]
    pub fn client_keys_dir(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The firewall writer's directory: the confirmed hidden services.
    #[must_use]
    pub fn guard_state(&self) -> PathBuf {
        self.state.join("guard")
    }

    /// The control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }
}
