//! The parts that a hierarchy is made of: keys, roots, issuers below them, OCSP delegates, and their rows. All in
//! the caller's transaction: a key and what it signs are committed together.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::authority::crl::{Publishing, sign_first, sign_root_series};
use crate::clock::{Timestamp, days, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::{CertificateId, IssuerCertificateId, IssuerId, KeyId, ProfileId};
use crate::model::issuer::{Former, Issuer, IssuerCertificate, IssuerRole, IssuerState, Responder};
use crate::model::key::KeyAlgorithm;
use crate::model::serial::{SerialNumber, to_hex};
use crate::model::validity::Validity;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::issuer::{IssuerKey, NewIssuer, prepare_root, seal_root};
use crate::pki::path::IssuingPath;
use crate::pki::prepared::{Prepared, SealedCertificate};
use crate::pki::profile::{ExtendedKeyUsage, ProfileConfig};
use crate::pki::signer::{KeyPurpose, KeyStore, SealedKey, Signer};
use crate::store::certificates::{self, Intent, Outcome};
use crate::store::hierarchy;
use crate::store::{Store, Tx, profiles};

pub const RESPONDER_LIFE: Duration = days(90);
/// A root's responder lives as long as an issuer, because renewing it needs the root's key.
pub const ROOT_RESPONDER_LIFE: Duration = ISSUING_LIFE;
/// Three years, in days that leap years do not change.
pub const ISSUING_LIFE: Duration = days(1_095);

/// A key that is made and not yet stored. Making one takes up to a second (RSA), so it comes before the transaction.
pub struct NewKey {
    pub sealed: SealedKey,
    pub signer: Arc<dyn Signer>,
}

impl NewKey {
    pub fn make(store: &Store, keys: &dyn KeyStore, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<NewKey> {
        let id = KeyId::new(store.now(), store.entropy.as_ref())?;
        let sealed = keys.generate(id, algorithm, purpose)?;
        let signer = keys.open(&sealed)?;
        Ok(NewKey { sealed, signer })
    }

    pub async fn store(&self, tx: &mut Tx) -> Result<()> {
        let now = tx.now();
        hierarchy::insert_key(tx, &self.sealed, now).await
    }
}

/// A CA key and that of its OCSP delegate.
pub struct CaKeys {
    pub own: NewKey,
    pub responder: NewKey,
}

impl CaKeys {
    pub fn make(store: &Store, keys: &dyn KeyStore, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<CaKeys> {
        Ok(CaKeys {
            own: NewKey::make(store, keys, algorithm, purpose)?,
            responder: NewKey::make(store, keys, responder_algorithm(algorithm), KeyPurpose::Responder)?,
        })
    }
}

/// Who verifies RSA alone must be able to read its OCSP answers.
pub fn responder_algorithm(issuer: KeyAlgorithm) -> KeyAlgorithm {
    if issuer.is_rsa() { KeyAlgorithm::Rsa(3072) } else { KeyAlgorithm::P256 }
}

/// Where an issuer stands and what it is called.
#[derive(Debug, Clone)]
pub struct Place {
    pub domain: String,
    pub slug: String,
    /// The CN of its subject.
    pub name: String,
    pub status_url: String,
}

/// An issuer of ours with its key at hand.
pub struct Ready {
    pub issuer: Issuer,
    pub key: IssuerKey,
}

/// A self-signed root with its delegate, which lives for `responder_life` because renewing it needs the root's key,
/// and its CRLs for all of its life. A further root of a domain begins as prepared.
pub async fn found_root(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    keys: CaKeys,
    place: Place,
    state: IssuerState,
    life: Duration,
    responder_life: Duration,
) -> Result<Ready> {
    keys.own.store(tx).await?;
    let signer = keys.own.signer.clone();
    let issuer = Issuer { state, ..new_issuer(tx, place, IssuerRole::Root, keys.own.sealed.id, None)? };
    let serial = SerialNumber::draw(tx.store().entropy.as_ref())?;
    let prepared = prepare_root(issuer.id, &issuer.name, signer.as_ref(), serial, from_now(tx.now(), life)?)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = seal_root(signer.as_ref(), prepared).await?;
    hierarchy::insert_issuer(&mut *tx, &issuer).await?;
    let key = IssuerKey::new(&issuer, IssuingPath::read(&[sealed.der()])?, signer.clone())?;
    add_issuer_certificate(tx, &issuer, "root", &issuer, signer.algorithm(), tbs, sealed).await?;
    add_responder(tx, keys.responder, &issuer, &key, responder_life).await?;
    sign_root_series(tx, publishing, &issuer, &key).await?;
    Ok(Ready { issuer, key })
}

/// What an issuer below another one may do.
#[derive(Debug)]
pub struct Powers<'a> {
    pub usages: &'a [ExtendedKeyUsage],
    pub constraints: Option<&'a [u8]>,
    pub life: Duration,
}

/// An issuer of path length 0 below `above`, with its delegate and its first CRL.
pub async fn found_issuing(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    keys: CaKeys,
    place: Place,
    above: (&Issuer, &IssuerKey),
    powers: &Powers<'_>,
) -> Result<Ready> {
    keys.own.store(tx).await?;
    let signer = keys.own.signer.clone();
    let mut issuer = new_issuer(tx, place, IssuerRole::Issuing, keys.own.sealed.id, Some(above.0.id))?;
    // under a root that clients do not have yet nothing signs for them
    if !above.0.state.signs() {
        issuer.state = IssuerState::Prepared;
    }
    issuer.is_default = is_first_signer(tx, &issuer).await?;
    let below = NewIssuer {
        name: &issuer.name,
        spki: signer.public_key(),
        usages: powers.usages,
        constraints: powers.constraints,
        validity: from_now(tx.now(), powers.life)?,
    };
    let prepared = above.1.prepare_issuing(&below, SerialNumber::draw(tx.store().entropy.as_ref())?)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = above.1.seal(prepared).await?;
    hierarchy::insert_issuer(&mut *tx, &issuer).await?;
    let path = above.1.path().below(CaCertificate::read(sealed.der())?)?;
    let key = IssuerKey::new(&issuer, path, signer.clone())?;
    add_issuer_certificate(tx, &issuer, "issuing", above.0, signer.algorithm(), tbs, sealed).await?;
    add_responder(tx, keys.responder, &issuer, &key, RESPONDER_LIFE).await?;
    sign_first(tx, publishing, &issuer, &key).await?;
    Ok(Ready { issuer, key })
}

pub fn new_issuer(
    tx: &Tx,
    place: Place,
    role: IssuerRole,
    key_id: KeyId,
    parent_id: Option<IssuerId>,
) -> Result<Issuer> {
    Ok(Issuer {
        id: IssuerId::new(tx.now(), tx.store().entropy.as_ref())?,
        slug: place.slug,
        domain: place.domain,
        name: place.name,
        role,
        key_id,
        parent_id,
        state: IssuerState::Active,
        is_default: false,
        former: Former::Ordinary,
        status_url: place.status_url,
        crl_counter: 0,
        // until the first CRL is signed
        crl_dirty: true,
        crl_retained_since: None,
        created_at: tx.now(),
    })
}

/// Is this the first issuer of its domain that signs? Then it is the default.
pub async fn is_first_signer(tx: &mut Tx, issuer: &Issuer) -> Result<bool> {
    let signs = |i: &Issuer| i.role == IssuerRole::Issuing && i.state.signs();
    let others = hierarchy::issuers(&mut *tx).await?;
    Ok(signs(issuer) && !others.iter().any(|other| other.domain == issuer.domain && signs(other)))
}

/// Four digits of the key's digest tell the roots of two installations apart.
pub fn digits(signer: &dyn Signer) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signer.public_key());
    let digits = to_hex(digest.as_ref()).to_uppercase();
    digits.get(..4).unwrap_or("0000").to_owned()
}

