//! `doctor`: is the database as new as what is remembered of it, can that be remembered, and what waits to be confirmed?

use super::{Authority, Check, Severity, check};
use crate::error::Result;
use crate::model::issuer::IssuerRole;
use crate::model::text::counted;
use crate::model::trouble::Failure;
use crate::store::{crls, history, servers};

impl Authority {
    pub(super) async fn check_history(&self) -> Result<Check> {
        let (mut found, health) = (Vec::new(), self.anchor.health());
        let is_shared = health.is_shared;
        let path = health.place.unwrap_or_default();
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
        for (slug, loaded) in self.snapshot().issuers.iter().filter(|(_, loaded)| loaded.signs_crls()) {
            let id = loaded.issuer.id;
            let number = crls::in_force(&self.store, id, self.store.now()).await?.map(|crl| crl.number);
            if self.is_gone(id, number).await? {
                let text = format!(
                    "the CRL of {slug} that was served last is gone from the database, which somebody changed; {}",
                    match loaded.issuer.role {
                        IssuerRole::Root => format!("sign it anew with `chancery ca crl sign {slug}`"),
                        _ => "a server that runs unlocked publishes it anew: `chancery serve`".to_owned(),
                    }
                );
                found.push((Severity::Critical, text));
            }
        }
        if self.anchor.has_unmerged() {
            let text = format!(
                "the CRLs beside the anchor {path} were served before `chancery reconcile` was run elsewhere, and may list \
                 revocations that the database lacks; a server that starts here with its unlock key takes them in: `chancery serve`"
            );
            found.push((Severity::Warning, text));
        }
        if let Some(why) = health.failure {
            let text = format!(
                "the anchor {path} cannot be written, so an older database may go unnoticed: {why}; make it \
                 writable, or name another place with `anchor` (CHANCERY_ANCHOR)"
            );
            found.push((Severity::Critical, text));
        }
        for (url, trouble) in servers::troubles_of_others(&self.store).await? {
            let Some(Failure { place, why }) = trouble.anchor else { continue };
            let text = format!(
                "the server {url} cannot write its anchor {place}, so an older database may go unnoticed: {why}; make it \
                 writable, or name another place with `anchor` (CHANCERY_ANCHOR)"
            );
            found.push((Severity::Critical, text));
        }
        if let Some(why) = health.unreadable {
            let text = format!(
                "the anchor {path} cannot be read, so an older database may go unnoticed: {why}; {}",
                if is_shared {
                    "it is compared as soon as it can be read"
                } else {
                    "a server that starts sets it aside: `chancery serve`"
                }
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
            let kinds = ["user", "token", "grant", "EAB key"]
                .map(|kind| (kind, suspended.iter().filter(|one| one.kind() == kind).count()));
            let counts: Vec<String> =
                kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| counted(*count, kind)).collect();
            let (counts, verb) = (counts.join(", "), if suspended.len() == 1 { "is" } else { "are" });
            let text = format!(
                "{counts} {verb} suspended since the database was restored; `chancery reconcile --dry-run` lists what waits, and \
                 `chancery reconcile --confirm NAME` lets one work again"
            );
            found.push((Severity::Warning, text));
        }
        Ok(check("history", found, "the database is as new as what is remembered of it".to_owned()))
    }
}
