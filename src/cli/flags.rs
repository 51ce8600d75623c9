//! The flags of the settings, made from the one table: four everywhere, the rest where a server starts.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::server::settings::{Flags, SETTINGS, Setting, Shape};

const EVERYWHERE: &[&str] = &["config", "data", "database_url", "unlock_key"];

/// `--config`, `--data`, `--database-url`, `--unlock-key`: accepted after every subcommand.
#[derive(Debug, Clone, Default)]
pub struct EverywhereFlags(pub Flags);

/// The flags of commands that start a server or look at its settings.
#[derive(Debug, Clone, Default)]
pub struct ServeFlags(pub Flags);

fn rows(everywhere: bool) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |s| !s.flag.is_empty() && EVERYWHERE.contains(&s.key) == everywhere)
}

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.key).long(setting.flag).help(format!("{} [env: {}]", setting.help, setting.env));
    match setting.shape {
        Shape::Switch => argument.action(ArgAction::SetTrue),
        Shape::Text | Shape::Integer | Shape::List => argument.value_name(setting.value_name),
    }
}

fn given(matches: &ArgMatches, everywhere: bool) -> Flags {
    let mut flags = Flags::new();
    for setting in rows(everywhere) {
        let value = match setting.shape {
            Shape::Switch => matches.get_flag(setting.key).then(|| "true".to_owned()),
            Shape::Text | Shape::Integer | Shape::List => matches.get_one::<String>(setting.key).cloned(),
        };
        if let Some(value) = value {
            flags.insert(setting.key, value);
        }
    }
    flags
}

macro_rules! settings_args {
    ($name:ident, $everywhere:literal) => {
        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok($name(given(matches, $everywhere)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0 = given(matches, $everywhere);
                Ok(())
            }
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                rows($everywhere).fold(command, |command, s| {
                    let heading = if $everywhere { "Settings" } else { "Server" };
                    command.arg(argument(s).global($everywhere).help_heading(heading))
                })
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

settings_args!(EverywhereFlags, true);
settings_args!(ServeFlags, false);
