//! CRLs of ours that were published and that the database does not have: it was restored from a backup. They are read,
//! verified and put back with the revocations that they list.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::crls::{listed_by, revoke_listed};
use crate::authority::crl::counter_after;
use crate::authority::domain_crl::{list_number, of_domain};
use crate::authority::snapshot::Snapshot;
use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::crl::CrlNumber;
use crate::model::id::{CrlId, IssuerId};
use crate::model::issuer::Issuer;
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::pki::crl_facts::CrlFacts;
use crate::store::crls::{self, NewCrl};
use crate::store::domain_crls::{self, DomainCrlHead};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, audit, certificates, hierarchy};

/// A complete CRL that one of our issuers signed.
pub(in crate::authority) struct Published<'a> {
    pub issuer: IssuerId,
    pub slug: String,
    pub number: CrlNumber,
    facts: CrlFacts<'a>,
    der: &'a [u8],
    /// Revocations of certificates that nobody knows are listed until then.
    until: Timestamp,
}

/// The number of revocations that a published CRL added to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::authority) struct Merged {
    /// Revocations that the database did not have.
    pub revocations: u64,
    /// The part of `revocations` whose certificate is not in the database.
    pub unknown: u64,
    /// Revocations that the database had, and that it may have had with a milder reason.
    pub raised: u64,
}

impl<'a> Published<'a> {
    /// None: no issuer of ours has this name.
    pub fn read(snapshot: &Snapshot, der: &'a [u8]) -> Result<Option<Self>> {
        let facts = CrlFacts::parse(der).map_err(|e| Error::malformed("the CRL cannot be read").because(e))?;
        let mut named = snapshot.issuers.values().filter(|i| i.subject() == facts.issuer).peekable();
        if named.peek().is_none() {
            return Ok(None);
        }
        let refuse = |rule: &str, what: &str, allowed: &str| {
            let sentence = format!("the CRL is {what}; take {allowed}");
            Err(Error::refused(ErrorKind::Unprocessable, rule, what, allowed, "fetch it again").saying(sentence))
        };
        let Some(loaded) = named.find(|i| facts.verify(i.public_key()).is_ok()) else {
            return refuse(
                "crl.signature",
                "not signed by the key of its issuer",
                "one that was published by this CA",
            );
        };
        if facts.is_indirect {
            let what = format!(
                "the list of trust domain {}, which lists certificates of several issuers",
                loaded.issuer.domain
            );
            return refuse("crl.scope", &what, "the CRL of each issuer, which its server has at /crl/ISSUER.crl");
        }
        if facts.delta_base.is_some() || facts.distribution_point.is_some() {
            return refuse("crl.scope", "a delta CRL, or one of a part", "the complete CRL of the issuer");
        }
        let Some(number) = facts.crl_number() else {
            return refuse(
                "crl.number",
                "without a CRL number of at most 20 octets",
                "one that was published by this CA",
            );
        };
        let until = loaded.certificate()?.not_after;
        let (issuer, slug) = (loaded.issuer.id, loaded.issuer.slug.clone());
        Ok(Some(Published { issuer, slug, number, facts, der, until }))
    }
}

/// Takes what a published CRL lists, and the CRL itself while it is the newest one and in force. None: the database has
/// it, or a newer one.
pub(in crate::authority) async fn restore_crl(tx: &mut Tx, published: &Published<'_>) -> Result<Option<Merged>> {
    let Some(issuer) = hierarchy::lock_issuer(&mut *tx, published.issuer).await? else { return Ok(None) };
    let now = tx.now();
    let newest = crls::in_force(&mut *tx, issuer.id, now).await?.map(|crl| crl.number);
    if newest.is_some_and(|number| number >= published.number) || published.facts.this_update > now + minutes(5) {
        return Ok(None);
    }
    let merged = merge(tx, &issuer, published, &HashSet::new()).await?;
    if published.facts.next_update.is_some_and(|end| end > now) {
        store(tx, &issuer, published, now).await?;
    }
    versions::bump(&mut *tx, Topic::Revocations).await?;
    let detail = json!({"issuer": issuer.slug, "number": published.number.to_string(),
        "revocations": merged.revocations, "of_unknown_certificates": merged.unknown});
    tx.audit(AuditEvent::done("crl.restored", format!("issuer:{}", issuer.id), detail));
    Ok(Some(merged))
}

