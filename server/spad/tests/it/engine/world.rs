//! A server with three clients, a clock and a kernel that forget nothing.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use spa_keys::{ClientSecret, HeadKeys, KeyId, PacketKeys, ServerSecret, SharedKey};
use spa_proto::{Addresses, Open, Randomness, Request, Services, Timestamp, seal};
use spad_config::{
    Answer as Stranger, ClientConfig, ClientKey, Config, GrantLimits, Guard, Hooks, Listen, Log,
    Mode, Packets, Rate, ServiceDefinition,
};
use spad_engine::audit::event::{AuditEvent, Event};
use spad_engine::clients::{ClientSecrets, Clients};
use spad_engine::{Disposition, Effect, Engine, UsedSequence};
use spad_model::{
    BootTime, CarrierSet, Change, ChangeResult, Datagram, Element, FirewallError, KernelElement,
    Now, OnStateError, Ports, PrefixLengths, Reason, RunRequest, Step, Verdict,
};
use spad_replay::{Horizon, JournalRecord, ReplayCache};

pub(crate) const SERVER: [u8; 32] = [1; 32];
pub(crate) const HERE: &str = "192.0.2.1";
pub(crate) const THERE: &str = "198.51.100.7";
pub(crate) const START: u64 = 1_800_000_000_000_000;

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A client's own half.
pub(crate) struct TestClient {
    pub(crate) head: HeadKeys,
    pub(crate) id: KeyId,
    pub(crate) keys: PacketKeys,
}

impl TestClient {
    pub(crate) fn pair(client: [u8; 32]) -> Self {
        Self::pair_at(SERVER, client)
    }

    pub(crate) fn pair_at(server: [u8; 32], client: [u8; 32]) -> Self {
        let server = ServerSecret::from_bytes(server).public();
        let client = ClientSecret::from_bytes(client);
        let pair = client.pair_with(&server).unwrap();
        Self {
            head: HeadKeys::new(&server),
            id: KeyId::for_client(&server, &client.public()),
            keys: PacketKeys::from_pair(&server, &pair, &client.public(), None),
        }
    }

    pub(crate) fn shared(key: [u8; 32]) -> Self {
        let server = ServerSecret::from_bytes(SERVER).public();
        let key = SharedKey::from_bytes(key);
        Self {
            head: HeadKeys::new(&server),
            id: key.key_id(&server),
            keys: PacketKeys::from_shared(&server, &key),
        }
    }
}

/// Elements until when, by a clock that stands still while the machine sleeps.
#[derive(Default)]
pub(crate) struct Kernel {
    pub(crate) awake: Duration,
    pub(crate) elements: BTreeMap<Element, Duration>,
    pub(crate) refuse: Option<FirewallError>,
    /// Longer grants are refused, as by the writer.
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) transactions: usize,
}

impl Kernel {
    pub(crate) fn apply(&mut self, change: &Change) -> ChangeResult {
        self.transactions += 1;
        assert!((1..=64).contains(&change.steps.len()), "{change:?}");
        let mut seen: Vec<&Element> = change.steps.iter().map(Step::element).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(
            seen.len(),
            change.steps.len(),
            "one element twice: {change:?}"
        );
        if let Some(refusal) = self.refuse {
            return ChangeResult {
                id: change.id,
                result: Err(refusal),
            };
        }
        let too_long = |step: &Step| match step {
            Step::Put { ttl, .. } => self.max_ttl.is_some_and(|max_ttl| *ttl > max_ttl),
            Step::Remove { .. } => false,
        };
        if change.steps.iter().any(too_long) {
            return ChangeResult {
                id: change.id,
                result: Err(FirewallError::TooLong),
            };
        }
        for step in &change.steps {
            match step {
                Step::Put { element, ttl } => {
                    assert!(*ttl >= Duration::from_millis(1));
                    self.elements.insert(*element, self.awake + *ttl);
                }
                Step::Remove { element } => {
                    self.elements.remove(element);
                }
            }
        }
        ChangeResult {
            id: change.id,
            result: Ok(()),
        }
    }

    pub(crate) fn is_open(&self, element: &Element) -> bool {
        self.elements
            .get(element)
            .is_some_and(|ends| *ends > self.awake)
    }

