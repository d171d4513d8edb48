//! `spad key`: the server's key. Shows the public half only, ever.

use serde_json::json;
use spa_keys::file::{AllowedOwner, read_secret_file};
use spa_keys::{ServerPublic, ServerSecret};
use spad_model::Paths;
use spad_replay::lock;

use super::ownership::Owners;
use super::{CliResult, Failure, Options, output};
use crate::daemon::MISSING_SERVER_KEY_HELP;

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

pub(crate) fn run(options: &Options, command: &Command) -> CliResult {
    let paths = options.paths();
    match command {
        Command::Show => {
            let key = public(&paths)?;
            if options.json {
                return output::print_json(&json!({ "public_key": key.to_string() }));
            }
            output::print(key)
        }
        Command::Adopt { yes } => adopt(&paths, *yes),
    }
}

/// The public half of the server's key.
pub(crate) fn public(paths: &Paths) -> Result<ServerPublic, Failure> {
    let owner = Owners::find()
        .engine
        .map_or(AllowedOwner::CurrentUser, |(uid, _)| {
            AllowedOwner::CurrentUserOr(uid)
        });
    let path = paths.server_key();
    let text = read_secret_file(&path, owner).map_err(|error| match error.problem {
        spa_keys::file::FileProblem::Missing => Failure::with_help(&error, MISSING_SERVER_KEY_HELP),
        _ => Failure::from(error),
    })?;
    let secret = ServerSecret::from_text(&text)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(secret.public())
}

fn adopt(paths: &Paths, yes: bool) -> CliResult {
    public(paths)?;
    if lock::check_machine(&paths.state).is_ok() {
        return output::print("the server's key belongs to this machine already");
    }
    super::prompt::confirm(
        "The key must no longer be in use on the other machine. Take it over?",
        yes,
    )?;
    super::init::state::adopt(paths)?;
    output::print("the server's key belongs to this machine now")
}
