//! The processes that serve, or served: where clients reach them, and whether they were started locked.

use super::engine::{Db, Row, q, statements};
use super::{Store, replicas};
use crate::clock::{Timestamp, days};
use crate::error::{Error, Result};
use crate::model::id::ReplicaId;
use crate::model::trouble::ServerTrouble;

/// Rows of processes that ended without a word are kept for so long, that of the newest for good.
const KEPT: std::time::Duration = days(90);

statements! {
    INSERT = "INSERT INTO servers (replica_id, external_url, locked, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    PRUNE = "DELETE FROM servers WHERE started_at < $1";
    SET_TROUBLE = "UPDATE servers SET trouble = $2 WHERE replica_id = $1";
    /// The one process of a SQLite database is the one that started last; on Postgres it is asked which ones live.
    TROUBLES = "SELECT replica_id, external_url, trouble, 1 AS serves FROM servers ORDER BY started_at DESC, replica_id DESC LIMIT 1",
        postgres "SELECT replica_id, external_url, trouble, 0 AS serves FROM servers WHERE trouble <> '' ORDER BY started_at DESC, replica_id DESC LIMIT 20";
    NEWEST = "SELECT replica_id, external_url, locked, started_at FROM servers ORDER BY started_at DESC, replica_id DESC LIMIT 20";
}

/// A process that serves, or served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProcess {
    pub replica: ReplicaId,
    /// Base of ACME URLs and links, without a slash at its end.
    pub external_url: String,
    /// It was started without the unlock key.
    pub locked: bool,
    pub started_at: Timestamp,
}

/// Records a process that begins to serve, and forgets those of long ago.
pub async fn record(db: &Db, server: &ServerProcess) -> Result<()> {
    q(PRUNE).bind(server.started_at - KEPT).execute(db).await?;
    let insert = q(INSERT).bind(server.replica.to_vec()).bind(&server.external_url);
    insert.bind(i64::from(server.locked)).bind(server.started_at).execute(db).await.map(drop)
}

/// The newest first.
pub async fn newest(db: &Db) -> Result<Vec<ServerProcess>> {
    let rows = q(NEWEST).fetch_all(db).await?;
    // a row that cannot be read is no reason not to start
    Ok(rows.iter().filter_map(|row| server(row).ok()).collect())
}

/// Replaces what the row of this process says of its trouble. A process without a row says nothing.
pub async fn set_trouble(store: &Store, trouble: &ServerTrouble) -> Result<()> {
    let text = match trouble {
        trouble if *trouble == ServerTrouble::default() => String::new(),
        trouble => {
            serde_json::to_string(trouble).map_err(|e| Error::internal("a server's trouble does not serialise", e))?
        }
    };
    q(SET_TROUBLE).bind(store.replica().to_vec()).bind(text).execute(&store.db).await.map(drop)
}

/// The trouble of other servers that run, each with its external URL.
pub async fn troubles_of_others(store: &Store) -> Result<Vec<(String, ServerTrouble)>> {
    let mut found = Vec::new();
    for row in q(TROUBLES).fetch_all(&store.db).await? {
        let replica: ReplicaId = row.id("replica_id")?;
        if replica == store.replica() || row.get::<String>("trouble")?.is_empty() {
            continue;
        }
        if row.get::<i32>("serves")? == 1 || replicas::is_alive(store, replica).await? {
            // one that cannot be read hides no other
            let Ok(trouble) = row.json("trouble") else { continue };
            found.push((row.get("external_url")?, trouble));
        }
    }
    Ok(found)
}

fn server(row: &Row) -> Result<ServerProcess> {
    Ok(ServerProcess {
        replica: row.id("replica_id")?,
        external_url: row.get("external_url")?,
        locked: row.get::<i64>("locked")? != 0,
        started_at: row.time("started_at")?,
    })
}
