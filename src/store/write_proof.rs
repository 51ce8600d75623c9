//! Whether the database takes this process's writes. Readiness goes by a small write every few seconds, and by what
//! other writes met in between; a probe itself never writes. A row a process, so that replicas do not wait for each
//! other.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Store;
use super::engine::{q, statements};
use crate::clock::{days, monotonic};
use crate::error::Result;

/// A write that was proved longer ago proves nothing: the newest attempt hangs, or waits for locks again and again.
const PROVED_FOR: Duration = Duration::from_secs(15);
/// After a failure: on a full disk a few bytes still fit into pages that the database has already.
const PADDING: usize = 128 << 10;

statements! {
    PROVE = "INSERT INTO write_proofs (replica_id, proved_at, padding) VALUES ($1, $2, $3) \
             ON CONFLICT (replica_id) DO UPDATE SET proved_at = excluded.proved_at, padding = excluded.padding";
    LEAVE = "DELETE FROM write_proofs WHERE replica_id = $1 OR proved_at < $2";
}

/// What the last attempts found. Guards only itself.
#[derive(Debug, Default)]
pub struct WriteProof(Mutex<Found>);

#[derive(Debug, Clone, Default)]
struct Found {
    proved: Option<Instant>,
    failure: Option<String>,
}

impl Store {
    /// Writes one row. Called every five seconds.
    pub async fn prove_write(&self) -> Result<()> {
        let failed_before = self.write_proof.found().failure.is_some() || self.db.write_trouble().is_some();
        let padding = if failed_before { Some(self.padding()?) } else { None };
        let query = q(PROVE).bind(self.replica().to_vec()).bind(self.now()).bind(padding);
        let proved = query.execute(&self.db).await;
        let mut found = self.write_proof.found();
        match &proved {
            Ok(_) => {
                self.db.forget_write_trouble();
                found = Found { proved: Some(monotonic()), failure: None };
            }
            // whoever waits for a lock may get it the next time
            Err(error) if super::outages::is_busy(error) => {}
            Err(error) => found.failure = Some(error.chain()),
        }
        self.write_proof.keep(found);
        proved.map(drop)
    }

    /// Random, because a database may compress what it stores.
    fn padding(&self) -> Result<Vec<u8>> {
        let mut padding = vec![0; PADDING];
        self.entropy.fill(&mut padding)?;
        Ok(padding)
    }

    /// Why the database takes no writes of this process, if it takes none. Costs no statement.
    pub fn write_failure(&self) -> Option<String> {
        let found = self.write_proof.found();
        if let Some(why) = found.failure.or_else(|| self.db.write_trouble().map(str::to_owned)) {
            return Some(why);
        }
        match found.proved {
            None => Some("no write has succeeded yet".to_owned()),
            Some(at) if at.elapsed() > PROVED_FOR => {
                Some(format!("no write has succeeded for {} seconds", at.elapsed().as_secs()))
            }
            Some(_) => None,
        }
    }

    /// Removes the row of a process that ends, and of those that ended without a word.
    pub async fn leave_write_proofs(&self) -> Result<()> {
        let query = q(LEAVE).bind(self.replica().to_vec()).bind(self.now() - days(1));
        query.execute(&self.db).await.map(drop)
    }
}

impl WriteProof {
    fn found(&self) -> Found {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, found: Found) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
