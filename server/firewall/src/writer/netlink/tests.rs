//! The real kernel, on a socket with so little room that it must lose answers.

use std::process::Command;
use std::time::Duration;

use super::*;
use crate::table::TABLE;

/// A network namespace of this test, removed when dropped.
struct Namespace(String);

impl Namespace {
    /// Makes one and brings this thread into it.
    fn enter() -> Self {
        let namespace = Self(format!("spad-netlink-{}", std::process::id()));
        let status = Command::new("ip")
            .args(["netns", "add", &namespace.0])
            .status();
        assert!(
            status.unwrap().success(),
            "this test needs root and iproute2"
        );
        let file = std::fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        let network = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(network))
            .unwrap();
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn operation(number: u32, action: Action) -> Operation {
    let mut key = number.to_be_bytes().to_vec();
    key.extend([6, 0, 0, 0, 0, 22, 0, 0]);
    Operation {
        set: SetName::Grants4,
        key,
        action,
    }
}

#[test]
fn answers_that_are_lost_are_never_taken_for_a_yes() {
    let work = || {
        let _namespace = Namespace::enter();
        let set = format!(
            "table inet {TABLE} {{\n set {} {{\n type ipv4_addr . inet_proto . inet_service\n flags timeout\n }}\n}}\n",
            SetName::Grants4.as_str()
        );
        let loaded = Command::new("nft").arg(set).status().unwrap();
        assert!(loaded.success(), "this test needs nft");
        let mut netlink = Netlink::open(SetLocation::own_table()).unwrap();
        netlink.socket.set_rx_buf_sz(1_u32).unwrap();
        let add = |number| operation(number, Action::Add(Timeout::For(Duration::from_secs(60))));
        let delete = |number| operation(number, Action::Delete);

        // Each is refused with an answer of its own, and they do not all find room.
        let missing: Vec<_> = (0..200).map(delete).collect();
        assert_eq!(
            netlink.transaction(&missing),
            Err(TransactionError::Unconfirmed)
        );
        assert_eq!(netlink.list(SetName::Grants4).unwrap(), []);

        // What was left behind of those answers is none to what comes next.
        assert_eq!(
            netlink.transaction(&missing),
            Err(TransactionError::Unconfirmed)
        );
        let one = vec![add(1), delete(2)];
        assert_eq!(
            netlink.transaction(&one),
            Err(TransactionError::Refused(vec![(1, Errno::NOENT)]))
        );
        assert_eq!(
            netlink.transaction(&missing),
            Err(TransactionError::Unconfirmed)
        );
        assert_eq!(netlink.transaction(&[add(3)]), Ok(()));
        let listed = netlink.list(SetName::Grants4).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].0, add(3).key);
    };
    // Another thread's namespace is its own.
    std::thread::spawn(work).join().unwrap();
}
