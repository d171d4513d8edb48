//! `spad key`: the server's key. Shows the public half only, ever.

use serde_json::json;
use spa_keys::file::{Owner, read_secret_file};
use spa_keys::{ServerPublic, ServerSecret};

use super::owners::Owners;
use super::{Failure, Options, Run, outcome};
use crate::daemon::NO_SERVER_KEY;
use crate::paths::Paths;
use crate::replay::lock;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the server's public key
    #[command(
        after_help = "Example:\n  spad key show\n\nGive it to this server's clients and to nobody else."
    )]
    Show,
    /// Take over a key that was made on another machine
    #[command(
        after_help = "Example:\n  spad key adopt\n\nThe key must no longer be in use on the other machine."
    )]
    Adopt {
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(options: &Options, command: &Command) -> Run {
    let paths = options.paths();
    match command {
        Command::Show => {
            let key = public(&paths)?;
            if options.json {
                return outcome::print_json(&json!({ "public_key": key.to_string() }));
            }
            outcome::print(key)
        }
        Command::Adopt { yes } => adopt(&paths, *yes),
    }
}

/// The public half of the server's key.
pub(crate) fn public(paths: &Paths) -> Result<ServerPublic, Failure> {
    let owner = Owners::find()
        .engine
        .map_or(Owner::Me, |(uid, _)| Owner::Also(uid));
    let path = paths.server_key();
    let text = read_secret_file(&path, owner).map_err(|error| match error.problem {
        spa_keys::file::Problem::Missing => Failure::with_help(&error, NO_SERVER_KEY),
        _ => Failure::from(error),
    })?;
    let secret = ServerSecret::from_text(&text)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(secret.public())
}

fn adopt(paths: &Paths, yes: bool) -> Run {
    public(paths)?;
    if lock::check_machine(&paths.state).is_ok() {
        return outcome::print("the server's key belongs to this machine already");
    }
    super::ask::sure(
        "The key must no longer be in use on the other machine. Take it over?",
        yes,
    )?;
    super::init::state::adopt(paths)?;
    outcome::print("the server's key belongs to this machine now")
}
