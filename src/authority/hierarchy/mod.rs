//! The first hierarchy. Keys, certificates, profile and directory of a fresh installation are committed together
//! or not at all, under a lock of the whole installation: two replicas that race make one hierarchy. The root signs
//! here before anything is on disk, which is safe only because its key is stored in this very transaction: after a
//! crash before the commit there is no such key.

pub mod anchors;
mod create;
mod crls;
mod domain_constraints;
pub mod import;
pub(super) mod make;
mod offline;
pub mod plan;
pub(super) mod published;
mod renew;
mod request;
mod states;

use std::time::Duration;

use serde_json::json;

use crate::authority::crl::Publishing;
use crate::clock::days;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{DirectoryId, DomainId, RequestId};
use crate::model::issuer::{Domain, IssuerState};
use crate::model::key::KeyAlgorithm;
use crate::pki::profile::{ExtendedKeyUsage, shipped};
use crate::pki::signer::{KeyPurpose, KeyStore};
use crate::store::hierarchy::{self, Installation};
use crate::store::versions::{self, Topic};
use crate::store::{Store, profiles};
pub(super) use create::no_key;
pub(super) use make::add_profile;
use make::{CaKeys, ISSUING_LIFE, Place, Powers, ROOT_RESPONDER_LIFE, digits, found_issuing, found_root};
pub(super) use states::settle_default;

pub use make::RESPONDER_LIFE;

/// Ten years, in days that leap years do not change.
const ROOT_LIFE: Duration = days(3_652);

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
    // replicas that start together wait for the one that makes the hierarchy
    tx.raw().wait_longer().await?;
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
        name: plan::title("tls").into(),
        created_at: now,
    };
    hierarchy::insert_domain(&mut tx, &domain).await?;
    let place = |slug: &str, name: String| Place {
        domain: domain.slug.clone(),
        slug: slug.into(),
        name,
        status_url: founding.status_url.clone(),
    };
    let publishing = Publishing::first(keys);
    let root = CaKeys::make(store, keys, KeyAlgorithm::P384, KeyPurpose::Root)?;
    let name = format!("Chancery Root {}", digits(root.own.signer.as_ref()));
    let root = found_root(
        &mut tx,
        &publishing,
        root,
        place("tls-root", name),
        IssuerState::Active,
        ROOT_LIFE,
        ROOT_RESPONDER_LIFE,
    )
    .await?;
    let issuing = CaKeys::make(store, keys, KeyAlgorithm::P256, KeyPurpose::Issuer)?;
    let powers = Powers { usages: &[ExtendedKeyUsage::ServerAuth], constraints: None, life: ISSUING_LIFE };
    let issuing_place = place("tls-1", "Chancery Issuing 1".into());
    found_issuing(&mut tx, &publishing, issuing, issuing_place, (&root.issuer, &root.key), &powers).await?;
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
