//! The emergency table in a real kernel, as `nft` reads it there.

use std::process::Command;

use spad_config::{Files, check};
use spad_model::PortState;

use super::*;
use crate::table::{HostFacts, removal};

const PLAIN: &str = "hide = [\"ssh\", \"wg\", \"diameter\"]\n[services]\nssh = \"tcp/22\"\nwg = \"udp/51820\"\ndiameter = \"sctp/3868\"\n";
const GATEWAY: &str = "hide = [\"ssh\"]\n[services.ssh]\nports = [\"tcp/2222\"]\nto = [\"10.1.2.3:22\", \"[2001:db8::3]:22\"]\n";

fn configuration(text: &str) -> spad_config::Config {
    let directory = std::path::Path::new("/etc/spad");
    let mut files = Files::empty(directory);
    let source = spa_findings::Source::new(&directory.join("spad.toml"), text.to_owned());
    files.server = Some(source);
    let now = spa_proto::Timestamp::from_micros(0);
    check(&files, now).unwrap().config
}

fn table(text: &str, on_trial: Option<&str>) -> (Table, Plan) {
    let config = configuration(text);
    let ports = config.hidden_ports().into_iter().map(|port| {
        let trial = on_trial.is_some_and(|one| one.parse() == Ok(port));
        let state = match trial {
            true => PortState::OnTrial(Duration::from_secs(100)),
            false => PortState::Hidden,
        };
        (port, state)
    });
    let facts = HostFacts {
        flow_label_seed: None,
        labels: true,
        closed_ports: crate::table::answers::Answers::all(crate::table::answers::Reply::Closed),
    };
    let table = Table::new(&config, &ports.collect(), &facts);
    let plan = Plan::new(&table, &config.guard.always_allow, EstablishedPolicy::Any);
    (table, plan)
}

/// Runs this in a network of its own.
fn in_new_netns(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        spad_sys::netns::unshare_network().expect("this test needs root");
        work();
    });
    thread.join().unwrap();
}

fn netlink() -> Netlink {
    Netlink::open(SetLocation::own_table()).unwrap()
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn hidden(netlink: &mut Netlink) -> Vec<String> {
    let listed = netlink.list(SetName::Hidden).unwrap();
    let ports = listed
        .iter()
        .filter_map(|(key, _)| element_key::to_service(key));
    let mut ports: Vec<String> = ports.map(|port| port.to_string()).collect();
    ports.sort();
    ports
}

#[test]
fn every_hidden_port_is_dropped_but_for_lo_and_whom_always_allow_names() {
    in_new_netns(|| {
        let allow =
            "[guard]\nalways_allow = [\"lo\", \"wg0\", \"10.50.0.0/15\", \"2001:db8:50::/44\"]\n";
        let (_, plan) = table(&format!("{PLAIN}{allow}"), Some("tcp/22"));
        let loaded = load(&mut netlink(), &plan, Existing::Keep);
        assert_eq!(loaded, Ok(HiddenBy::EmergencyTable));
        assert_eq!(table_state(&mut netlink()), Ok(TableState::Emergency));
        let text = nft(&["-n", "list", "table", "inet", "spad"]);
        let allowed = |network| {
            format!(
                "\t\tiifname \"lo\" accept
\t\tiifname \"wg0\" accept
\t\tip saddr 10.50.0.0/15 {network} accept
\t\tip6 saddr 2001:db8:50::/44 {network} accept
"
            )
        };
        let reverse_path = allowed("fib saddr . iif oif != 0");
        let not_dnatted = allowed("ct status ! 0x20");
        let before_nat = format!(
            "\tchain emergency {{
\t\ttype filter hook prerouting priority -155; policy accept;
{reverse_path}\t\tmeta l4proto . th dport @hidden fib daddr type 2 goto emergency_hidden
\t}}
"
        );
        let input = format!(
            "\tchain emergency_input {{
\t\ttype filter hook input priority 250; policy accept;
{not_dnatted}\t\tmeta l4proto . th dport @hidden goto emergency_hidden
\t}}
"
        );
        for part in [&before_nat, &input] {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
        // The flags of TCP are shown otherwise by each version of nft.
        for part in [
            "\tcomment \"emergency: nft could not be used",
            "17 . 51820",
            "132 . 3868",
            " ct state 0x2 accept\n\t\tmeta l4proto 17 ct state 0x2 accept\n\t\tdrop\n\t}\n",
        ] {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
        assert!(text.contains("6 . 22 timeout "), "{text}");
    });
}

#[test]
fn after_a_flush_only_what_has_our_label_goes_on() {
    in_new_netns(|| {
        let (table, _) = table(PLAIN, None);
        for (going, labels) in [
            (EstablishedPolicy::Any, 0),
            (EstablishedPolicy::AdmittedOnly, 2),
        ] {
            let plan = Plan::new(&table, &[], going);
            load(&mut netlink(), &plan, Existing::Replace).unwrap();
            let text = nft(&["-n", "list", "table", "inet", "spad"]);
            assert_eq!(text.matches(" ct state 0x2 ").count(), 2, "{text}");
            assert_eq!(text.matches(" ct label ").count(), labels, "{text}");
        }
    });
}

#[test]
fn ports_of_inner_hosts_are_dropped_on_their_way_through_a_gateway() {
    in_new_netns(|| {
        let (_, plan) = table(GATEWAY, None);
        load(&mut netlink(), &plan, Existing::Keep).unwrap();
        let text = nft(&["-n", "list", "table", "inet", "spad"]);
        for part in [
            "type filter hook forward priority 250",
            "ip daddr . meta l4proto . th dport @inner_hidden4 goto emergency_hidden",
            "ip6 daddr . meta l4proto . th dport @inner_hidden6 goto emergency_hidden",
            "10.1.2.3 . 6 . 22",
            "2001:db8::3 . 6 . 22",
        ] {
            assert!(text.contains(part), "{part}\nin\n{text}");
        }
    });
}

