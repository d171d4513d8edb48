//! What happened while a configuration was being read; pure.
//!
//! A reload reads its files on a thread of its own, for a while. A client that was
//! disabled or removed meanwhile must not be served again by what was read before, and
//! of two reloads the one that read last must win, whichever comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::BootTime;
use crate::config::ClientName;

/// No reading of the files takes longer, nor one that hangs on a file system of another machine.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Orders that a configuration on its way may not know of.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    newest: BootTime,
    disabled: BTreeMap<ClientName, BootTime>,
}

impl Overtaken {
    /// May what began to be read at this time be used? Not where a later one came before it.
    pub(super) fn is_newest(&mut self, read: BootTime) -> bool {
        let newest = read >= self.newest;
        self.newest = self.newest.max(read);
        newest
    }

    /// This client is served no more from now on.
    pub(super) fn disabled(&mut self, client: ClientName, now: BootTime) {
        self.disabled
            .retain(|_, at| now.saturating_since(*at) < LONGEST);
        self.disabled.insert(client, now);
    }

    /// The clients that were disabled since this time.
    pub(super) fn disabled_since(&self, read: BootTime) -> Vec<ClientName> {
        let since = self.disabled.iter().filter(|(_, at)| **at >= read);
        since.map(|(client, _)| client.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_client_disabled_while_the_files_were_read_stays_disabled() {
        let mut overtaken = Overtaken::default();
        let anna: ClientName = "anna".parse().unwrap();
        overtaken.disabled(anna.clone(), at(10));
        assert_eq!(
            overtaken.disabled_since(at(9)).as_slice(),
            std::slice::from_ref(&anna)
        );
        assert_eq!(overtaken.disabled_since(at(10)), [anna]);
        assert!(
            overtaken.disabled_since(at(11)).is_empty(),
            "read afterwards"
        );
    }

    #[test]
    fn an_older_reading_never_replaces_a_newer_one() {
        let mut overtaken = Overtaken::default();
        assert!(overtaken.is_newest(at(5)));
        assert!(overtaken.is_newest(at(7)));
        assert!(!overtaken.is_newest(at(6)));
        assert!(overtaken.is_newest(at(7)));
    }

    #[test]
    fn what_is_kept_is_bounded_in_time() {
        let mut overtaken = Overtaken::default();
        for minute in 0..10_000 {
            overtaken.disabled(format!("c{minute}").parse().unwrap(), at(60 * minute));
        }
        assert_eq!(overtaken.disabled.len(), 24 * 60);
    }
}
