//! The one use case that issues, for every surface, in the order of the house: issuer, serial, prepare on the
//! bytes that will be signed, intent committed, seal and verify, outcome committed, answer. From the intent on it
//! runs in a task of its own, which no client's disconnect cancels.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use super::Authority;
use super::batch::WriteGroup;
use super::guard::{self, Guard};
use super::recovery::ISSUANCE_DEADLINE;
use super::signers::Candidates;
use super::snapshot::{LoadedIssuer, LoadedProfile};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::{Actor, ActorKind};
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::{AccountId, CertificateId};
use crate::model::identifier::Identifier;
use crate::model::serial::SerialNumber;
use crate::model::validity::RequestedValidity;
use crate::pki::issuer::{Ask, IssuerKey};
use crate::pki::name::SubjectFields;
use crate::pki::prepared::Prepared;
use crate::pki::request::CertificateRequest;
use crate::store::certificates::{self, Intent, Outcome};
use crate::store::{Store, Tx, patience};
use crate::store::{grants, replacements};

/// How often an issuer is chosen for one request while others change issuers.
const CHOICES: usize = 4;

/// What is asked. Names are those of the request unless given.
#[derive(Debug)]
pub struct Issuance {
    pub profile: String,
    /// The issuer's slug; the domain's current one when absent.
    pub issuer: Option<String>,
    pub request: CertificateRequest,
    /// The names to certify: for ACME the order's identifiers, else those of the CSR.
    pub names: Option<Vec<Identifier>>,
    pub common_name: Option<String>,
    /// What was asked of the subject besides; only what the profile takes as asked is read.
    pub subject: SubjectFields,
    pub validity: RequestedValidity,
    pub guard: Guard,
}

/// Who signs by which rules, and the bytes.
struct Chosen {
    /// The version of the hierarchy that this was chosen from.
    hierarchy: i64,
    issuer: Arc<LoadedIssuer>,
    profile: Arc<LoadedProfile>,
    key: Arc<IssuerKey>,
    prepared: Prepared,
}

/// A certificate that is committed and may be given out.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: Certificate,
    pub der: Vec<u8>,
    /// Intermediates in DER, nearest first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// Its ACME account had a certificate for exactly these names before.
    pub renews: bool,
}

impl Authority {
    /// Issues one certificate. A refusal is audited and says why; after a crash or an unknown commit nothing is
    /// released and recovery revokes what may have been signed.
    pub async fn issue(self: &Arc<Self>, actor: &Actor, issuance: Issuance) -> Result<Issued> {
        self.issue_telling(actor, issuance, None).await
    }

    /// The same; `intended` is told when the intent is committed: from then on nobody else gets its order.
    pub async fn issue_telling(
        self: &Arc<Self>,
        actor: &Actor,
        issuance: Issuance,
        intended: Option<oneshot::Sender<()>>,
    ) -> Result<Issued> {
        let started = crate::clock::monotonic();
        let (profile, via) = (issuance.profile.clone(), actor.via());
        // a client cannot grow the metrics by names that it makes up
        let known = self.snapshot().profiles.contains_key(&profile);
        let known_profile = if known { profile.clone() } else { "unknown".to_owned() };
        let (authority, actor) = (Arc::clone(self), actor.clone());
        let names = issuance.names.clone().unwrap_or_else(|| issuance.request.names().into_iter().collect());
        let run = async move { authority.run(&actor, issuance, &names, intended).await };
        let task = tokio::spawn(patience::on_behalf(patience::current(), run));
        let outcome = task.await.map_err(|e| Error::internal("the issuance task ended early", e))?;
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("chancery_issuance_duration_seconds", "protocol" => via, "stage" => "total")
            .record(seconds);
        match &outcome {
            Ok(issued) => metrics::counter!("chancery_certificates_issued_total",
                "issuer" => issued.certificate.issuer.clone(), "profile" => profile, "protocol" => via)
            .increment(1),
            Err(error) => metrics::counter!("chancery_issuance_rejected_total",
                "profile" => known_profile, "protocol" => via, "code" => error.kind.code())
            .increment(1),
        }
        outcome
    }