    pub(crate) fn open(&self) -> Vec<Element> {
        self.elements
            .keys()
            .filter(|element| self.is_open(element))
            .copied()
            .collect()
    }

    pub(crate) fn list(&self) -> Vec<KernelElement> {
        let open = self.elements.iter().filter(|(_, ends)| **ends > self.awake);
        open.map(|(element, ends)| KernelElement {
            element: *element,
            remaining: *ends - self.awake,
        })
        .collect()
    }
}

pub(crate) struct EngineHarness {
    pub(crate) engine: Engine,
    pub(crate) kernel: Kernel,
    pub(crate) now: Now,
    pub(crate) laptop: TestClient,
    pub(crate) desk: TestClient,
    pub(crate) phone: TestClient,
    pub(crate) audit: Vec<AuditEvent>,
    pub(crate) journal: Vec<JournalRecord>,
    /// Sequences for one use, as they were used.
    pub(crate) used: Vec<UsedSequence>,
    pub(crate) verdicts: Vec<Verdict>,
    /// True: changes wait in `unanswered`.
    pub(crate) hold_answers: bool,
    pub(crate) pending_changes: Vec<Change>,
    /// What the command runner was asked.
    pub(crate) run_requests: Vec<RunRequest>,
    pub(crate) packets: u64,
    nonce: u64,
}

/// ssh tcp/22, web tcp/8080, chat udp/9999, admin tcp/8443; laptop and phone may
/// open ssh, web and chat, desk may open web alone.
pub(crate) fn config() -> Config {
    let service = |ports: &[&str], ttl: Option<u64>, max_ttl: Option<u64>| ServiceDefinition {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        ttl: ttl.map(seconds),
        max_ttl: max_ttl.map(seconds),
        to: None,
    };
    Config {
        services: [
            ("ssh", service(&["tcp/22"], None, None)),
            ("web", service(&["tcp/8080"], None, None)),
            ("chat", service(&["udp/9999"], None, None)),
            ("admin", service(&["tcp/8443"], Some(600), Some(3600))),
        ]
        .into_iter()
        .map(|(name, service)| (name.parse().unwrap(), service))
        .collect(),
        hide: vec!["ssh".parse().unwrap(), "web".parse().unwrap()],
        listen: Listen {
            ports: Ports::one(NonZeroU16::new(62201).unwrap()),
            carriers: CarrierSet::udp(Ports::one(NonZeroU16::new(62201).unwrap())),
            interfaces: None,
            threads: 1,
            address: None,
        },
        grants: GrantLimits {
            ttl: seconds(30),
            max_ttl: seconds(300),
            max_per_client: 8,
            max_connections: 64,
            rate: Rate {
                count: 10,
                per: seconds(1),
                burst: None,
            },
            admin_max_ttl: seconds(86_400),
        },
        packets: Packets {
            max_skew: seconds(60),
            require_address: false,
            on_state_error: OnStateError::Memory,
        },
        external: None,
        guard: Guard {
            mode: Mode::Guard,
            always_allow: Vec::new(),
            answer: Stranger::RejectAsClosed,
            trial: seconds(600),
        },
        log: Log {
            audit: "/dev/null".into(),
        },
        prefix_lengths: PrefixLengths::default(),
        commands: BTreeMap::new(),
        hooks: Hooks::default(),
        knock: Vec::new(),
        clients: vec![
            client(
                "desk",
                ClientKey::Public(ClientSecret::from_bytes([3; 32]).public()),
                &["web"],
            ),
            client(
                "laptop",
                ClientKey::Public(ClientSecret::from_bytes([2; 32]).public()),
                &["ssh", "web", "chat"],
            ),
            client("phone", ClientKey::Shared, &["ssh", "web", "chat"]),
        ],
    }
}

