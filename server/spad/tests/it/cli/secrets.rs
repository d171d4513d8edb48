//! A secret key, put anywhere at all, is never said.

use std::fs;

use spa_keys::{ClientSecret, PreSharedKey, ServerSecret, SharedKey};

use crate::cli::{Server, public_key};

#[test]
fn no_part_of_a_secret_is_ever_said() {
    let body = |text: &str| {
        text.rsplit_once('-')
            .map(|(_, _)| text[text.len() - 40..].to_owned())
            .unwrap()
    };
    for secret in [
        ClientSecret::from_bytes(random()).to_text(),
        ServerSecret::from_bytes(random()).to_text(),
        SharedKey::from_bytes(random()).to_text(),
        PreSharedKey::from_bytes(random()).to_text(),
    ] {
        let secret: &str = &secret;
        let server = Server::new();
        server.add("anna", 1).exits_with(0);
        let spad = fs::read_to_string(server.path("etc/spad.toml")).unwrap();
        let anna = fs::read_to_string(server.client("anna")).unwrap();
        let mut output = String::new();
        let mut hear = |words: &[&str]| {
            let heard = server.run(words);
            output.push_str(&heard.out);
            output.push_str(&heard.err);
        };
        hear(&["client", "add", "bert", "--key", secret, "--allow", "ssh"]);
        hear(&[
            "client",
            "add",
            "bert",
            "--key",
            &public_key(2),
            "--allow",
            secret,
        ]);
        hear(&[
            "client",
            "add",
            secret,
            "--key",
            &public_key(2),
            "--allow",
            "ssh",
        ]);
        hear(&[
            "client",
            "add",
            "bert",
            "--key",
            &public_key(2),
            "--allow",
            "ssh",
            "--note",
            secret,
        ]);
        hear(&[
            "client",
            "add",
            "bert",
            "--key",
            &public_key(2),
            "--allow",
            "ssh",
            "--expires",
            secret,
        ]);
        hear(&["client", "show", secret]);
        hear(&["init", "--port", secret]);
        hear(&[secret]);
        for (path, good) in [
            (server.path("etc/spad.toml"), &spad),
            (server.client("anna"), &anna),
        ] {
            for bad in [
                format!("{secret} = 1\n{good}"),
                format!("\"{secret}\" = 1\n{good}"),
                format!("[\"{secret}\"]\n{good}"),
                format!("key = \"{secret}\"\n{good}"),
                format!("{good}\n# {secret}\n"),
                format!("{good}\nnote = \"{secret}\"\n"),
                format!("{good}\nallow = [\"{secret}\"]\n"),
                format!("{good}\nsources = [\"{secret}\"]\n"),
                format!("{good}\nttl = \"{secret}\"\nport = {secret}\n"),
                format!("hide = [\"{secret}\"]\nexpires = \"{secret}\"\n"),
                format!("[services]\nssh = \"{secret}\"\n\"{secret}\" = \"tcp/22\"\n"),
                format!(
                    "[listen]\naddress = \"{secret}\"\ninterfaces = [\"{secret}\"]\nport = \"{secret}\"\n"
                ),
                format!(
                    "[grants]\nttl = \"{secret}\"\nrate = \"{secret}\"\n[log]\naudit = \"{secret}\"\n"
                ),
                format!(
                    "[guard]\nanswer = \"{secret}\"\nalways_allow = [\"{secret}\", \"{secret}/8\"]\n"
                ),
                format!(
                    "key = \"\"\"{}\n{}\"\"\"\n{good}",
                    &secret[..30],
                    &secret[30..]
                ),
                format!("key = \"{}\nallow = [{}\n", &secret[..30], &secret[30..]),
                // In pieces, each on a line of its own that gets a finding of its own.
                format!(
                    "key = [\n\"{}\",\n\"{}\",\n\"{}\",\n\"{}\"\n]\n",
                    &secret[..20],
                    &secret[20..34],
                    &secret[34..48],
                    &secret[48..]
                ),
                secret.to_owned(),
                secret[12..].to_owned(),
            ] {
                fs::write(&path, bad).unwrap();
                for words in [
                    &["check"][..],
                    &["client", "list"],
                    &["client", "enable", "anna"],
                    &["init"],
                ] {
                    hear(words);
                }
            }
            fs::write(&path, good).unwrap();
        }
        let body = body(secret);
        for piece in body.as_bytes().windows(8) {
            let piece = std::str::from_utf8(piece).unwrap();
            let line = output.lines().find(|line| line.contains(piece));
            assert_eq!(line, None, "{piece} of {secret} was said");
        }
    }
}

/// Bytes as a real key has them: no repetition that a rule could lean on.
fn random() -> [u8; 32] {
    spa_keys::random_bytes().unwrap()
}
