//! What the database lacks of what is remembered outside of it.

use super::Report;
use crate::authority::Authority;

impl Authority {
    pub(super) fn report_rollback(&self, report: &mut Report) {
        if let Some(rollback) = self.store.rollback() {
            report.finding(crate::store::history::ROLLED_BACK);
            rollback.findings.iter().for_each(|finding| report.finding(finding.clone()));
        }
    }
}
