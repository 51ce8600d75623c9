//! Checkpoints: each signed by its key and following from the one before, and what they saw is still in the chains.

use std::collections::HashMap;

use super::Report;
use crate::authority::Authority;
use crate::error::Result;
use crate::model::audit::{ChainedEvent, Checkpoint};
use crate::model::id::{CheckpointId, ReplicaId};
use crate::model::serial::to_hex;
use crate::pki::algorithm::verify;
use crate::store::{checkpoints, hierarchy};

const PAGE: i64 = 500;

/// Ends of chains that checkpoints saw: (writer, lane, seq) → (hash, when).
#[derive(Debug, Default)]
pub(super) struct Witnessed(HashMap<(ReplicaId, i64, i64), (String, String)>);

impl Authority {
    /// Read before the chains, which only grow.
    pub(super) async fn check_checkpoints(&self, report: &mut Report) -> Result<Witnessed> {
        let mut witnessed = Witnessed::default();
        let mut before: Option<Checkpoint> = None;
        let mut after = CheckpointId::from_bytes([0; 16]);
        loop {
            let page = checkpoints::walk(&self.store, after, PAGE).await;
            let page = report.readable("the table of audit checkpoints", page)?.unwrap_or_default();
            let Some(last) = page.last() else { return Ok(witnessed) };
            after = last.id;
            for checkpoint in page {
                self.check_checkpoint(&checkpoint, before.as_ref(), &mut witnessed, report).await?;
                before = Some(checkpoint);
            }
        }
    }

    async fn check_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        before: Option<&Checkpoint>,
        witnessed: &mut Witnessed,
        report: &mut Report,
    ) -> Result<()> {
        let id = checkpoint.id;
        let key = report.readable(
            &format!("the key of audit checkpoint {id}"),
            hierarchy::key(&self.store, checkpoint.key_id).await,
        )?;
        let good = key
            .flatten()
            .is_some_and(|key| verify(&key.public_key, &checkpoint.message(), &checkpoint.signature).is_ok());
        if !good {
            report.finding(format!("audit checkpoint {id}: its signature is not that of its key"));
            return Ok(());
        }
        let Some(heads) = report.readable(&format!("audit checkpoint {id}"), checkpoint.read())? else {
            return Ok(());
        };
        if heads.previous != before.map(|before| to_hex(&before.sha256())) {
            report.finding(format!("audit checkpoint {id}: one before it is missing or was changed"));
        }
        for head in heads.heads {
            let seen = (to_hex(&head.hash), checkpoint.at.to_string());
            witnessed.0.insert((head.writer, head.lane, head.seq), seen);
        }
        Ok(())
    }
}

impl Witnessed {
    /// An event of a chain that is whole up to here.
    pub(super) fn meet(&mut self, event: &ChainedEvent, report: &mut Report) {
        let Some((hash, at)) = self.0.remove(&(event.writer, event.lane, event.seq)) else { return };
        if hash != to_hex(&event.hash) {
            let (writer, lane, seq) = (event.writer, event.lane, event.seq);
            report.finding(format!(
                "audit chain {writer}/{lane} at {seq}: it is not the event that the checkpoint of {at} saw"
            ));
        }
    }

    /// What was not met has been cut off.
    pub(super) fn rest(self, report: &mut Report) {
        for ((writer, lane, seq), (_, at)) in self.0 {
            report
                .finding(format!("audit chain {writer}/{lane} was cut: the checkpoint of {at} saw its event {seq}"));
        }
    }
}
