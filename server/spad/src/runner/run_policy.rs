//! What the runner may run and for whom, as it reads the configuration itself.
//!
//! Requests of the engine are checked against this. A compromised engine runs only declared
//! programs, and a command only for a client or a door that lists it.

use std::collections::BTreeMap;

use spa_proto::{CommandName, Timestamp, usable_address};
use spad_config::{ClientConfig, Config, Program, is_service_user};
use spad_model::{ClientName, DoorName, HookEvent, Requester, RunCommand, RunRefusal};
use spad_sys::users::{Account, account};

/// A program that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedProgram {
    pub(super) program: Program,
    /// None where there is no such user, or it is the daemon's own, or root and that was not said.
    pub(super) account: Option<Account>,
}

impl ResolvedProgram {
    fn new(program: &Program) -> Self {
        let account = account(&program.user).ok().flatten();
        let may = |account: &Account| match account.uid {
            0 => program.as_root,
            uid => !is_service_user(uid),
        };
        Self {
            account: account.filter(may),
            program: program.clone(),
        }
    }
}

/// What may be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunPolicy {
    commands: BTreeMap<CommandName, (ResolvedProgram, bool)>,
    open: Option<ResolvedProgram>,
    close: Option<ResolvedProgram>,
    /// Those that are enabled and list a command.
    clients: BTreeMap<ClientName, ClientConfig>,
    /// What each door has run.
    doors: BTreeMap<DoorName, CommandName>,
}

impl RunPolicy {
    /// Those of a configuration.
    pub(super) fn from_config(config: &Config) -> Self {
        let commands = config.commands.iter().map(|(name, command)| {
            let ready = ResolvedProgram::new(&command.program);
            (name.clone(), (ready, command.parallel))
        });
        let clients = config.clients.iter();
        let clients = clients.filter(|client| client.enabled && !client.commands.is_empty());
        let clients = clients.map(|client| (client.name.clone(), client.clone()));
        let doors = config.knock.iter();
        let doors = doors.filter_map(|door| Some((door.name.clone(), door.run.clone()?)));
        Self {
            doors: doors.collect(),
            commands: commands.collect(),
            open: config.hooks.open.as_ref().map(ResolvedProgram::new),
            close: config.hooks.close.as_ref().map(ResolvedProgram::new),
            clients: clients.collect(),
        }
    }

    /// What is to be run for this, and whether it may several times at once.
    pub(super) fn command(
        &self,
        run: &RunCommand,
        now: Timestamp,
    ) -> Result<(&ResolvedProgram, bool), RunRefusal> {
        let (ready, parallel) = self.commands.get(&run.command).ok_or(RunRefusal::Unknown)?;
        let may = match &run.requester {
            Requester::Client(name, _) => self.clients.get(name).is_some_and(|client| {
                client.commands.contains(&run.command)
                    && client.is_active(now)
                    && client
                        .hours
                        .iter()
                        .all(|hours| hours.remaining(now).is_some())
                    && client.admits(run.source)
            }),
            Requester::Door(name) => {
                self.doors.get(name) == Some(&run.command) && usable_address(run.source)
            }
        };
        if !may {
            return Err(RunRefusal::NotAllowed);
        }
        Ok((ready, *parallel))
    }