    /// What would be issued and by which issuer, without a trace: the same checks on the same bytes, nothing committed.
    pub fn preview(&self, actor: &Actor, issuance: &Issuance) -> Result<(String, Prepared)> {
        let serial = SerialNumber::draw(self.store.entropy.as_ref())?;
        self.prepare(actor, issuance, serial).map(|chosen| (chosen.issuer.issuer.slug.clone(), chosen.prepared))
    }

    /// The same with what else the intent's transaction would judge: the key block, and the end of the grant. Says
    /// which issuer would sign.
    pub async fn would_issue(&self, actor: &Actor, issuance: &Issuance) -> Result<(String, Prepared)> {
        let serial = SerialNumber::draw(self.store.entropy.as_ref())?;
        let chosen = self.prepare(actor, issuance, serial)?;
        if let Some(reason) = self.key_blocked(&chosen.prepared.facts().spki_sha256).await? {
            return Err(guard::blocked(&reason));
        }
        if let Some(granted) = &issuance.guard.grant {
            let found = grants::find(&self.store, granted.id).await?;
            let found = found.ok_or_else(|| grants::gone(granted.id))?;
            found.check_alive(self.store.now())?;
            guard::check_start(chosen.prepared.facts().validity, found.expires_at, "grant")?;
        }
        Ok((chosen.issuer.issuer.slug.clone(), chosen.prepared))
    }

    async fn run(
        self: &Arc<Self>,
        actor: &Actor,
        issuance: Issuance,
        names: &[Identifier],
        intended: Option<oneshot::Sender<()>>,
    ) -> Result<Issued> {
        match self.run_checked(actor, &issuance, intended).await {
            Err(error) if error.is_refusal() => {
                let detail = json!({"profile": issuance.profile, "names": names, "why": error.detail,
                    "rule": error.rule.as_ref().map(|r| r.name.clone())});
                self.store.record(actor, AuditEvent::refused("certificate.rejected", "", detail)).await?;
                Err(error.recorded())
            }
            other => other,
        }
    }

    async fn run_checked(
        self: &Arc<Self>,
        actor: &Actor,
        issuance: &Issuance,
        intended: Option<oneshot::Sender<()>>,
    ) -> Result<Issued> {
        let (chosen, certificate, renews) = self.intend(actor, issuance).await?;
        let Chosen { key, prepared, .. } = chosen;
        if let Some(intended) = intended {
            // who waits may be gone
            let _ = intended.send(());
        }
        match self.finish(actor, issuance, certificate.clone(), &key, prepared).await {
            Ok(issued) => Ok(Issued { chain: self.chain_of(&issued.certificate), renews, ..issued }),
            Err(error) => {
                // it may have been signed: nobody gets it, and it goes on the CRL now rather than after the deadline
                planted!(
                    "failed-outcome-leaves-its-intent",
                    (),
                    self.abandon_now(actor, certificate.id, &error.detail).await
                );
                Err(error)
            }
        }
    }

    /// Chooses who signs and commits the intent. Where another process changed an issuer in between (a retired or revoked
    /// one signs nothing), it is chosen again.
    async fn intend(&self, actor: &Actor, issuance: &Issuance) -> Result<(Chosen, Certificate, bool)> {
        for _ in 0..CHOICES {
            let serial = SerialNumber::draw(self.store.entropy.as_ref())?;
            let chosen = self.prepare(actor, issuance, serial)?;
            let (profile, prepared) = (&chosen.profile, &chosen.prepared);
            let certificate = self.describe(actor, issuance, &chosen.issuer, profile, prepared)?;
            let row = IntentRow {
                intent: Intent {
                    tbs: prepared.tbs().to_vec(),
                    request: issuance.request.der().map(<[u8]>::to_vec),
                    certificate: certificate.clone(),
                },
                actor: actor.clone(),
                guard: issuance.guard.clone(),
                common_name: profile.profile.common_name(issuance.common_name.as_deref(), &prepared.facts().names)?,
                hierarchy: chosen.hierarchy,
            };
            match self.commit_intent(row).await? {
                Intended::Committed { renews } => return Ok((chosen, certificate, renews)),
                Intended::HierarchyMoved => self.reload().await?,
            }
        }
        Err(guard::hierarchy_moved())
    }

