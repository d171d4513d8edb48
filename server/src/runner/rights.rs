//! Who may have what run, as the runner reads it from the configuration itself.
//!
//! Made from a checked configuration and the users of this machine; asked by names.
//! What the engine says is held against this, so that a taken engine runs no more than
//! what is declared, and no command for a client whose file does not list it.

use std::collections::BTreeMap;

use spa_proto::{CommandName, Timestamp};

use super::message::{HookEvent, RunCommand, RunRefusal};
use crate::config::{ClientName, Config, Program};
use crate::sys::users::{Account, account};

/// A program that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) program: Program,
    /// None where there is no such user, or it is root and that was not said.
    pub(super) account: Option<Account>,
}

impl Ready {
    fn of(program: &Program) -> Self {
        let account = account(&program.user).ok().flatten();
        Self {
            account: account.filter(|account| account.uid != 0 || program.as_root),
            program: program.clone(),
        }
    }
}

/// What may be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    commands: BTreeMap<CommandName, (Ready, bool)>,
    open: Option<Ready>,
    close: Option<Ready>,
    clients: BTreeMap<ClientName, (Vec<CommandName>, Option<Timestamp>)>,
}

impl Rights {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Self {
        let commands = config.commands.iter().map(|(name, command)| {
            let ready = Ready::of(&command.program);
            (name.clone(), (ready, command.parallel))
        });
        let clients = config.clients.iter();
        let clients = clients.filter(|client| client.enabled && !client.commands.is_empty());
        let clients = clients.map(|client| {
            let may = (client.commands.clone(), client.expires);
            (client.name.clone(), may)
        });
        Self {
            commands: commands.collect(),
            open: config.hooks.open.as_ref().map(Ready::of),
            close: config.hooks.close.as_ref().map(Ready::of),
            clients: clients.collect(),
        }
    }

    /// What is to be run for this, and whether it may several times at once.
    pub(super) fn command(
        &self,
        run: &RunCommand,
        now: Timestamp,
    ) -> Result<(&Ready, bool), RunRefusal> {
        let (ready, parallel) = self.commands.get(&run.command).ok_or(RunRefusal::Unknown)?;
        let (may, expires) = self
            .clients
            .get(&run.client)
            .ok_or(RunRefusal::NotAllowed)?;
        if !may.contains(&run.command) || expires.is_some_and(|expires| now >= expires) {
            return Err(RunRefusal::NotAllowed);
        }
        Ok((ready, *parallel))
    }

    /// What is to be run when this happens.
    pub(super) fn hook(&self, event: HookEvent) -> Option<&Ready> {
        match event {
            HookEvent::Open | HookEvent::Renew => self.open.as_ref(),
            HookEvent::Close => self.close.as_ref(),
        }
    }
}
