//! Secrets that all replicas share, sealed under the unlock key: a copy of the database alone opens none.

use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;

/// The marks that every row of a table must have a MAC, each followed by the table's name (`authority/row_macs.rs`).
pub const ROW_MACS_REQUIRED: &str = "row-macs-required:";

statements! {
    BEGINNING = "SELECT name, sealed FROM shared_secrets WHERE SUBSTR(name, 1, LENGTH($1)) = $1";
    MADE_AT = "SELECT created_at FROM shared_secrets WHERE name = $1";
    FIND = "SELECT sealed FROM shared_secrets WHERE name = $1";
    DELETE = "DELETE FROM shared_secrets WHERE name = $1";
    INSERT = "INSERT INTO shared_secrets (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
}

pub async fn find<'a>(on: impl Into<On<'a>>, name: &str) -> Result<Option<Vec<u8>>> {
    q(FIND).bind(name).fetch_optional(on).await?.map(|row| row.get("sealed")).transpose()
}

/// Those whose name begins so: what follows in the name, and the sealed secret.
pub async fn beginning<'a>(on: impl Into<On<'a>>, with: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let rows = q(BEGINNING).bind(with).fetch_all(on).await?;
    let rest = |name: String| name.strip_prefix(with).unwrap_or_default().to_owned();
    rows.iter().map(|row| Ok((rest(row.get("name")?), row.get("sealed")?))).collect()
}

pub async fn made_at<'a>(on: impl Into<On<'a>>, name: &str) -> Result<Option<Timestamp>> {
    q(MADE_AT).bind(name).fetch_optional(on).await?.map(|row| row.time("created_at")).transpose()
}

/// Keeps the first of several: who inserts reads again.
pub async fn insert<'a>(on: impl Into<On<'a>>, name: &str, sealed: &[u8], now: Timestamp) -> Result<()> {
    q(INSERT).bind(name).bind(sealed.to_vec()).bind(now).execute(on).await.map(drop)
}

/// Takes one out that cannot be opened.
pub async fn delete<'a>(on: impl Into<On<'a>>, name: &str) -> Result<()> {
    q(DELETE).bind(name).execute(on).await.map(drop)
}
