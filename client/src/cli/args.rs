//! The grammar of the command line. Words that may be secrets by mistake are
//! taken as plain text and checked later, so that no message repeats them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::address_source::AddressSource;
use super::knock::KnockOptions;
use super::output::Failure;
use crate::carrier::Carrier;
use crate::duration;
use crate::resolve::Family;

/// Opens hidden ports with a single packet.
///
/// `spa NAME` is short for `spa open NAME`.
#[derive(Debug, Parser)]
#[command(
    name = "spa",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Example:\n  spa key new\n  spa gw            open gw's default services and wait until they answer\n  spa open gw:ssh   open one service\n\nExit codes: 0 open (or sent, with --no-wait), 2 usage, 3 sent and nothing there\ncan be probed, 4 sent and still closed (close: still open), 5 refused, 6 local\nconfiguration or key, 7 name or route."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Where config.toml and identity are [default: $XDG_CONFIG_HOME/spa, else ~/.config/spa]
    #[arg(long, value_name = "DIR", global = true)]
    config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say nothing but the result asked for
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Say what is sent where
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
}

impl Common {
    /// The configuration's directory.
    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.config {
            return Ok(directory.clone());
        }
        let absolute = |name| {
            let value = std::env::var_os(name).map(PathBuf::from);
            value.filter(|path| path.is_absolute())
        };
        absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .map(|base| base.join("spa"))
            .ok_or_else(|| {
                Failure::local(
                    "neither XDG_CONFIG_HOME nor HOME names a directory; say `--config DIR`",
                )
            })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Open services and wait until they answer
    Open(OpenOptions),
    /// Withdraw what this machine has open, now
    Close(CloseOptions),
    /// Open, then start ssh
    Ssh(SshOptions),
    /// Knock and connect, for ssh's ProxyCommand
    Proxy(ProxyOptions),
    /// Open, then run a command here
    Exec(ExecOptions),
    /// Ask a host to run a command that its configuration declares
    Run(RunOptions),
    /// Write the datagram to stdout and send nothing
    Packet(PacketOptions),
    /// Knock at ports, as knock(1) does: plain port knocking, without a secret
    Knock(KnockOptions),
    /// This machine's key
    #[command(subcommand)]
    Key(KeyCommand),
    /// List the hosts
    #[command(after_help = "Example:\n  spa hosts --json")]
    Hosts,
    /// Add or remove a host
    #[command(subcommand)]
    Host(HostCommand),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  spa completions bash > ~/.local/share/bash-completion/completions/spa"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  spa man | man -l -\n  spa man host add | man -l -")]
    Man {
        /// The page of this command
        command: Vec<String>,
        /// Write every page into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        directory: Option<PathBuf>,
    },
}

// What a grant is to be like.
#[derive(Debug, Args)]
pub(super) struct GrantOptions {
    /// How long new connections are let in, such as 60s; the server may cut it [default: as the server says]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_seconds)]
    pub(super) ttl: Option<u32>,
    /// Open for this address, once IPv4 and once IPv6, or as a STUN server sees this machine [default: as the server sees it]
    #[arg(long = "for", value_name = "ADDR|stun:HOST[:PORT]")]
    pub(super) addresses: Vec<AddressSource>,
}

