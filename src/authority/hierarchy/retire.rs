//! `ca retire`: an issuer that signs no certificate any more. It publishes CRLs and OCSP answers until its last
//! certificate ends; its slug and URLs stay.

use serde_json::json;

use crate::authority::Authority;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::IssuerStatus;
use crate::store::hierarchy;

impl Authority {
    pub async fn retire_issuer(&self, actor: &Actor, slug: &str) -> Result<()> {
        let id = self.snapshot().issuer(slug)?.issuer.id;
        let mut tx = self.store.begin(actor).await?;
        if !hierarchy::set_status(&mut tx, id, IssuerStatus::Retired).await? {
            return Err(Error::refused(
                ErrorKind::Conflict,
                "issuer.active",
                format!("issuer {slug}, which is retired"),
                "an active issuer",
                "nothing needs to be done",
            ));
        }
        tx.audit(AuditEvent::done("issuer.retired", format!("issuer:{id}"), json!({"issuer": slug})));
        self.commit_hierarchy(tx).await
    }
}
