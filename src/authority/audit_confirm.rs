//! An operator's word that events are honest although their times are earlier than checkpoints that do not have them: the clock
//! was set back. The word is an audit event like any other, so the next checkpoint signs it and `audit verify` prints it.

use serde_json::json;

use super::Authority;
use super::audit_check::KnownOutside;
use super::audit_coverage::OVERLAP;
use super::audit_misplaced::{CONFIRMED, ClockConfirmation, EventRange};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;
use crate::store::checkpoints;

/// Characters of a reason.
const REASON: usize = 200;

impl Authority {
    /// Confirms the events of these chains (`rep_…/0`) that `audit verify` calls added later. Returns them.
    pub async fn confirm_clock(&self, actor: &Actor, chains: &[String], reason: &str) -> Result<Vec<EventRange>> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON || reason.chars().any(is_deceptive) {
            let detail = format!(
                "a reason has 1 to {REASON} printable characters; say in --reason why the clock was set back"
            );
            return Err(Error::new(ErrorKind::Unprocessable, detail));
        }
        self.store.check_signing()?;
        if let Some(newest) =
            checkpoints::latest(&self.store).await?.filter(|newest| self.store.now() < newest.at - OVERLAP)
        {
            let detail = format!(
                "the newest checkpoint is of {}, which is still to come; a server that runs makes one of the present time within \
                 5 minutes: run this again then",
                newest.at
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let found = self.verify_audit(KnownOutside::default()).await?.misplaced;
        if let Some(unknown) = chains.iter().find(|chain| found.iter().all(|range| range.chain() != **chain)) {
            let detail = format!(
                "\"{}\" is no chain with events that were added later; `chancery audit verify` names those that are",
                shown(unknown)
            );
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        let ranges: Vec<_> = found.into_iter().filter(|range| chains.contains(&range.chain())).collect();
        let confirmation = ClockConfirmation { reason: reason.to_owned(), ranges };
        let mut tx = self.store.begin(actor).await?;
        tx.audit(AuditEvent::done(CONFIRMED, "", json!(confirmation)));
        tx.commit().await?;
        Ok(confirmation.ranges)
    }
}
