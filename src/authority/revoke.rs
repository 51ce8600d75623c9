//! Revocation: status, the narrow row, the dirty CRL, the version that every replica polls and the audit event
//! in one transaction (RFC 5280 §5.3.1 for reasons). A reason can be raised to a compromise of the key. Also what recovery does to an intent without outcome.

use serde_json::json;

use super::ca_revocation::is_of_hierarchy;
use super::guard::{self, IdempotencyClaim};
use super::{Authority, compromise, holds, withdrawn};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::AuthorizationStatus;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus, ShownStatus};
use crate::model::id::{CertificateId, OrderId};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::pki::oids;
use crate::pki::tbs::TbsView;
use crate::store::authorizations::HeldAuthorization;
use crate::store::revocations::Revocation;
use crate::store::versions::{self, Topic};
use crate::store::{Tx, authorizations, certificates, guards, hierarchy, revocations};

impl Authority {
    /// Revokes one certificate. A second time is `AlreadyRevoked`, unless it raises the reason; an expired one is refused.
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: CertificateId,
        wanted: impl Into<NewRevocation>,
    ) -> Result<Certificate> {
        self.revoke_once(actor, id, wanted.into(), None).await
    }

    /// The same under an Idempotency-Key, which is taken and answered in the transaction of the revocation: whatever
    /// becomes of this process or its reply, a repetition finds either nothing done or the answer.
    pub async fn revoke_once(
        &self,
        actor: &Actor,
        id: CertificateId,
        wanted: NewRevocation,
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Certificate> {
        let mut tx = self.store.begin(actor).await?;
        if self.issuer_with(id).is_some() {
            // another default may be chosen, and commands that change the hierarchy take this lock first too
            tx.raw().lock_installation().await?;
        }
        if let Some(claim) = claim {
            // before the certificate is looked at: of two at once the second is told of the first, not "already revoked"
            guard::claim(&mut tx, claim, id).await?;
            guards::answer_key(&mut tx, &claim.actor, &claim.key, 201).await?;
        }
        let certificate =
            certificates::lock(&mut tx, id).await?.ok_or_else(|| Error::not_found(format!("certificate {id}")))?;
        let before = certificate.status;
        self.revocable(&certificate, &wanted, tx.now())?;
        let body = certificates::body(&mut tx, id).await?;
        check_usages(body.as_ref().map(|(tbs, _)| tbs.as_slice()), &certificate, wanted.reason)?;
        let certificate = match before {
            CertificateStatus::Revoked { .. } => raise_locked(&mut tx, certificate, wanted, None).await?,
            CertificateStatus::Intended | CertificateStatus::Valid => {
                revoke_locked(&mut tx, certificate, wanted, None).await?
            }
        };
        if wanted.reason.blocks_key() && !reason_of(&before).is_some_and(RevocationReason::blocks_key) {
            compromise::block(&mut tx, &certificate, wanted.reason).await?;
        }
        self.publish_roots(&mut tx, &certificate, wanted.reason).await?;
        planted!("answer-before-the-commit", {
            tokio::spawn(tx.commit());
            return Ok(certificate);
        });
        tx.commit().await?;
        self.after_revocation(&certificate, wanted.reason, reason_of(&before).is_none());
        if is_of_hierarchy(&certificate) {
            self.reload().await?;
        }
        Ok(certificate)
    }

    /// Whether a certificate could be revoked so, without doing it.
    pub async fn judge_revocation(&self, certificate: &Certificate, wanted: &NewRevocation) -> Result<()> {
        self.revocable(certificate, wanted, self.store.now())?;
        let body = certificates::body(&self.store, certificate.id).await?;
        check_usages(body.as_ref().map(|(tbs, _)| tbs.as_slice()), certificate, wanted.reason)
    }

    /// What follows the commit of a revocation: answers and CRLs of this process need not wait for a poll.
    pub(super) fn after_revocation(&self, certificate: &Certificate, reason: RevocationReason, is_first: bool) {
        if is_first {
            metrics::counter!("chancery_certificates_revoked_total",
                "issuer" => certificate.issuer.clone(), "reason" => reason.name())
            .increment(1);
        }
        self.forget_answers();
        self.revoked.notify_one();
    }

    /// Gives up an intent: it may have been signed, so it is revoked, listed, and its order ends.
    pub(super) async fn abandon(&self, actor: &Actor, id: CertificateId, why: &str) -> Result<()> {
        self.give_up(actor, id, why, Order::Ends).await
    }

    /// The same, with its order ready for another certificate when what it rests on still holds; endings of accounts
    /// and authorizations pass over orders that are processing. One that got its outcome meanwhile stays as it is.
    pub(super) async fn take_back(&self, actor: &Actor, id: CertificateId, why: &str) -> Result<()> {
        self.give_up(actor, id, why, Order::IsReady).await
    }

    async fn give_up(&self, actor: &Actor, id: CertificateId, why: &str, then: Order) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        let Some(certificate) = certificates::lock(&mut tx, id).await? else { return Ok(()) };
        if certificate.status != CertificateStatus::Intended {
            return Ok(());
        }
        let now = tx.now();
        let certificate = write_revocation(&mut tx, certificate, now, RevocationReason::Unspecified.into()).await?;
        match (then, certificate.order_id) {
            (Order::IsReady, Some(order)) if proofs_hold(&mut tx, order).await? => {
                if guards::order_to_ready(&mut tx, order, id).await? {
                    let detail = json!({"certificate": id, "serial": certificate.serial});
                    tx.audit(AuditEvent::done("order.reopened", format!("order:{order}"), detail));
                }
            }
            _ => release(&mut tx, &certificate).await?,
        }
        let detail = json!({"serial": certificate.serial, "why": why});
        tx.audit(AuditEvent::done("certificate.abandoned", certificate.object(), detail));
        tx.commit().await?;
        metrics::counter!("chancery_intents_recovered_total").increment(1);
        self.forget_answers();
        self.revoked.notify_one();
        Ok(())
    }
}

