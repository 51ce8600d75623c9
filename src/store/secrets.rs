//! Secrets that all replicas share, sealed under the unlock key: a copy of the database alone opens none.

use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;

statements! {
    FIND = "SELECT sealed FROM shared_secrets WHERE name = $1";
    INSERT = "INSERT INTO shared_secrets (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
}

pub async fn find<'a>(on: impl Into<On<'a>>, name: &str) -> Result<Option<Vec<u8>>> {
    q(FIND).bind(name).fetch_optional(on).await?.map(|row| row.get("sealed")).transpose()
}

/// Keeps the first of several: who inserts reads again.
pub async fn insert<'a>(on: impl Into<On<'a>>, name: &str, sealed: &[u8], now: Timestamp) -> Result<()> {
    q(INSERT).bind(name).bind(sealed.to_vec()).bind(now).execute(on).await.map(drop)
}
