//! Trials of newly hidden ports: so that nobody locks himself out of a distant machine.
//!
//! Pure. A port that was not hidden before is hidden on trial: until somebody
//! reached it through a grant, or an administrator confirmed it. One whose trial
//! ended without either is shown, and stays so until it is confirmed, or is
//! taken out of `hide` and put there again. What stands here is kept in a file
//! by the writer, since neither a restart nor a boot may forget it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spa_proto::Service;
use spad_model::{BootTime, PortState, TrialChange, TrialEvent, TrialRow, check_line};

/// How each hidden port stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trials(BTreeMap<Service, Trial>);

/// How one hidden port stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case", deny_unknown_fields)]
enum Trial {
    /// Hidden for good.
    Hidden,
    /// On trial.
    #[serde(rename = "on_trial")]
    Running {
        /// Microseconds after the boot of that name.
        until: u64,
        boot: String,
    },
    /// Its trial ended.
    Shown,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialsFile {
    /// Which writing of it this is: an older one must not pass for the last.
    number: u64,
    ports: BTreeMap<String, Trial>,
}

/// The moment: which boot this is, and how long ago it was.
#[derive(Clone, Copy, Debug)]
pub struct BootMoment<'a> {
    /// The kernel's name of this boot.
    pub boot: &'a str,
    /// Time since then.
    pub now: BootTime,
}

impl Trials {
    /// Takes up what is hidden now: new ports go on trial for `length` (for good,
    /// where that is zero), ports no longer hidden are forgotten. A trial that
    /// another boot cut short begins anew.
    pub fn hide(
        &mut self,
        hidden: &BTreeSet<Service>,
        length: Duration,
        moment: BootMoment<'_>,
    ) -> Vec<TrialEvent> {
        self.0.retain(|service, _| hidden.contains(service));
        let mut events = Vec::new();
        for service in hidden {
            let needs_trial = match self.0.get(service) {
                None => true,
                Some(Trial::Running { boot, .. }) => boot != moment.boot,
                Some(Trial::Hidden | Trial::Shown) => false,
            };
            if !needs_trial {
                continue;
            }
            let trial = if length.is_zero() {
                Trial::Hidden
            } else {
                events.push(TrialEvent {
                    service: *service,
                    change: TrialChange::Began(length),
                });
                Trial::Running {
                    until: moment.now.saturating_add(length).as_micros(),
                    boot: moment.boot.to_owned(),
                }
            };
            self.0.insert(*service, trial);
        }
        events.extend(self.expire(moment));
        events
    }

    /// Shows the ports whose trial has ended.
    pub fn expire(&mut self, moment: BootMoment<'_>) -> Vec<TrialEvent> {
        self.change(TrialChange::TimedOut, Trial::Shown, |_, trial| {
            matches!(trial, Trial::Running { until, .. } if *until <= moment.now.as_micros())
        })
    }

    /// Hides for good those of these ports that are on trial.
    pub fn reached(&mut self, ports: &BTreeSet<Service>) -> Vec<TrialEvent> {
        self.change(TrialChange::Reached, Trial::Hidden, |service, trial| {
            ports.contains(service) && matches!(trial, Trial::Running { .. })
        })
    }

    /// Hides everything for good, also what is shown again.
    pub fn confirm(&mut self) -> Vec<TrialEvent> {
        self.change(TrialChange::Confirmed, Trial::Hidden, |_, trial| {
            *trial != Trial::Hidden
        })
    }

    fn change(
        &mut self,
        change: TrialChange,
        to: Trial,
        concerns: impl Fn(&Service, &Trial) -> bool,
    ) -> Vec<TrialEvent> {
        let mut events = Vec::new();
        for (service, trial) in &mut self.0 {
            if concerns(service, trial) {
                *trial = to.clone();
                events.push(TrialEvent {
                    service: *service,
                    change,
                });
            }
        }
        events
    }

