//! No secret is ever printed.

use std::fs;

use spa_keys::{ClientSecret, PreSharedKey, ServerSecret, SharedKey};

use crate::common::{Client, Run};

#[test]
fn no_secret_is_ever_printed_wherever_it_was_put() {
    let client = Client::with_host("psk_file = \"gw.psk\"");
    let secrets = [
        fs::read_to_string(client.path("identity")).unwrap(),
        ClientSecret::from_bytes([3; 32]).to_text().to_string(),
        ServerSecret::from_bytes([4; 32]).to_text().to_string(),
        SharedKey::from_bytes([5; 32]).to_text().to_string(),
        PreSharedKey::from_bytes([6; 32]).to_text().to_string(),
    ];
    let config = fs::read_to_string(client.path("config.toml")).unwrap();
    let check = |run: &Run| {
        for secret in &secrets {
            let body = &secret.trim()[secret.trim().len() - 40..];
            for part in [&body[..20], &body[20..]] {
                let shown = run.stdout.contains(part) || run.stderr.contains(part);
                assert!(!shown, "{run:?}");
            }
        }
    };
    for secret in &secrets {
        let secret = secret.trim();
        client.write("gw.psk", secret, 0o600);
        for words in [
            vec!["gw", "-v"],
            vec!["open", "gw", "--dry-run", "--json"],
            vec!["hosts", "--json"],
            vec!["key", "show"],
            vec!["packet", "gw", "--hex"],
            vec![secret],
            vec!["open", secret],
            vec!["open", "gw", "--ttl", secret],
            vec!["open", "gw", "--for", secret],
            vec![
                "host",
                "add",
                "x",
                "--address",
                "a",
                "--port",
                "1",
                "--key",
                secret,
            ],
            vec![
                "host",
                "add",
                "x",
                "--address",
                secret,
                "--port",
                secret,
                "--key",
                "k",
            ],
            vec![
                "host",
                "add",
                "x",
                "--address",
                "a",
                "--port",
                "1",
                "--psk-file",
                secret,
                "--key",
                secret,
            ],
            vec!["host", "add", secret, secret],
            vec!["host", "remove", secret],
            vec!["--config", secret, "key", "show"],
            vec!["completions", secret],
            vec!["man", secret],
        ] {
            check(&client.spa(words));
        }
        let gw = client.server.public().to_string();
        for bad in [
            config.replace(&gw, secret),
            config.replace("127.0.0.1", secret),
            config.replace("gw.psk", secret),
            format!("{config}{secret} = 1\n"),
            format!("{config}{secret}\n"),
            format!("{config}[hosts.{secret}]\n"),
            format!("{config}services = {{ ssh = \"{secret}\" }}\n"),
            format!("{config}default = \"{secret}\"\n"),
        ] {
            client.write("config.toml", &bad, 0o600);
            let run = client.spa(["hosts"]);
            assert_eq!(run.code, 6, "{run:?}");
            check(&run);
        }
        client.write("config.toml", &config, 0o600);
    }
}
