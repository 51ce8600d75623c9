//! The CRL in force of each issuer: its row, signature and time, and that it lists exactly what is revoked.

use std::collections::HashSet;
use std::time::Duration;

use super::{Key, PAGE, Report, database_failed};
use crate::authority::Authority;
use crate::authority::crl::other_than_its_row;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::IssuerId;
use crate::model::issuer::Issuer;
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::pki::crl_facts::CrlFacts;
use crate::pki::signer::KeyPurpose;
use crate::store::crls;
use crate::store::{hierarchy, revocations};

/// A revocation is on the CRL within 5 s.
const PATIENCE: u32 = 8;

enum Judged {
    Agrees,
    /// There is none yet and none is needed: a server publishes the first.
    None,
    /// It waits for the next publication.
    Behind,
    Wrong(String),
}

impl Authority {
    pub(super) async fn check_crl(&self, issuer: &Issuer, key: Option<&Key>, report: &mut Report) -> Result<()> {
        for attempt in 0.. {
            let judged = match self.judge_crls(issuer, key).await {
                Err(error) if !database_failed(&error) => {
                    Judged::Wrong(format!("it cannot be judged: {}", error.chain()))
                }
                judged => judged?,
            };
            match judged {
                Judged::Agrees => report.crls += 1,
                Judged::None => {}
                Judged::Behind if attempt < PATIENCE => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Judged::Behind => report.crls_due += 1,
                // a server may have changed it between two reads
                Judged::Wrong(_) if attempt == 0 => continue,
                Judged::Wrong(why) => report.finding(format!("the CRL of {}: {why}", issuer.slug)),
            }
            return Ok(());
        }
        Ok(())
    }

    async fn judge_crls(&self, issuer: &Issuer, key: Option<&Key>) -> Result<Judged> {
        match self.judge_crl(issuer, key).await? {
            Judged::Agrees => self.judge_ahead(issuer, key).await,
            other => Ok(other),
        }
    }

    /// Those for later, as far as the status key that opens them is loaded.
    async fn judge_ahead(&self, issuer: &Issuer, key: Option<&Key>) -> Result<Judged> {
        if !self.keys.can_open(KeyPurpose::Responder) {
            return Ok(Judged::Agrees);
        }
        for crl in crls::ahead(&self.store, issuer.id).await? {
            let Some(der) = self.crl_bytes(&crl).await? else { continue };
            let unreadable = |e| crate::error::Error::inconsistent("a sealed CRL cannot be read").because(e);
            let facts = CrlFacts::parse(&der).map_err(unreadable)?;
            let wrong = |why: String| Ok(Judged::Wrong(format!("number {}, which lies ready: {why}", crl.number)));
            if let Some(why) = other_than_its_row(&crl, &facts) {
                return wrong(why);
            }
            if key.is_none_or(|key| facts.verify(&key.spki).is_err()) {
                return wrong("its signature is not that of its issuer".into());
            }
        }
        Ok(Judged::Agrees)
    }

    async fn judge_crl(&self, issuer: &Issuer, key: Option<&Key>) -> Result<Judged> {
        // what must be on the list is read before the list, what is on it is looked up after
        let now = self.store.now();
        let must = self.serials_that_must_be_listed(issuer.id, now).await?;
        let dirty = hierarchy::issuers(&self.store).await?.iter().any(|i| i.id == issuer.id && i.crl_dirty);
        let Some(crl) = crls::in_force(&self.store, issuer.id, now).await? else {
            return Ok(match must.first() {
                None => Judged::None,
                Some(_) if dirty => Judged::Behind,
                Some(serial) => Judged::Wrong(format!("there is none, and {serial} is revoked")),
            });
        };
        // removed a moment ago: a newer one is in force
        let Some(der) = self.crl_bytes(&crl).await? else { return Ok(Judged::Behind) };
        let facts = match CrlFacts::parse(&der) {
            Ok(facts) => facts,
            Err(error) => return Ok(Judged::Wrong(format!("it cannot be read: {error}"))),
        };
        if let Some(why) = other_than_its_row(&crl, &facts) {
            return Ok(Judged::Wrong(why));
        }
        let Some(key) = key.filter(|key| facts.verify(&key.spki).is_ok()) else {
            return Ok(Judged::Wrong("its signature is not that of its issuer".into()));
        };
        if crl.next_update < now && key.not_after >= now {
            return Ok(Judged::Wrong(format!(
                "it ran out at {}: verifiers refuse it until a server publishes the next one; start `chancery serve`",
                crl.next_update
            )));
        }
        let mut listed = HashSet::new();
        for entry in facts.entries() {
            let serial = SerialNumber::from_octets(entry.serial)?;
            let found = revocations::find(&self.store, issuer.id, &serial).await?;
            // a lifted hold stays on the list until the next publication
            if found.is_none() && dirty && entry.reason == Some(RevocationReason::CertificateHold.code()) {
                return Ok(Judged::Behind);
            }
            if found.is_none() {
                return Ok(Judged::Wrong(format!("it lists {serial}, which was never revoked")));
            }
            listed.insert(serial);
        }
        match must.iter().find(|serial| !listed.contains(*serial)) {
            None => Ok(Judged::Agrees),
            Some(_) if dirty => Ok(Judged::Behind),
            Some(serial) => Ok(Judged::Wrong(format!("it does not list {serial}, which is revoked"))),
        }
    }

    async fn serials_that_must_be_listed(&self, issuer: IssuerId, now: Timestamp) -> Result<Vec<SerialNumber>> {
        let mut serials: Vec<SerialNumber> = Vec::new();
        loop {
            let page = revocations::page(&self.store, issuer, serials.last(), now, PAGE).await?;
            if page.is_empty() {
                return Ok(serials);
            }
            serials.extend(page.into_iter().map(|r| r.serial));
        }
    }
}
