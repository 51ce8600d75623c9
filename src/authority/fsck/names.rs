//! The rows that certificates are found by: each of a certificate's names has one, and there is no other.

use std::collections::HashMap;

use super::{PAGE, Report, Seen};
use crate::authority::Authority;
use crate::error::Result;
use crate::store::certificates;

impl Authority {
    /// After the walk over certificates: rows of those that it did not see are only looked at by themselves.
    pub(super) async fn check_names(&self, seen: &[Seen], report: &mut Report) -> Result<()> {
        let mut missing: HashMap<Vec<u8>, usize> = seen.iter().map(|s| (s.id.to_vec(), s.names)).collect();
        let mut after = (String::new(), Vec::new());
        loop {
            let page = certificates::name_rows(&self.store, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.name.clone(), last.certificate_id.clone());
            for row in page {
                if row.agrees {
                    missing.entry(row.certificate_id).and_modify(|left| *left = left.saturating_sub(1));
                } else {
                    let id = crate::model::serial::to_hex(&row.certificate_id);
                    report.finding(format!(
                        "the name \"{}\" is listed for certificate {id}, which has no such name",
                        row.name
                    ));
                }
            }
        }
        for s in seen {
            if let Some(left) = missing.get(&s.id.to_vec()).filter(|left| **left > 0) {
                report.finding(format!("certificate {}: {left} of its names cannot be searched for", s.id));
            }
        }
        Ok(())
    }
}
