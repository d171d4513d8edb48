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
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Orders that a configuration on its way may not know of.
#[derive(Debug, Default)]
pub(super) struct SupersededLoads {
    newest: BootTime,
    disabled: BTreeMap<ClientName, BootTime>,
}

impl SupersededLoads {
    /// May what began to be read at this time be used? Not where a later one came before it.
    pub(super) fn note_load(&mut self, read_at: BootTime) -> bool {
        let newest = read_at >= self.newest;
        self.newest = self.newest.max(read_at);
        newest
    }

    /// This client is served no more from now on.
    pub(super) fn note_disabled(&mut self, client: ClientName, now: BootTime) {
        self.disabled
            .retain(|_, at| now.saturating_since(*at) < MAX_AGE);
        self.disabled.insert(client, now);
    }

    /// The clients that were disabled since this time.
    pub(super) fn disabled_since(&self, read_at: BootTime) -> Vec<ClientName> {
        let since = self.disabled.iter().filter(|(_, at)| **at >= read_at);
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
        let mut overtaken = SupersededLoads::default();
        let anna: ClientName = "anna".parse().unwrap();
        overtaken.note_disabled(anna.clone(), at(10));
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
        let mut overtaken = SupersededLoads::default();
        assert!(overtaken.note_load(at(5)));
        assert!(overtaken.note_load(at(7)));
        assert!(!overtaken.note_load(at(6)));
        assert!(overtaken.note_load(at(7)));
    }

    #[test]
    fn what_is_kept_is_bounded_in_time() {
        let mut overtaken = SupersededLoads::default();
        for minute in 0..10_000 {
            overtaken.note_disabled(format!("c{minute}").parse().unwrap(), at(60 * minute));
        }
        assert_eq!(overtaken.disabled.len(), 24 * 60);
    }
}