    /// How each port stands at this moment.
    #[must_use]
    pub fn port_states(&self, now: BootTime) -> BTreeMap<Service, PortState> {
        let state = |trial: &Trial| match trial {
            Trial::Hidden => PortState::Hidden,
            Trial::Running { until, .. } => {
                PortState::OnTrial(BootTime::from_micros(*until).saturating_since(now))
            }
            Trial::Shown => PortState::Exposed,
        };
        self.0
            .iter()
            .map(|(service, trial)| (*service, state(trial)))
            .collect()
    }

    /// The same as rows.
    #[must_use]
    pub fn list(&self, now: BootTime) -> Vec<TrialRow> {
        self.port_states(now)
            .into_iter()
            .map(|(service, standing)| TrialRow {
                service,
                state: standing,
            })
            .collect()
    }

    /// When the next trial ends, if one runs.
    #[must_use]
    pub fn next_end(&self) -> Option<BootTime> {
        self.0
            .values()
            .filter_map(|trial| match trial {
                Trial::Running { until, .. } => Some(BootTime::from_micros(*until)),
                Trial::Hidden | Trial::Shown => None,
            })
            .min()
    }

    /// The text of the file's writing of this number.
    #[must_use]
    pub fn to_text(&self, number: u64) -> String {
        let ports = self.0.iter();
        let file = TrialsFile {
            number,
            ports: ports
                .map(|(service, trial)| (service.to_string(), trial.clone()))
                .collect(),
        };
        // Texts, numbers and a map of them always have a JSON form.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        let line = check_line::compute(&[text.as_bytes()]);
        text.push_str(&line);
        text
    }

