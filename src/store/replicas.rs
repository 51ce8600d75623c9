//! Which processes are on the database: each calls its connections by its id, and Postgres lists them.

use super::Store;
use super::engine::{q, statements};
use crate::error::Result;
use crate::model::id::ReplicaId;

statements! {
    /// One process at a time serves a SQLite database: no other lives.
    ALIVE = "SELECT 1 AS alive WHERE $1 IS NULL",
        postgres "SELECT 1 AS alive FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1) LIMIT 1";
    /// Other processes than `$1`, and whether one of them has a name without `$2` or without `$3`.
    OTHERS = "SELECT 0 AS others, 0 AS older, 0 AS unaware WHERE $1 IS NOT NULL AND $2 IS NOT NULL AND $3 IS NOT NULL",
        postgres "SELECT COUNT(*) AS others, COUNT(*) FILTER (WHERE strpos(application_name, $2) = 0) AS older, \
                  COUNT(*) FILTER (WHERE strpos(application_name, $3) = 0) AS unaware FROM pg_stat_activity \
                  WHERE datname = current_database() AND starts_with(application_name, 'chancery rep_') AND NOT starts_with(application_name, $1)";
}

/// In the names of processes that know the MACs of rows, those of ACME accounts and authorizations too.
const KNOWS_MACS: &str = " row-macs-2";
/// In the names of processes that take revocations and blocked keys back under a MAC.
const TAKES_BACK: &str = " taken-back";

/// What Postgres calls the connections of a process; at most 63 octets.
pub fn connection_name(replica: ReplicaId) -> String {
    format!("chancery {replica}{KNOWS_MACS}{TAKES_BACK}")
}

/// Other processes of this CA on the database. A pooler in between may hide them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherProcesses {
    pub any: bool,
    /// One of them is of a version that knows no MACs of rows.
    pub older: bool,
    /// One of them is of a version that lifts holds and unblocks keys without a MAC.
    pub takes_back_without_mac: bool,
}

pub async fn others(store: &Store) -> Result<OtherProcesses> {
    let own = format!("chancery {}", store.replica());
    let row = q(OTHERS).bind(own).bind(KNOWS_MACS).bind(TAKES_BACK).fetch_one(&store.db).await?;
    let counted = |column| row.get::<i64>(column).map(|n| n > 0);
    Ok(OtherProcesses {
        any: counted("others")?,
        older: counted("older")?,
        takes_back_without_mac: counted("unaware")?,
    })
}

/// Has the process a connection still? A pooler in between may add to the name, keep a connection for a while after
/// the end, or have none for a process that lives: this is a reason to look at its work, never a proof that it ended.
pub async fn is_alive(store: &Store, replica: ReplicaId) -> Result<bool> {
    if replica == store.replica() {
        return Ok(true);
    }
    Ok(q(ALIVE).bind(format!("chancery {replica}")).fetch_optional(&store.db).await?.is_some())
}
