//! `spad grants`: who has what open.

use spad_model::Peer;

use super::daemon_client::ask_daemon;
use super::output::{column_widths, print, print_json, table_row};
use super::{CliResult, Failure, Options};
use crate::control::message::Grant;
use crate::control::{Request, Response};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs it.
pub(crate) fn run(options: &Options, _arguments: &Arguments) -> CliResult {
    match ask_daemon(options, &Request::Grants)? {
        Response::Grants { grants } if options.json => {
            let report = serde_json::to_value(&grants)?;
            print_json(&report)
        }
        Response::Grants { grants } if grants.is_empty() => print("nothing is open"),
        Response::Grants { grants } => print(table(&grants).trim_end()),
        other => Err(Failure::unexpected(other)),
    }
}

/// For people: one line a holder.
fn table(grants: &[Grant]) -> String {
    let mut rows = vec![["CLIENT", "ADDRESS", "SERVICE", "CLOSES IN"].map(str::to_owned)];
    rows.extend(grants.iter().map(|grant| {
        let peer = Peer {
            address: grant.address,
            prefix: grant.prefix,
        };
        let address = match grant.source_port {
            Some(port) => std::net::SocketAddr::new(grant.address, port.get()).to_string(),
            None => peer.to_string(),
        };
        [
            match (&grant.client, &grant.door) {
                (Some(client), _) => client.to_string(),
                (None, Some(door)) => format!("(door {door})"),
                (None, None) if grant.by_hand => "(administrator)".to_owned(),
                (None, None) => "(unknown)".to_owned(),
            },
            address,
            grant.service.to_string(),
            format!("{} s", grant.remaining_s),
        ]
    }));
    let widths = column_widths(&rows);
    let mut text = String::new();
    for row in &rows {
        text.push_str(&table_row(&widths, &row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_of_one_source_port_or_a_network_shows_it_and_columns_line_up() {
        let grants = [
            Grant {
                client: Some("laptop".parse().unwrap()),
                door: None,
                by_hand: false,
                address: [192, 0, 2, 7].into(),
                prefix: None,
                service: "tcp/22".parse().unwrap(),
                source_port: std::num::NonZeroU16::new(40_000),
                remaining_s: 12,
            },
            Grant {
                client: None,
                door: Some("ssh".parse().unwrap()),
                by_hand: false,
                address: [192, 0, 2, 0].into(),
                prefix: Some(24),
                service: "udp/51820".parse().unwrap(),
                source_port: None,
                remaining_s: 7,
            },
        ];
        assert_eq!(
            table(&grants),
            "CLIENT      ADDRESS          SERVICE    CLOSES IN\n\
             laptop      192.0.2.7:40000  tcp/22     12 s\n\
             (door ssh)  192.0.2.0/24     udp/51820  7 s\n"
        );
    }
}