    /// What is to be run when this happens.
    pub(super) fn hook(&self, event: HookEvent) -> Option<&ResolvedProgram> {
        match event {
            HookEvent::Open | HookEvent::Renew => self.open.as_ref(),
            HookEvent::Close => self.close.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use spad_config::{Files, check};
    use spad_model::RunId;

    use super::*;

    const SERVER: &str = r#"
[services]
ssh = "tcp/22"
[commands]
backup = { argv = ["/bin/true"], user = "daemon" }
other = { argv = ["/bin/true"], user = "no-such-user-here", parallel = true }
[hooks]
close = { argv = ["/bin/true"], user = "daemon" }
[[knock]]
name = "side"
sequence = "7000,8000"
run = "backup"
[[knock]]
name = "emma"
sequence = "7001,8001"
open = ["ssh"]
"#;

    fn policy() -> RunPolicy {
        let directory = Path::new("/etc/spad");
        let mut files = Files::empty(directory);
        let path = directory.join("spad.toml");
        files.server = Some(spa_findings::Source::new(&path, SERVER.to_owned()));
        for (name, byte, more) in [
            ("anna", 1, "commands = [\"backup\", \"other\"]"),
            ("bert", 2, "commands = [\"other\"]"),
            ("emma", 5, ""),
            ("carl", 3, "commands = [\"backup\"]\nenabled = false"),
            (
                "dora",
                4,
                "commands = [\"backup\"]\nexpires = 1970-01-01T00:00:01Z",
            ),
        ] {
            let key = spa_keys::ClientSecret::from_bytes([byte; 32]).public();
            let text = format!("key = \"{key}\"\nallow = [\"ssh\"]\n{more}\n");
            files.put_client(name.parse().unwrap(), text);
        }
        let key = spa_keys::ClientSecret::from_bytes([6; 32]).public();
        let expired = format!(
            "key = [{{ key = \"{key}\", until = 1970-01-01T00:00:01Z }}]\ncommands = [\"backup\"]\nallow = [\"ssh\"]\n"
        );
        files.put_client("fred".parse().unwrap(), expired);
        let loaded = check(&files, Timestamp::from_micros(0));
        RunPolicy::from_config(&loaded.unwrap().config)
    }

    fn ask(policy: &RunPolicy, client: &str, command: &str) -> Result<bool, RunRefusal> {
        let key = spa_keys::KeyId::from_bytes([0; 8]);
        let requester = Requester::Client(client.parse().unwrap(), key);
        ask_from(policy, requester, command, [192, 0, 2, 1])
    }

    fn ask_from(
        policy: &RunPolicy,
        requester: Requester,
        command: &str,
        source: [u8; 4],
    ) -> Result<bool, RunRefusal> {
        let run = RunCommand {
            id: RunId(1),
            command: command.parse().unwrap(),
            requester,
            source: source.into(),
        };
        let found = policy.command(&run, Timestamp::from_micros(1_000_000));
        found.map(|(_, parallel)| parallel)
    }

    #[test]
    fn no_message_runs_a_command_that_is_not_declared_or_that_its_client_does_not_list() {
        let policy = policy();
        assert_eq!(ask(&policy, "anna", "backup"), Ok(false));
        assert_eq!(ask(&policy, "anna", "other"), Ok(true));
        let not_allowed = Err(RunRefusal::NotAllowed);
        assert_eq!(ask(&policy, "anna", "sh"), Err(RunRefusal::Unknown));
        assert_eq!(ask(&policy, "bert", "other"), Ok(true));
        assert_eq!(ask(&policy, "bert", "backup"), not_allowed, "not listed");
        assert_eq!(ask(&policy, "emma", "backup"), not_allowed, "lists none");
        assert_eq!(ask(&policy, "carl", "backup"), not_allowed, "disabled");
        assert_eq!(ask(&policy, "dora", "backup"), not_allowed, "expired");
        assert_eq!(ask(&policy, "dora", "other"), not_allowed);
        assert_eq!(
            ask(&policy, "fred", "backup"),
            not_allowed,
            "its key is over"
        );
        assert_eq!(ask(&policy, "nobody", "backup"), not_allowed);
    }

    #[test]
    fn a_door_has_its_own_command_run_and_no_other_and_nobody_in_its_name() {
        let policy = policy();
        let ask = |door: &str, command: &str, source| {
            let by = Requester::Door(door.parse().unwrap());
            ask_from(&policy, by, command, source)
        };
        let here = [192, 0, 2, 1];
        let not_allowed = Err(RunRefusal::NotAllowed);
        assert_eq!(ask("side", "backup", here), Ok(false));
        assert_eq!(ask("side", "other", here), not_allowed, "another");
        assert_eq!(ask("side", "sh", here), Err(RunRefusal::Unknown));
        assert_eq!(ask("emma", "backup", here), not_allowed, "runs none");
        assert_eq!(ask("anna", "backup", here), not_allowed, "a client");
        assert_eq!(ask("side", "backup", [127, 0, 0, 1]), not_allowed);
        assert_eq!(super::tests::ask(&policy, "side", "backup"), not_allowed);
    }

    #[test]
    fn a_hook_that_is_not_declared_and_a_user_that_does_not_exist_run_nothing() {
        let policy = policy();
        assert!(policy.hook(HookEvent::Open).is_none());
        assert!(policy.hook(HookEvent::Renew).is_none());
        assert!(policy.hook(HookEvent::Close).is_some());
        let other = &policy.commands[&"other".parse().unwrap()].0;
        assert_eq!(other.account, None);
    }

    #[test]
    fn root_by_another_name_is_root() {
        let program = Program {
            argv: vec!["/bin/true".to_owned()],
            user: "root".to_owned(),
            as_root: false,
            timeout: std::time::Duration::from_secs(1),
        };
        assert_eq!(ResolvedProgram::new(&program).account, None);
    }
}
