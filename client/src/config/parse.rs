//! The text of `config.toml` → [`Config`], or everything that is wrong with it.
//! Pure. Unknown keys are refused: a misspelt one would silently not count.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Range;
use std::path::{Path, PathBuf};

use spa_findings::{EditDistance, Finding, Findings, Source, nearest, redact};
use spa_keys::ServerPublic;
use spa_proto::Service;
use spa_proto::limits::MAX_SERVICES;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::carrier::{Carrier, ParseCarrierError};

use super::{Config, Credential, Host, HostName, validate};

/// The keys of a host.
pub const HOST_KEYS: [&str; 9] = [
    "address",
    "port",
    "via",
    "key",
    "default",
    "services",
    "psk_file",
    "shared_key_file",
    "require_address",
];

/// Reads the text of the file `path`; relative paths in it start at its directory.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(path: &Path, text: &str) -> Result<Config, Findings> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        directory: path.parent().unwrap_or(Path::new(".")),
        source: Source::without_keys(path, text.to_owned()),
        findings: Findings::default(),
        has_syntax_errors: !errors.is_empty(),
    };
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.report(reader.source.error(span, redact::message(error.message())));
    }
    let config = reader.config(table.get_ref());
    if reader.findings.is_empty() {
        Ok(config)
    } else {
        reader.findings.sort_by_key(Finding::position);
        Err(reader.findings)
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

struct Reader<'d> {
    directory: &'d Path,
    source: Source,
    findings: Findings,
    /// The text is not TOML: what seems missing or unknown may be a consequence.
    has_syntax_errors: bool,
}