/// Every authorization of the order is valid, and stays so until this transaction ends.
async fn proofs_hold(tx: &mut Tx, order: OrderId) -> Result<bool> {
    let now = tx.now();
    let proofs = authorizations::of_order(&mut *tx, order).await?;
    let locked = authorizations::lock_all(tx, proofs.iter().map(|proof| proof.id)).await?;
    let holds = |held: &HeldAuthorization| {
        held.refusal.is_none() && held.authorization.shown_status(now) == AuthorizationStatus::Valid
    };
    Ok(!locked.is_empty() && locked.iter().all(holds))
}

/// What becomes of the order of an intent that is given up.
#[derive(Debug, Clone, Copy)]
enum Order {
    Ends,
    IsReady,
}

impl Authority {
    /// Is there something to revoke or to raise, and would anybody see it?
    pub fn revocable(&self, certificate: &Certificate, wanted: &NewRevocation, now: Timestamp) -> Result<()> {
        self.refuse_root(certificate)?;
        revocable(certificate, wanted, now)?;
        match certificate.status {
            CertificateStatus::Revoked { at, .. } => wanted.check_date(at, now),
            CertificateStatus::Intended | CertificateStatus::Valid => wanted.check_date(now, now),
        }
    }
}

fn revocable(certificate: &Certificate, wanted: &NewRevocation, now: Timestamp) -> Result<()> {
    let id = certificate.id;
    if wanted.reason == RevocationReason::CertificateHold {
        holds::can_be_held(certificate)?;
    }
    match certificate.shown_status(now) {
        ShownStatus::Valid | ShownStatus::Intended => Ok(()),
        ShownStatus::Revoked if planted!("revocation-is-repeated", true, false) => Ok(()),
        ShownStatus::Revoked if wanted.raises(&certificate.status) => Ok(()),
        ShownStatus::Revoked => Err(Error::new(
            ErrorKind::AlreadyRevoked,
            format!("certificate {id} with serial {} was revoked before", certificate.serial),
        )),
        ShownStatus::Expired => Err(Error::refused(
            ErrorKind::Conflict,
            "revocation.expired",
            format!("certificate {id}, over since {}", certificate.validity.not_after()),
            "a certificate that has not expired",
            "nothing needs to be done",
        )
        .explained(format!(
            "certificate {id} expired at {} and cannot be revoked any more",
            certificate.validity.not_after()
        ))),
    }
}

pub(super) fn reason_of(status: &CertificateStatus) -> Option<RevocationReason> {
    match status {
        CertificateStatus::Revoked { reason, .. } => Some(*reason),
        CertificateStatus::Intended | CertificateStatus::Valid => None,
    }
}

/// Which reasons the extended key usages of a certificate leave. RFC 3161 §4: a timestamping certificate that is revoked
/// without a reason makes every token worthless that its key ever signed, and `unspecified` is left out on CRLs (RFC
/// 5280 §5.3.1).
fn check_usages(tbs: Option<&[u8]>, certificate: &Certificate, reason: RevocationReason) -> Result<()> {
    let judged = matches!(reason, RevocationReason::Unspecified | RevocationReason::CertificateHold);
    let Some(tbs) = tbs.filter(|_| judged) else { return Ok(()) };
    let id = certificate.id;
    let unreadable = |e| Error::inconsistent(format!("the bytes of certificate {id} cannot be read")).because(e);
    let usages = TbsView::parse(tbs).and_then(|view| view.extended_key_usage()).map_err(unreadable)?;
    if reason == RevocationReason::CertificateHold {
        return holds::check_usages(certificate, &usages);
    }
    if !usages.contains(&oids::EKU_TIME_STAMPING) {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::BadRevocationReason,
        "revocation.timestamping",
        format!(
            "reason unspecified for the timestamping certificate {id}: all its time-stamps would become worthless"
        ),
        "superseded, cessationOfOperation or affiliationChanged (time-stamps made before stay good), or keyCompromise",
        "name a reason: --reason superseded, or \"reason\" in the request (RFC 3161 §4)",
    ).explained(format!("a revocation without a reason would make all time-stamps of certificate {id} worthless; superseded, cessationOfOperation and affiliationChanged keep earlier ones good, keyCompromise does not")))
}

