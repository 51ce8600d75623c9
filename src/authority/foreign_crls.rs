//! CRLs of CAs elsewhere above our issuers (a corporate root): a server that checks the whole chain needs them, and only
//! they say that an issuer of ours was revoked up there. A job fetches them from where the certificates below point;
//! `ca crl import` takes one by hand. Fetching twice is harmless: an older CRL never takes the place of a newer one.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::json;

use super::Authority;
use super::snapshot::Snapshot;
use crate::clock::{Timestamp, hours, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::crl_facts::CrlFacts;
use crate::store::foreign_crls::{self, ForeignCrl};
use crate::store::versions::{self, Topic};

/// How often a CRL is fetched, and how soon again after a failure.
const EVERY: std::time::Duration = hours(1);
const AGAIN: std::time::Duration = minutes(10);

/// A CA elsewhere that signed a CA certificate of a domain.
#[derive(Debug, Clone)]
pub struct ForeignCa {
    pub certificate: CaCertificate,
    pub domain: String,
    /// Where the certificates that it signed say that its CRL lies.
    pub urls: Vec<String>,
}

impl ForeignCa {
    /// SHA-256 of its public key.
    pub fn id(&self) -> Vec<u8> {
        key_hash(&self.certificate)
    }
}

/// SHA-256 of a CA's public key, by which its CRL is stored.
pub(super) fn key_hash(ca: &CaCertificate) -> Vec<u8> {
    digest(&SHA256, &ca.spki).as_ref().to_vec()
}

/// The CAs elsewhere above our issuers that may sign a CRL, each once a domain.
pub(super) fn foreign_cas(snapshot: &Snapshot) -> Vec<ForeignCa> {
    let read = |der: &[u8]| CaCertificate::read(der).ok();
    let ours =
        snapshot.issuers.values().flat_map(|i| i.certificates.iter().map(|c| (i.issuer.domain.as_str(), &c.der)));
    let theirs = snapshot.anchors.iter().map(|a| (a.domain.as_str(), &a.der));
    let below: Vec<_> = ours.chain(theirs).filter_map(|(domain, der)| Some((domain, read(der)?))).collect();
    let mut found: Vec<ForeignCa> = Vec::new();
    for anchor in &snapshot.anchors {
        let Some(ca) = read(&anchor.der).filter(|ca| ca.signs_crls) else { continue };
        let children =
            below.iter().filter(|(domain, c)| *domain == anchor.domain && c.subject != c.issuer && ca.fits_above(c));
        let children: Vec<_> = children.collect();
        let known = found.iter().any(|other| other.domain == anchor.domain && other.certificate.spki == ca.spki);
        if children.is_empty() || known {
            continue;
        }
        let mut urls: Vec<String> = children.iter().flat_map(|(_, child)| child.crl_urls()).collect();
        urls.sort();
        urls.dedup();
        found.push(ForeignCa { certificate: ca, domain: anchor.domain.clone(), urls });
    }
    found
}

impl Authority {
    /// The CAs elsewhere whose CRL is to be fetched now, with where.
    pub async fn foreign_crls_due(&self) -> Result<Vec<ForeignCa>> {
        let cas = foreign_cas(&self.snapshot());
        if cas.is_empty() {
            return Ok(cas);
        }
        let (known, now) = (foreign_crls::list(&self.store).await?, self.store.now());
        let due = |ca: &ForeignCa| {
            let row = known.iter().find(|row| row.ca == ca.id());
            row.is_none_or(|row| {
                let wait = if row.failure.is_empty() { EVERY } else { AGAIN };
                now.since(row.tried_at) >= wait || now < row.tried_at
            })
        };
        let mut once: Vec<ForeignCa> = Vec::new();
        for ca in cas.into_iter().filter(|ca| !ca.urls.is_empty() && due(ca)) {
            if !once.iter().any(|other| other.id() == ca.id()) {
                once.push(ca);
            }
        }
        Ok(once)
    }

    /// Stores what was fetched from `url`, once the CA's key verifies it.
    pub async fn store_foreign_crl(&self, actor: &Actor, ca: &ForeignCa, url: &str, der: &[u8]) -> Result<Timestamp> {
        let facts = CrlFacts::parse(der).map_err(|e| {
            Error::malformed("what came is no CRL in DER or PEM that can be read; fetch it from its CA again")
                .because(e)
        })?;
        let (name, now) = (ca.certificate.name(), self.store.now());
        let next_update = acceptable(&facts, ca, now)?;
        let before = foreign_crls::list(&self.store).await?.into_iter().find(|known| known.ca == ca.id());
        if let Some(before) = before.as_ref().and_then(|row| CrlFacts::parse(&row.der).ok()) {
            refuse_older(&facts, &before, &name)?;
        }
        let row = ForeignCrl {
            ca: ca.id(),
            url: url.to_owned(),
            der: der.to_vec(),
            this_update: facts.this_update,
            next_update,
            tried_at: now,
            failure: String::new(),
        };
        let mut tx = self.store.begin(actor).await?;
        foreign_crls::store(&mut tx, &row).await?;
        if before.is_none_or(|before| before.der != row.der) {
            let detail = json!({"ca": name, "url": url, "entries": facts.count, "next_update": next_update});
            tx.audit(AuditEvent::done("crl.imported", format!("domain:{}", ca.domain), detail));
            // it may list an issuer of ours
            versions::bump(&mut tx, Topic::Hierarchy).await?;
        }
        tx.commit().await?;
        Ok(next_update)
    }

    /// The newest CRL of each CA elsewhere above an issuer, in DER.
    pub async fn known_foreign_crls(&self) -> Result<Vec<Vec<u8>>> {
        let known = foreign_crls::list(&self.store).await?;
        Ok(known.into_iter().map(|row| row.der).filter(|der| !der.is_empty()).collect())
    }

    /// Remembers that a CRL could not be fetched; doctor reports it once the one at hand has ended.
    pub async fn foreign_crl_failed(&self, ca: &ForeignCa, url: &str, why: &str) -> Result<()> {
        foreign_crls::failed(&self.store, &ca.id(), url, self.store.now(), why).await
    }

    /// Takes a CRL by hand that none of our issuers signed. Returns who signed it and when it ends.
    pub(super) async fn take_foreign_crl(&self, actor: &Actor, der: &[u8]) -> Result<(String, Timestamp)> {
        self.store.check_clock()?;
        let facts = CrlFacts::parse(der).map_err(|e| Error::malformed("the CRL cannot be read").because(e))?;
        let cas = foreign_cas(&self.snapshot());
        let signed =
            |ca: &&ForeignCa| ca.certificate.subject == facts.issuer && facts.verify(&ca.certificate.spki).is_ok();
        let ca = cas.iter().find(signed).ok_or_else(|| {
            Error::refused(
                ErrorKind::Unprocessable,
                "crl.issuer",
                "a CRL of a CA that is not here",
                "the CRL of an issuer of this installation, or of a CA above one",
                "give the CRL of an issuer that `chancery ca list` shows, or of a CA above it",
            )
            .explained("the CRL was signed by no CA of this installation and by none above one of them")
        })?;
        let until = self.store_foreign_crl(actor, ca, "", der).await?;
        self.reload().await?;
        Ok((ca.certificate.name(), until))
    }

    /// The CRLs of a domain's issuers and of the CAs above them, each with a hash of its bytes: what a server needs that checks every
    /// certificate of a chain (nginx refuses everybody while the root's is missing). Issuers that were retired or removed
    /// are among them: their certificates are valid until they expire.
    pub async fn crl_bundle(&self, domain: &str) -> Result<Vec<(Bytes, String)>> {
        let snapshot = self.snapshot();
        let mut crls = Vec::new();
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.domain == domain && i.signs_crls()) {
            match self.current_crl(&loaded.issuer.slug).await {
                // the last one of an issuer that has ended: nothing of it is valid any more
                Ok(crl) if crl.next_update <= self.store.now() => {}
                Ok(crl) => crls.push((crl.der.clone(), crl.tag.clone())),
                Err(error) if error.kind == ErrorKind::Unavailable && error.retry_after.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let cas = foreign_cas(&snapshot);
        if cas.iter().any(|ca| ca.domain == domain) {
            let known = foreign_crls::list(&self.store).await?;
            let of_domain = |row: &ForeignCrl| cas.iter().any(|ca| ca.domain == domain && ca.id() == row.ca);
            for row in known.into_iter().filter(|row| !row.der.is_empty() && of_domain(row)) {
                let tag = to_hex(digest(&SHA256, &row.der).as_ref());
                crls.push((row.der.into(), tag));
            }
        }
        Ok(crls)
    }
}

/// May this CRL say which CA certificates a CA elsewhere revoked? Returns its nextUpdate.
fn acceptable(facts: &CrlFacts<'_>, ca: &ForeignCa, now: Timestamp) -> Result<Timestamp> {
    let name = ca.certificate.name();
    if facts.issuer != ca.certificate.subject || facts.verify(&ca.certificate.spki).is_err() {
        return Err(refuse(format!("the CRL is not signed by {name}"), "fetch the CRL of that CA"));
    }
    if facts.delta_base.is_some() {
        return Err(refuse(format!("the CRL of {name} is a delta CRL"), "fetch the complete one"));
    }
    if facts.leaves_out_cas() {
        let what = format!("the CRL of {name} is indirect or does not cover CA certificates for every reason");
        return Err(refuse(what, "fetch the CRL that lists the CA certificates which it revoked"));
    }
    if facts.has_unknown_critical() {
        let what = format!("the CRL of {name} has a critical extension that is not known here (RFC 5280 §5.2)");
        return Err(refuse(what, "ask the CA for a CRL without it"));
    }
    if facts.this_update > now + minutes(5) {
        let what =
            format!("the CRL of {name} is from the future: thisUpdate is {}, and it is {now}", facts.this_update);
        return Err(refuse(what, "compare the clocks"));
    }
    match facts.next_update {
        Some(next) if next > now => Ok(next),
        Some(next) => Err(refuse(format!("the CRL of {name} expired at {next}"), "have its CA publish the next one")),
        None => Err(refuse(format!("the CRL of {name} has no nextUpdate"), "have its CA publish one that expires")),
    }
}

/// Whoever stands between us and the CA could bring an older CRL back, which lacks a revocation.
fn refuse_older(facts: &CrlFacts<'_>, known: &CrlFacts<'_>, name: &str) -> Result<()> {
    let numbers = facts.crl_number().zip(known.crl_number());
    let what = match numbers {
        Some((number, before)) if number < before => {
            format!("the CRL of {name} has number {number}, and number {before} is known already")
        }
        _ if facts.this_update < known.this_update => {
            format!(
                "the CRL of {name} is of {}, and one of {} is known already",
                facts.this_update, known.this_update
            )
        }
        _ => return Ok(()),
    };
    Err(refuse(what, "the newer one is kept"))
}

fn refuse(what: String, fix: &str) -> Error {
    let sentence = format!("{what}; {fix}");
    let allowed = "a complete CRL in force of the CA above the issuer, not older than the one that is known";
    Error::refused(ErrorKind::Unprocessable, "crl.foreign", what, allowed, fix).saying(sentence)
}
