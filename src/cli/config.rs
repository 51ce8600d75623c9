//! `config check|show|schema`: the settings as `serve` would take them.

use clap::Subcommand;
use serde_json::json;

use super::failure::Result;
use super::flags::ServeFlags;
use super::output::{self, Column, Table};
use super::session::Context;
use crate::error::{Error, ErrorKind};
use crate::server::settings::json_schema;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the settings without starting the server
    Check(ServeFlags),
    /// Print every setting
    Show {
        /// Also print where each value came from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Print the JSON schema of the configuration file
    Schema,
}

pub fn run(context: &Context, command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(flags) => {
            let found = context.config(&flags.0)?.stumbling_blocks();
            if !found.is_empty() {
                return Err(Error::new(ErrorKind::Config, found.join("\n")).into());
            }
            output::say("the settings are good");
            Ok(())
        }
        ConfigCommand::Show { origin, flags } => show(context, &flags, origin),
        ConfigCommand::Schema => Ok(output::data(&format!("{:#}\n", json_schema()))?),
    }
}

fn show(context: &Context, flags: &ServeFlags, origin: bool) -> Result<()> {
    let config = context.config(&flags.0)?;
    let rows = config.rows();
    if output::is_for_programs(context.output) {
        let members = rows.into_iter().map(|(setting, value, origin)| {
            (setting.key.to_owned(), json!({"value": value, "origin": origin.name()}))
        });
        let settings = members.collect::<serde_json::Map<_, _>>().into();
        output::document(context.output, &settings, "setting")?;
        return Ok(());
    }
    let mut table = Table::new(if origin {
        &[Column::Setting, Column::Value, Column::Origin]
    } else {
        &[Column::Setting, Column::Value]
    });
    for (setting, value, from) in rows {
        let value = if value.is_empty() { "-".to_owned() } else { value };
        let mut cells = vec![setting.key.to_owned(), value];
        if origin {
            cells.push(from.name().to_owned());
        }
        table.row(cells);
    }
    Ok(table.print()?)
}
