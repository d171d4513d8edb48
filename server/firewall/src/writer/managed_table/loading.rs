//! Loading the table: by `nft`, or in place over netlink, with the connections that go on.

use super::*;

impl ManagedTable {
    /// Loads the table; where the kernel has no labels for connections, the one that does
    /// without them. Gives how many grants went into it, where one was replaced.
    pub(super) fn load_table(
        &mut self,
        load: &LoadRequest<'_>,
        kernel: &mut GrantSets,
        now: BootTime,
        warnings: &mut Vec<String>,
    ) -> Result<u32, WriterError> {
        let table = |surroundings: &HostFacts| {
            let table = Table::new(load.config, load.port_states, surroundings);
            let table = table.with_existing_connections(load.existing.clone());
            if load.settling {
                table.settling()
            } else {
                table
            }
        };
        let error =
            match self.load_or_replace(&table(&self.host_facts), kernel, now, load.once_policy) {
                Ok(put_back) => return Ok(put_back),
                Err(error) => error,
            };
        if !self.host_facts.labels || !is_unsupported(&error) {
            return Err(error);
        }
        let without_labels = HostFacts {
            labels: false,
            ..self.host_facts.clone()
        };
        let Ok(put_back) =
            self.load_or_replace(&table(&without_labels), kernel, now, load.once_policy)
        else {
            return Err(error);
        };
        self.host_facts = without_labels;
        warnings.push(
            "this kernel has no labels for connections (CONFIG_NF_CONNTRACK_LABELS): strangers are answered before the rules of this host's own firewall, and whoever connects while others flush our table stays connected"
                .to_owned(),
        );
        Ok(put_back)
    }

    pub(super) fn load_or_replace(
        &mut self,
        table: &Table,
        kernel: &mut GrantSets,
        now: BootTime,
        once_policy: OncePolicy,
    ) -> Result<u32, WriterError> {
        let state = emergency::table_state(&mut kernel.netlink).map_err(kernel_error)?;
        // Its chains are others.
        let (mut missing, mut same_layout) = (Vec::new(), state != TableState::Emergency);
        let sets = table.sets();
        for set in &sets {
            let set = *set;
            match kernel.netlink.set_layout(set).map_err(kernel_error)? {
                None => missing.push(set),
                Some(make) => same_layout &= make == set.layout(),
            }
        }
        // Chains and sets that it has too many cannot be taken out of it by name alone.
        for set in SetName::GATEWAY {
            let make = kernel.netlink.set_layout(set).map_err(kernel_error)?;
            same_layout &= sets.contains(&set) || make.is_none();
        }
        // A chain of an older version may have another place, and then cannot be changed.
        same_layout &= missing.len() == sets.len() || !missing.contains(&SetName::Settling);
        let mut was_flushed = false;
        if same_layout {
            match self.run_nft(
                &table.transaction(&missing),
                table,
                kernel,
                &mut was_flushed,
            ) {
                Ok(()) => return Ok(0),
                Err(error) if missing.len() == sets.len() => return Err(error),
                Err(_) => {}
            }
        }
        // A table of another version cannot be changed, only replaced; what it held is put in again.
        let everything = concat_commands(&removal(), &table.transaction(&sets));
        self.run_nft(&everything, table, kernel, &mut was_flushed)?;
        kernel.restore(now, once_policy).map_err(kernel_error)
    }

    /// Loads these commands, which make this table. Where somebody flushes meanwhile it hides
    /// again at once, and notes that the table was away.
    pub(super) fn run_nft(
        &mut self,
        commands: &serde_json::Value,
        table: &Table,
        kernel: &mut GrantSets,
        was_flushed: &mut bool,
    ) -> Result<(), WriterError> {
        let allowed = &self.config.guard.always_allow;
        let plan = Plan::new(table, allowed, self.established_policy(table));
        let announcer = self.announcer.as_ref();
        let watch = FlushWatch::open(&mut kernel.netlink, &plan, was_flushed, announcer);
        let mut watch = watch.map_err(WriterError::Kernel)?;
        watch.hide();
        self.loader = Some(nft::load_while(commands, &mut watch)?);
        if !watch.is_hidden(table) {
            return Err(WriterError::TableMissing);
        }
        if *was_flushed {
            kernel
                .in_batches(&settling_operations(table))
                .map_err(kernel_error)?;
        }
        Ok(())
    }

    /// The connections that were there before their port was hidden: those that the kernel
    /// lets in by that, and those of ports that are hidden from now on for the first time in
    /// this boot.
    pub(super) fn connections_before_hiding(
        &self,
        hidden: &BTreeSet<Service>,
        kernel: &mut GrantSets,
    ) -> BTreeSet<Element> {
        let netlink = &mut kernel.netlink;
        let mut existing = self.surviving_connections(netlink);
        for set in [SetName::Existing4, SetName::Existing6] {
            let listed = netlink.list(set).unwrap_or_default();
            existing.extend(
                listed
                    .iter()
                    .filter_map(|(key, _)| element_key::to_element(set, key)),
            );
        }
        let new = hidden
            .difference(&self.previously_hidden(netlink))
            .copied()
            .collect();
        existing.extend(existing_connections::connections(netlink, &new));
        existing
    }

    /// The connections from before their port was hidden that have not ended.
    pub(super) fn surviving_connections(&self, netlink: &mut Netlink) -> BTreeSet<Element> {
        let ports = self.existing.iter().map(|one| one.service).collect();
        let alive = existing_connections::connections(netlink, &ports);
        self.existing.intersection(&alive).copied().collect()
    }

    /// The ports that were hidden in this boot before now.
    pub(super) fn previously_hidden(&self, netlink: &mut Netlink) -> BTreeSet<Service> {
        if self.guard_dir.directory().is_ok() {
            // Not what the kernel lists: the first step of a start may have put it in just now.
            return self.hidden.clone();
        }
        // Who is connected where nothing but an emergency table stands was so before it.
        if emergency::table_state(netlink) != Ok(TableState::Full) {
            return BTreeSet::new();
        }
        let listed = netlink.list_ports(SetName::Hidden).unwrap_or_default();
        listed.into_keys().collect()
    }
}

/// Hides at once where nothing does, before `nft` is even started. What keeps the kernel
/// from it keeps the table from being loaded too, and is told then.
pub(super) fn ensure_hidden(
    table: &Table,
    config: &Config,
    policy: EstablishedPolicy,
    kernel: &mut GrantSets,
) {
    if emergency::table_state(&mut kernel.netlink) == Ok(TableState::Missing) {
        let plan = Plan::new(table, &config.guard.always_allow, policy);
        let _ = emergency::load(&mut kernel.netlink, &plan, Existing::Keep);
    }
}

/// What puts the table's hidden UDP ports among those whose answers let nobody in.
fn settling_operations(table: &Table) -> Vec<Operation> {
    let set = SetName::Settling;
    let timeout = Timeout::For(Duration::from_millis(set.layout().timeout));
    table
        .settling_ports()
        .map(|port| Operation {
            set,
            key: element_key::from_service(port),
            action: Action::Add(timeout),
        })
        .collect()
}

/// The commands of both, in one transaction.
fn concat_commands(first: &serde_json::Value, second: &serde_json::Value) -> serde_json::Value {
    let commands: Vec<&serde_json::Value> = [first, second]
        .iter()
        .filter_map(|part| part.get("nftables")?.as_array())
        .flatten()
        .collect();
    serde_json::json!({ "nftables": commands })
}
