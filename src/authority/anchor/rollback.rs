//! The reaction to a restored database, one that is older than this process remembers. The first process that finds it ends
//! all sessions and suspends users, tokens, grants and EAB keys, which may have been disabled or revoked since; every process
//! puts the CRLs that it served last back into the database.

use serde_json::json;

use crate::authority::Authority;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::anchor::Anchor;
use crate::model::audit::AuditEvent;
use crate::store::history::{self, Mark};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, suspensions};

impl Authority {
    pub(super) async fn mark_rollback(&self, memory: &Anchor, findings: &[String]) -> Result<()> {
        let mut tx = self.store.begin(&Actor::system("anchor")).await?;
        mark(&mut tx, memory, findings).await?;
        tx.commit().await?;
        self.publish_kept().await;
        self.forget_answers();
        Ok(())
    }
}

/// Marks the database, once; what was remembered is added by every process. Returns what all of them remembered.
pub(in crate::authority) async fn mark(tx: &mut Tx, memory: &Anchor, findings: &[String]) -> Result<Anchor> {
    let before = history::hold(&mut *tx).await?;
    let mut remembered = read(&before).unwrap_or_else(|| memory.clone());
    remembered.figures.rise_to_crls(&memory.figures);
    remembered.figures.epoch = remembered.figures.epoch.max(memory.figures.epoch);
    let text = serde_json::to_string(&remembered)
        .map_err(|e| crate::error::Error::internal("an anchor does not serialise", e))?;
    let now = tx.now();
    let first = before.at.is_none();
    let findings = if first { findings.to_vec() } else { before.findings };
    let mark = Mark { at: Some(before.at.unwrap_or(now)), findings, remembered: text };
    history::mark(&mut *tx, &mark).await?;
    if first {
        let suspended = suspensions::suspend_all(&mut *tx).await?;
        versions::bump(&mut *tx, Topic::Access).await?;
        let detail = json!({"findings": mark.findings, "suspended": suspended});
        tx.audit(AuditEvent::done("history.rolled_back", "", detail));
    }
    Ok(remembered)
}

/// What processes remembered when the database was marked.
fn read(mark: &Mark) -> Option<Anchor> {
    serde_json::from_str(&mark.remembered).ok()
}