#[test]
fn a_kernel_without_connection_tracking_hides_all_the_same() {
    in_new_netns(|| {
        let (_, plan) = table(PLAIN, None);
        netlink()
            .send_batch(&plan.messages(Scope::Minimal))
            .unwrap();
        assert_eq!(table_state(&mut netlink()), Ok(TableState::Emergency));
        let text = nft(&["-n", "list", "table", "inet", "spad"]);
        assert!(text.contains("@hidden goto emergency_hidden"), "{text}");
        assert!(
            !text.contains("fib") && !text.contains("ct state"),
            "{text}"
        );
    });
}

#[test]
fn a_full_table_stays_and_hides_what_it_did_not_hide_yet() {
    in_new_netns(|| {
        let mut netlink = netlink();
        let (full, _) = table(PLAIN, None);
        crate::writer::nft::load(&full.transaction(&full.sets())).unwrap();
        nft(&[
            "add",
            "element",
            "inet",
            "spad",
            "grants4",
            "{ 192.0.2.7 . tcp . 22 timeout 60s }",
        ]);
        assert_eq!(table_state(&mut netlink), Ok(TableState::Full));
        let more = PLAIN.replace("hide = [", "hide = [\"web\", ") + "web = \"tcp/443\"\n";
        let (_, plan) = table(&more, None);
        assert_eq!(
            load(&mut netlink, &plan, Existing::Keep),
            Ok(HiddenBy::FullTable)
        );
        assert_eq!(
            hidden(&mut netlink),
            ["sctp/3868", "tcp/22", "tcp/443", "udp/51820"]
        );
        assert_eq!(
            netlink.list(SetName::Grants4).unwrap().len(),
            1,
            "grants stay"
        );
        assert_eq!(
            load(&mut netlink, &plan, Existing::Replace),
            Ok(HiddenBy::EmergencyTable)
        );
        assert_eq!(table_state(&mut netlink), Ok(TableState::Emergency));
    });
}

#[test]
fn a_table_whose_rules_were_flushed_hides_nothing_and_is_replaced() {
    in_new_netns(|| {
        let mut netlink = netlink();
        let (full, plan) = table(PLAIN, None);
        crate::writer::nft::load(&full.transaction(&full.sets())).unwrap();
        nft(&["flush", "chain", "inet", "spad", "prerouting"]);
        assert_eq!(table_state(&mut netlink), Ok(TableState::Missing));
        assert_eq!(
            load(&mut netlink, &plan, Existing::Keep),
            Ok(HiddenBy::EmergencyTable)
        );
    });
}

#[test]
fn a_dormant_table_hides_nothing_and_is_replaced() {
    in_new_netns(|| {
        let mut netlink = netlink();
        let (full, plan) = table(PLAIN, None);
        crate::writer::nft::load(&full.transaction(&full.sets())).unwrap();
        nft(&["add", "table", "inet", "spad", "{ flags dormant; }"]);
        assert_eq!(table_state(&mut netlink), Ok(TableState::Missing));
        let hides = load(&mut netlink, &plan, Existing::Keep);
        assert_eq!(hides, Ok(HiddenBy::EmergencyTable));
        assert_eq!(table_state(&mut netlink), Ok(TableState::Emergency));
    });
}

#[test]
fn a_full_table_without_the_sets_of_a_gateway_is_replaced_where_one_is_to_hide() {
    in_new_netns(|| {
        let mut netlink = netlink();
        let (full, _) = table(PLAIN, None);
        crate::writer::nft::load(&full.transaction(&full.sets())).unwrap();
        let more = PLAIN.replace("hide = [", "hide = [\"nas\", ")
            + "nas = { ports = [\"tcp/2222\"], to = \"10.0.0.5:22\" }\n";
        let (_, plan) = table(&more, None);
        let hides = load(&mut netlink, &plan, Existing::Keep);
        assert_eq!(hides, Ok(HiddenBy::EmergencyTable));
        assert_eq!(netlink.list(SetName::InnerHidden4).unwrap().len(), 1);
    });
}

#[test]
fn thousands_of_hidden_ports_are_one_transaction() {
    in_new_netns(|| {
        let (_, mut plan) = table(PLAIN, None);
        let port = |port| std::num::NonZeroU16::new(port).unwrap();
        let ports = (1..=60_000).map(|number| Service {
            protocol: Protocol::Tcp,
            port: port(number),
        });
        plan.hidden.extend(ports.map(|port| (port, None)));
        let mut netlink = netlink();
        load(&mut netlink, &plan, Existing::Keep).unwrap();
        assert_eq!(
            netlink.list(SetName::Hidden).unwrap().len(),
            plan.hidden.len()
        );
        assert!(plan.hidden.len() >= 60_000, "{}", plan.hidden.len());
    });
}

#[test]
fn the_emergency_table_is_replaced_by_the_full_one() {
    in_new_netns(|| {
        let (full, plan) = table(PLAIN, None);
        load(&mut netlink(), &plan, Existing::Keep).unwrap();
        let mut everything = removal();
        let more = full.transaction(&full.sets());
        if let (Some(all), Some(more)) = (
            everything["nftables"].as_array_mut(),
            more["nftables"].as_array(),
        ) {
            all.extend(more.iter().cloned());
        }
        crate::writer::nft::load(&everything).unwrap();
        assert_eq!(table_state(&mut netlink()), Ok(TableState::Full));
    });
}