    /// Reads the file's bytes, and its number; `None` where they are damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, u64)> {
        let file: TrialsFile = serde_json::from_slice(check_line::verify(bytes)?).ok()?;
        let ports = file.ports.into_iter();
        let ports = ports.map(|(service, trial)| Some((service.parse().ok()?, trial)));
        Some((Self(ports.collect::<Option<_>>()?), file.number))
    }

    /// Hides for good those of these ports, hidden before, of which nothing is known; gives which.
    pub fn keep_hidden(&mut self, before: &BTreeSet<Service>) -> Vec<Service> {
        let unknown: Vec<Service> = before
            .iter()
            .filter(|service| !self.0.contains_key(service))
            .copied()
            .collect();
        let hidden = unknown.iter().map(|service| (*service, Trial::Hidden));
        self.0.extend(hidden);
        unknown
    }

    /// What to go by where the file is damaged: everything stays hidden.
    #[must_use]
    pub fn assume_hidden(hidden: &BTreeSet<Service>) -> Self {
        Self(
            hidden
                .iter()
                .map(|service| (*service, Trial::Hidden))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    fn ports(texts: &[&str]) -> BTreeSet<Service> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn at(boot: &'static str, seconds: u64) -> BootMoment<'static> {
        let now = BootTime::from_micros(seconds * 1_000_000);
        BootMoment { boot, now }
    }

    fn states_at(trials: &Trials, seconds: u64) -> Vec<PortState> {
        let now = BootTime::from_micros(seconds * 1_000_000);
        trials.port_states(now).into_values().collect()
    }

    #[test]
    fn a_newly_hidden_port_is_shown_again_when_nobody_reached_it() {
        let mut trials = Trials::default();
        let events = trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 10));
        assert_eq!(events.len(), 1);
        assert_eq!(
            states_at(&trials, 110),
            [PortState::OnTrial(Duration::from_secs(500))]
        );
        assert!(trials.expire(at("a", 609)).is_empty());
        assert_eq!(trials.expire(at("a", 610)).len(), 1);
        assert_eq!(states_at(&trials, 610), [PortState::Exposed]);
        assert!(trials.expire(at("a", 700)).is_empty(), "said once");
    }

    #[test]
    fn a_port_whose_trial_is_over_is_not_hidden_again_by_a_restart_or_a_boot() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 0));
        trials.expire(at("a", 600));
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 601));
        assert_eq!(states_at(&trials, 601), [PortState::Exposed]);
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("b", 1));
        assert_eq!(states_at(&trials, 1), [PortState::Exposed]);
        trials.hide(&ports(&[]), LENGTH, at("b", 2));
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("b", 3));
        assert_eq!(
            states_at(&trials, 3),
            [PortState::OnTrial(LENGTH)],
            "taken out and added again"
        );
    }

    #[test]
    fn a_trial_that_ended_while_nothing_ran_is_over_at_the_next_start() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 0));
        let events = trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 900));
        assert_eq!(
            events.first().map(|event| event.change),
            Some(TrialChange::TimedOut)
        );
        assert_eq!(states_at(&trials, 900), [PortState::Exposed]);
    }

    #[test]
    fn a_trial_cut_short_by_a_boot_begins_anew_and_one_cut_short_by_a_restart_goes_on() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 0));
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 100));
        assert_eq!(
            states_at(&trials, 100),
            [PortState::OnTrial(Duration::from_secs(500))]
        );
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("b", 5));
        assert_eq!(states_at(&trials, 5), [PortState::OnTrial(LENGTH)]);
    }

    #[test]
    fn a_reached_or_confirmed_port_stays_hidden_across_boots() {
        let mut trials = Trials::default();
        let both = ports(&["tcp/22", "tcp/80"]);
        trials.hide(&both, LENGTH, at("a", 0));
        assert_eq!(trials.reached(&ports(&["tcp/22", "udp/9"])).len(), 1);
        assert_eq!(trials.confirm().len(), 1);
        trials.hide(&both, LENGTH, at("b", 0));
        assert_eq!(
            states_at(&trials, 0),
            [PortState::Hidden, PortState::Hidden]
        );
    }

    #[test]
    fn what_was_shown_again_can_be_confirmed() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 0));
        trials.expire(at("a", 600));
        assert_eq!(
            trials.reached(&ports(&["tcp/22"])),
            [],
            "only a trial can be reached"
        );
        assert_eq!(trials.confirm().len(), 1);
        assert_eq!(states_at(&trials, 600), [PortState::Hidden]);
    }

    #[test]
    fn no_trial_is_asked_for_with_a_length_of_zero() {
        let mut trials = Trials::default();
        assert!(
            trials
                .hide(&ports(&["tcp/22"]), Duration::ZERO, at("a", 0))
                .is_empty()
        );
        assert_eq!(states_at(&trials, 0), [PortState::Hidden]);
    }

    #[test]
    fn the_file_says_what_was_written_and_damage_is_noticed() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22", "udp/51820"]), LENGTH, at("a", 7));
        trials.reached(&ports(&["udp/51820"]));
        let text = trials.to_text(3).into_bytes();
        assert_eq!(Trials::from_bytes(&text), Some((trials, 3)));
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trials::from_bytes(&damaged), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(Trials::from_bytes(&text[..length]), None);
        }
        for ports in [
            r#"{"tcp/0":{"standing":"hidden"}}"#,
            r#"{"tcp/1":{"standing":"else"}}"#,
        ] {
            let text = format!("{{\"number\":1,\"ports\":{ports}}}\n");
            let line = check_line::compute(&[text.as_bytes()]);
            assert_eq!(Trials::from_bytes((text + &line).as_bytes()), None);
        }
    }

    #[test]
    fn a_port_that_was_hidden_before_and_is_not_remembered_has_no_trial() {
        let mut trials = Trials::default();
        trials.hide(&ports(&["tcp/22"]), LENGTH, at("a", 0));
        let lost = trials.keep_hidden(&ports(&["tcp/22", "tcp/80"]));
        assert_eq!(lost, ["tcp/80".parse().unwrap()]);
        trials.hide(&ports(&["tcp/22", "tcp/80"]), LENGTH, at("a", 1));
        trials.expire(at("a", 600));
        assert_eq!(
            states_at(&trials, 600),
            [PortState::Exposed, PortState::Hidden]
        );
    }
}
