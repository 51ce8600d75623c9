//! Contexts: servers that this user works with, each a URL, its root and a token file, in contexts.toml under
//! $XDG_CONFIG_HOME/chancery. `context …` shows and changes them; the session asks which one holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::Result;
use super::files;
use super::output::{self, Column, Format, Table};
use super::session::Context;
use crate::error::{Error, ErrorKind};
use crate::server::settings::Environment;

/// The name that means: the installation of this host.
pub const LOCAL: &str = "local";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub url: String,
    pub root: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the contexts; the current one is marked
    List,
    /// Make a context the current one; `local` is the installation of this host
    Use {
        /// The context, as `chancery context list` shows it
        name: String,
    },
    /// Show a context [default: the current one]
    Show {
        /// The context, as `chancery context list` shows it
        name: Option<String>,
    },
    /// Change a context that `chancery bootstrap` made
    Set(SetArgs),
    /// Forget a context and its root
    Remove {
        /// The context, as `chancery context list` shows it
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// The context, as `chancery context list` shows it
    name: String,
}

/// $XDG_CONFIG_HOME/chancery or ~/.config/chancery.
pub fn directory(environment: &Environment) -> Result<PathBuf, Error> {
    let base = environment.path("XDG_CONFIG_HOME").or_else(|| environment.path("HOME").map(|h| h.join(".config")));
    base.map(|b| b.join("chancery")).ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no place for contexts: neither XDG_CONFIG_HOME nor HOME is set")
    })
}

impl Contexts {
    /// None saved is none, not an error.
    pub fn read(environment: &Environment) -> Result<Contexts, Error> {
        let Ok(path) = directory(environment).map(|d| d.join("contexts.toml")) else {
            return Ok(Contexts::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(e) => return Err(broken(&path, &e)),
        };
        toml::from_str(&text).map_err(|e| broken(&path, &e))
    }

    pub fn write(&self, environment: &Environment) -> Result<(), Error> {
        let directory = directory(environment)?;
        private_directory(&directory)?;
        let text = toml::to_string(self).map_err(|e| Error::internal("contexts could not be written down", e))?;
        files::write(&directory.join("contexts.toml"), text.as_bytes(), 0o600, true)
    }

    pub fn get(&self, name: &str) -> Result<&Entry, Error> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).chain([LOCAL]).collect();
            let detail = format!(
                "no context is called \"{name}\": there is {}; `chancery bootstrap URL --fingerprint F` makes one",
                known.join(", ")
            );
            Error::new(ErrorKind::NotFound, detail)
        })
    }

    /// The one that holds: the named one, else the current one; none is the installation of this host.
    pub fn chosen(&self, named: Option<&str>) -> Result<Option<&Entry>, Error> {
        match named.or(self.current.as_deref()) {
            None | Some(LOCAL) => Ok(None),
            Some(name) => self.get(name).map(Some),
        }
    }
}

fn broken(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("cannot read the contexts in {}: {why}", path.display()))
}

pub fn private_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::new(ErrorKind::Config, format!("cannot make the directory {}: {e}", path.display())))
}

pub fn run(context: &Context, command: ContextCommand) -> Result<()> {
    let environment = Environment::of_process();
    let mut saved = Contexts::read(&environment)?;
    match command {
        ContextCommand::List => list(context, &saved),
        ContextCommand::Show { name } => show(context, &saved, name.as_deref()),
        ContextCommand::Use { name } => {
            if name != LOCAL {
                saved.get(&name)?;
            }
            saved.current = (name != LOCAL).then_some(name);
            Ok(saved.write(&environment)?)
        }
        ContextCommand::Set(args) => {
            saved.get(&args.name)?;
            let file = context.remote.token_file.as_ref();
            let file =
                file.ok_or_else(|| Error::malformed("name the file with the token for it with --token-file FILE"))?;
            let token = std::path::absolute(file)
                .map_err(|e| Error::malformed(format!("{} is no path: {e}", file.display())))?;
            if let Some(entry) = saved.contexts.get_mut(&args.name) {
                entry.token_file = Some(token);
            }
            Ok(saved.write(&environment)?)
        }
        ContextCommand::Remove { name } => {
            let root = saved.get(&name)?.root.clone();
            saved.contexts.remove(&name);
            if saved.current.as_deref() == Some(name.as_str()) {
                saved.current = None;
            }
            saved.write(&environment)?;
            // only what bootstrap put there
            if root.starts_with(directory(&environment)?) {
                let _nobody_needs_it = std::fs::remove_file(root);
            }
            Ok(())
        }
    }
}

fn list(context: &Context, saved: &Contexts) -> Result<()> {
    let named = |name: &str, url: Option<&str>| json!({"name": name, "url": url, "current": saved.current.as_deref().unwrap_or(LOCAL) == name});
    let objects = [named(LOCAL, None)].into_iter();
    let objects: Value =
        objects.chain(saved.contexts.iter().map(|(name, entry)| named(name, Some(&entry.url)))).collect();
    let document = match context.output {
        Some(Format::Jsonl | Format::Name) => objects,
        _ => json!({ "current": saved.current, "contexts": saved.contexts }),
    };
    if output::document(context.output, &document, "name")? {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Current, Column::Name, Column::Url, Column::TokenFile]);
    let mark = |holds: bool| if holds { "*" } else { "" }.to_owned();
    table.row(vec![mark(saved.current.is_none()), LOCAL.to_owned(), "-".to_owned(), "-".to_owned()]);
    for (name, entry) in &saved.contexts {
        let token = entry.token_file.as_ref().map_or_else(|| "-".to_owned(), |t| t.display().to_string());
        table.row(vec![mark(saved.current.as_ref() == Some(name)), name.clone(), entry.url.clone(), token]);
    }
    Ok(table.print()?)
}

fn show(context: &Context, saved: &Contexts, name: Option<&str>) -> Result<()> {
    let Some(entry) = saved.chosen(name)? else {
        return Ok(output::data(&format!("{LOCAL}: the installation of this host\n"))?);
    };
    if output::document(context.output, &json!(entry), "name")? {
        return Ok(());
    }
    let token = entry.token_file.as_ref().map_or_else(|| "-".to_owned(), |t| t.display().to_string());
    Ok(output::data(&format!(
        "url         {}\nroot        {}\ntoken file  {token}\n",
        entry.url,
        entry.root.display()
    ))?)
}
