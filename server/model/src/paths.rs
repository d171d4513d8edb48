//! Where the server's files are.

use std::path::PathBuf;

/// The three directories, as the options `--config`, `--state` and `--run` give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What root writes: `spad.toml` and `clients.d/`.
    pub config: PathBuf,
    /// What the engine keeps: keys, journal, horizon.
    pub state: PathBuf,
    /// What lives until the machine stops: the control socket.
    pub run: PathBuf,
}

impl Paths {
    /// The server's configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("spad.toml")
    }

    /// One file a client.
    #[must_use]
    pub fn clients_dir(&self) -> PathBuf {
        self.config.join("clients.d")
    }

    /// The server's secret key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.state.join("server.key")
    }

    /// Shared and pre-shared keys of clients: `NAME.shared`, `NAME.psk`.
    #[must_use]
    pub fn client_keys_dir(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// What the firewall writer keeps: which hidden services are confirmed.
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
