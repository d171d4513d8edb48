//! Rules that several chains share.
//!
//! Pure.

use nftables::types::{NfChainType, NfHook};
use spad_config::AlwaysAllow;
use spad_model::{Network, PrefixLengths};

use super::ct_stmt::{Label, has_label, set_label};
use super::names::{ChainName, Names};
use super::sets::FamilySets;
use super::stmt::{
    Field, Stmt, accept, iifname_is, is_reset, not_syn, passes_rp_filter, protocol, saddr_in, state,
};
use super::{AlwaysAllowed, TableChain};

/// How long a connection that is older than its port's hiding may be silent, in seconds: as long
/// as connection tracking remembers one.
pub(super) const TCP_IDLE_TIMEOUT: u32 = 24 * 60 * 60;
pub(super) const UDP_IDLE_TIMEOUT: u32 = 180;

pub(super) type Rule = Vec<Stmt>;

/// What all chains are built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleContext<'a> {
    pub(super) names: Names<'a>,
    pub(super) allowed: AlwaysAllowed<'a>,
    pub(super) lengths: &'a PrefixLengths,
    /// The kernel has labels. Without them, strangers are answered before the host's own rules,
    /// and established connections are recognised by their state alone.
    pub(super) labels: bool,
}

impl RuleContext<'_> {
    /// The networks of `always_allow`.
    pub(super) fn allowed_networks(&self) -> impl Iterator<Item = &Network> {
        self.allowed.iter().filter_map(|one| match one {
            AlwaysAllow::Network(network) => Some(network),
            AlwaysAllow::Interface(_) => None,
        })
    }

    /// By name, not by index: a missing interface must not make the table fail.
    fn allow_interfaces(&self) -> Vec<Rule> {
        let mut rules = vec![vec![iifname_is("lo"), accept()]];
        for one in self.allowed {
            if let AlwaysAllow::Interface(name) = one
                && name != "lo"
            {
                rules.push(vec![iifname_is(name), accept()]);
            }
        }
        rules
    }

    /// Accepts whoever needs no grant, before routing.
    pub(super) fn always_allowed(&self) -> Vec<Rule> {
        let mut rules = self.allow_interfaces();
        let networks = self.allowed_networks();
        rules.extend(networks.map(|network| vec![saddr_in(network), passes_rp_filter(), accept()]));
        rules
    }

    /// Accepts whoever needs no grant, after routing, where a rule can no longer ask whether the
    /// interface leads back to the source.
    pub(super) fn always_allowed_after_prerouting(&self) -> Vec<Rule> {
        let mut rules = self.allow_interfaces();
        for network in self.allowed_networks() {
            if self.labels {
                rules.push(vec![saddr_in(network), has_label(Label::Allowed), accept()]);
                // These packets have no connection, so no label. Those that came by another
                // interface were answered before routing.
                rules.push(vec![
                    saddr_in(network),
                    state(&["invalid", "untracked"]),
                    accept(),
                ]);
            } else {
                rules.push(vec![saddr_in(network), accept()]);
            }
        }
        rules
    }

    /// Labels the connection as admitted, where the kernel has labels.
    pub(super) fn set_admitted(&self) -> Option<Stmt> {
        self.labels.then(|| set_label(Label::Admitted))
    }

    /// The connection was admitted; only where the kernel has labels.
    pub(super) fn has_admitted(&self) -> Option<Stmt> {
        self.labels.then(|| has_label(Label::Admitted))
    }

    /// Accepts later packets of connections that were admitted.
    pub(super) fn established_rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        // Never `related`: a helper of connection tracking would admit strangers.
        // Never a first segment: on the ports of a connection that only connection tracking
        // still knows, it would begin another one long after the grant has expired.
        for later in [not_syn(), protocol("udp")] {
            let mut rule = vec![later, state(&["established"])];
            rule.extend(self.has_admitted());
            rule.push(accept());
            rules.push(rule);
        }
        rules.extend(self.preexisting_rules());
        if self.labels {
            // A stranger who connected while the table was missing gets a reset; the stranger's
            // own reset must reach the service, so that the service closes the connection too.
            rules.push(vec![is_reset(), state(&["established"]), accept()]);
        }
        rules
    }

    /// Accepts later packets of connections that are older than their port's hiding. Connection
    /// tracking may have missed their beginning, or had no room for labels then.
    pub(super) fn preexisting_rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for FamilySets { existing, .. } in FamilySets::BOTH {
            for (later, idle_timeout) in [
                (not_syn(), TCP_IDLE_TIMEOUT),
                (protocol("udp"), UDP_IDLE_TIMEOUT),
            ] {
                let mut rule = vec![
                    later,
                    self.names.in_set(existing),
                    self.names.refresh_in(existing, idle_timeout),
                ];
                rule.extend(self.set_admitted());
                rule.push(accept());
                rules.push(rule);
            }
        }
        rules
    }

    /// The source is in a network that has a grant to this port: one statement for each length.
    pub(super) fn in_grant_networks(&self, family: FamilySets, port: Field) -> Vec<Stmt> {
        let names = self.names;
        match family == FamilySets::IPV4 {
            true => {
                let lengths = self.lengths.ipv4.iter();
                lengths.map(|one| names.saddr_in_net4(*one, port)).collect()
            }
            false => {
                let lengths = self.lengths.ipv6.iter();
                lengths.map(|one| names.saddr_in_net6(*one, port)).collect()
            }
        }
    }
}

pub(super) fn regular_chain(name: ChainName, rules: Vec<Rule>) -> TableChain {
    TableChain {
        name,
        kind: NfChainType::Filter,
        hook: None,
        rules,
    }
}

pub(super) fn base_chain(
    name: ChainName,
    hook: NfHook,
    priority: i32,
    rules: Vec<Rule>,
) -> TableChain {
    TableChain {
        name,
        kind: NfChainType::Filter,
        hook: Some((hook, priority)),
        rules,
    }
}