// What is asked for. No doc comment: clap would take it for the description of
// the commands that have these.
#[derive(Debug, Args)]
pub(super) struct RequestOptions {
    /// Hosts, each with the services asked for, by name or port: gw, gw:ssh, gw:tcp/22,udp/53
    #[arg(value_name = "HOST[:SERVICE]", required = true)]
    pub(super) targets: Vec<String>,
    #[command(flatten)]
    pub(super) grant: GrantOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spa open gw\n  spa open gw:ssh web:tcp/443 --ttl 60s\n  spa open gw --for 203.0.113.5 --no-wait\n  spa open gw:ssh --once\n  spa open gw --for stun:stun.example.org\n  spa open gw --via tcp:443\n  spa open gw:wg --hold\n\nWaiting means connecting to TCP ports and closing at once, which services may log.\nUDP ports cannot be probed.\n\"open\" may also be an earlier grant to this address that still runs."
)]
pub(super) struct OpenOptions {
    #[command(flatten)]
    pub(super) request: RequestOptions,
    /// Let in one connection only; implies --no-wait, as a probe would use it up
    #[arg(long, conflicts_with = "timeout")]
    pub(super) once: bool,
    /// Do not wait for the services to answer
    #[arg(long, conflicts_with = "timeout")]
    pub(super) no_wait: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse_wait)]
    pub(super) timeout: Duration,
    /// Go on, with a fresh packet every TIME, until Ctrl-C or SIGTERM [default of TIME: a third of --ttl, at most 10s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = duration::parse_wait, conflicts_with_all = ["once", "dry_run"])]
    pub(super) hold: Option<Option<Duration>>,
    /// With --hold: withdraw it at the end
    #[arg(long, requires = "hold")]
    pub(super) close: bool,
    #[command(flatten)]
    pub(super) carrier: CarrierOptions,
    /// Say what would be sent, send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

// How packets get to a host.
#[derive(Debug, Args)]
pub(super) struct CarrierOptions {
    /// What carries the packet: udp, icmp (an echo request) or tcp:PORT, a connection to a port that is open there, such as tcp:443; the server must look there, see `carriers` in its [listen] [default: as the host's `via` says, else udp]
    #[arg(long, value_name = "CARRIER")]
    pub(super) via: Option<Carrier>,
    #[command(flatten)]
    pub(super) families: Families,
}

// Which of a host's addresses are used.
#[derive(Debug, Args)]
pub(super) struct Families {
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    ipv6: bool,
}

impl Families {
    /// The option that says the same.
    pub(super) const fn option(&self) -> Option<&'static str> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some("-4"),
            (_, true) => Some("-6"),
            _ => None,
        }
    }

    pub(super) fn family(&self) -> Family {
        match (self.ipv4, self.ipv6) {
            (true, false) => Family::V4,
            (false, true) => Family::V6,
            _ => Family::Any,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spa close gw\n  spa close gw:ssh --no-wait\n\nConnections that stand go on. Packets that open and were sent before are refused from now\non. Waiting means connecting to TCP ports, until they refuse; exit 4 says that one still answers."
)]
pub(super) struct CloseOptions {
    /// Hosts, each with the services to close; without: all that this machine has open there
    #[arg(value_name = "HOST[:SERVICE]", required = true)]
    pub(super) targets: Vec<String>,
    /// Close for this address, once IPv4 and once IPv6, or as a STUN server sees this machine [default: as the server sees it]
    #[arg(long = "for", value_name = "ADDR|stun:HOST[:PORT]")]
    pub(super) addresses: Vec<AddressSource>,
    /// Do not wait for the services to be closed
    #[arg(long, conflicts_with = "timeout")]
    pub(super) no_wait: bool,
    /// How long to wait until nothing answers
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse_wait)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) carrier: CarrierOptions,
    /// Say what would be sent, send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

