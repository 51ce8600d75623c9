//! OCSP answers (RFC 6960, RFC 5019, RFC 9654): signed on demand by the issuer's delegate, kept in a bounded cache
//! that every change of the revocation version empties. A replica that could not read that version for 10 s gives
//! no `good`; while the database is older than remembered nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Authority;
use super::snapshot::LoadedIssuer;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::certificate::CertificateStatus;
use crate::model::id::IssuerId;
use crate::model::status_lifetimes::StatusLifetimes;
use crate::pki::ocsp_request::{CertId, OcspRequest};
use crate::pki::ocsp_response::{CertStatus, MALFORMED_REQUEST, SingleAnswer, TRY_LATER, UNAUTHORIZED};
use crate::store::{certificates, revocations, versions};

/// How long an answer is valid where no operator set it.
pub const OCSP_LIFE: Duration = StatusLifetimes::DEFAULT.ocsp;
const STALE: Duration = Duration::from_secs(10);
const MAX_CACHED: usize = 100_000;

/// An answer and how long a cache between us and the client may keep it.
#[derive(Debug, Clone)]
pub struct OcspAnswer {
    pub der: Arc<[u8]>,
    /// `good`, `revoked`, `unknown`, or the name of an unsigned error.
    pub status: &'static str,
    /// Set for signed answers without a nonce.
    pub fresh: Option<Fresh>,
}

#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    pub produced_at: Timestamp,
    pub next_update: Timestamp,
}

/// What this replica knows of revocations.
#[derive(Debug, Default)]
pub(super) struct OcspCache(Mutex<Cache>);

#[derive(Debug, Default)]
struct Cache {
    version: i64,
    read_at: Option<Timestamp>,
    answers: HashMap<(IssuerId, Vec<u8>), OcspAnswer>,
}