pub fn from_now(now: Timestamp, length: Duration) -> Result<Validity> {
    Validity::new(now - minutes(1), now + length)
}

/// A certificate of ours for an issuer: the row among all certificates and the one of the issuer.
pub async fn add_issuer_certificate(
    tx: &mut Tx,
    issuer: &Issuer,
    profile: &str,
    signed_by: &Issuer,
    algorithm: KeyAlgorithm,
    tbs: Vec<u8>,
    sealed: SealedCertificate,
) -> Result<()> {
    let der = sealed.der().to_vec();
    let row = add_certificate(tx, signed_by, profile, algorithm, tbs, sealed).await?;
    let certificate = IssuerCertificate {
        id: IssuerCertificateId::new(tx.now(), tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        certificate_id: Some(row.id),
        der,
        not_before: row.validity.not_before(),
        not_after: row.validity.not_after(),
        created_at: tx.now(),
    };
    hierarchy::insert_issuer_certificate(tx, &certificate).await
}

/// A delegated OCSP responder whose key and certificate are committed together.
pub async fn add_responder(
    tx: &mut Tx,
    own: NewKey,
    issuer: &Issuer,
    key: &IssuerKey,
    length: Duration,
) -> Result<()> {
    own.store(tx).await?;
    let serial = SerialNumber::draw(tx.store().entropy.as_ref())?;
    let prepared: Prepared = key.prepare_responder(own.signer.public_key(), serial, tx.now(), length)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = key.seal(prepared).await?;
    let der = sealed.der().to_vec();
    let row = add_certificate(tx, issuer, "ocsp", own.signer.algorithm(), tbs, sealed).await?;
    let responder = Responder {
        id: IssuerCertificateId::new(tx.now(), tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        key_id: own.sealed.id,
        certificate_id: row.id,
        der,
        not_before: row.validity.not_before(),
        not_after: row.validity.not_after(),
        created_at: tx.now(),
    };
    hierarchy::insert_responder(tx, &responder).await
}

async fn add_certificate(
    tx: &mut Tx,
    signed_by: &Issuer,
    profile: &str,
    algorithm: KeyAlgorithm,
    tbs: Vec<u8>,
    sealed: SealedCertificate,
) -> Result<Certificate> {
    // the bytes are given to nobody before the commit
    tx.store().check_signing()?;
    let now = tx.now();
    let facts = sealed.facts().clone();
    let certificate = Certificate {
        id: CertificateId::new(now, tx.store().entropy.as_ref())?,
        serial: facts.serial,
        issuer_id: signed_by.id,
        issuer: signed_by.slug.clone(),
        profile: profile.into(),
        profile_revision: 1,
        status: CertificateStatus::Intended,
        subject: facts.subject,
        names: facts.names,
        validity: facts.validity,
        spki_sha256: facts.spki_sha256,
        fingerprint: None,
        key_algorithm: algorithm.name(),
        via: "internal".into(),
        requester: tx.actor().to_string(),
        account_id: None,
        order_id: None,
        replica_id: tx.store().replica(),
        intended_at: now,
        issued_at: None,
    };
    let intent = Intent { certificate: certificate.clone(), tbs, request: None };
    certificates::intend(tx.raw(), std::slice::from_ref(&intent)).await?;
    let outcome =
        Outcome { id: certificate.id, fingerprint: sealed.fingerprint(), issued_at: now, der: sealed.into_der() };
    if certificates::complete(tx.raw(), &[outcome]).await? != 1 {
        // a blocked key gets no outcome: nothing of this transaction may stay
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("the key of {} is blocked; make a new issuer with `chancery ca create`", certificate.subject),
        ));
    }
    let detail = json!({"serial": certificate.serial, "subject": certificate.subject, "profile": profile});
    tx.audit(AuditEvent::done("certificate.issued", certificate.object(), detail));
    Ok(certificate)
}

/// The first revision of a profile.
pub async fn add_profile(tx: &mut Tx, config: &ProfileConfig) -> Result<()> {
    let id = ProfileId::new(tx.now(), tx.store().entropy.as_ref())?;
    let text =
        serde_json::to_string(config).map_err(|e| Error::internal("a shipped profile does not serialise", e))?;
    profiles::insert(tx, id, &config.name, &text).await
}
