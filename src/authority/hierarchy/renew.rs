//! `ca renew`: one more certificate for an issuer below a root of ours: the same name, key, usages and constraints, a
//! later end. Slug and URLs stay, and so do the older certificates.

use serde_json::json;

use super::create::no_key;
use super::make::{add_issuer_certificate, add_responder, from_now};
use super::plan::{Plan, Wanted};
use crate::authority::Authority;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::serial::SerialNumber;

impl Authority {
    pub async fn renew_issuer(&self, actor: &Actor, slug: &str, years: Option<u32>) -> Result<()> {
        let made = self.renew(actor, slug, years).await;
        self.told(actor, "issuer.refused", slug, made).await
    }

    async fn renew(&self, actor: &Actor, slug: &str, years: Option<u32>) -> Result<()> {
        let snapshot = self.snapshot();
        let own = snapshot.issuer(slug)?;
        let above = own.issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id)).ok_or_else(|| {
            Error::refused(
                ErrorKind::Unprocessable,
                "issuer.parent",
                format!("issuer {slug}, which no CA here signed"),
                "an issuer below a root of this installation",
                format!("run `chancery ca csr --issuer {slug}` and have it signed where its certificate came from"),
            )
        })?;
        let key = above.key.clone().ok_or_else(|| no_key(&above.issuer.slug))?;
        let plan = Plan::of(&Wanted { domain: own.issuer.domain.clone(), years, ..Wanted::default() })?;
        let (now, end) = (self.store.now(), key.validity().not_after());
        if plan.exact && now + plan.life > end {
            return Err(Error::refused(
                ErrorKind::Refused,
                "issuer.years",
                now + plan.life,
                format!("until {end}, when issuer {} ends", above.issuer.slug),
                "ask for fewer years, or leave them out to end with it",
            ));
        }
        let fresh = self.longer_responder(above, &key, &plan)?;
        let mut tx = self.store.begin(actor).await?;
        tx.raw().lock_installation().await?;
        let serial = SerialNumber::draw(self.store.entropy.as_ref())?;
        let prepared = key.prepare_renewal(&own.certificate()?.der, from_now(now, plan.life)?, serial)?;
        let tbs = prepared.tbs().to_vec();
        let sealed = key.seal(prepared).await?;
        let until = sealed.facts().validity.not_after();
        let algorithm = own.sealed_key.algorithm;
        add_issuer_certificate(&mut tx, &own.issuer, "issuing", &above.issuer, algorithm, tbs, sealed).await?;
        if let Some(responder) = fresh {
            add_responder(&mut tx, responder, &above.issuer, &key, plan.life).await?;
        }
        let detail = json!({"issuer": slug, "not_after": until});
        tx.audit(AuditEvent::done("issuer.renewed", format!("issuer:{}", own.issuer.id), detail));
        self.commit_hierarchy(tx).await
    }
}
