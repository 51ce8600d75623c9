//! The audit of the database: its checkpoints, then its chains.

use super::{PAGE, Report, Told};
use crate::authority::Authority;
use crate::authority::audit_check::{AuditCheck, AuditKeys, AuditVerdict, KnownOutside};
use crate::error::Result;
use crate::model::audit::{ChainedEvent, Checkpoint};
use crate::model::serial::to_hex;
use crate::pki::signer::KeyPurpose;
use crate::store::row_macs::RowMacs;
use crate::store::{audit, checkpoints, hierarchy};

/// One row of the audit.
#[derive(Debug)]
pub(in crate::authority) enum AuditRow {
    Checkpoint(Checkpoint),
    Event(ChainedEvent),
}

impl Authority {
    /// The audit alone, compared with what is known of it outside.
    pub async fn verify_audit(&self, known: KnownOutside) -> Result<AuditVerdict> {
        let mut report = Report::default();
        self.report_rollback(&mut report);
        let mut verdict = self.read_audit(known, |_| ()).await?;
        verdict.findings.splice(0..0, report.findings);
        Ok(verdict)
    }

    pub(super) async fn check_audit(&self, report: &mut Report) -> Result<Told> {
        let mut told = Told::default();
        let verdict = self.read_audit(KnownOutside::default(), |event| told.of(event, self.store.row_macs())).await?;
        report.events = verdict.events;
        report.findings.extend(verdict.findings);
        Ok(told)
    }

    /// Reads all of the audit, giving each event to `see`.
    pub(in crate::authority) async fn read_audit(
        &self,
        known: KnownOutside,
        mut see: impl FnMut(&ChainedEvent),
    ) -> Result<AuditVerdict> {
        let mut report = Report::default();
        let mut check = AuditCheck::new(self.audit_keys(&mut report).await?, known);
        let read = |row: AuditRow| {
            match row {
                AuditRow::Checkpoint(checkpoint) => check.checkpoint(&checkpoint),
                AuditRow::Event(event) => {
                    check.event(&event);
                    see(&event);
                }
            }
            Ok(())
        };
        self.walk_audit(&mut report, read).await?;
        report.findings.into_iter().for_each(|finding| check.finding(finding));
        Ok(check.finish())
    }

    /// Gives every checkpoint in the order of their making, then every event in the order of the chains, to `read`: the
    /// chains only grow, so they hold what the checkpoints saw. A row that cannot be read is a finding.
    pub(in crate::authority) async fn walk_audit(
        &self,
        report: &mut Report,
        mut read: impl FnMut(AuditRow) -> Result<()>,
    ) -> Result<()> {
        let mut after = Vec::new();
        loop {
            let page = checkpoints::rows(&self.store, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            for row in page {
                let what = format!("the row of audit_checkpoints with the id {}", to_hex(&row.id));
                if let Some(checkpoint) = report.readable(&what, row.checkpoint)? {
                    read(AuditRow::Checkpoint(checkpoint))?;
                }
            }
        }
        let mut place = (Vec::new(), i64::MIN, i64::MIN);
        loop {
            let page = audit::chain_rows(&self.store, &place, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            place.clone_from(&last.place);
            for row in page {
                let (writer, lane, seq) = &row.place;
                let what =
                    format!("the row of audit_events with writer {}, lane {lane} and seq {seq}", to_hex(writer));
                if let Some(event) = report.readable(&what, row.event)? {
                    read(AuditRow::Event(event))?;
                }
            }
        }
    }

    /// The keys that signed checkpoints. With the unlock key at hand, only those count whose private half it opens.
    pub(in crate::authority) async fn audit_keys(&self, report: &mut Report) -> Result<AuditKeys> {
        let verifier = report.readable("the audit's key", self.audit_key().await)?.flatten();
        let mut keys = AuditKeys { verifier, ..AuditKeys::default() };
        let rows = report.readable("the table of keys", hierarchy::keys(&self.store).await)?.unwrap_or_default();
        let unlocked = self.keys.can_open(KeyPurpose::Internal);
        let installation = hierarchy::installation(&self.store).await?;
        keys.founded = installation.as_ref().map(|row| row.created_at);
        for key in rows.into_iter().filter(|key| key.purpose == KeyPurpose::Internal) {
            if !unlocked || self.keys.open(&key).is_ok() {
                keys.public.insert(key.id, key.public_key);
            }
        }
        if unlocked && let Some(row) = installation {
            let seal = self.audit_seal(&self.store, &row.id).await;
            keys.seal = report.readable("the audit's seal in the row of the installation", seal)?.flatten();
        }
        Ok(keys)
    }
}

impl Told {
    fn of(&mut self, event: &ChainedEvent, macs: &RowMacs) {
        self.rows.take(&event.detail);
        self.withdrawn.take(event, macs);
        if event.action == "certificate.issued" {
            self.issued.insert(event.object.clone());
        } else if event.action == "certificate.revoked" || event.action == "certificate.abandoned" {
            self.revoked.insert(event.object.clone());
        }
    }
}