    /// In a task of its own: a client whose time is over need not wait until the intent is given up.
    async fn abandon_now(self: &Arc<Self>, actor: &Actor, id: CertificateId, why: &str) {
        let (authority, actor, why) = (Arc::clone(self), actor.clone(), why.to_owned());
        let abandoning = tokio::spawn(async move {
            if let Err(later) = authority.abandon(&actor, id, &why).await {
                tracing::error!(certificate = %id, error = %later.chain(), "an intent is left to recovery");
            }
        });
        // it goes on when nobody waits any more
        let _ = patience::wait(patience::REQUEST, abandoning).await;
    }

    async fn finish(
        &self,
        actor: &Actor,
        issuance: &Issuance,
        mut certificate: Certificate,
        key: &IssuerKey,
        prepared: Prepared,
    ) -> Result<Issued> {
        if planted!(
            "late-intent-is-sealed",
            false,
            self.store.now().since(certificate.intended_at) > ISSUANCE_DEADLINE
        ) {
            return Err(Error::new(ErrorKind::TimedOut, "the database took too long; try again"));
        }
        self.store.check_signing()?;
        let sealed = timed(&certificate.issuer, key.seal(prepared)).await?;
        let outcome = Outcome {
            id: certificate.id,
            fingerprint: sealed.fingerprint(),
            issued_at: self.store.now(),
            der: sealed.into_der(),
        };
        let row = OutcomeRow {
            outcome: outcome.clone(),
            object: certificate.object(),
            actor: actor.clone(),
            guard: issuance.guard.clone(),
        };
        self.commit_outcome(row).await?;
        certificate.status = CertificateStatus::Valid;
        certificate.fingerprint = Some(outcome.fingerprint);
        certificate.issued_at = Some(outcome.issued_at);
        Ok(Issued { certificate, der: outcome.der, chain: Vec::new(), renews: false })
    }

    /// An error on COMMIT means unknown, and a retry of the group then meets its own rows: the intent is read again
    /// by id, and one that is there is ours, with nothing signed yet. Says whether the account had a certificate for
    /// the same names, as far as that is known then.
    async fn commit_intent(&self, row: IntentRow) -> Result<Intended> {
        let id = row.intent.certificate.id;
        let error = match self.intents.commit(row).await {
            Ok(intended) => return Ok(intended),
            Err(error) => error,
        };
        match certificates::find(&self.store, id).await {
            Ok(Some(found)) if found.status == CertificateStatus::Intended => {
                Ok(Intended::Committed { renews: false })
            }
            _ => Err(error),
        }
    }

    /// The same for the outcome: what the row says counts.
    async fn commit_outcome(&self, row: OutcomeRow) -> Result<()> {
        let (id, fingerprint, order) = (row.outcome.id, row.outcome.fingerprint, row.guard.order);
        let Err(error) = self.outcomes.commit(row).await else { return Ok(()) };
        match certificates::find(&self.store, id).await {
            Ok(Some(c)) if c.status == CertificateStatus::Valid && c.fingerprint == Some(fingerprint) => Ok(()),
            // taken back (`recovery::processing`): its order is another one's
            Ok(Some(c)) if order.is_some() && c.order_id.is_none() => Err(Error::new(
                ErrorKind::OrderNotReady,
                "another server went on with the order, because this one was out of reach: poll it, or finalize it again",
            )),
            _ => Err(error),
        }
    }

