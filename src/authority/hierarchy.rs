//! The first hierarchy. Keys, certificates, profile and directory of a fresh installation are committed together
//! or not at all, under a lock of the whole installation: two replicas that race make one hierarchy. The root signs
//! here before anything is on disk, which is safe only because its key is stored in this very transaction: after a
//! crash before the commit there is no such key.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::crl::sign_root_series;
use crate::clock::{Timestamp, days, minutes};
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::{
    CertificateId, DirectoryId, DomainId, IssuerCertificateId, IssuerId, KeyId, ProfileId, RequestId,
};
use crate::model::issuer::{Domain, Issuer, IssuerCertificate, IssuerRole, IssuerStatus, Responder};
use crate::model::key::KeyAlgorithm;
use crate::model::serial::{SerialNumber, to_hex};
use crate::model::validity::Validity;
use crate::pki::issuer::{IssuerKey, NewIssuer, prepare_root, seal_root};
use crate::pki::prepared::{Prepared, SealedCertificate};
use crate::pki::profile::{ExtendedKeyUsage, ProfileConfig, shipped};
use crate::pki::signer::{KeyPurpose, KeyStore, Signer};
use crate::store::certificates::{self, Intent, Outcome};
use crate::store::hierarchy::{self, Installation};
use crate::store::versions::{self, Topic};
use crate::store::{Store, Tx, profiles};

/// Ten and three years, in days that leap years do not change.
const ROOT_LIFE: Duration = days(3_652);
const ISSUING_LIFE: Duration = days(1_095);
/// A root's responder lives as long as an issuer, because renewing it needs the root's key.
const ROOT_RESPONDER_LIFE: Duration = ISSUING_LIFE;
pub const RESPONDER_LIFE: Duration = days(90);

/// What the first start needs besides the keys.
#[derive(Debug, Clone)]
pub struct Founding {
    /// Base of CRL, OCSP and issuer pointers, without a slash at its end.
    pub status_url: String,
    /// A constant sealed by the unlock key.
    pub key_check: Vec<u8>,
    /// The status seal's key, sealed by the unlock key.
    pub status_key: Vec<u8>,
}

