//! Which processes are on the database: each calls its connections by its id, and Postgres lists them.

use super::Store;
use super::engine::{q, statements};
use crate::error::Result;
use crate::model::id::ReplicaId;

statements! {
    /// One process at a time serves a SQLite database: no other lives.
    ALIVE = "SELECT 1 AS alive WHERE $1 IS NULL",
        postgres "SELECT 1 AS alive FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1) LIMIT 1";
}

/// What Postgres calls the connections of a process; at most 63 octets.
pub fn connection_name(replica: ReplicaId) -> String {
    format!("chancery {replica}")
}

/// Has the process a connection still? A pooler in between may add to the name, keep a connection for a while after
/// the end, or have none for a process that lives: this is a reason to look at its work, never a proof that it ended.
pub async fn is_alive(store: &Store, replica: ReplicaId) -> Result<bool> {
    if replica == store.replica() {
        return Ok(true);
    }
    Ok(q(ALIVE).bind(connection_name(replica)).fetch_optional(&store.db).await?.is_some())
}