/// Takes what a published CRL lists that is older than the one in force, after `chancery reconcile` has begun a new epoch. A
/// hold that was lifted since does not return.
pub(in crate::authority) async fn take_late(tx: &mut Tx, published: &Published<'_>) -> Result<Merged> {
    let issuer = hierarchy::lock_issuer(&mut *tx, published.issuer).await?;
    let issuer = issuer.ok_or_else(|| Error::inconsistent("the issuer of the CRL is gone"))?;
    let mut lifted = HashSet::new();
    for entry in published.facts.entries().filter(|e| e.reason == Some(RevocationReason::CertificateHold.code())) {
        let serial = SerialNumber::from_octets(entry.serial)?;
        let held = certificates::find_by_serial_of(&mut *tx, issuer.id, &serial).await?;
        let Some(held) = held else { continue };
        let newest = audit::of_object_newest(&mut *tx, &held.object()).await?;
        if newest.is_some_and(|event| event.action == "certificate.hold_lifted") {
            lifted.insert(entry.serial.to_vec());
        }
    }
    let merged = merge(tx, &issuer, published, &lifted).await?;
    hierarchy::mark_crl_dirty(&mut *tx, issuer.id).await?;
    versions::bump(&mut *tx, Topic::Revocations).await?;
    let detail = json!({"issuer": issuer.slug, "number": published.number.to_string(),
        "revocations": merged.revocations, "of_unknown_certificates": merged.unknown});
    tx.audit(AuditEvent::done("crl.restored", format!("issuer:{}", issuer.id), detail));
    Ok(merged)
}

async fn merge(tx: &mut Tx, issuer: &Issuer, published: &Published<'_>, lifted: &HashSet<Vec<u8>>) -> Result<Merged> {
    let known: HashMap<Vec<u8>, Option<u8>> = listed_by(tx, issuer.id).await?;
    let mut merged = Merged::default();
    for entry in published.facts.entries().filter(|entry| !lifted.contains(entry.serial)) {
        let before = known.get(entry.serial);
        // a reason that is the same, or was left out, says no more than what is known
        if before
            .is_some_and(|code| entry.reason.is_none() || *code == entry.reason && entry.invalidity_date.is_none())
        {
            continue;
        }
        let is_known = revoke_listed(&mut *tx, issuer, &entry, published.until).await?;
        if before.is_some() {
            merged.raised += 1;
            continue;
        }
        merged.revocations += 1;
        merged.unknown += u64::from(!is_known);
    }
    Ok(merged)
}

async fn store(tx: &mut Tx, issuer: &Issuer, published: &Published<'_>, now: Timestamp) -> Result<()> {
    let epoch = hierarchy::installation(&mut *tx).await?.map_or(0, |i| u64::try_from(i.epoch).unwrap_or(0));
    let state = crls::state(tx, issuer.id, epoch).await?;
    // what stood ready lacks what this one lists
    crls::withdraw_future(tx, issuer.id, now).await?;
    let crl = NewCrl {
        id: CrlId::new(now, tx.store().entropy.as_ref())?,
        issuer_id: issuer.id,
        number: published.number,
        this_update: published.facts.this_update,
        next_update: published.facts.next_update.unwrap_or(now),
        entries: i64::try_from(published.facts.count).unwrap_or(i64::MAX),
        created_at: now,
        bytes: published.der.to_vec().into(),
    };
    crls::insert(&mut *tx, crl).await?;
    let highest = state.number.max(published.number);
    crls::stored(tx, issuer.id, highest, counter_after(state.counter, highest, epoch, 0)).await?;
    crls::prune(tx, issuer.id, now, crls::KEPT).await
}

/// Puts a trust domain's list back that was served. False: the database has it, or a newer one.
pub(in crate::authority) async fn restore_list(
    tx: &mut Tx,
    snapshot: &Snapshot,
    domain: &str,
    der: &[u8],
) -> Result<bool> {
    let facts = CrlFacts::parse(der).map_err(|e| Error::malformed("the list cannot be read").because(e))?;
    let signer = of_domain(snapshot, domain)
        .find(|loaded| loaded.subject() == facts.issuer && facts.verify(loaded.public_key()).is_ok());
    let (Some(signer), Some(number), Some(next_update)) = (signer, facts.crl_number(), facts.next_update) else {
        return Ok(false);
    };
    let Some(head) = domain_crls::find(&mut *tx, domain).await? else { return Ok(false) };
    let (now, epoch) = (tx.now(), hierarchy::installation(&mut *tx).await?.map_or(0, |i| i.epoch));
    if number <= list_number(epoch, head.counter) || next_update <= now || facts.this_update > now + minutes(5) {
        return Ok(false);
    }
    let of_epoch = number.epoch().and_then(|epoch| number.counter_of(u64::try_from(epoch).ok()?));
    let counter = of_epoch.and_then(|counter| i64::try_from(counter).ok());
    let counter = counter.unwrap_or(0).max(head.counter + 1);
    let list = DomainCrlHead {
        domain: domain.to_owned(),
        counter,
        issuer_id: signer.issuer.id,
        // of no revocations that the database has: the next one is made as soon as it may be
        content: String::new(),
        this_update: facts.this_update,
        next_update,
        entries: i64::try_from(facts.count).unwrap_or(i64::MAX),
        created_at: now,
        size: i64::try_from(der.len()).unwrap_or(i64::MAX),
        ahead: None,
    };
    if !domain_crls::replace(&mut *tx, Some(head.counter), &list, der.to_vec().into()).await? {
        return Ok(false);
    }
    domain_crls::replace_ahead(tx, domain, counter, None).await?;
    let detail = json!({"domain": domain, "number": number.to_string()});
    tx.audit(AuditEvent::done("crl.restored", format!("domain:{domain}"), detail));
    Ok(true)
}
