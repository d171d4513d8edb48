//! `spa ssh`: becomes ssh, with this very program as its ProxyCommand.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::args::{DialOptions, SshOptions};
use super::asking::checked;
use super::given;
use super::say::Failure;
use crate::config::file;
use crate::exit::Exit;

pub(super) fn run(options: &SshOptions, directory: &Path) -> Result<Exit, Failure> {
    given::written(&options.dial.grant.addresses)?;
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
    checked(&config, &[name.to_owned()])?;
    let program = std::env::current_exe().map_err(Failure::local)?;
    let directory = std::path::absolute(directory).map_err(Failure::local)?;
    let mut words = vec![text(program.into())?, "--config".into()];
    words.push(text(directory.into())?);
    words.push("proxy".into());
    words.extend(dialled(&options.dial));
    words.push(name.to_owned());
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
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
fn dialled(options: &DialOptions) -> Vec<String> {
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
    words.extend(options.way.via.map(|via| format!("--via={via}")));
    words.extend(options.way.families.option().map(str::to_owned));
    words
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|_| {
        Failure::local("the paths of spa and of its configuration must be UTF-8 text for ssh")
    })
}

/// One word for the shell that ssh starts, after ssh has replaced its own `%` signs.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_and_percent_signs_stays_one_word() {
        assert_eq!(quoted("/a b/it's 100%h"), r"'/a b/it'\''s 100%%h'");
    }
}