    fn prepare(&self, actor: &Actor, issuance: &Issuance, serial: SerialNumber) -> Result<Chosen> {
        self.store.check_signing()?;
        let snapshot = self.snapshot();
        let profile = Arc::clone(snapshot.profile(&issuance.profile)?);
        let domain = profile.profile.domain();
        let now = self.store.now();
        let issuer = Arc::clone(match (&issuance.issuer, &issuance.names) {
            (Some(slug), _) => snapshot.named_signer(slug, domain, &issuance.profile, now)?,
            (None, Some(names)) => snapshot.signer(domain, Candidates::Any, names, now)?,
            (None, None) => snapshot.signer(domain, Candidates::Any, issuance.request.san(), now)?,
        });
        let key = issuer.key.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Locked,
                "the server is locked: it runs without its unlock key and signs nothing; restart it with its unlock key, without --locked",
            )
        })?;
        let ask = Ask {
            serial,
            now,
            names: issuance.names.clone(),
            common_name: issuance.common_name.clone(),
            subject: issuance.subject.clone(),
            validity: issuance.validity,
            via_acme: matches!(actor.kind, ActorKind::Account(_)),
            own_hosts: self.own_hosts.clone(),
            granted: issuance.guard.grant.as_ref().map(|g| g.rules.clone()).unwrap_or_default(),
            reserved_allowed: matches!(actor.kind, ActorKind::System),
        };
        // RFC 8555 §6.7: badPublicKey is about the key of an account
        let kind = if ask.via_acme { ErrorKind::BadCsr } else { ErrorKind::BadKey };
        snapshot.check_own_key(&issuance.request.public_key().sha256(), kind)?;
        let prepared = key.prepare(&profile.profile, &issuance.request, &ask)?;
        guard::check_start(prepared.facts().validity, issuance.guard.token_expires_at, "token")?;
        Ok(Chosen { hierarchy: snapshot.versions.hierarchy, issuer, profile, key, prepared })
    }

    fn describe(
        &self,
        actor: &Actor,
        issuance: &Issuance,
        issuer: &LoadedIssuer,
        profile: &LoadedProfile,
        prepared: &Prepared,
    ) -> Result<Certificate> {
        let now = self.store.now();
        let facts = prepared.facts();
        Ok(Certificate {
            id: CertificateId::new(now, self.store.entropy.as_ref())?,
            serial: facts.serial.clone(),
            issuer_id: issuer.issuer.id,
            issuer: issuer.issuer.slug.clone(),
            profile: issuance.profile.clone(),
            profile_revision: profile.revision,
            status: CertificateStatus::Intended,
            subject: facts.subject.clone(),
            names: facts.names.clone(),
            validity: facts.validity,
            spki_sha256: facts.spki_sha256,
            fingerprint: None,
            key_algorithm: issuance.request.public_key().algorithm().name(),
            via: actor.via().to_owned(),
            requester: actor.to_string(),
            account_id: account_of(actor),
            order_id: issuance.guard.order,
            replica_id: self.store.replica(),
            intended_at: now,
            issued_at: None,
        })
    }

    /// The chain that goes with a certificate: intermediates in DER, nearest first.
    pub fn chain_of(&self, certificate: &Certificate) -> Vec<Vec<u8>> {
        self.snapshot().chain(certificate.issuer_id).into_iter().map(<[u8]>::to_vec).collect()
    }
}

/// Times a signature with its verification, and counts it when it fails.
async fn timed<T, E>(issuer: &str, sealing: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let started = crate::clock::monotonic();
    let sealed = sealing.await;
    metrics::histogram!("chancery_signing_duration_seconds", "issuer" => issuer.to_owned(), "backend" => "software")
        .record(started.elapsed());
    if sealed.is_err() {
        metrics::counter!("chancery_signing_errors_total", "issuer" => issuer.to_owned(), "backend" => "software")
            .increment(1);
    }
    sealed
}

fn account_of(actor: &Actor) -> Option<AccountId> {
    match actor.kind {
        ActorKind::Account(id) => Some(id),
        _ => None,
    }
}

