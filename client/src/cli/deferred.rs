//! Arguments of a command that are put together only once the command is named:
//! each run of `spa` needs those of one command.

use std::ops::Deref;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

/// The arguments `A`, of which the grammar knows nothing until it is built.
#[derive(Debug)]
pub(super) struct Deferred<A>(A);

impl<A> Deref for Deferred<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Args> Args for Deferred<A> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| before_global(command, A::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| before_global(command, A::augment_args_for_update))
    }
}

/// Adds arguments before the global ones, which clap has put into the command by
/// the time it is built. Completions list them in this order.
fn before_global(command: Command, augment: fn(Command) -> Command) -> Command {
    let global: Vec<_> = (command.get_arguments().map(Arg::get_id).cloned()).collect();
    // An argument that is changed becomes the last one.
    global.into_iter().fold(augment(command), |command, id| {
        command.mut_arg(id, |argument| argument)
    })
}

impl<A: FromArgMatches> FromArgMatches for Deferred<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Args)]
    struct Own {
        #[arg(long)]
        own: bool,
    }

    #[test]
    fn arguments_are_unknown_until_built_and_then_stand_before_global_ones() {
        let command = Deferred::<Own>::augment_args(Command::new("command"));
        assert_eq!(command.get_arguments().count(), 0);
        let global = Arg::new("global").long("global").global(true);
        let mut grammar = Command::new("program").arg(global).subcommand(command);
        grammar.build();
        let command = grammar.find_subcommand("command").unwrap();
        let names: Vec<_> = command.get_arguments().map(Arg::get_id).collect();
        assert_eq!(names, ["own", "global", "help"]);
    }
}
