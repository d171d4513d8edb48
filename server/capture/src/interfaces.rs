//! Which interfaces are judged (pure): index → whether its name is configured.
//!
//! Interfaces come, go and change their names, so a name is looked up when a
//! frame of an unknown index comes, kept for a while, and forgotten when the
//! daemon says so. Never does the look-up itself.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use rustix::net::netdevice::name_to_index;

/// Indices remembered at once; a host with more looks some of them up again.
const MAX_CACHED: usize = 1024;

/// The configured names, and what is known of the indices seen.
#[derive(Debug)]
pub(super) struct Interfaces {
    /// `None`: all.
    names: Option<Vec<String>>,
    cache: HashMap<u32, bool>,
}

impl Interfaces {
    pub(super) fn new(names: Option<Vec<String>>) -> Self {
        Self {
            names,
            cache: HashMap::new(),
        }
    }

    /// Whether frames of this interface are judged. An index without a name is
    /// not, and asked for again next time.
    pub(super) fn is_enabled(
        &mut self,
        index: u32,
        name: impl FnOnce(u32) -> Option<String>,
    ) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        if let Some(&known) = self.cache.get(&index) {
            return known;
        }
        let Some(name) = name(index) else {
            return false;
        };
        let configured = names.contains(&name);
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(index, configured);
        configured
    }

    /// Names may have changed.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
    }
}

/// Where the configuration names interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceSetting {
    /// `[listen] interfaces`.
    Listen,
    /// `[guard] always_allow`.
    AlwaysAllow,
}

/// What to say of configured interfaces that this machine does not have now: any socket
/// of its network knows. They may be meant to come later, so it is no error.
#[must_use]
pub fn missing_interfaces<'a>(
    names: impl IntoIterator<Item = &'a str>,
    named_in: InterfaceSetting,
    socket: BorrowedFd<'_>,
) -> Option<String> {
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| name_to_index(socket, name) == Err(rustix::io::Errno::NODEV))
        .map(|name| format!("`{name}`"))
        .collect();
    let (is, it) = match missing.as_slice() {
        [] => return None,
        [_] => ("is no interface", "it appears"),
        _ => ("are no interfaces", "they appear"),
    };
    let (setting, effect) = match named_in {
        InterfaceSetting::Listen => ("[listen] interfaces", "packets are looked for there"),
        InterfaceSetting::AlwaysAllow => (
            "[guard] always_allow",
            "whoever comes in there reaches what is hidden",
        ),
    };
    Some(format!(
        "{} in {setting} {is} of this machine: {effect} once {it}",
        missing.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_told_and_one_that_is_there_is_not() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let missing = |names: &[&str]| {
            let socket = std::os::fd::AsFd::as_fd(&socket);
            missing_interfaces(names.iter().copied(), InterfaceSetting::Listen, socket)
        };
        assert_eq!(missing(&["lo"]), None);
        assert_eq!(missing(&[]), None);
        assert!(
            missing(&["lo", "wan7"])
                .unwrap()
                .starts_with("`wan7` in [listen] interfaces is no ")
        );
        assert!(
            missing(&["wan7", "x"])
                .unwrap()
                .starts_with("`wan7`, `x` in ")
        );
    }

    #[test]
    fn without_names_every_interface_is_judged() {
        assert!(Interfaces::new(None).is_enabled(7, |_| None));
    }

    #[test]
    fn with_names_only_those_are_judged_and_each_is_looked_up_once() {
        let mut interfaces = Interfaces::new(Some(vec!["eth0".into()]));
        assert!(!interfaces.is_enabled(2, |_| None));
        assert!(interfaces.is_enabled(2, |_| Some("eth0".into())));
        assert!(interfaces.is_enabled(2, |_| unreachable!()));
        assert!(!interfaces.is_enabled(3, |_| Some("eth1".into())));
        assert!(!interfaces.is_enabled(3, |_| unreachable!()));
    }

    #[test]
    fn a_renamed_interface_is_looked_up_again_once_names_are_forgotten() {
        let mut interfaces = Interfaces::new(Some(vec!["wan".into()]));
        assert!(!interfaces.is_enabled(2, |_| Some("eth0".into())));
        interfaces.clear();
        assert!(interfaces.is_enabled(2, |_| Some("wan".into())));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut interfaces = Interfaces::new(Some(Vec::new()));
        for index in 0..5000 {
            interfaces.is_enabled(index, |_| Some("x".into()));
            assert!(interfaces.cache.len() <= MAX_CACHED);
        }
    }
}
