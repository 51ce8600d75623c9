//! The flags of the settings, made from the one table: four everywhere, the rest where a server starts.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::server::config::Config;
use crate::server::settings::{Environment, Flags, SETTINGS, Setting, Shape};

/// Flags that are taken and have nothing behind them yet: no help page shows them.
const RESERVED: &[&str] = &["listen_mtls"];
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
    let argument = argument.hide(RESERVED.contains(&setting.key));
    match setting.shape {
        Shape::Switch => argument.action(ArgAction::SetTrue),
        Shape::Text | Shape::Integer | Shape::List => argument.value_name(setting.value_name),
    }
}

/// The settings that have no flag, for the end of a help page: environment variable, key, default and meaning.
pub fn further_settings() -> String {
    let mut text = String::from("Further settings, in the environment or in the file of --config:\n");
    // without flags, settings and a file every setting has its default; where the data directory is, these variables say
    let process = Environment::of_process();
    let places = ["STATE_DIRECTORY", "XDG_DATA_HOME", "HOME"];
    let places: Vec<_> = places.iter().filter_map(|name| Some((*name, process.text(name)?))).collect();
    let places: Vec<(&str, &str)> = places.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let defaults =
        Config::load(&Flags::new(), &Environment::of(&places)).map(|config| config.rows()).unwrap_or_default();
    for (setting, default, _) in defaults.into_iter().filter(|(setting, ..)| setting.flag.is_empty()) {
        let default = if default.is_empty() { "none".to_owned() } else { default };
        text.push_str(&format!(
            "  {}  ({}, default: {default})\n          {}\n",
            setting.env, setting.key, setting.help
        ));
    }
    text.push_str("`chancery config show --origin` prints each setting, its value and where it came from.");
    text
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
