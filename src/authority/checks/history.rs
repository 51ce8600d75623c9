//! `doctor`: is the database as new as what is remembered of it, can that be remembered, and what waits to be confirmed?

use super::{Authority, Check, Severity, check};
use crate::error::Result;
use crate::store::history;

impl Authority {
    pub(super) async fn check_history(&self) -> Result<Check> {
        let (mut found, health) = (Vec::new(), self.anchor.health());
        let path = health.path.map(|path| path.display().to_string()).unwrap_or_default();
        if let Some(rollback) = self.store.rollback() {
            let text = format!(
                "{} (found at {}: {})",
                history::ROLLED_BACK,
                rollback.found_at,
                rollback.findings.join("; ")
            );
            found.push((Severity::Critical, text));
        }
        let known = self.anchor.memory().and_then(|memory| memory.figures.checkpoint);
        for row in history::read(&self.store, known.as_ref()).await?.unreadable {
            let text = format!(
                "{row}; somebody changed the database: run `chancery fsck`, which names every such row, and put them back \
                 from a backup"
            );
            found.push((Severity::Critical, text));
        }
        if let Some(why) = health.failure {
            let text = format!(
                "the anchor {path} cannot be written, so an older database may go unnoticed: {why}; make its directory \
                 writable, or name a file elsewhere with `anchor` (CHANCERY_ANCHOR)"
            );
            found.push((Severity::Critical, text));
        }
        if let Some(why) = health.unreadable {
            let text = format!(
                "the anchor {path} cannot be read: {why}; a server that starts sets it aside: `chancery serve`"
            );
            found.push((Severity::Warning, text));
        }
        if let Some(at) = health.replaced_at {
            let text = format!(
                "the anchor {path} was missing or unreadable at {at}, so whether this database is older than it was cannot \
                 be told; compare its CRL numbers with the published CRLs, then run `chancery reconcile`"
            );
            found.push((Severity::Warning, text));
        }
        let suspended = self.suspended().await?;
        if !suspended.is_empty() {
            let text = format!(
                "{} tokens, grants and EAB keys are suspended since the database was restored; `chancery reconcile --dry-run` \
                 lists them, and `chancery reconcile --confirm NAME` lets one work again",
                suspended.len()
            );
            found.push((Severity::Warning, text));
        }
        Ok(check("history", found, "the database is as new as what is remembered of it".to_owned()))
    }
}