impl OcspCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        // guards version, time and answers together: an answer is never kept under a version it was not read at
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority {
    /// Reads the revocation version; called every second, and a change empties the cache.
    pub async fn poll_revocations(&self) -> Result<()> {
        let now = self.store.now();
        let version = versions::read(&self.store).await?.revocations;
        let mut cache = self.ocsp.lock();
        if planted!("ocsp-cache-survives-a-poll", cache.version < 0, version != cache.version) {
            cache.answers.clear();
            cache.version = version;
        }
        cache.read_at = Some(now);
        Ok(())
    }

    /// Forgets cached answers after a revocation of this process.
    pub(super) fn forget_answers(&self) {
        planted!("ocsp-cache-survives-a-revocation", { return });
        self.ocsp.lock().answers.clear();
    }

    /// Answers one request for an issuer, by slug.
    pub async fn ocsp(&self, slug: &str, request: &[u8]) -> Result<OcspAnswer> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer(slug)?;
        let started = crate::clock::monotonic();
        let answer = self.ocsp_of(issuer, request).await?;
        metrics::histogram!("chancery_ocsp_response_duration_seconds").record(started.elapsed());
        metrics::counter!("chancery_ocsp_requests_total", "issuer" => slug.to_owned(), "status" => answer.status)
            .increment(1);
        Ok(answer)
    }

    async fn ocsp_of(&self, issuer: &LoadedIssuer, request: &[u8]) -> Result<OcspAnswer> {
        let Ok(request) = OcspRequest::parse(request) else { return Ok(unsigned(MALFORMED_REQUEST, "malformed")) };
        let key = match (request.certificates.as_slice(), &request.nonce) {
            ([one], None) => Some((issuer.issuer.id, one.raw.to_vec())),
            _ => None,
        };
        // an answer is dated and says what holds at that time
        if !self.store.reference().is_right() {
            return Ok(unsigned(TRY_LATER, "try_later"));
        }
        let now = self.store.now();
        let version = {
            let cache = self.ocsp.lock();
            if planted!("ocsp-good-from-a-stale-version", false, cache.read_at.is_none_or(|at| now.since(at) > STALE))
            {
                return Ok(unsigned(TRY_LATER, "try_later"));
            }
            let known = key.as_ref().and_then(|k| cache.answers.get(k));
            if let Some(answer) = known.filter(|a| {
                // one of before is signed anew, so that its times stay young
                let kept = issuer.lifetimes.ocsp_cached();
                a.fresh.is_some_and(|f| planted!("ocsp-answers-grow-old", true, now.since(f.produced_at) < kept))
            }) {
                return Ok(answer.clone());
            }
            cache.version
        };
        let answer = self.sign_answer(issuer, &request, now).await?;
        if let Some(key) = key.filter(|_| answer.fresh.is_some()) {
            let mut cache = self.ocsp.lock();
            // read before a change that was seen meanwhile: right for this client, not to be kept
            if planted!("ocsp-kept-under-an-old-version", true, cache.version == version)
                && self.store.rollback().is_none()
            {
                if cache.answers.len() >= MAX_CACHED {
                    cache.answers.clear();
                }
                cache.answers.insert(key, answer.clone());
            }
        }
        Ok(answer)
    }

    async fn sign_answer(
        &self,
        issuer: &LoadedIssuer,
        request: &OcspRequest<'_>,
        now: Timestamp,
    ) -> Result<OcspAnswer> {
        let Some(responder) = &issuer.responder else { return Ok(unsigned(TRY_LATER, "try_later")) };
        if planted!("ocsp-signed-by-an-expired-delegate", false, responder.not_after <= now) {
            return Ok(unsigned(TRY_LATER, "try_later"));
        }
        if !request
            .certificates
            .iter()
            .all(|id| planted!("ocsp-for-other-hashes", id.is_of(&issuer.hashes) || true, id.is_of(&issuer.hashes)))
        {
            return Ok(unsigned(UNAUTHORIZED, "unauthorized"));
        }
        let end = now + issuer.lifetimes.ocsp;
        let next_update = planted!("ocsp-outlives-its-delegate", end, end.min(responder.not_after));
        // the status is read after `now`; a verifier whose clock is behind must not find it in its future
        let this_update = (now - self.crl_backdate).max(issuer.certificate()?.not_before).min(now);
        let archive_cutoff = issuer.issuer.crl_retained_since;
        let mut answers = Vec::with_capacity(request.certificates.len());
        for id in &request.certificates {
            let Some(status) = self.status_of(issuer.issuer.id, id).await? else {
                return Ok(unsigned(TRY_LATER, "try_later"));
            };
            answers.push(SingleAnswer { cert_id: id.raw, status, this_update, next_update, archive_cutoff });
        }
        // what was issued or revoked in the time that is missing is not known
        let is_revoked = |answer: &SingleAnswer<'_>| matches!(answer.status, CertStatus::Revoked { .. });
        if self.store.rollback().is_some() && !answers.iter().all(is_revoked) {
            return Ok(unsigned(TRY_LATER, "try_later"));
        }
        let signed = responder.responder.answer(&answers, now, request.nonce).await;
        let signed =
            signed.map_err(|e| Error::new(ErrorKind::Unavailable, "the OCSP key did not answer").because(e))?;
        let status = match answers.first().map(|a| a.status) {
            Some(CertStatus::Good) => "good",
            Some(CertStatus::Revoked { .. }) => "revoked",
            Some(CertStatus::Unknown) | None => "unknown",
        };
        let fresh = request.nonce.is_none().then_some(Fresh { produced_at: now, next_update });
        Ok(OcspAnswer { der: signed.into(), status, fresh })
    }

    /// Good only if issued by this issuer, and if no place says that it is revoked; an intent without outcome is unknown until
    /// recovery has revoked it. None: two rows claim the serial, so nothing can be said.
    async fn status_of(&self, issuer: IssuerId, id: &CertId<'_>) -> Result<Option<CertStatus>> {
        let Some(serial) = &id.serial else { return Ok(Some(CertStatus::Unknown)) };
        // one of an imported CA's earlier life stands here alone; and a row that was copied hides no revocation
        if let Some(r) = revocations::find(&self.store, issuer, serial).await? {
            return Ok(Some(CertStatus::Revoked { at: r.revoked_at, reason: r.reason }));
        }
        let found = planted!(
            "ocsp-answers-for-another-issuer",
            certificates::find_by_serial(&self.store, serial).await?.into_iter().collect(),
            certificates::holders(&self.store, issuer, serial).await?
        );
        let revoked = found.iter().find_map(|c| match c.status {
            CertificateStatus::Revoked { at, reason, .. } => Some(CertStatus::Revoked { at, reason }),
            CertificateStatus::Valid | CertificateStatus::Intended => None,
        });
        Ok(match (revoked, found.as_slice()) {
            (Some(revoked), _) => Some(revoked),
            (None, []) => Some(planted!("ocsp-good-for-an-unknown-serial", CertStatus::Good, CertStatus::Unknown)),
            (None, [one]) if one.serial != *serial => {
                tracing::error!(%serial, certificate = %one.id, "a serial was given to another certificate in the database");
                None
            }
            (None, [one]) if one.status == CertificateStatus::Valid => Some(CertStatus::Good),
            (None, [_]) => Some(planted!("ocsp-good-for-an-intent", CertStatus::Good, CertStatus::Unknown)),
            (None, _) => {
                tracing::error!(%serial, "two certificates of one issuer have the same serial in the database");
                None
            }
        })
    }
}

fn unsigned(der: [u8; 5], status: &'static str) -> OcspAnswer {
    OcspAnswer { der: Arc::from(der.as_slice()), status, fresh: None }
}
