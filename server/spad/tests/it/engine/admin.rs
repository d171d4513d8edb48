//! What an administrator grants and revokes.

use std::collections::BTreeSet;

use spad_engine::Revocation;
use spad_engine::audit::event::Event;
use spad_engine::policy::{admin_permit, networks, ports};
use spad_model::{ChangeId, FirewallError, Network, Reason};
use spad_replay::JournalRecord;

use crate::engine::world::*;

const SSH: &str = "tcp/22";
const WEB: &str = "tcp/8080";
const UID: u32 = 1001;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl EngineHarness {
    pub(crate) fn grant(
        &mut self,
        service: &str,
        from: &[&str],
        ttl: u64,
    ) -> Result<ChangeId, String> {
        let config = self.engine.clients().config();
        let hand = admin_permit(config, service, &strings(from), seconds(ttl))?;
        let mut effects = Vec::new();
        let id = self.engine.admin_grant(hand, UID, self.now, &mut effects);
        self.execute(effects);
        Ok(id)
    }

    fn revoke(&mut self, client: &str) -> Option<Revocation> {
        let mut effects = Vec::new();
        let name = client.parse().unwrap();
        let revoked = self
            .engine
            .revoke_client(&name, UID, self.now, &mut effects);
        self.execute(effects);
        revoked
    }

    fn revoke_from(&mut self, service: &str, from: &[&str]) -> Revocation {
        let ports = ports(self.engine.clients().config(), service).unwrap();
        let networks = networks(&strings(from)).unwrap();
        let mut effects = Vec::new();
        let revoked = self
            .engine
            .revoke_from(&ports, &networks, UID, self.now, &mut effects);
        self.execute(effects);
        revoked
    }
}

#[test]
fn a_grant_by_hand_opens_for_its_time_and_says_who_asked() {
    let mut harness = EngineHarness::with(|config| config.prefix_lengths.ipv6.extend([64]));
    let id = harness
        .grant("ssh", &[HERE, "2001:db8::/64"], 1800)
        .unwrap();
    assert_eq!(harness.engine.take_admin_result(id), Some(Ok(())));
    assert!(harness.is_open(HERE, SSH));
    assert_eq!(harness.kernel.open().len(), 2);
    let rows = harness.engine.grants(harness.now);
    assert!(rows.iter().all(|row| row.admin && row.client.is_none()));
    let lines = harness.audited(Event::Grant);
    assert_eq!(
        (lines.len(), lines[0].uid, lines[0].ttl),
        (2, Some(UID), Some(seconds(1800)))
    );
    harness.advance(seconds(1799));
    assert!(harness.is_open(HERE, SSH));
    harness.advance(seconds(2));
    assert!(harness.kernel.open().is_empty());
}

#[test]
fn a_grant_by_hand_that_the_kernel_refuses_is_no_success() {
    let mut harness = EngineHarness::new();
    harness.kernel.refuse = Some(FirewallError::SetFull);
    let id = harness.grant("ssh", &[HERE], 60).unwrap();
    assert_eq!(
        harness.engine.take_admin_result(id),
        Some(Err(Reason::FirewallSetFull))
    );
    assert!(harness.engine.grants(harness.now).is_empty());
    assert!(harness.audited(Event::Grant).is_empty());
    assert_eq!(harness.audited(Event::Refuse)[0].uid, Some(UID));
}

#[test]
fn what_an_administrator_may_not_grant_says_why_and_opens_nothing() {
    let mut harness = EngineHarness::new();
    for (service, from, ttl, detail) in [
        ("sssh", HERE, 60, "there is no service"),
        ("tcp/23", HERE, 60, "there is no service"),
        ("ssh", "gw.example.org", 60, "not an IP address"),
        ("ssh", "192.0.2.1/24", 60, "write 192.0.2.0/24"),
        ("ssh", "192.0.2.0/24", 60, "client's `ipv4_prefix`"),
        ("ssh", "2001:db8::/64", 60, "client's `ipv6_prefix`"),
        ("ssh", "10.0.0.0/8", 60, "/8 are not let in"),
        ("ssh", "127.0.0.1", 60, "none that a host connects from"),
        ("ssh", HERE, 86_401, "admin_max_ttl"),
        ("ssh", HERE, 0, "from 1 s"),
    ] {
        let error = harness.grant(service, &[from], ttl).unwrap_err();
        assert!(error.contains(detail), "{error}");
        assert!(error.contains("help: "), "{error}");
    }
    assert_eq!(harness.kernel.transactions, 0);
}

