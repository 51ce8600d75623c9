//! The processes that serve, or served: where clients reach them, and whether they were started locked.

use super::engine::{Db, Row, q, statements};
use crate::clock::{Timestamp, days};
use crate::error::Result;
use crate::model::id::ReplicaId;

/// Rows of processes that ended without a word are kept for so long, that of the newest for good.
const KEPT: std::time::Duration = days(90);

statements! {
    INSERT = "INSERT INTO servers (replica_id, external_url, locked, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    PRUNE = "DELETE FROM servers WHERE started_at < $1";
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

fn server(row: &Row) -> Result<ServerProcess> {
    Ok(ServerProcess {
        replica: row.id("replica_id")?,
        external_url: row.get("external_url")?,
        locked: row.get::<i64>("locked")? != 0,
        started_at: row.time("started_at")?,
    })
}
