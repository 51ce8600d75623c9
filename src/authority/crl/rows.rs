//! Rows of CRLs compared with what was signed. Whoever can write rows can put an older CRL in the place of the newest one or
//! take rows away, and no key is needed for it: so a CRL counts only if it is the one of its row, and the number that was
//! served last stands outside the database. What is found is made anew from the revocations, which are compared with the
//! audit.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::LARGE;
use crate::authority::Authority;
use crate::authority::snapshot::LoadedIssuer;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::crl::{CrlNumber, Listed};
use crate::model::id::IssuerId;
use crate::model::issuer::Issuer;
use crate::pki::crl_facts::CrlFacts;
use crate::store::crls::{self, CrlHead};
use crate::store::history::domain_series;
use crate::store::row_macs::ChangedRow;
use crate::store::{hierarchy, revocations};

/// A revocation is on the CRL by then.
const LISTED_AFTER: Duration = Duration::from_secs(60);
/// Clocks of replicas may differ by this much.
pub(in crate::authority) const SKEW: Duration = Duration::from_secs(30);
/// A CRL of more octets is read on the blocking pool.
pub(in crate::authority) const LARGE_OCTETS: usize = 1 << 18;
/// Revocations of one statement.
const PAGE: i64 = 5_000;

/// Names the first value in which a CRL differs from its row.
pub(in crate::authority) fn other_than_its_row(crl: &CrlHead, facts: &CrlFacts<'_>) -> Option<String> {
    let agree = [
        ("number", facts.crl_number() == Some(crl.number)),
        ("thisUpdate", facts.this_update == crl.this_update.truncated()),
        ("nextUpdate", facts.next_update == Some(crl.next_update.truncated())),
        ("count of entries", i64::try_from(facts.count).is_ok_and(|count| count == crl.entries)),
    ];
    let (what, _) = agree.into_iter().find(|(_, agree)| !agree)?;
    Some(format!("its {what} is not that of its row"))
}

impl Authority {
    /// Says why a CRL that was read from the database is not served: it is not the one that its row describes, or its issuer
    /// did not sign it. A large one is read on the blocking pool.
    pub(super) async fn fault_of_stored(&self, head: &CrlHead, der: &Bytes) -> Result<Option<String>> {
        let snapshot = self.snapshot();
        let Some(issuer) = snapshot.issuer_by_id(head.issuer_id) else { return Ok(None) };
        let is_large = der.len() > LARGE_OCTETS;
        let (key, name) = (issuer.public_key().to_vec(), issuer.subject().to_vec());
        let (head, der) = (head.clone(), der.clone());
        let look = move || match CrlFacts::parse(&der) {
            Err(error) => Some(format!("it cannot be read: {error}")),
            Ok(facts) if facts.issuer != name => Some("it is of another CA".to_owned()),
            Ok(facts) => other_than_its_row(&head, &facts).or_else(|| {
                let unsigned = "its signature is not that of its issuer".to_owned();
                facts.verify(&key).is_err().then_some(unsigned)
            }),
        };
        if !is_large {
            return Ok(look());
        }
        tokio::task::spawn_blocking(look).await.map_err(|e| Error::internal("reading a CRL was broken off", e))
    }

    /// Has the next publication make this series anew, whether it is due or not.
    pub(in crate::authority) fn want_anew(&self, series: &str) {
        self.wanted_anew.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(series.to_owned());
    }

    pub(in crate::authority) fn take_wanted(&self, series: &str) -> bool {
        self.wanted_anew.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(series)
    }

    /// Marks an issuer whose CRL was taken away or changed in the database, so that it is published anew.
    pub(super) async fn renew_changed(&self, issuer: &Issuer, last: Option<&CrlHead>) -> Result<bool> {
        let series = issuer.id.to_string();
        let number = last.map(|crl| crl.number);
        if !self.take_wanted(&series) && !self.is_gone(issuer.id, number).await? {
            return Ok(false);
        }
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        hierarchy::mark_crl_dirty(&mut tx, issuer.id).await?;
        let served = self.anchor.served(&series).map(|served| served.to_string());
        let detail = json!({"issuer": issuer.slug, "found": number.map(|n| n.to_string()), "served": served});
        tx.audit(AuditEvent::refused("crl.changed_outside", format!("issuer:{}", issuer.id), detail));
        tx.commit().await?;
        tracing::error!(issuer = %issuer.slug, found = ?number, served = ?served,
            "rows of a CRL were changed in the database; it is published anew");
        Ok(true)
    }

