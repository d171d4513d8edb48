//! The configuration a test gives its server, as text that an administrator could have written.

/// The port on which packets are looked for.
pub const SPA_PORT: u16 = 62201;
/// The hidden service for real ssh.
pub const SSH: u16 = 22;
/// A hidden TCP service.
pub const WEB: u16 = 8080;
/// A hidden UDP service.
pub const CHAT: u16 = 9999;
/// A TCP port that is not hidden.
pub const EXPOSED: u16 = 8081;

/// What tests vary; the rest stands fixed in [`Settings::toml`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// `grants.ttl`.
    pub ttl: &'static str,
    /// `grants.max_ttl`.
    pub max_ttl: &'static str,
    /// `grants.max_per_client`.
    pub max_per_client: u32,
    /// `grants.rate`.
    pub rate: &'static str,
    /// `packets.max_skew`.
    pub max_skew: &'static str,
    /// `packets.require_address`.
    pub require_address: bool,
    /// `packets.on_state_error`.
    pub on_state_error: &'static str,
    /// `guard.answer`.
    pub answer: &'static str,
    /// `guard.always_allow`.
    pub always_allow: &'static [&'static str],
    /// `guard.trial`.
    pub trial: &'static str,
    /// `listen.port`, as written.
    pub port: &'static str,
    /// `listen.carriers`, if any.
    pub carriers: Option<&'static [&'static str]>,
    /// `listen.interfaces`, if any.
    pub interfaces: Option<&'static [&'static str]>,
    /// `listen.threads`, if any.
    pub threads: Option<u32>,
    /// Names under `hide`.
    pub hide: &'static [&'static str],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: "2s",
            max_ttl: "60s",
            max_per_client: 8,
            rate: "1000/s",
            max_skew: "60s",
            require_address: false,
            on_state_error: "memory",
            answer: "as_closed",
            always_allow: &["lo"],
            trial: "10m",
            port: "62201",
            carriers: None,
            interfaces: None,
            threads: None,
            hide: &["ssh", "web", "chat"],
        }
    }
}

impl Settings {
    /// The usual ones, with grants that last so long.
    #[must_use]
    pub fn ttl(ttl: &'static str) -> Self {
        Self {
            ttl,
            ..Self::default()
        }
    }

    /// The file, with audit lines going to `audit`.
    #[must_use]
    pub fn toml(&self, audit: &std::path::Path) -> String {
        let interfaces = self
            .interfaces
            .map(|names| format!("interfaces = {names:?}\n"))
            .unwrap_or_default();
        let carriers = self
            .carriers
            .map(|carriers| format!("carriers = {carriers:?}\n"))
            .unwrap_or_default();
        let threads = self
            .threads
            .map(|threads| format!("threads = {threads}\n"))
            .unwrap_or_default();
        format!(
            r#"hide = {hide:?}

[services]
ssh = "tcp/{SSH}"
web = "tcp/{WEB}"
chat = "udp/{CHAT}"

[listen]
port = {port}
{carriers}{interfaces}{threads}
[grants]
ttl = "{ttl}"
max_ttl = "{max_ttl}"
max_per_client = {max_per_client}
rate = "{rate}"

[packets]
max_skew = "{max_skew}"
require_address = {require_address}
on_state_error = "{on_state_error}"

[guard]
always_allow = {always_allow:?}
answer = "{answer}"
trial = "{trial}"

[log]
audit = {audit:?}
"#,
            hide = self.hide,
            port = self.port,
            ttl = self.ttl,
            max_ttl = self.max_ttl,
            max_per_client = self.max_per_client,
            rate = self.rate,
            max_skew = self.max_skew,
            require_address = self.require_address,
            on_state_error = self.on_state_error,
            answer = self.answer,
            always_allow = self.always_allow,
            trial = self.trial,
        )
    }
}
