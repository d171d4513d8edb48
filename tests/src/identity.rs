//! A client whose packets the test makes itself: with any request, any time.

use spa_keys::{ClientPublic, ClientSecret, HeadKeys, KeyId, PacketKeys, ServerPublic};
use spa_proto::{Addresses, Open, Randomness, Request, Service, Services, Timestamp};

use crate::wait;

/// A client's key pair, with one server.
pub struct Identity {
    secret: ClientSecret,
    public: ClientPublic,
    head: HeadKeys,
    id: KeyId,
    keys: PacketKeys,
}

impl Identity {
    /// A new one.
    #[must_use]
    pub fn new(server: &ServerPublic) -> Self {
        let secret = ClientSecret::generate().expect("a key");
        let public = secret.public();
        let pair = secret.pair_with(server).expect("a pair secret");
        Self {
            keys: PacketKeys::from_pair(server, &pair, &public, None),
            id: KeyId::for_client(server, &public),
            head: HeadKeys::new(server),
            secret,
            public,
        }
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> &ClientPublic {
        &self.public
    }

    /// Its secret key's text form, for the file of `spa`.
    #[must_use]
    pub fn secret_text(&self) -> String {
        self.secret.to_text().to_string()
    }

    /// A fresh packet that says `request` and claims to be made at `when`.
    #[must_use]
    pub fn seal_at(&self, request: &Request, when: Timestamp) -> Vec<u8> {
        let [length] = spa_keys::random_bytes::<1>().expect("randomness");
        let nonce = spa_keys::random_bytes::<24>().expect("randomness");
        self.seal_with(request, when, &Randomness { nonce, length })
    }

    /// A packet with chosen nonce and padding.
    #[must_use]
    pub fn seal_with(
        &self,
        request: &Request,
        when: Timestamp,
        randomness: &Randomness,
    ) -> Vec<u8> {
        spa_proto::seal(&self.head, self.id, &self.keys, request, when, randomness)
            .expect("a sealed packet")
    }

    /// A fresh packet around any plaintext, well formed or not: what a broken client sends.
    #[must_use]
    pub fn seal_plaintext(&self, plaintext: &[u8]) -> Vec<u8> {
        let nonce = spa_keys::random_bytes::<24>().expect("randomness");
        let mut padded = plaintext.to_vec();
        padded.resize(plaintext.len().max(64), 0);
        spa_proto::seal_plaintext(
            &self.head,
            self.id,
            &self.keys,
            padded,
            wait::wall(),
            &nonce,
        )
        .expect("a sealed packet")
    }

    /// A fresh packet of now.
    #[must_use]
    pub fn seal(&self, request: &Request) -> Vec<u8> {
        self.seal_at(request, wait::wall())
    }

    /// A fresh packet that asks to open these, with everything else left to the policy.
    #[must_use]
    pub fn open(&self, services: &[&str]) -> Vec<u8> {
        self.seal(&open(services))
    }
}

/// Services by their text form, such as `tcp/22`.
#[must_use]
pub fn services(texts: &[&str]) -> Services {
    let listed: Vec<Service> = texts
        .iter()
        .map(|text| text.parse().expect("a service"))
        .collect();
    Services::from_iter(listed).expect("services")
}

/// A request to open these for the packet's source.
#[must_use]
pub fn open(texts: &[&str]) -> Request {
    Request::Open(Open {
        once: false,
        duration: 0,
        source_port: None,
        addresses: Addresses::default(),
        services: services(texts),
    })
}

/// A request to open these for `seconds`.
#[must_use]
pub fn open_for(texts: &[&str], seconds: u32) -> Request {
    match open(texts) {
        Request::Open(open) => Request::Open(Open {
            duration: seconds,
            ..open
        }),
        other => other,
    }
}

/// A request to open these for stated addresses.
#[must_use]
pub fn open_with_addresses(texts: &[&str], addresses: Addresses) -> Request {
    match open(texts) {
        Request::Open(open) => Request::Open(Open { addresses, ..open }),
        other => other,
    }
}

/// A request to close these.
#[must_use]
pub fn close(texts: &[&str]) -> Request {
    Request::Close {
        addresses: Addresses::default(),
        services: services(texts),
    }
}