#[test]
fn no_client_closes_or_shortens_what_was_granted_by_hand() {
    let mut harness = EngineHarness::new();
    harness.grant("ssh", &[HERE], 600).unwrap();
    harness.send(laptop, &open_for(&[SSH], 10));
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &close(&[SSH])), Reason::Closed);
    harness.advance(seconds(500));
    assert!(harness.is_open(HERE, SSH));
}

#[test]
fn revoking_a_client_closes_its_grants_alone_and_it_may_knock_again() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[SSH, WEB], 100));
    harness.send(desk, &open_for(&[WEB], 100));
    let revoked = harness.revoke("laptop").unwrap();
    assert_eq!(revoked.grants, 2);
    assert_eq!(harness.kernel.open(), [element(HERE, WEB)], "the desk's");
    let lines = harness.audited(Event::Revoke);
    assert_eq!((lines.len(), lines[0].uid), (2, Some(UID)));
    assert_eq!(harness.revoke("laptop").unwrap().grants, 0);
    assert_eq!(harness.revoke("nobody"), None);
    harness.advance(seconds(1));
    assert_eq!(harness.send(laptop, &open_for(&[SSH], 100)), Reason::Opened);
}

#[test]
fn where_a_client_was_let_in_is_known_after_its_grant_has_ended() {
    let mut harness = EngineHarness::new();
    harness.send(laptop, &open_for(&[SSH], 10));
    harness.send(desk, &open_for(&[WEB], 10));
    harness.advance(seconds(20));
    let revoked = harness.revoke("laptop").unwrap();
    assert_eq!(revoked.grants, 0);
    let places: Vec<String> = revoked
        .connections
        .iter()
        .map(|cut| format!("{} {}", cut.network, cut.service))
        .collect();
    assert_eq!(places, ["192.0.2.1/32 tcp/22"]);
}

#[test]
fn revoking_a_service_for_an_address_closes_it_whoever_holds_it() {
    let mut harness = EngineHarness::with(|config| {
        for client in &mut config.clients {
            if client.name.as_str() == "phone" {
                client.ipv4_prefix = Some(24);
            }
        }
    });
    harness.send(laptop, &open_for(&[SSH, WEB], 100));
    harness.send(phone, &open_for(&[SSH], 100));
    harness.grant("ssh", &[HERE], 600).unwrap();
    let packet = harness.seal(laptop, &open_for(&[SSH], 100));
    harness.receive(THERE, &packet);
    let revoked = harness.revoke_from("ssh", &[HERE]);
    assert_eq!(
        revoked.grants, 3,
        "the laptop's, the administrator's, the phone's network"
    );
    let open: BTreeSet<_> = harness.kernel.open().into_iter().collect();
    assert_eq!(open, [element(HERE, WEB), element(THERE, SSH)].into());
    let network: Network = "198.51.100.0/24".parse().unwrap();
    assert_eq!(
        harness.revoke_from("tcp/22", &["198.51.100.0/24"]).grants,
        1
    );
    assert!(!harness.is_open(THERE, SSH), "{network}");
}

#[test]
fn a_grant_by_hand_survives_a_restart_and_is_still_the_administrators() {
    let mut harness = EngineHarness::new();
    harness.grant("ssh", &[HERE], 600).unwrap();
    let holders: Vec<_> = harness
        .journal
        .iter()
        .filter_map(|record| match record {
            JournalRecord::Holder(holder) => Some(*holder),
            _ => None,
        })
        .collect();
    let mut after = EngineHarness::new();
    after.kernel.elements = harness.kernel.elements.clone();
    let (listed, now) = (after.kernel.list(), after.now);
    let mut effects = Vec::new();
    after.engine.adopt(&listed, holders, now, &mut effects);
    after.execute(effects);
    let rows = after.engine.grants(after.now);
    assert!(rows.len() == 1 && rows[0].admin, "{rows:?}");
    after.reload(|config| {
        let name = "ssh".parse().unwrap();
        config.services.remove(&name);
        config.hide.retain(|hidden| *hidden != name);
    });
    assert!(after.kernel.open().is_empty(), "its service is gone");
}