/// Makes the first hierarchy unless there is one. True when this call made it. `keys` must open every purpose.
pub async fn initialise(store: &Store, keys: &dyn KeyStore, founding: &Founding) -> Result<bool> {
    let actor = Actor::system("init");
    let mut tx = store.begin(&actor).await?;
    tx.raw().lock_installation().await?;
    if hierarchy::installation(&mut tx).await?.is_some() {
        return Ok(false);
    }
    let now = tx.now();
    let installation = Installation {
        id: RequestId::new(now, store.entropy.as_ref())?.to_vec(),
        created_at: now,
        key_check: founding.key_check.clone(),
        status_key: founding.status_key.clone(),
        epoch: 0,
    };
    hierarchy::insert_installation(&mut tx, &installation).await?;
    let domain = Domain {
        id: DomainId::new(now, store.entropy.as_ref())?,
        slug: "tls".into(),
        name: "TLS servers".into(),
        created_at: now,
    };
    hierarchy::insert_domain(&mut tx, &domain).await?;
    let root = found_root(&mut tx, keys, founding).await?;
    found_issuing(&mut tx, keys, founding, &root).await?;
    for config in shipped().into_iter().filter(|c| c.domain == domain.slug) {
        add_profile(&mut tx, &config).await?;
    }
    let directory = DirectoryId::new(now, store.entropy.as_ref())?;
    profiles::insert_directory(&mut tx, directory, "default", r#"{"profiles":["tls-server"]}"#).await?;
    for topic in [Topic::Hierarchy, Topic::Profiles, Topic::Directories] {
        versions::bump(&mut tx, topic).await?;
    }
    tx.audit(AuditEvent::done("installation.created", "", json!({"domain": domain.slug})));
    tx.commit().await?;
    Ok(true)
}

async fn add_profile(tx: &mut Tx, config: &ProfileConfig) -> Result<()> {
    let id = ProfileId::new(tx.now(), tx.store().entropy.as_ref())?;
    let text = serde_json::to_string(config)
        .map_err(|e| crate::error::Error::internal("a shipped profile does not serialise", e))?;
    profiles::insert(tx, id, &config.name, &text).await
}

async fn found_root(tx: &mut Tx, keys: &dyn KeyStore, founding: &Founding) -> Result<IssuerKey> {
    let (key_id, signer) = make_key(tx, keys, KeyAlgorithm::P384, KeyPurpose::Root).await?;
    let issuer = new_issuer(tx, founding, "tls-root", &root_name(signer.as_ref())?, IssuerRole::Root, key_id, None)?;
    let serial = SerialNumber::draw(tx.store().entropy.as_ref())?;
    let prepared = prepare_root(issuer.id, &issuer.name, signer.as_ref(), serial, life(tx.now(), ROOT_LIFE)?)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = seal_root(signer.as_ref(), prepared).await?;
    hierarchy::insert_issuer(&mut *tx, &issuer).await?;
    let key = IssuerKey::new(&issuer, sealed.der(), signer.clone())?;
    add_issuer_certificate(tx, &issuer, "root", &issuer, signer.as_ref(), tbs, sealed).await?;
    add_responder(tx, keys, &issuer, &key, ROOT_RESPONDER_LIFE).await?;
    sign_root_series(tx, &issuer, &key).await?;
    Ok(key)
}

async fn found_issuing(tx: &mut Tx, keys: &dyn KeyStore, founding: &Founding, root: &IssuerKey) -> Result<()> {
    let (key_id, signer) = make_key(tx, keys, KeyAlgorithm::P256, KeyPurpose::Issuer).await?;
    let parent = hierarchy::issuers(&mut *tx).await?.into_iter().find(|i| i.role == IssuerRole::Root);
    let parent = parent.ok_or_else(|| crate::error::Error::inconsistent("the root was not stored"))?;
    let name = "Chancery Issuing 1";
    let issuer = new_issuer(tx, founding, "tls-1", name, IssuerRole::Issuing, key_id, Some(parent.id))?;
    let below = NewIssuer {
        name,
        spki: signer.public_key(),
        // OCSPSigning, because OpenSSL and others nest the usages of the delegated responder too
        usages: &[ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::OcspSigning],
        validity: life(tx.now(), ISSUING_LIFE)?,
    };
    let prepared = root.prepare_issuing(&below, SerialNumber::draw(tx.store().entropy.as_ref())?)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = root.seal(prepared).await?;
    hierarchy::insert_issuer(&mut *tx, &issuer).await?;
    let key = IssuerKey::new(&issuer, sealed.der(), signer.clone())?;
    add_issuer_certificate(tx, &issuer, "issuing", &parent, signer.as_ref(), tbs, sealed).await?;
    add_responder(tx, keys, &issuer, &key, RESPONDER_LIFE).await
}

async fn make_key(
    tx: &mut Tx,
    keys: &dyn KeyStore,
    algorithm: KeyAlgorithm,
    purpose: KeyPurpose,
) -> Result<(KeyId, Arc<dyn Signer>)> {
    let now = tx.now();
    let id = KeyId::new(now, tx.store().entropy.as_ref())?;
    let sealed = keys.generate(id, algorithm, purpose)?;
    hierarchy::insert_key(tx, &sealed, now).await?;
    Ok((id, keys.open(&sealed)?))
}

fn new_issuer(
    tx: &Tx,
    founding: &Founding,
    slug: &str,
    name: &str,
    role: IssuerRole,
    key_id: KeyId,
    parent_id: Option<IssuerId>,
) -> Result<Issuer> {
    Ok(Issuer {
        id: IssuerId::new(tx.now(), tx.store().entropy.as_ref())?,
        slug: slug.into(),
        domain: "tls".into(),
        name: name.into(),
        role,
        key_id,
        parent_id,
        status: IssuerStatus::Active,
        status_url: founding.status_url.clone(),
        crl_counter: 0,
        // the first CRL is made as soon as somebody can
        crl_dirty: true,
        created_at: tx.now(),
    })
}

/// `Chancery Root 7F3A`: four digits of the key's digest tell installations apart.
fn root_name(signer: &dyn Signer) -> Result<String> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signer.public_key());
    let digits = to_hex(digest.as_ref()).to_uppercase();
    Ok(format!("Chancery Root {}", digits.get(..4).unwrap_or("0000")))
}

fn life(now: Timestamp, length: Duration) -> Result<Validity> {
    Validity::new(now - minutes(1), now + length)
}

async fn add_issuer_certificate(
    tx: &mut Tx,
    issuer: &Issuer,
    profile: &str,
    signed_by: &Issuer,
    signer: &dyn Signer,
    tbs: Vec<u8>,
    sealed: SealedCertificate,
) -> Result<()> {
    let der = sealed.der().to_vec();
    let row = add_certificate(tx, signed_by, profile, signer.algorithm(), tbs, sealed).await?;
    let certificate = IssuerCertificate {
        id: IssuerCertificateId::new(tx.now(), tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        certificate_id: row.id,
        der,
        not_before: row.validity.not_before(),
        not_after: row.validity.not_after(),
        created_at: tx.now(),
    };
    hierarchy::insert_issuer_certificate(tx, &certificate).await
}

/// A delegated OCSP responder whose key and certificate are committed together.
pub(super) async fn add_responder(
    tx: &mut Tx,
    keys: &dyn KeyStore,
    issuer: &Issuer,
    key: &IssuerKey,
    length: Duration,
) -> Result<()> {
    let (key_id, signer) = make_key(tx, keys, KeyAlgorithm::P256, KeyPurpose::Responder).await?;
    let serial = SerialNumber::draw(tx.store().entropy.as_ref())?;
    let prepared: Prepared = key.prepare_responder(signer.public_key(), serial, tx.now(), length)?;
    let tbs = prepared.tbs().to_vec();
    let sealed = key.seal(prepared).await?;
    let der = sealed.der().to_vec();
    let row = add_certificate(tx, issuer, "ocsp", signer.algorithm(), tbs, sealed).await?;
    let responder = Responder {
        id: IssuerCertificateId::new(tx.now(), tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        key_id,
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
    certificates::complete(tx.raw(), &[outcome]).await?;
    let detail = json!({"serial": certificate.serial, "subject": certificate.subject, "profile": profile});
    tx.audit(AuditEvent::done("certificate.issued", certificate.object(), detail));
    Ok(certificate)
}
