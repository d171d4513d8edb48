//! What a client and its groups say together, by whole configurations.

use std::path::Path;

use super::super::{ClientConfig, Files, check};
use super::*;

const KEY: &str = "key = \"spa-pub-pOCSkrZRwni5dyxWn1-puxPZBrRqtoyd-dwrRAn4ogkKCWzc\"\n";

const SERVER: &str = r#"
[services]
ssh = "tcp/22"
wg = "udp/51820"
[policy]
time_zone = "Europe/Berlin"
[groups.staff]
allow = ["ssh"]
sources = ["192.0.2.0/24", "2001:db8::/32"]
hours = ["mon-fri 08:00-18:00"]
expires = 2099-06-01T00:00:00Z
max_ttl = "2m"
max_grants = 4
[groups.vpn]
allow = ["wg", "ssh"]
sources = ["192.0.2.0/25", "198.51.100.0/24"]
hours = ["sat 08:00-18:00"]
expires = 2099-03-01T00:00:00Z
max_ttl = "3m"
max_grants = 2
require_address = true
"#;

fn client(text: &str) -> ClientConfig {
    let mut files = Files::empty(Path::new("/etc/spad"));
    files.server = Some(Source::new(
        Path::new("/etc/spad/spad.toml"),
        SERVER.to_owned(),
    ));
    files.put_client("anna".parse().unwrap(), format!("{KEY}{text}"));
    let loaded = check(&files, Timestamp::from_micros(0)).unwrap();
    loaded.config.clients.into_iter().next().unwrap()
}

fn allowed(client: &ClientConfig) -> Vec<&str> {
    client.allow.iter().map(|name| name.as_str()).collect()
}

fn instant(text: &str) -> Timestamp {
    let at: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(at.as_microsecond().try_into().unwrap())
}

#[test]
fn what_groups_allow_is_put_together_and_of_limits_the_tightest_holds() {
    let anna = client("groups = [\"staff\", \"vpn\"]\nmax_ttl = \"5m\"\nmax_grants = 3\n");
    assert_eq!(allowed(&anna), ["ssh", "wg"]);
    assert_eq!(anna.max_ttl, Some(Duration::from_secs(120)), "staff's");
    assert_eq!(anna.max_grants, Some(2), "vpn's");
    assert_eq!(anna.expires, Some(instant("2099-03-01T00:00:00Z")), "vpn's");
    let own = client("groups = [\"staff\"]\nmax_ttl = \"1m\"\nexpires = 2098-01-01T00:00:00Z\n");
    assert_eq!(own.max_ttl, Some(Duration::from_secs(60)), "its own");
    assert_eq!(own.max_grants, Some(4));
    assert_eq!(
        own.expires,
        Some(instant("2098-01-01T00:00:00Z")),
        "its own"
    );
    let none = client("allow = [\"wg\"]\n");
    assert_eq!(
        (allowed(&none), none.max_ttl, none.max_grants),
        (vec!["wg"], None, None)
    );
}

#[test]
fn each_list_of_sources_and_of_hours_must_hold() {
    let anna = client(
        "groups = [\"staff\", \"vpn\"]\nsources = [\"192.0.2.0/26\"]\nhours = [\"00:00-24:00\"]\n",
    );
    for (address, admitted) in [
        ("192.0.2.1", true),
        ("192.0.2.100", false),
        ("192.0.2.200", false),
        ("198.51.100.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(anna.admits(address.parse().unwrap()), admitted, "{address}");
    }
    let hours: Vec<String> = anna.hours.iter().map(|hours| hours.text()).collect();
    assert_eq!(
        hours,
        [
            "00:00-24:00 (Europe/Berlin)",
            "mon-fri 08:00-18:00 (Europe/Berlin)",
            "sat 08:00-18:00 (Europe/Berlin)"
        ]
    );
}

#[test]
fn whoever_says_that_an_address_is_required_is_heard() {
    for (text, required) in [
        ("groups = [\"vpn\"]\n", Some(true)),
        ("groups = [\"vpn\"]\nrequire_address = false\n", Some(true)),
        ("groups = [\"staff\"]\nrequire_address = true\n", Some(true)),
        (
            "groups = [\"staff\"]\nrequire_address = false\n",
            Some(false),
        ),
        ("groups = [\"staff\"]\n", None),
    ] {
        assert_eq!(client(text).require_address, required, "{text}");
    }
}
