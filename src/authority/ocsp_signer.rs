//! `ca ocsp`: whether an issuer's delegate or the issuer's own key signs its OCSP answers. A delegate is the default:
//! it answers while the server is locked, and the issuer's key stays away from requests of strangers.

use serde_json::json;

use super::Authority;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::{IssuerRole, OcspSigner};
use crate::store::ocsp_signers;
use crate::store::versions::{self, Topic};

impl Authority {
    /// Running it twice changes nothing the second time.
    pub async fn set_ocsp_signer(&self, actor: &Actor, slug: &str, signer: OcspSigner) -> Result<()> {
        let snapshot = self.snapshot();
        let issuer = &snapshot.issuer(slug)?.issuer;
        if issuer.role == IssuerRole::Root && signer == OcspSigner::Issuer {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.ocsp_signer",
                format!("root {slug}, whose key no server loads"),
                "an issuer that is no root",
                "leave the OCSP answers of a root to its delegate",
            )
            .explained(format!(
                "root {slug} cannot sign its OCSP answers itself: no server loads the key of a root"
            )));
        }
        let mut tx = self.begin_change(actor).await?;
        if !ocsp_signers::set(&mut tx, issuer.id, signer).await? {
            return Ok(());
        }
        let detail = json!({"issuer": slug, "ocsp_signer": signer.name()});
        tx.audit(AuditEvent::done("issuer.ocsp_signer_set", format!("issuer:{}", issuer.id), detail));
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        // every replica forgets the answers that the other key signed
        versions::bump(&mut tx, Topic::Revocations).await?;
        tx.commit().await?;
        self.forget_answers();
        self.reload().await
    }
}
