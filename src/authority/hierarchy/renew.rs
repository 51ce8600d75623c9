//! `ca renew`: one more certificate for an issuer below a root of ours: the same name, key and constraints, a later end.
//! Slug and URLs stay, and so do older certificates, unless they carry OCSPSigning: those are revoked in the same
//! transaction, because they let the issuer's key answer OCSP about itself (RFC 6960 §4.2.2.2). What the issuer signed
//! stays valid: name and key are the same.

use serde_json::json;

use super::create::no_key;
use super::make::{add_issuer_certificate, add_responder, from_now};
use super::plan::{Plan, Wanted};
use crate::authority::Authority;
use crate::authority::revoke::revoke_locked;
use crate::authority::snapshot::LoadedIssuer;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::pki::ca_certificate::CaCertificate;
use crate::store::revocations::{self, Revocation};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, certificates, hierarchy};

impl Authority {
    /// Returns the serials of the older certificates that were revoked.
    pub async fn renew_issuer(&self, actor: &Actor, slug: &str, years: Option<u32>) -> Result<Vec<SerialNumber>> {
        let made = self.renew(actor, slug, years).await;
        self.told(actor, "issuer.refused", slug, made).await
    }

    async fn renew(&self, actor: &Actor, slug: &str, years: Option<u32>) -> Result<Vec<SerialNumber>> {
        let snapshot = self.snapshot();
        let own = snapshot.issuer(slug)?;
        refuse_revoked(own)?;
        if own.issuer.role == IssuerRole::Root {
            let domain = &own.issuer.domain;
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.parent",
                format!("{slug}, a root"),
                "an issuer below a root of this installation",
                format!("run `chancery ca create {domain} --new-root` and what it prints next"),
            )
            .explained(format!(
                "{slug} is a root: clients trust its certificate itself, so a root is followed by a new one"
            )));
        }
        let above = own.issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id)).ok_or_else(|| {
            Error::refused(
                ErrorKind::Unprocessable,
                "issuer.parent",
                format!("issuer {slug}, which no CA here signed"),
                "an issuer below a root of this installation",
                format!("run `chancery ca csr --issuer {slug}` and have it signed where its certificate came from"),
            )
            .explained(format!(
                "no CA of this installation signed the certificate of issuer {slug}, so none can renew it"
            ))
        })?;
        match above.issuer.state {
            IssuerState::Active | IssuerState::Prepared => {}
            state @ (IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked) => {
                return Err(Error::refused(
                    ErrorKind::Refused,
                    "issuer.active",
                    format!("issuer {slug} under {}, which is {}", above.issuer.slug, state.name()),
                    "an issuer under an active root",
                    format!("run `chancery ca create {} --under ROOT` with an active root", own.issuer.domain),
                )
                .explained(format!(
                    "issuer {slug} stands under {}, which is {} and signs no more; an active root would",
                    above.issuer.slug,
                    state.name()
                )));
            }
        }
        let key = above.key.clone().ok_or_else(|| no_key(above))?;
        let plan = Plan::of(&Wanted { domain: own.issuer.domain.clone(), years, ..Wanted::default() })?;
        let (now, end) = (self.store.now(), key.validity().not_after());
        if plan.exact && now + plan.life > end {
            return Err(Error::refused(
                ErrorKind::Refused,
                "issuer.years",
                now + plan.life,
                format!("until {end}, when issuer {} ends", above.issuer.slug),
                "ask for fewer years, or leave them out to expire with it",
            )
            .explained(format!(
                "the new certificate would expire at {}, after issuer {} above it, which expires at {end}",
                now + plan.life,
                above.issuer.slug
            )));
        }
        let fresh = self.longer_responder(above, &key, &plan)?;
        let mut tx = self.begin_change(actor).await?;
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
        let revoked = self.end_delegations(&mut tx, own, above).await?;
        let detail = json!({"issuer": slug, "not_after": until, "revoked": revoked});
        tx.audit(AuditEvent::done("issuer.renewed", format!("issuer:{}", own.issuer.id), detail));
        self.commit_hierarchy(tx).await?;
        self.forget_answers();
        self.revoked.notify_one();
        Ok(revoked)
    }

    /// Revokes the issuer's older certificates with OCSPSigning that `above` signed, on the CRL of `above`.
    async fn end_delegations(
        &self,
        tx: &mut Tx,
        own: &LoadedIssuer,
        above: &LoadedIssuer,
    ) -> Result<Vec<SerialNumber>> {
        let (now, reason) = (tx.now(), RevocationReason::Superseded);
        let mut revoked = Vec::new();
        for certificate in &own.certificates {
            let ca = CaCertificate::read(&certificate.der)?;
            if !ca.answers_for_its_issuer() || ca.issuer != above.subject() || ca.validity.not_after() < now {
                continue;
            }
            let serial = ca.serial()?;
            if revocations::find(&mut *tx, above.issuer.id, &serial).await?.is_some() {
                continue;
            }
            match certificate.certificate_id {
                Some(id) => {
                    let row = certificates::lock(&mut *tx, id).await?;
                    let row = row.ok_or_else(|| Error::inconsistent(format!("certificate {id} is missing")))?;
                    revoke_locked(tx, row, reason.into(), None).await?;
                }
                // signed by the CA above before it was imported: no row among the certificates
                None => list_foreign(tx, above, &serial, ca.validity.not_after()).await?,
            }
            revoked.push(serial);
        }
        if !revoked.is_empty() && above.issuer.role == IssuerRole::Root {
            self.sign_root(tx, above).await?;
        }
        Ok(revoked)
    }
}