/// One intent on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct IntentRow {
    intent: Intent,
    actor: Actor,
    guard: Guard,
    /// What stands in the subject, which a grant judges apart from the names.
    common_name: Option<String>,
    /// The version of the hierarchy that its issuer was chosen from.
    hierarchy: i64,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intended {
    Committed {
        /// The account had a certificate for the same names.
        renews: bool,
    },
    /// It was not written, because an issuer was changed since its own was chosen.
    HierarchyMoved,
}

#[derive(Debug, Clone)]
pub(super) struct OutcomeRow {
    outcome: Outcome,
    object: String,
    actor: Actor,
    guard: Guard,
}

/// Writes both kinds of groups.
pub(super) struct Writer(pub(super) Store);

impl WriteGroup<IntentRow, Intended> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::system("issuance")).await
    }

    fn lanes(&self) -> usize {
        self.0.lanes()
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<IntentRow>>) -> Result<Vec<Result<Intended>>> {
        let judged: Vec<guard::Judged<'_>> = rows
            .iter()
            .map(|row| (&row.guard, &row.intent.certificate, row.common_name.as_deref(), row.hierarchy))
            .collect();
        let mut group = guard::Group::read(&mut tx, &judged).await?;
        let mut results = Vec::with_capacity(rows.len());
        let (mut held, mut replaced) = (Vec::with_capacity(rows.len()), Vec::new());
        for (n, row) in rows.iter().enumerate() {
            if !group.is_current(&judged[n]) {
                results.push(Ok(Intended::HierarchyMoved));
                continue;
            }
            match guard::hold(&mut tx, &mut group, n, judged[n]).await {
                Ok(()) => {
                    held.push(row.intent.clone());
                    replaced.extend(row.guard.replaces.map(|before| (before, row.intent.certificate.id)));
                    audit_intent(&mut tx, row);
                    results.push(Ok(Intended::Committed { renews: group.renews(&row.guard) }));
                }
                Err(error) if error.is_refusal() => results.push(Err(error)),
                // a failed statement has ended the transaction: the group goes row by row
                Err(error) => return Err(error),
            }
        }
        if held.is_empty() {
            return Ok(results);
        }
        group.save(&mut tx).await?;
        certificates::intend(tx.raw(), &held).await?;
        replacements::insert(tx.raw(), &replaced).await?;
        tx.commit().await?;
        Ok(results)
    }
}

fn audit_intent(tx: &mut Tx, row: &IntentRow) {
    let c = &row.intent.certificate;
    let mut detail = json!({"serial": c.serial, "names": c.names, "issuer": c.issuer, "profile": c.profile,
        "revision": c.profile_revision, "not_after": c.validity.not_after()});
    if let Some(before) = row.guard.replaces {
        detail["replaces"] = before.to_string().into();
    }
    tx.audit_as(&row.actor, AuditEvent::done("certificate.intended", c.object(), detail));
}

impl WriteGroup<OutcomeRow> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::system("issuance")).await
    }

    fn lanes(&self) -> usize {
        self.0.lanes()
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<OutcomeRow>>) -> Result<Vec<Result<()>>> {
        let outcomes: Vec<_> = rows.iter().map(|r| r.outcome.clone()).collect();
        let open = certificates::complete(tx.raw(), &outcomes).await?;
        if planted!("revoked-intent-is-completed", false, open != u64::try_from(outcomes.len()).unwrap_or(u64::MAX)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the certificate was revoked or its key blocked while it was made; make a new request with a new key",
            ));
        }
        guard::settle(&mut tx, &rows.iter().map(|row| &row.guard).collect::<Vec<_>>()).await?;
        for row in rows.iter() {
            let detail = json!({"sha256": crate::model::serial::to_hex(&row.outcome.fingerprint)});
            tx.audit_as(&row.actor, AuditEvent::done("certificate.issued", &row.object, detail));
        }
        planted!("certificate-is-not-stored", {
            return Ok(rows.iter().map(|_| Ok(())).collect());
        });
        tx.commit().await?;
        Ok(rows.iter().map(|_| Ok(())).collect())
    }
}