pub(crate) fn client(name: &str, key: ClientKey, allow: &[&str]) -> ClientConfig {
    ClientConfig {
        name: name.parse().unwrap(),
        keys: vec![key.into()],
        pre_shared_key: false,
        allow: allow.iter().map(|name| name.parse().unwrap()).collect(),
        sources: Vec::new(),
        ipv4_prefix: None,
        ipv6_prefix: None,
        hours: Vec::new(),
        expires: None,
        enabled: true,
        max_ttl: None,
        max_grants: None,
        max_connections: None,
        require_address: None,
        commands: Vec::new(),
        note: None,
    }
}

pub(crate) fn clients(config: Config) -> Clients {
    let secrets = ClientSecrets {
        shared: [("phone".parse().unwrap(), SharedKey::from_bytes([4; 32]))]
            .into_iter()
            .collect(),
        ..ClientSecrets::default()
    };
    let server = Arc::new(ServerSecret::from_bytes(SERVER));
    Clients::build(Arc::new(config), vec![server], secrets, [7; 8]).unwrap()
}

pub(crate) fn open(services: &[&str]) -> Open {
    let services = services.iter().map(|service| service.parse().unwrap());
    Open {
        services: Services::from_iter(services).unwrap(),
        ..Open::default()
    }
}

pub(crate) fn open_for(services: &[&str], duration: u32) -> Request {
    Request::Open(Open {
        duration,
        ..open(services)
    })
}

pub(crate) fn close(services: &[&str]) -> Request {
    Request::Close {
        addresses: Addresses::NONE,
        services: open(services).services,
    }
}

pub(crate) fn element(address: &str, service: &str) -> Element {
    Element {
        address: ip(address),
        service: service.parse().unwrap(),
        source_port: None,
        once: false,
        prefix: None,
    }
}