// How a connection is asked for and made.
#[derive(Debug, Args)]
pub(super) struct DialOptions {
    /// Ask for this one connection only; without, and without NAT, for its source port only
    #[arg(long)]
    pub(super) once: bool,
    #[command(flatten)]
    pub(super) grant: GrantOptions,
    /// How long to try
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse_wait)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) carrier: CarrierOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example, in ~/.ssh/config:\n  Host gw\n      ProxyCommand spa proxy %n %h %p\n      ProxyUseFdpass yes\n\nThe connected socket is passed where stdout is a socket, as ProxyUseFdpass has it; bytes are\nrelayed where it is not. %h may be the host's name here: then its configured address is used."
)]
pub(super) struct ProxyOptions {
    /// The host to knock at, as configured here
    pub(super) host: String,
    /// Where to connect to
    #[arg(value_name = "ADDRESS")]
    pub(super) address: String,
    /// The TCP port to connect to
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// Relay bytes though stdout is a socket
    #[arg(long)]
    pub(super) relay: bool,
    #[command(flatten)]
    pub(super) dial: DialOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spa ssh gw\n  spa ssh --once root@gw -p 2222 uptime\n\nOptions of spa stand before the host; what follows it is ssh's."
)]
pub(super) struct SshOptions {
    #[command(flatten)]
    pub(super) dial: DialOptions,
    /// The host, as configured here and as ssh shall call it
    #[arg(value_name = "[USER@]HOST")]
    pub(super) host: String,
    /// What else ssh is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) args: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  spa exec gw:ssh -- rsync -a /srv/ gw:/srv/\n\nThe command runs once the services answer, or were asked for and cannot be probed. The exit\ncode is then the command's."
)]
pub(super) struct ExecOptions {
    /// The host, with the services asked for
    #[arg(value_name = "HOST[:SERVICE]")]
    pub(super) target: String,
    /// The command and its arguments
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    pub(super) command: Vec<OsString>,
    #[command(flatten)]
    pub(super) grant: GrantOptions,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse_wait)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) carrier: CarrierOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  spa run gw backup\n\nNothing answers a packet: the exit code is 3, sent. The server's audit file tells what\nbecame of the command."
)]
pub(super) struct RunOptions {
    /// The host
    pub(super) host: String,
    /// The command's name in the server's configuration
    #[arg(value_name = "COMMAND")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) carrier: CarrierOptions,
    /// Say what would be sent, send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  spa packet gw:ssh --hex\n\nThe packet states no address unless --for does: no server is looked up to learn one.\nWhoever sends it within the server's time window opens the port, once."
)]
pub(super) struct PacketOptions {
    #[command(flatten)]
    pub(super) request: RequestOptions,
    /// As hexadecimal digits, one line
    #[arg(long)]
    pub(super) hex: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make this machine's key pair and print its public key
    #[command(after_help = "Example:\n  spa key new")]
    New,
    /// Print this machine's public key
    #[command(
        after_help = "Example:\n  spad client add laptop --allow ssh --key \"$(spa key show)\""
    )]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// Add a host; `spad client add` on the server prints the whole command
    Add(Box<AddOptions>),
    /// Remove a host; key files stay
    #[command(after_help = "Example:\n  spa host remove gw")]
    Remove {
        /// The host's name
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  spa host add gw --address gw.example.org --port 62201 --key spad-pub-… --service ssh=tcp/22"
)]
pub(super) struct AddOptions {
    /// The name to call it by
    pub(super) name: String,
    /// The server's name or IP address
    #[arg(long, value_name = "A")]
    pub(super) address: String,
    /// The UDP port where its server looks for packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// The server's public key, which begins with spad-pub-
    #[arg(long, value_name = "KEY")]
    pub(super) key: String,
    /// A service to ask for where none is named; repeatable
    #[arg(long, value_name = "SERVICE")]
    pub(super) default: Vec<String>,
    /// A name for a service's ports, such as ssh=tcp/22; repeatable
    #[arg(long = "service", value_name = "NAME=PORTS")]
    pub(super) services: Vec<String>,
    /// Its server demands that packets state an address: send none without, nor with one learned by STUN
    #[arg(long)]
    pub(super) require_address: bool,
    /// A file with a pre-shared key, which stays where it is
    #[arg(long, value_name = "FILE", conflicts_with = "shared_key_file")]
    pub(super) psk_file: Option<PathBuf>,
    /// A file with a key that the server holds as well, instead of this machine's key pair; it stays where it is
    #[arg(long, value_name = "FILE")]
    pub(super) shared_key_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_in_order() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            // Made by clap when the grammar is built.
            if command.get_name() == "help" {
                return;
            }
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string);
            let example = help.is_some_and(|help| help.contains("Example"));
            assert!(!leaf || example, "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        let mut grammar = Arguments::command();
        grammar.build();
        check(&grammar);
    }
}
