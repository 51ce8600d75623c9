//! What this server cannot do outside of the database, told to commands on the host by its row in the database.

use super::Authority;
use crate::error::Result;
use crate::model::trouble::{Failure, ServerTrouble};
use crate::store::servers;

impl Authority {
    /// Writes the trouble of this process into its row when it has changed.
    pub async fn tell_trouble(&self) -> Result<()> {
        let mut told = self.told_trouble.lock().await;
        let trouble = self.trouble();
        if *told != trouble {
            servers::set_trouble(&self.store, &trouble).await?;
            *told = trouble;
        }
        Ok(())
    }

    /// A process that ends has none.
    pub async fn withdraw_trouble(&self) -> Result<()> {
        let mut told = self.told_trouble.lock().await;
        if *told != ServerTrouble::default() {
            servers::set_trouble(&self.store, &ServerTrouble::default()).await?;
            *told = ServerTrouble::default();
        }
        Ok(())
    }

    fn trouble(&self) -> ServerTrouble {
        let health = self.anchor.health();
        let place = health.place.unwrap_or_default();
        let failed = |(place, why)| Failure { place, why };
        ServerTrouble {
            anchor: health.failure.map(|why| Failure { place, why }),
            checkpoints: self.target_failures.list().into_iter().map(failed).collect(),
        }
    }
}
