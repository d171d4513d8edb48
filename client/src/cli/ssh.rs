//! `spa ssh`: becomes ssh, with this very program as its ProxyCommand.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::address_source;
use super::args::{DialOptions, SshOptions};
use super::output::Failure;
use super::run_all::checked_targets;
use crate::config::file;
use crate::exit::Exit;

pub(super) fn run(options: &SshOptions, directory: &Path) -> Result<Exit, Failure> {
    address_source::literal_addresses(&options.dial.grant.addresses)?;
    let (user, name) = match options.host.rsplit_once('@') {
        Some((user, name)) => (user, name),
        None => ("", options.host.as_str()),
    };
    if user.starts_with('-') || name.contains(':') {
        return Err(Failure::usage(
            "name the host as [USER@]HOST; ssh's port is asked for, -p PORT after the host says another",
        ));
    }
    let config = file::load(directory).map_err(Failure::local)?;
    checked_targets(&config, &[name.to_owned()])?;
    let program = std::env::current_exe().map_err(Failure::local)?;
    let directory = std::path::absolute(directory).map_err(Failure::local)?;
    let mut words = vec![into_utf8(program.into())?, "--config".into()];
    words.push(into_utf8(directory.into())?);
    words.push("proxy".into());
    words.extend(dial_arguments(&options.dial));
    words.push(name.to_owned());
    let words: Vec<_> = words.iter().map(|word| shell_quote(word)).collect();
    let error = Command::new("ssh")
        .arg("-o")
        .arg(format!("ProxyCommand={} '%h' %p", words.join(" ")))
        .args(["-o", "ProxyUseFdpass=yes", &options.host])
        .args(&options.args)
        .exec();
    Err(Failure::local(format!(
        "ssh cannot be started ({error}); install OpenSSH's client"
    )))
}

/// The options of `spa proxy` that say the same.
fn dial_arguments(options: &DialOptions) -> Vec<String> {
    let mut words = Vec::new();
    if options.once {
        words.push("--once".to_owned());
    }
    if let Some(ttl) = options.grant.ttl {
        words.push(format!("--ttl={ttl}s"));
    }
    for address in &options.grant.addresses {
        words.push(format!("--for={address}"));
    }
    words.push(format!("--timeout={}ms", options.timeout.as_millis()));
    words.extend(options.carrier.via.map(|via| format!("--via={via}")));
    words.extend(options.carrier.families.option().map(str::to_owned));
    words
}

fn into_utf8(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|_| {
        Failure::local("the paths of spa and of its configuration must be UTF-8 text for ssh")
    })
}

/// One word for the shell that ssh starts, after ssh has replaced its own `%` signs.
fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_and_percent_signs_stays_one_word() {
        assert_eq!(shell_quote("/a b/it's 100%h"), r"'/a b/it'\''s 100%%h'");
    }
}
