//! A client's directory, a server's keys and a socket where its knock port is.
//! Everything over loopback, everything removed when dropped.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use spa_keys::{ClientPublic, HeadKeys, KeyId, PacketKeys, PreSharedKey, ServerSecret, SharedKey};
use spa_proto::{Authentic, Opened, Record, Timestamp, identify};
use tempfile::TempDir;

/// One client's configuration directory.
pub(crate) struct Client {
    pub(crate) home: TempDir,
    pub(crate) server: ServerSecret,
    pub(crate) spa_socket: UdpSocket,
}

/// What a run printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Client {
    /// A client with a key, and no host yet.
    pub(crate) fn new() -> Self {
        let client = Self {
            home: TempDir::new().unwrap(),
            server: ServerSecret::from_bytes([7; 32]),
            spa_socket: socket("127.0.0.1:0"),
        };
        assert_eq!(client.spa(["key", "new"]).code, 0);
        client
    }

    /// A client that knows the host `gw` at 127.0.0.1; `more` are further lines
    /// of its table.
    pub(crate) fn with_host(more: &str) -> Self {
        let client = Self::new();
        client.host("gw", "127.0.0.1", more);
        client
    }

    /// Adds a host to the configuration.
    pub(crate) fn host(&self, name: &str, address: &str, more: &str) {
        let old = fs::read_to_string(self.path("config.toml")).unwrap_or_default();
        let (port, key) = (self.port(), self.server.public());
        let new = format!(
            "{old}[hosts.{name}]\naddress = \"{address}\"\nport = {port}\nkey = \"{key}\"\n{more}\n"
        );
        self.write("config.toml", &new, 0o600);
    }

    pub(crate) fn port(&self) -> u16 {
        self.spa_socket.local_addr().unwrap().port()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("spa").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(crate) fn spa(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        self.command(words).output().unwrap().into()
    }

    pub(crate) fn command(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(words)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.home.path());
        command
    }

    pub(crate) fn public(&self) -> ClientPublic {
        self.spa(["key", "show"]).stdout.trim().parse().unwrap()
    }

    /// Opens a packet of this client's key pair, as its server would.
    pub(crate) fn opened(&self, packet: &[u8]) -> Opened {
        self.opened_with(packet, None)
    }

    pub(crate) fn opened_with(&self, packet: &[u8], pre_shared: Option<&PreSharedKey>) -> Opened {
        let (server, public) = (self.server.public(), self.public());
        let pair = self.server.pair_with(&public).unwrap();
        let keys = PacketKeys::from_pair(&server, &pair, &public, pre_shared);
        unseal(
            &self.server,
            packet,
            &keys,
            KeyId::for_client(&server, &public),
        )
    }

    pub(crate) fn opened_shared(&self, packet: &[u8], shared: &SharedKey) -> Opened {
        let server = self.server.public();
        let keys = PacketKeys::from_shared(&server, shared);
        unseal(
            &self.server,
            packet,
            &keys,
            KeyId::for_shared(&server, shared),
        )
    }

    /// The packets that came to 127.0.0.1 and were not taken yet.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        received(&self.spa_socket)
    }
}

struct Recorder;

impl Record for Recorder {
    type Refusal = ();
    fn record(&mut self, _: KeyId, _: &[u8; 24], _: Timestamp) -> Result<(), ()> {
        Ok(())
    }
}

fn unseal(server: &ServerSecret, packet: &[u8], keys: &PacketKeys, id: KeyId) -> Opened {
    let identified = identify(&HeadKeys::new(&server.public()), packet).unwrap();
    assert_eq!(identified.key_id(), id);
    let authentic: Authentic<'_> = identified.authenticate(keys).unwrap();
    authentic.record(&mut Recorder).unwrap().open(keys).unwrap()
}

/// A UDP socket whose packets can be taken without waiting long.
pub(crate) fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    socket
}

pub(crate) fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        packets.push(buffer[..length].to_vec());
    }
    packets
}

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_spa"))
}

/// A TCP port where nobody listens.
pub(crate) fn closed_port(address: &str) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
