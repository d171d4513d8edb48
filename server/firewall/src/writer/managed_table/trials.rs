//! Trials of newly hidden ports: who reached them, whose time is over, what the table holds then.

use super::*;

impl ManagedTable {
    /// Takes up what this configuration hides; gives what happened to trials.
    pub(super) fn update_trials(
        &self,
        trials: &mut Trials,
        config: &Config,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> Vec<TrialEvent> {
        // Before any trial's end is judged: nobody may have looked since the last life.
        let mut events = trials.reached(&self.reached(kernel));
        let length = config.guard.trial;
        events.extend(trials.hide(&config.hidden_ports(), length, self.moment(now)));
        events
    }

    pub(super) fn save_trials(&mut self, trials: Trials, warnings: &mut Vec<String>) {
        if trials != self.trials {
            self.trials = trials;
            self.write(warnings);
        }
    }

    /// When trials must be looked at again at the latest; none where none runs.
    pub(in crate::writer) fn next_trial_end(&self) -> Option<BootTime> {
        self.trials.next_end()
    }

    /// Ends the trials of ports that were reached, or whose time is over.
    pub(in crate::writer) fn watch_trials(
        &mut self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> LoadReport {
        let reached = self.reached(kernel);
        let mut loaded = LoadReport {
            events: self.trials.reached(&reached),
            ..LoadReport::default()
        };
        let moment = BootMoment {
            boot: &self.boot,
            now,
        };
        let timed_out = self.trials.expire(moment);
        loaded.events.extend(timed_out);
        self.apply_trial_events(&mut loaded, kernel, now);
        loaded
    }

    /// The ports on trial that the kernel saw reached; it is asked only while a trial runs.
    pub(super) fn reached(&self, kernel: &mut GrantSets) -> BTreeSet<Service> {
        if self.trials.next_end().is_none() {
            return BTreeSet::new();
        }
        let listed = kernel
            .netlink
            .list_ports(SetName::TrialReached)
            .unwrap_or_default();
        listed.into_keys().collect()
    }

    /// Hides every port for good.
    pub(in crate::writer) fn confirm(
        &mut self,
        kernel: &mut GrantSets,
        now: BootTime,
    ) -> LoadReport {
        let mut loaded = LoadReport {
            events: self.trials.confirm(),
            ..LoadReport::default()
        };
        if loaded.events.is_empty() {
            // The file may be damaged or lost all the same.
            self.write(&mut loaded.warnings);
        }
        self.apply_trial_events(&mut loaded, kernel, now);
        loaded
    }

    /// Writes down what changed and tells the kernel.
    pub(super) fn apply_trial_events(
        &mut self,
        loaded: &mut LoadReport,
        kernel: &mut GrantSets,
        now: BootTime,
    ) {
        if loaded.events.is_empty() {
            return;
        }
        self.write(&mut loaded.warnings);
        let port_states = self.trials.port_states(now);
        let is_forwarded = |port: &Service| self.config.inner_host(*port).is_some();
        // The inner host's port stands as the one that leads there.
        loaded.reload = loaded
            .events
            .iter()
            .any(|event| is_forwarded(&event.service));
        let hidden = port_states
            .iter()
            .filter(|(_, standing)| **standing != PortState::Exposed);
        let hidden: BTreeSet<Service> = hidden.map(|(port, _)| *port).collect();
        if let Err(error) = self.preserve_connections(&hidden, kernel) {
            let warning = format!("connections to what was shown may be cut: {error}");
            loaded.warnings.push(warning);
        }
        for event in &loaded.events {
            let standing = port_states.get(&event.service).copied();
            if let Err(error) = update_port(kernel, event.service, standing) {
                loaded
                    .warnings
                    .push(format!("{}: the kernel said {error}", event.service));
            }
        }
        self.record_hidden(hidden, &mut loaded.warnings);
    }

    /// Lets in by name the connections of ports that were shown until now.
    pub(super) fn preserve_connections(
        &mut self,
        hidden: &BTreeSet<Service>,
        kernel: &mut GrantSets,
    ) -> Result<(), Errno> {
        let new = hidden.difference(&self.hidden).copied().collect();
        let (before, operations) = existing_connections::elements(&mut kernel.netlink, &new);
        kernel.in_batches(&operations)?;
        self.existing.extend(before);
        Ok(())
    }
}

/// Makes one port's place in the kernel what it should be now that its trial is over.
fn update_port(
    kernel: &mut GrantSets,
    port: Service,
    state: Option<PortState>,
) -> Result<(), Errno> {
    let key = element_key::from_service(port);
    let operation = |set, action| Operation {
        set,
        key: key.clone(),
        action,
    };
    // A port that is hidden for good must not be open between two transactions.
    let hidden = match state {
        Some(PortState::Hidden) => vec![
            operation(SetName::Hidden, Action::Delete),
            operation(SetName::Hidden, Action::Add(Timeout::Never)),
        ],
        _ => vec![operation(SetName::Hidden, Action::Delete)],
    };
    kernel.in_batches(&hidden)?;
    for set in [SetName::Trial, SetName::TrialReached] {
        kernel.in_batches(&[operation(set, Action::Delete)])?;
    }
    Ok(())
}