    /// CRLs that were changed in the database, or from which revoked certificates were kept. They are made anew.
    pub(in crate::authority) async fn look_at_crls(&self) -> Result<BTreeMap<String, ChangedRow>> {
        let mut found = BTreeMap::new();
        let snapshot = self.snapshot();
        for issuer in hierarchy::issuers(&self.store).await? {
            let Some(loaded) = snapshot.issuer_by_id(issuer.id).filter(|loaded| loaded.key.is_some()) else {
                continue;
            };
            if !loaded.signs_crls() || issuer.crl_dirty {
                continue;
            }
            if let Some(why) = self.fault_of_crl(loaded).await? {
                self.want_anew(&issuer.id.to_string());
                let what =
                    format!("was changed in the database by something other than Chancery: {why}; it is made anew");
                found.insert(format!("crl:{}", issuer.slug), ChangedRow { what, has_good_mac: false });
            }
        }
        for domain in &snapshot.domains {
            if let Some(why) = self.fault_of_list(&domain.slug).await? {
                self.want_anew(&domain_series(&domain.slug));
                let what =
                    format!("was changed in the database by something other than Chancery: {why}; it is made anew");
                found.insert(format!("crl:domain:{}", domain.slug), ChangedRow { what, has_good_mac: false });
            }
        }
        Ok(found)
    }

    async fn fault_of_crl(&self, loaded: &LoadedIssuer) -> Result<Option<String>> {
        let (id, now) = (loaded.issuer.id, self.store.now());
        let head = crls::in_force(&self.store, id, now).await?;
        if self.is_gone(id, head.as_ref().map(|head| head.number)).await? {
            return Ok(Some("the one that was served last is gone".to_owned()));
        }
        let Some(head) = head else { return Ok(None) };
        let Some(der) = self.crl_bytes(&head).await? else { return Ok(None) };
        let der = Bytes::from(der);
        if let Some(why) = self.fault_of_stored(&head, &der).await? {
            return Ok(Some(why));
        }
        // what its row says of it is true from here on
        if head.entries > LARGE {
            let alive = revocations::changed(&self.store, id, now, now).await?.count;
            let lacks =
                i64::try_from(alive).is_ok_and(|alive| alive > head.entries) && head.created_at + LISTED_AFTER < now;
            return Ok(lacks.then(|| format!("it lists {} certificates, and {alive} are revoked", head.entries)));
        }
        let Ok(facts) = CrlFacts::parse(&der) else { return Ok(None) };
        let listed: HashSet<&[u8]> = facts.entries().map(|entry| entry.serial).collect();
        let missing = self.first_unlisted(id, now, &listed).await?;
        Ok(missing.map(|missing| format!("it does not list {}, which is revoked", missing.serial)))
    }

    async fn first_unlisted(&self, id: IssuerId, now: Timestamp, listed: &HashSet<&[u8]>) -> Result<Option<Listed>> {
        let is_due = |one: &Listed| one.revoked_at + LISTED_AFTER < now || one.revoked_at > now + LISTED_AFTER;
        let mut last = None;
        loop {
            let page = revocations::listed(&self.store, id, last.as_ref(), now, PAGE).await?;
            let Some(end) = page.last() else { return Ok(None) };
            last = Some(end.serial.clone());
            if let Some(one) = page.into_iter().find(|one| is_due(one) && !listed.contains(one.serial.octets())) {
                return Ok(Some(one));
            }
        }
    }

    /// Is the CRL that was served last gone from the database, which now has this one in force? A replica whose clock is a
    /// little ahead may have served one whose time has not come here.
    pub(in crate::authority) async fn is_gone(&self, issuer: IssuerId, number: Option<CrlNumber>) -> Result<bool> {
        let series = issuer.to_string();
        if !self.is_behind(&series, number) {
            return Ok(false);
        }
        let soon = crls::in_force(&self.store, issuer, self.store.now() + SKEW).await?;
        Ok(self.is_behind(&series, soon.map(|crl| crl.number)))
    }

    /// Was a CRL of a higher number served than the newest one of the database, or is none left?
    pub(in crate::authority) fn is_behind(&self, series: &str, number: Option<CrlNumber>) -> bool {
        self.anchor.served(series).is_some_and(|served| number.is_none_or(|number| number < served))
    }
}
