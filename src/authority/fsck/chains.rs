//! The audit: hashes, links and sequence numbers without a gap in every chain.

use super::{PAGE, Report, Told};
use crate::authority::Authority;
use crate::error::Result;
use crate::model::audit::ChainedEvent;
use crate::store::audit;

impl Authority {
    /// The audit alone: how many events there are, and what is wrong with their chains.
    pub async fn verify_audit(&self) -> Result<Report> {
        let mut report = Report::default();
        self.report_rollback(&mut report);
        self.check_audit(&mut report).await?;
        Ok(report)
    }

    pub(super) async fn check_audit(&self, report: &mut Report) -> Result<Told> {
        let mut told = Told::default();
        let mut witnessed = self.check_checkpoints(report).await?;
        let mut place = (Vec::new(), -1, -1);
        let mut previous: Option<ChainedEvent> = None;
        loop {
            let page = audit::chain_rows(&self.store, &place, PAGE).await?;
            let Some(last) = page.last() else {
                witnessed.rest(report);
                return Ok(told);
            };
            place.clone_from(&last.place);
            for row in page {
                report.events += 1;
                let (writer, lane, seq) = &row.place;
                let what = format!("audit event {}/{lane} at {seq}", crate::model::serial::to_hex(writer));
                let Some(event) = report.readable(&what, row.event)? else { continue };
                if let Some(why) = broken_link(previous.as_ref(), &event) {
                    let (writer, lane, seq) = (event.writer, event.lane, event.seq);
                    report.finding(format!("audit chain {writer}/{lane} at {seq}: {why}"));
                }
                witnessed.meet(&event, report);
                if event.action == "certificate.issued" {
                    told.issued.insert(event.object.clone());
                } else if event.action == "certificate.revoked" || event.action == "certificate.abandoned" {
                    told.revoked.insert(event.object.clone());
                }
                previous = Some(event);
            }
        }
    }
}

fn broken_link(previous: Option<&ChainedEvent>, event: &ChainedEvent) -> Option<&'static str> {
    let before = previous.filter(|p| (p.writer, p.lane) == (event.writer, event.lane));
    let (seq, hash) = before.map_or((1, [0; 32]), |p| (p.seq + 1, p.hash));
    if event.seq != seq {
        Some("an event is missing before it")
    } else if event.previous != hash {
        Some("it does not follow from the event before it")
    } else if event.hash != event.compute_hash() {
        Some("it was changed after it was written")
    } else {
        None
    }
}
