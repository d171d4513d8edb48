//! `spad rules`: port knocking in pure firewall rules.

use std::time::Duration;

use serde_json::json;
use spa_proto::Service;
use spad_migrate::rules_export::{Loader, RuleSpec, iptables, nftables, verify};
use spad_model::knock::Sequence;

use super::output::{note, print, print_json};
use super::{CliResult, Failure, Options, duration};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The knocks in their order, with :udp behind those that are UDP: 8881,7777:udp,9991
    #[arg(long, value_name = "PORT,PORT,…")]
    sequence: Sequence,
    /// What they open: tcp/22,udp/51820
    #[arg(long, value_name = "SERVICE,…", value_delimiter = ',', required = true)]
    open: Vec<Service>,
    /// The time from the first knock to the last
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration::parse)]
    within: Duration,
    /// How long new connections are let in; established ones live on
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    open_for: Duration,
    /// For iptables-restore and ip6tables-restore instead of nft
    #[arg(long)]
    iptables: bool,
    /// Also load them in network namespaces of their own, and knock; needs root
    #[arg(long)]
    check: bool,
}

/// Runs it.
pub(crate) fn run(options: &Options, arguments: &Arguments) -> CliResult {
    let recipe = RuleSpec {
        sequence: arguments.sequence.clone(),
        open: arguments.open.clone(),
        window: arguments.within,
        open_for: arguments.open_for,
    };
    recipe.check().map_err(Failure::from)?;
    let (rules, loader) = if arguments.iptables {
        (iptables(&recipe), Loader::Iptables)
    } else {
        (nftables(&recipe), Loader::Nftables)
    };
    let seen = if arguments.check {
        verify(&recipe, &rules, loader).map_err(|error| Failure::explained(&error))?
    } else {
        Vec::new()
    };
    if options.json {
        return print_json(&json!({ "rules": rules, "checked": seen }));
    }
    for line in &seen {
        note(line);
    }
    print(rules.trim_end())
}