impl EngineHarness {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let now = Now {
            wall: Timestamp::from_micros(START),
            boot: BootTime::from_micros(1_000_000_000),
        };
        let mut harness = Self {
            engine: Engine::new(
                clients(config),
                ReplayCache::default(),
                Horizon::at_start(Timestamp::default()),
            ),
            kernel: Kernel::default(),
            now,
            laptop: TestClient::pair([2; 32]),
            desk: TestClient::pair([3; 32]),
            phone: TestClient::shared([4; 32]),
            audit: Vec::new(),
            journal: Vec::new(),
            used: Vec::new(),
            verdicts: Vec::new(),
            hold_answers: false,
            pending_changes: Vec::new(),
            run_requests: Vec::new(),
            packets: 0,
            nonce: 0,
        };
        harness.engine.load_used_sequences(HashSet::new());
        harness.move_horizon();
        harness.tick();
        harness
    }

    /// What the state directory does every ten seconds, and when the clock steps.
    pub(crate) fn move_horizon(&mut self) {
        let skew = self.engine.clients().config().packets.max_skew;
        let (_, horizon) = self.engine.replay_state_mut();
        if let Some(
            spad_replay::horizon::HorizonMove::Raise(to)
            | spad_replay::horizon::HorizonMove::Lower(to),
        ) = horizon.plan(self.now, skew)
        {
            horizon.commit(to);
            horizon.mark_done(self.now, skew);
        }
    }

    pub(crate) fn randomness(&mut self) -> Randomness {
        self.nonce += 1;
        let mut nonce = [0x5a; 24];
        nonce[..8].copy_from_slice(&self.nonce.to_be_bytes());
        Randomness { nonce, length: 0 }
    }

    pub(crate) fn seal_at(
        &mut self,
        who: fn(&Self) -> &TestClient,
        request: &Request,
        at: Timestamp,
    ) -> Vec<u8> {
        let randomness = self.randomness();
        let peer = who(self);
        seal(&peer.head, peer.id, &peer.keys, request, at, &randomness).unwrap()
    }

    pub(crate) fn seal(&mut self, who: fn(&Self) -> &TestClient, request: &Request) -> Vec<u8> {
        self.seal_at(who, request, self.now.wall)
    }

    /// Judges the packet; waits for the kernel, unless it is on hold.
    pub(crate) fn receive(&mut self, from: &str, packet: &[u8]) -> Option<Reason> {
        let source = SocketAddr::new(ip(from), 40_000);
        let destination = "203.0.113.1:62201".parse().unwrap();
        let mut effects = Vec::new();
        self.packets += 1;
        let judged = self.engine.on_datagram(
            &Datagram::new_for_test(source, destination, 2, packet),
            self.now,
            &mut effects,
        );
        let before = self.verdicts.len();
        if let Disposition::Verdict(verdict) = &judged {
            self.verdicts.push(verdict.clone());
        }
        self.execute(effects);
        self.check_counts();
        (self.verdicts.len() > before).then(|| self.verdicts[before].reason)
    }

    pub(crate) fn send(&mut self, who: fn(&Self) -> &TestClient, request: &Request) -> Reason {
        let packet = self.seal(who, request);
        self.receive(HERE, &packet).unwrap()
    }

    pub(crate) fn execute(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record(record) => self.journal.push(record),
                Effect::MarkSequenceUsed(used) => self.used.push(used),
                Effect::Audit(event) => self.audit.push(*event),
                Effect::Run(message) => self.run_requests.push(message),
                Effect::Firewall(change) if self.hold_answers => self.pending_changes.push(change),
                Effect::Firewall(change) => self.answer(&change),
            }
        }
    }

    pub(crate) fn answer(&mut self, change: &Change) {
        let answer = self.kernel.apply(change);
        let mut effects = Vec::new();
        let verdict = self
            .engine
            .on_firewall_answer(answer, self.now, &mut effects);
        self.verdicts.extend(verdict);
        self.execute(effects);
    }

    pub(crate) fn answer_all(&mut self) {
        for change in std::mem::take(&mut self.pending_changes) {
            self.answer(&change);
        }
    }

    pub(crate) fn tick(&mut self) {
        let mut effects = Vec::new();
        self.engine.tick(self.now, &mut effects);
        self.execute(effects);
        self.check_counts();
    }

    /// Every packet has exactly one verdict, or waits for the kernel.
    pub(crate) fn check_counts(&self) {
        let waiting = u64::try_from(self.engine.pending()).unwrap();
        assert_eq!(self.engine.counters().total() + waiting, self.packets);
        assert_eq!(self.verdicts.len() as u64 + waiting, self.packets);
    }

    /// Time passes; the daemon ticks when it is due.
    pub(crate) fn advance(&mut self, span: Duration) {
        let end = self.now.boot.saturating_add(span);
        loop {
            let due = self.engine.next_tick().unwrap();
            if due > end {
                break;
            }
            self.elapse(due.saturating_since(self.now.boot));
            self.tick();
            let again = self.engine.next_tick().unwrap();
            assert!(again > self.now.boot, "a tick that is due again at once");
        }
        self.elapse(end.saturating_since(self.now.boot));
    }

    fn elapse(&mut self, span: Duration) {
        self.now.boot = self.now.boot.saturating_add(span);
        self.now.wall = self.now.wall.saturating_add(span);
        self.kernel.awake += span;
        self.move_horizon();
    }

    /// The machine sleeps: no tick, and the kernel's timeouts stand still.
    pub(crate) fn suspend(&mut self, span: Duration) {
        self.now.boot = self.now.boot.saturating_add(span);
        self.now.wall = self.now.wall.saturating_add(span);
        self.move_horizon();
        self.tick();
    }

    /// Somebody sets the clock.
    pub(crate) fn set_clock(&mut self, micros: u64) {
        self.now.wall = Timestamp::from_micros(micros);
        self.move_horizon();
    }

    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(self.engine.clients().config());
        change(&mut config);
        let mut effects = Vec::new();
        let _ = self.engine.reload(clients(config), self.now, &mut effects);
        self.execute(effects);
        self.check_counts();
    }

    pub(crate) fn is_open(&self, address: &str, service: &str) -> bool {
        self.kernel.is_open(&element(address, service))
    }

    pub(crate) fn audited(&self, event: Event) -> Vec<&AuditEvent> {
        self.audit
            .iter()
            .filter(|line| line.event == event)
            .collect()
    }
}

pub(crate) fn laptop(harness: &EngineHarness) -> &TestClient {
    &harness.laptop
}

pub(crate) fn desk(harness: &EngineHarness) -> &TestClient {
    &harness.desk
}

pub(crate) fn phone(harness: &EngineHarness) -> &TestClient {
    &harness.phone
}