/// Revokes a certificate that is not revoked, whose row is locked. `cause` is the one that it is revoked with.
pub(super) async fn revoke_locked(
    tx: &mut Tx,
    certificate: Certificate,
    wanted: NewRevocation,
    cause: Option<CertificateId>,
) -> Result<Certificate> {
    let (now, intended) = (tx.now(), certificate.status == CertificateStatus::Intended);
    let certificate = write_revocation(tx, certificate, now, wanted).await?;
    if intended {
        // its outcome will be refused, and recovery will not see it: what waits for it ends here
        release(tx, &certificate).await?;
    }
    let mut detail = json!({"serial": certificate.serial, "names": certificate.names, "issuer": certificate.issuer,
        "profile": certificate.profile, "reason": wanted.reason.name()});
    if let Some(cause) = cause {
        detail["with"] = json!(cause);
    }
    if let Some(date) = wanted.invalidity_date {
        detail["invalidity_date"] = json!(date);
    }
    planted!("revocation-without-an-event", {
        return Ok(certificate);
    });
    tx.audit(AuditEvent::done("certificate.revoked", certificate.object(), detail));
    Ok(certificate)
}

/// Raises the reason of a revoked certificate whose row is locked. The date of the first revocation stays.
pub(super) async fn raise_locked(
    tx: &mut Tx,
    mut certificate: Certificate,
    wanted: NewRevocation,
    cause: Option<CertificateId>,
) -> Result<Certificate> {
    let CertificateStatus::Revoked { at, reason, invalidity_date } = certificate.status else {
        return Err(Error::inconsistent(format!("certificate {} is not revoked", certificate.id)));
    };
    let invalidity_date = wanted.invalidity_date.or(invalidity_date);
    let raised = NewRevocation { reason: wanted.reason, invalidity_date };
    let told = withdrawn::told_of(tx, &certificate.object()).await?;
    if let Some(known) = told.newest.and_then(|newest| newest.revocation()) {
        // what is named under the next MAC goes on from what was named before, not from what stands in the row
        revocations::put_back(tx, certificate.issuer_id, &known).await?;
    }
    if !certificates::raise(&mut *tx, certificate.id, raised).await? {
        return Err(Error::inconsistent(format!("certificate {} changed under its lock", certificate.id)));
    }
    revocations::raise(tx, certificate.issuer_id, &certificate.serial, raised, told.next_version).await?;
    revocations::note_change(&mut *tx, certificate.issuer_id).await?;
    versions::bump(&mut *tx, Topic::Revocations).await?;
    certificate.status = CertificateStatus::Revoked { at, reason: wanted.reason, invalidity_date };
    let mut detail = json!({"serial": certificate.serial, "names": certificate.names, "issuer": certificate.issuer,
        "profile": certificate.profile, "reason": wanted.reason.name(), "reason_before": reason.name(), "revoked_at": at});
    if let Some(cause) = cause {
        detail["with"] = json!(cause);
    }
    if let Some(date) = invalidity_date {
        detail["invalidity_date"] = json!(date);
    }
    tx.audit(AuditEvent::done("certificate.revocation_raised", certificate.object(), detail));
    Ok(certificate)
}

/// What waits for an intent that will never be a certificate: its order ends and its Idempotency-Key is free.
async fn release(tx: &mut Tx, certificate: &Certificate) -> Result<()> {
    if let Some(order) = certificate.order_id.filter(|_| planted!("abandoned-intent-leaves-its-order", false, true)) {
        end_order(tx, order).await?;
    }
    guards::free_key(tx, certificate.id).await
}

async fn end_order(tx: &mut Tx, order: OrderId) -> Result<()> {
    let problem = json!({"type": "urn:ietf:params:acme:error:serverInternal", "status": 500,
        "detail": "the certificate of this order could not be made; make a new order"});
    guards::order_to_invalid(tx, order, &problem.to_string()).await.map(drop)
}

async fn write_revocation(
    tx: &mut Tx,
    mut certificate: Certificate,
    now: Timestamp,
    new: NewRevocation,
) -> Result<Certificate> {
    let NewRevocation { reason, invalidity_date } = new;
    if !certificates::revoke(&mut *tx, certificate.id, now, new).await? {
        return Err(Error::inconsistent(format!("certificate {} changed under its lock", certificate.id)));
    }
    let row = Revocation {
        serial: certificate.serial.clone(),
        certificate_id: certificate.id,
        revoked_at: now,
        reason,
        not_after: certificate.validity.not_after(),
        invalidity_date,
    };
    let version = withdrawn::told_of(tx, &certificate.object()).await?.next_version;
    revocations::insert(tx, certificate.issuer_id, &row, version).await?;
    planted!("revocation-makes-no-crl-due", (), hierarchy::mark_crl_dirty(&mut *tx, certificate.issuer_id).await?);
    planted!("revocation-raises-no-version", (), versions::bump(&mut *tx, Topic::Revocations).await?);
    if is_of_hierarchy(&certificate) {
        versions::bump(&mut *tx, Topic::Hierarchy).await?;
    }
    certificate.status = CertificateStatus::Revoked { at: now, reason, invalidity_date };
    Ok(certificate)
}
