//! What an administrator grants and revokes.

use std::collections::BTreeSet;

use spad::audit::Event;
use spad::config::Network;
use spad::engine::Revoked;
use spad::firewall::{ChangeId, FirewallRefusal};
use spad::policy::{by_hand, networks, ports};
use spad::replay::JournalRecord;
use spad::verdict::Reason;

use crate::engine::world::*;

const SSH: &str = "tcp/22";
const WEB: &str = "tcp/8080";
const UID: u32 = 1001;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl World {
    pub(crate) fn grant(
        &mut self,
        service: &str,
        from: &[&str],
        ttl: u64,
    ) -> Result<ChangeId, String> {
        let config = self.engine.clients().config();
        let hand = by_hand(config, service, &texts(from), seconds(ttl))?;
        let mut effects = Vec::new();
        let id = self.engine.grant_by_hand(hand, UID, self.now, &mut effects);
        self.obey(effects);
        Ok(id)
    }

    fn revoke(&mut self, client: &str) -> Option<Revoked> {
        let mut effects = Vec::new();
        let name = client.parse().unwrap();
        let revoked = self
            .engine
            .revoke_client(&name, UID, self.now, &mut effects);
        self.obey(effects);
        revoked
    }

    fn revoke_from(&mut self, service: &str, from: &[&str]) -> Revoked {
        let ports = ports(self.engine.clients().config(), service).unwrap();
        let networks = networks(&texts(from)).unwrap();
        let mut effects = Vec::new();
        let revoked = self
            .engine
            .revoke_from(&ports, &networks, UID, self.now, &mut effects);
        self.obey(effects);
        revoked
    }
}

#[test]
fn a_grant_by_hand_opens_for_its_time_and_says_who_asked() {
    let mut world = World::with(|config| config.lengths.six.extend([64]));
    let id = world.grant("ssh", &[HERE, "2001:db8::/64"], 1800).unwrap();
    assert_eq!(world.engine.outcome_by_hand(id), Some(Ok(())));
    assert!(world.is_open(HERE, SSH));
    assert_eq!(world.kernel.open().len(), 2);
    let rows = world.engine.grants(world.now);
    assert!(rows.iter().all(|row| row.by_hand && row.client.is_none()));
    let lines = world.audited(Event::Grant);
    assert_eq!(
        (lines.len(), lines[0].uid, lines[0].ttl),
        (2, Some(UID), Some(seconds(1800)))
    );
    world.pass(seconds(1799));
    assert!(world.is_open(HERE, SSH));
    world.pass(seconds(2));
    assert!(world.kernel.open().is_empty());
}

#[test]
fn a_grant_by_hand_that_the_kernel_refuses_is_no_success() {
    let mut world = World::new();
    world.kernel.refuse = Some(FirewallRefusal::SetFull);
    let id = world.grant("ssh", &[HERE], 60).unwrap();
    assert_eq!(
        world.engine.outcome_by_hand(id),
        Some(Err(Reason::FirewallSetFull))
    );
    assert!(world.engine.grants(world.now).is_empty());
    assert!(world.audited(Event::Grant).is_empty());
    assert_eq!(world.audited(Event::Refuse)[0].uid, Some(UID));
}

#[test]
fn what_an_administrator_may_not_grant_says_why_and_opens_nothing() {
    let mut world = World::new();
    for (service, from, ttl, why) in [
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
        let error = world.grant(service, &[from], ttl).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(error.contains("help: "), "{error}");
    }
    assert_eq!(world.kernel.transactions, 0);
}

#[test]
fn no_client_closes_or_shortens_what_was_granted_by_hand() {
    let mut world = World::new();
    world.grant("ssh", &[HERE], 600).unwrap();
    world.send(laptop, &open_for(&[SSH], 10));
    world.pass(seconds(1));
    assert_eq!(world.send(laptop, &close(&[SSH])), Reason::Closed);
    world.pass(seconds(500));
    assert!(world.is_open(HERE, SSH));
}

#[test]
fn revoking_a_client_closes_its_grants_alone_and_it_may_knock_again() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[SSH, WEB], 100));
    world.send(desk, &open_for(&[WEB], 100));
    let revoked = world.revoke("laptop").unwrap();
    assert_eq!(revoked.grants, 2);
    assert_eq!(world.kernel.open(), [element(HERE, WEB)], "the desk's");
    let lines = world.audited(Event::Revoke);
    assert_eq!((lines.len(), lines[0].uid), (2, Some(UID)));
    assert_eq!(world.revoke("laptop").unwrap().grants, 0);
    assert_eq!(world.revoke("nobody"), None);
    world.pass(seconds(1));
    assert_eq!(world.send(laptop, &open_for(&[SSH], 100)), Reason::Opened);
}

#[test]
fn where_a_client_was_let_in_is_known_after_its_grant_has_ended() {
    let mut world = World::new();
    world.send(laptop, &open_for(&[SSH], 10));
    world.send(desk, &open_for(&[WEB], 10));
    world.pass(seconds(20));
    let revoked = world.revoke("laptop").unwrap();
    assert_eq!(revoked.grants, 0);
    let places: Vec<String> = revoked
        .places
        .iter()
        .map(|cut| format!("{} {}", cut.network, cut.service))
        .collect();
    assert_eq!(places, ["192.0.2.1/32 tcp/22"]);
}

#[test]
fn revoking_a_service_for_an_address_closes_it_whoever_holds_it() {
    let mut world = World::with(|config| {
        for client in &mut config.clients {
            if client.name.as_str() == "phone" {
                client.ipv4_prefix = Some(24);
            }
        }
    });
    world.send(laptop, &open_for(&[SSH, WEB], 100));
    world.send(phone, &open_for(&[SSH], 100));
    world.grant("ssh", &[HERE], 600).unwrap();
    let packet = world.seal(laptop, &open_for(&[SSH], 100));
    world.receive(THERE, &packet);
    let revoked = world.revoke_from("ssh", &[HERE]);
    assert_eq!(
        revoked.grants, 3,
        "the laptop's, the administrator's, the phone's network"
    );
    let open: BTreeSet<_> = world.kernel.open().into_iter().collect();
    assert_eq!(open, [element(HERE, WEB), element(THERE, SSH)].into());
    let network: Network = "198.51.100.0/24".parse().unwrap();
    assert_eq!(world.revoke_from("tcp/22", &["198.51.100.0/24"]).grants, 1);
    assert!(!world.is_open(THERE, SSH), "{network}");
}

#[test]
fn a_grant_by_hand_survives_a_restart_and_is_still_the_administrators() {
    let mut world = World::new();
    world.grant("ssh", &[HERE], 600).unwrap();
    let holders: Vec<_> = world
        .journal
        .iter()
        .filter_map(|record| match record {
            JournalRecord::Holder(holder) => Some(*holder),
            _ => None,
        })
        .collect();
    let mut after = World::new();
    after.kernel.elements = world.kernel.elements.clone();
    let (listed, now) = (after.kernel.listed(), after.now);
    let mut effects = Vec::new();
    after.engine.adopt(&listed, holders, now, &mut effects);
    after.obey(effects);
    let rows = after.engine.grants(after.now);
    assert!(rows.len() == 1 && rows[0].by_hand, "{rows:?}");
    after.reload(|config| {
        let name = "ssh".parse().unwrap();
        config.services.remove(&name);
        config.hide.retain(|hidden| *hidden != name);
    });
    assert!(after.kernel.open().is_empty(), "its service is gone");
}