async fn list_foreign(tx: &mut Tx, above: &LoadedIssuer, serial: &SerialNumber, not_after: Timestamp) -> Result<()> {
    let row = Revocation {
        serial: serial.clone(),
        certificate_id: CertificateId::from_bytes(above.issuer.id.bytes()),
        revoked_at: tx.now(),
        reason: RevocationReason::Superseded,
        not_after,
        invalidity_date: None,
    };
    let version = tx.now().micros();
    revocations::insert(tx, above.issuer.id, &row, version).await?;
    hierarchy::mark_crl_dirty(&mut *tx, above.issuer.id).await?;
    versions::bump(tx, Topic::Revocations).await
}

/// The key of a revoked issuer is not its own any more: it gets no further certificate, of ours or of others.
pub(super) fn refuse_revoked(issuer: &LoadedIssuer) -> Result<()> {
    if issuer.issuer.state != IssuerState::Revoked {
        return Ok(());
    }
    let slug = &issuer.issuer.slug;
    let by = issuer.revoked_by.as_deref().map_or_else(String::new, |by| format!(" by {}", shown(by)));
    let value = format!("issuer {slug}, which was revoked{by}");
    let sentence = match issuer.on_hold {
        true => format!(
            "issuer {slug} was put on hold{by}, and gets no other certificate before that ends; {}",
            replacement(issuer)
        ),
        false => {
            format!("issuer {slug} was revoked{by}, so its key gets no other certificate; {}", replacement(issuer))
        }
    };
    let allowed = "an issuer whose key is its own";
    Err(Error::refused(ErrorKind::Refused, "issuer.revoked", value, allowed, replacement(issuer)).saying(sentence))
}

/// How a domain gets an issuer in place of a revoked one: below a root of its own, or from the CA elsewhere.
pub(super) fn replacement(issuer: &LoadedIssuer) -> String {
    let domain = &issuer.issuer.domain;
    if issuer.on_hold {
        return crate::authority::checks::how_to_lift(issuer);
    }
    match (&issuer.revoked_by, issuer.issuer.parent_id) {
        (Some(_), _) | (None, None) => format!(
            "run `chancery ca csr {domain}`, have the CSR signed by the CA above, and run `chancery ca install FILE`"
        ),
        (None, Some(_)) => format!("make another issuer with `chancery ca create {domain} --under ROOT`"),
    }
}
