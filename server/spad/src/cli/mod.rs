//! The command line of `spad`: one file a subcommand.
//!
//! Takes arguments, gives results on standard output, everything else on
//! standard error, and an exit code: 0 done, 1 findings or failure, 2 usage.
//! Never takes a secret as an argument, never prompts without a terminal, never
//! says success before it is one.

mod atomic_file;
mod check;
mod client;
mod command_runner;
mod completions;
mod confirm;
mod daemon_client;
mod duration;
mod explain;
mod firewall;
mod firewall_writer;
mod grant;
mod grants;
mod import;
mod init;
mod key;
mod key_checks;
mod man;
mod output;
mod ownership;
mod prompt;
mod reload;
mod replay;
mod revoke;
mod rules;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
pub(crate) use output::{CliResult, Failure};
use spad_model::Paths;

/// Hides services of this machine, and opens them to those who send one authentic packet.
#[derive(Debug, Parser)]
#[command(
    name = "spad",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Example:\n  spad init\n  spad client add anna --key spa-pub-… --allow ssh\n  spad check\n  spad run"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory of spad.toml and clients.d
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/spad")]
    config: PathBuf,
    /// The directory of the server's key and of what must outlive it
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/spad"
    )]
    state: PathBuf,
    /// The directory of the control socket
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/spad")]
    run: PathBuf,
    /// Report as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Options {
    /// Where everything is.
    pub(crate) fn paths(&self) -> Paths {
        Paths {
            config: self.config.clone(),
            state: self.state.clone(),
            run: self.run.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "Example:\n  spad run")]
    Run(run::Arguments),
    /// Check the configuration and show everything wrong with it
    #[command(after_help = "Example:\n  spad check && spad reload")]
    Check,
    /// Make the directories, the server's key and a configuration that hides nothing yet
    #[command(
        after_help = "Example:\n  spad init --port 62201\n\nWhat is there already is kept, never overwritten."
    )]
    Init(init::Arguments),
    /// The server's key
    #[command(subcommand, after_help = "Example:\n  spad key show")]
    Key(key::Command),
    /// Who may open what
    #[command(
        subcommand,
        after_help = "Example:\n  spad client add anna --key spa-pub-… --allow ssh,wg"
    )]
    Client(client::Command),
    /// What the daemon sees and does
    #[command(after_help = "Example:\n  spad status --json")]
    Status(status::Arguments),
    /// Who has what open, from where, for how long
    #[command(after_help = "Example:\n  spad grants")]
    Grants(grants::Arguments),
    /// Let an address or network in by hand, for a while
    #[command(
        after_help = "Example:\n  spad grant ssh --from 192.0.2.7 --ttl 30m\n\n`spad revoke ssh --from 192.0.2.7` ends it before its time."
    )]
    Grant(grant::Arguments),
    /// Close now what a client, or an address, has open
    #[command(
        after_help = "Example:\n  spad revoke anna --cut\n  spad revoke ssh --from 192.0.2.7 --cut\n\nThe client may knock again: `spad client disable` keeps it out. Without --cut established\nconnections live on. --cut ends all connections from the addresses to the services, whoever\nmade them; of a client, those addresses that it was granted since the daemon started."
    )]
    Revoke(revoke::Arguments),
    /// Let the running daemon take the configuration as it is now
    #[command(after_help = "Example:\n  spad check && spad reload")]
    Reload(reload::Arguments),
    /// End the trial of newly hidden services: they stay hidden
    #[command(after_help = "Example:\n  spad confirm")]
    Confirm(confirm::Arguments),
    /// The memory of used packets
    #[command(subcommand, after_help = "Example:\n  spad replay reset --yes")]
    Replay(replay::Command),
    /// Judge the packets of a recording, stage by stage, and change nothing
    #[command(
        after_help = "Example:\n  tcpdump -i any -w knocks.pcap udp port 62201\n  spad explain knocks.pcap\n\nJudged at the time of its recording, with the configuration, keys and record of used packets as they are now. Interface and horizon are not judged."
    )]
    Explain(explain::Arguments),
    /// The firewall's table
    #[command(subcommand, after_help = "Example:\n  spad firewall show")]
    Firewall(firewall::Command),
    /// The privileged process that writes the firewall; started by `spad run` alone
    #[command(hide = true)]
    FirewallWriter(firewall_writer::Arguments),
    /// Print firewall rules that do port knocking without any daemon
    #[command(
        after_help = "Example:\n  spad rules --sequence 8881,7777,9991 --open tcp/22 --within 15s --for 30s > knocking.nft\n  nft -f knocking.nft\n\nWhoever sees the knocks go by can send them again. A single packet of spa cannot be sent again."
    )]
    Rules(rules::Arguments),
    /// Take over what another program was configured to do
    #[command(
        subcommand,
        after_help = "Example:\n  spad import knockd /etc/knockd.conf --dry-run"
    )]
    Import(import::Command),
    /// The process that executes declared commands; started by `spad run` alone
    #[command(name = "command-runner", hide = true)]
    Runner(command_runner::Arguments),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  spad completions bash > /usr/share/bash-completion/completions/spad"
    )]
    Completions(completions::Arguments),
    /// Print the manual page, or write all pages into a directory
    #[command(after_help = "Example:\n  spad man /usr/share/man/man8")]
    Man(man::Arguments),
}

/// The whole command line, for completions and manual pages.
pub(crate) fn definition() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    spad_sys::process::handle_sigxfsz();
    let line = match Cli::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version are results; anything else is a fault of usage.
            if error.use_stderr() {
                output::note(redact_args(&error.render().to_string()).trim_end());
            } else {
                // Where it cannot be written there is nobody left to tell.
                let _ = error.print();
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    output::exit_code(dispatch(&line))
}

/// What clap says repeats the argument at fault, and that may be a secret given by mistake.
fn redact_args(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| spa_findings::redact::line(line, false));
    lines.collect::<Vec<_>>().join("\n")
}

fn dispatch(line: &Cli) -> CliResult {
    let options = &line.options;
    match &line.command {
        Command::Run(arguments) => run::run(options, arguments),
        Command::Check => check::run(options),
        Command::Init(arguments) => init::run(options, arguments),
        Command::Key(command) => key::run(options, command),
        Command::Client(command) => client::run(options, command),
        Command::Status(arguments) => status::run(options, arguments),
        Command::Grants(arguments) => grants::run(options, arguments),
        Command::Grant(arguments) => grant::run(options, arguments),
        Command::Revoke(arguments) => revoke::run(options, arguments),
        Command::Reload(arguments) => reload::run(options, arguments),
        Command::Confirm(arguments) => confirm::run(options, arguments),
        Command::Replay(command) => replay::run(options, command),
        Command::Explain(arguments) => explain::run(options, arguments),
        Command::Firewall(command) => firewall::run(options, command),
        Command::FirewallWriter(arguments) => firewall_writer::run(options, arguments),
        Command::Rules(arguments) => rules::run(options, arguments),
        Command::Import(command) => import::run(options, command),
        Command::Runner(arguments) => command_runner::run(options, arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        super::definition().debug_assert();
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        fn visit(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            if !command.is_hide_set() {
                let after = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    after.contains("Example:"),
                    "{} has no example",
                    command.get_name()
                );
            }
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .for_each(visit);
        }
        visit(&super::definition());
    }
}
