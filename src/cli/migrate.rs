//! `migrate --check|--run`: the schema of the database on this host. No other command but `serve` and `init` changes it.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::failure::{Cause, Failure, Result, Trying};
use super::output;
use super::session::Context;
use crate::clock::{Clock, SystemClock};
use crate::entropy::SystemEntropy;
use crate::model::id::ReplicaId;
use crate::server::founded::{self, Emptiness};
use crate::server::{claim, open};
use crate::store::engine::Db;
use crate::store::migrate::{self, Schema};

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct MigrateArgs {
    /// Say which steps the database lacks, and change nothing
    ///
    /// Ends with 0 when it lacks none, 10 when it lacks some, 11 when a newer chancery made it.
    #[arg(long)]
    check: bool,
    /// Apply the steps that the database lacks
    ///
    /// On Postgres beside servers of the version before, which go on working; on SQLite with the server stopped.
    #[arg(long)]
    run: bool,
}

pub async fn run(context: &Context, args: MigrateArgs) -> Result<()> {
    let what = || "cannot migrate the database".to_owned();
    context.on_host("migrate").trying(what)?;
    let config = context.config(&Default::default())?;
    let replica = ReplicaId::new(Arc::new(SystemClock).now(), &SystemEntropy::new()).trying(what)?;
    let db = open::open_existing_database(&config, replica).await.trying(what)?;
    // SQLite: nobody serves the file while its tables are rebuilt
    let _claim = if args.run { claim::database(&config).trying(what)? } else { None };
    let schema = migrate::schema(&db).await.trying(what)?;
    let shown = config.database.to_string();
    let may_fill = if schema.applied == 0 { founded::check_may_found(&config, Emptiness::Empty) } else { Ok(()) };
    let outcome = match may_fill {
        Ok(()) if args.run => apply(&db, &schema).await,
        Err(error) if args.run => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    db.close().await;
    outcome.trying(what)?;
    say(context, &schema, &shown, args.run)
}

async fn apply(db: &Db, schema: &Schema) -> crate::error::Result<()> {
    match schema.unknown {
        Some(newer) => Err(migrate::newer(newer)),
        None => migrate::run_telling(db, &|doing| output::say(doing)).await,
    }
}

fn say(context: &Context, schema: &Schema, database: &str, ran: bool) -> Result<()> {
    let (applied, latest) = (if ran { migrate::LATEST } else { schema.applied }, migrate::LATEST);
    if output::is_for_programs(context.output) {
        let pending: Vec<_> =
            schema.pending.iter().map(|(number, name)| json!({"schema": number, "name": name})).collect();
        let member = if ran { "applied" } else { "pending" };
        let told = json!({"database": database, "schema": applied, "latest": latest, member: pending});
        output::document(context.output, &told, "schema")?;
    } else if let Some(newer) = schema.unknown {
        output::say(&format!(
            "a newer chancery made the database {database}: it has schema {newer}, and this one knows {latest}"
        ));
    } else if schema.pending.is_empty() {
        output::say(&format!("the database {database} has schema {applied}, which is this chancery's"));
    } else {
        let names: Vec<_> = schema.pending.iter().map(|(_, name)| *name).collect();
        let (steps, names) = (names.len(), names.join(", "));
        output::say(&if ran {
            format!("the database {database} was migrated from schema {} to {latest}: {names}", schema.applied)
        } else {
            format!("the database {database} has schema {applied}; to reach {latest} it lacks {steps} steps: {names}")
        });
    }
    match (ran, schema.unknown, schema.pending.is_empty()) {
        (false, Some(_), _) => Err(Failure { what: String::new(), cause: Cause::Check(11) }),
        (false, None, false) => Err(Failure { what: String::new(), cause: Cause::Check(10) }),
        _ => Ok(()),
    }
}