impl Reader<'_> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn config(&mut self, root: &DeTable<'_>) -> Config {
        let mut config = Config::default();
        for (key, value) in root.iter() {
            if key.get_ref() != "hosts" {
                self.unknown_key(key.span(), key.get_ref(), &["hosts"]);
            } else if let Some(hosts) = self.table(value, "[hosts.NAME]") {
                for (name, value) in hosts.iter() {
                    let host = self.host(name.span(), value);
                    match name.get_ref().parse::<HostName>() {
                        Ok(name) => config.hosts.extend(host.map(|host| (name, host))),
                        Err(error) => self.report(
                            self.source
                                .error(name.span(), "this cannot be a host's name")
                                .help(error.to_string()),
                        ),
                    }
                }
            }
        }
        config
    }

    fn host(&mut self, name: Range<usize>, value: &Value<'_>) -> Option<Host> {
        let table = self.table(value, "[hosts.NAME]")?;
        for key in table.keys() {
            if !HOST_KEYS.contains(&key.get_ref().as_ref()) {
                self.unknown_key(key.span(), key.get_ref(), &HOST_KEYS);
            }
        }
        let get = |key: &str| table.get(key);
        for key in ["address", "port", "key"] {
            if get(key).is_none() && !self.has_syntax_errors {
                let help = "a host needs `address`, `port` and `key`; `spad client add` on the server prints the whole command";
                self.report(
                    self.source
                        .error(name.clone(), format!("`{key}` is missing"))
                        .help(help),
                );
            }
        }
        let services = get("services")
            .map(|value| self.services(value))
            .unwrap_or_default();
        let default = get("default").map(|value| self.default(value, &services));
        let (psk, shared) = (get("psk_file"), get("shared_key_file"));
        let address = get("address").and_then(|value| self.address(value));
        let port = get("port").and_then(|value| self.port(value));
        let via = get("via").map_or(Some(Carrier::Udp), |value| self.via(value));
        let key = get("key").and_then(|value| self.key(value));
        if let (Some(_), Some(shared)) = (psk, shared) {
            let message = "a shared key and a pre-shared key exclude each other";
            self.report(
                self.source
                    .error(shared.span(), message)
                    .help("remove one of the two"),
            );
        }
        let require_address = get("require_address").map(|value| self.boolean(value));
        let pre_shared_key_file = psk.and_then(|value| self.path(value));
        let credential = match shared.and_then(|value| self.path(value)) {
            Some(file) => Credential::SharedKey { file },
            None => Credential::Identity {
                pre_shared_key_file,
            },
        };
        Some(Host {
            address: address?,
            port: port?,
            via: via?,
            key: key?,
            default: default.unwrap_or_default(),
            services,
            credential,
            require_address: require_address.unwrap_or_default(),
        })
    }

    fn services(&mut self, value: &Value<'_>) -> BTreeMap<String, Vec<Service>> {
        let mut services = BTreeMap::new();
        let Some(table) = self.table(value, "{ ssh = \"tcp/22\" }") else {
            return services;
        };
        for (name, value) in table.iter() {
            if let Err(error) = validate::service_name(name.get_ref()) {
                self.report(
                    self.source
                        .error(name.span(), "this cannot be a service's name")
                        .help(error.to_string()),
                );
            }
            let mut ports = Vec::new();
            for word in self.string_list(value, "\"tcp/22\", or a list of such") {
                match word.get_ref().parse() {
                    Ok(port) => ports.push(port),
                    Err(error) => self.report(self.source.error(
                        word.span(),
                        format!("{error} (here: `{}`)", redact::message(word.get_ref())),
                    )),
                }
            }
            self.check_service_count(value.span(), &ports);
            services.insert(name.get_ref().to_string(), ports);
        }
        services
    }

    fn default(
        &mut self,
        value: &Value<'_>,
        services: &BTreeMap<String, Vec<Service>>,
    ) -> Vec<Service> {
        let mut default = Vec::new();
        for word in self.string_list(value, "\"ssh\", or a list of such") {
            let text = word.get_ref();
            if let Some(ports) = services.get(*text) {
                default.extend_from_slice(ports);
            } else if let Ok(port) = text.parse() {
                default.push(port);
            } else {
                let help = match nearest(
                    text,
                    services.keys().map(String::as_str),
                    EditDistance::Levenshtein,
                ) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name one of this host's `services`, or a port such as tcp/22".into(),
                };
                let message = format!("unknown service `{}`", redact::message(text));
                self.report(self.source.error(word.span(), message).help(help));
            }
        }
        default.sort_unstable();
        default.dedup();
        self.check_service_count(value.span(), &default);
        default
    }

    fn check_service_count(&mut self, span: Range<usize>, ports: &[Service]) {
        if ports.len() > MAX_SERVICES {
            let message = format!("a packet asks for at most {MAX_SERVICES} services");
            self.report(self.source.error(span, message));
        }
    }

    fn address(&mut self, value: &Value<'_>) -> Option<String> {
        let text = self.string(value, "a name or IP address in quotes")?;
        match validate::address(text) {
            Ok(()) => Some(text.to_owned()),
            Err(error) => {
                self.report(self.source.error(value.span(), error.to_string()));
                None
            }
        }
    }

    fn port(&mut self, value: &Value<'_>) -> Option<NonZeroU16> {
        let number = value.get_ref().as_integer();
        let parsed = number.and_then(|n| u16::from_str_radix(n.as_str(), n.radix()).ok());
        let port = parsed.and_then(NonZeroU16::new);
        if port.is_none() {
            let message = "`port` must be a number from 1 to 65535";
            self.report(
                self.source
                    .error(value.span(), message)
                    .help("write it like: port = 62201"),
            );
        }
        port
    }

    fn via(&mut self, value: &Value<'_>) -> Option<Carrier> {
        let text = self.string(value, "\"udp\", \"icmp\" or \"tcp:443\"")?;
        let via = text.parse();
        if let Err(error) = via {
            let message = format!("`{}` carries no packets", redact::message(text));
            let finding = self.source.error(value.span(), message);
            self.report(finding.help(ParseCarrierError::to_string(&error)));
        }
        via.ok()
    }

    fn key(&mut self, value: &Value<'_>) -> Option<ServerPublic> {
        let text = self.string(value, "the server's public key in quotes")?;
        match text.parse::<ServerPublic>() {
            Ok(key) => Some(key),
            Err(error) => {
                let help = "`spad key show` on the server prints its public key";
                self.report(
                    self.source
                        .error(value.span(), error.to_string())
                        .help(help),
                );
                None
            }
        }
    }

    fn boolean(&mut self, value: &Value<'_>) -> bool {
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(value, "true or false, without quotes");
            false
        })
    }

    fn path(&mut self, value: &Value<'_>) -> Option<PathBuf> {
        let text = self.string(value, "a path in quotes")?;
        if text.is_empty() || validate::is_key(text) {
            let message = "this must be the path of a file that holds the key";
            self.report(
                self.source
                    .error(value.span(), message)
                    .help("keys stand in files of their own with mode 0600, never in config.toml"),
            );
            return None;
        }
        Some(self.directory.join(text))
    }

    /// A string, or a list of strings.
    fn string_list<'v>(&mut self, value: &'v Value<'_>, expected: &str) -> Vec<Spanned<&'v str>> {
        let mut words = Vec::new();
        match value.get_ref() {
            DeValue::Array(array) => {
                for value in array.iter() {
                    let word = self.string(value, expected);
                    words.extend(word.map(|word| Spanned::new(value.span(), word)));
                }
            }
            _ => {
                let word = self.string(value, expected);
                words.extend(word.map(|word| Spanned::new(value.span(), word)));
            }
        }
        if words.is_empty() && value.get_ref().is_array() {
            self.report(
                self.source
                    .error(value.span(), "this list is empty")
                    .help("leave the key out"),
            );
        }
        words
    }

    fn string<'v>(&mut self, value: &'v Value<'_>, expected: &str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(value, expected);
        }
        text
    }

    fn table<'v, 'i>(&mut self, value: &'v Value<'i>, expected: &str) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(value, expected);
        }
        table
    }

    fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
        let found = value.get_ref().type_str();
        let message = format!("expected {expected}, found this {found}");
        self.report(self.source.error(value.span(), message));
    }

    fn unknown_key(&mut self, span: Range<usize>, key: &str, known: &[&str]) {
        // Behind a broken header, keys seem to belong to another table.
        if self.has_syntax_errors {
            return;
        }
        let help = match nearest(key, known.iter().copied(), EditDistance::Levenshtein) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        let message = format!("unknown key `{}`", redact::message(key));
        self.report(self.source.error(span, message).help(help));
    }
}
