//! The list of each trust domain: its row, number, signature and time, and that it lists exactly what is revoked.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Key, Report, database_failed};
use crate::authority::Authority;
use crate::authority::domain_crl::{list_number, of_domain, other_than_its_row};
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::crl::CrlNumber;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::serial::SerialNumber;
use crate::pki::crl_facts::CrlFacts;
use crate::store::domain_crls::{self, DomainCrlAhead, DomainCrlHead};
use crate::store::{hierarchy, revocations};

/// A server publishes a changed list within 5 s.
const PATIENCE: u32 = 8;
const PAGE: i64 = 2_000;

enum Judged {
    Agrees,
    /// It waits for the next publication.
    Behind,
    Wrong(String),
}

/// Serials by the Name of their issuer in DER: entries of a list, or what must be on it.
type Serials<'a> = HashMap<&'a [u8], HashSet<Vec<u8>>>;

impl Authority {
    pub(super) async fn check_domain_list(
        &self,
        head: &DomainCrlHead,
        keys: &HashMap<IssuerId, Key>,
        report: &mut Report,
    ) -> Result<()> {
        let mut head = head.clone();
        for attempt in 0.. {
            let judged = match self.judge_domain_list(&head, keys).await {
                Err(error) if !database_failed(&error) => {
                    Judged::Wrong(format!("it cannot be judged: {}", error.chain()))
                }
                judged => judged?,
            };
            match judged {
                Judged::Agrees => report.crls += 1,
                Judged::Behind if attempt >= PATIENCE => report.crls_due += 1,
                Judged::Wrong(why) if attempt > 0 => {
                    report.finding(format!("the list of trust domain {}: {why}", head.domain));
                }
                // a server may have changed it between two reads, or is about to
                Judged::Behind | Judged::Wrong(_) => {
                    if matches!(judged, Judged::Behind) {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    let Some(now) = domain_crls::find(&self.store, &head.domain).await? else { return Ok(()) };
                    head = now;
                    continue;
                }
            }
            return Ok(());
        }
        Ok(())
    }

    async fn judge_domain_list(&self, head: &DomainCrlHead, keys: &HashMap<IssuerId, Key>) -> Result<Judged> {
        let snapshot = Snapshot::load(&self.store, self.keys.as_ref()).await?;
        let now = self.store.now();
        // what must be on the list is read before the list, what is on it is looked up after
        let must = self.must_be_on_list(&snapshot, &head.domain, now).await?;
        let due = self.content(&snapshot, &head.domain).await? != head.content;
        let Some(der) = self.domain_crl_bytes(head, None).await? else { return Ok(Judged::Behind) };
        let facts = match read(&der, head, keys) {
            Ok(facts) => facts,
            Err(why) => return Ok(Judged::Wrong(why)),
        };
        let epoch = hierarchy::installation(&self.store).await?.map_or(0, |i| i.epoch);
        let highest = list_number(epoch, head.counter);
        let number = facts.crl_number();
        if number.is_none_or(|number| number > highest || head.ahead.is_some() && number == highest) {
            return Ok(Judged::Wrong(format!("its number is above {highest}, the highest one that was used")));
        }
        if let Some(why) = other_than_its_row(&facts, head.this_update, head.next_update, head.entries) {
            return Ok(Judged::Wrong(why));
        }
        if let Some(ahead) = head.ahead.filter(|_| self.can_seal())
            && let Some(why) = self.judge_ready_list(head, ahead, number, keys).await?
        {
            return Ok(Judged::Wrong(format!("the one that lies ready: {why}")));
        }
        let listed = listed(&facts);
        match self.never_revoked(&snapshot, &head.domain, &listed).await? {
            // a lifted hold stays on the list until the next publication
            Some(_) if due => return Ok(Judged::Behind),
            Some(why) => return Ok(Judged::Wrong(why)),
            None => {}
        }
        let missing = must.iter().find_map(|(name, serials)| {
            serials.iter().find(|serial| !listed.get(name).is_some_and(|listed| listed.contains(*serial)))
        });
        match missing {
            None => Ok(Judged::Agrees),
            Some(_) if due => Ok(Judged::Behind),
            Some(serial) => {
                let serial = SerialNumber::from_octets(serial)?;
                Ok(Judged::Wrong(format!("it does not list {serial}, which is revoked")))
            }
        }
    }

    /// Checks the CRL of a trust domain that is stored for later. Returns what is wrong with it.
    async fn judge_ready_list(
        &self,
        head: &DomainCrlHead,
        ahead: DomainCrlAhead,
        before: Option<CrlNumber>,
        keys: &HashMap<IssuerId, Key>,
    ) -> Result<Option<String>> {
        let Some(der) = self.domain_crl_bytes(head, Some(ahead)).await? else { return Ok(None) };
        let facts = match read(&der, head, keys) {
            Ok(facts) => facts,
            Err(why) => return Ok(Some(why)),
        };
        if facts.crl_number() <= before {
            return Ok(Some("its number is not above that of the list in force".into()));
        }
        Ok(other_than_its_row(&facts, ahead.this_update, ahead.next_update, ahead.entries))
    }

    /// Revocations whose certificates have not expired, and every certificate of a revoked issuer, by the name of their
    /// issuer.
    async fn must_be_on_list<'a>(
        &self,
        snapshot: &'a Snapshot,
        domain: &'a str,
        now: Timestamp,
    ) -> Result<Serials<'a>> {
        let mut must: Serials<'a> = HashMap::new();
        for issuer in of_domain(snapshot, domain) {
            let serials = must.entry(issuer.subject()).or_default();
            let mut last = None;
            loop {
                let page = revocations::page(&self.store, issuer.issuer.id, last.as_ref(), now, PAGE).await?;
                let Some(end) = page.last() else { break };
                last = Some(end.serial.clone());
                serials.extend(page.iter().map(|r| r.serial.octets().to_vec()));
            }
            let mut after = (now, CertificateId::from_bytes([0; 16]));
            while issuer.revoked_at.is_some() {
                let page = domain_crls::certificates(&self.store, issuer.issuer.id, now, after, PAGE).await?;
                let Some((_, end)) = page.last() else { break };
                after = *end;
                serials.extend(page.iter().map(|(serial, _)| serial.octets().to_vec()));
            }
        }
        Ok(must)
    }

    /// The first entry that nobody revoked: no issuer of its name has it, and none of that name is revoked itself.
    async fn never_revoked(&self, snapshot: &Snapshot, domain: &str, listed: &Serials<'_>) -> Result<Option<String>> {
        for (name, serials) in listed {
            let issuers: Vec<&LoadedIssuer> = of_domain(snapshot, domain).filter(|i| i.subject() == *name).collect();
            if issuers.is_empty() {
                return Ok(Some("it lists certificates of a CA that is not in the trust domain".into()));
            }
            if issuers.iter().any(|issuer| issuer.revoked_at.is_some()) {
                continue;
            }
            for serial in serials {
                let serial = SerialNumber::from_octets(serial)?;
                let mut found = false;
                for issuer in &issuers {
                    found = found || revocations::find(&self.store, issuer.issuer.id, &serial).await?.is_some();
                }
                if !found {
                    return Ok(Some(format!("it lists {serial}, which was never revoked")));
                }
            }
        }
        Ok(None)
    }
}

/// Parsed and verified with the key of the issuer that its row names.
fn read<'a>(
    der: &'a [u8],
    head: &DomainCrlHead,
    keys: &HashMap<IssuerId, Key>,
) -> std::result::Result<CrlFacts<'a>, String> {
    let facts = CrlFacts::parse(der).map_err(|error| format!("it cannot be read: {error}"))?;
    let key = keys.get(&head.issuer_id);
    if key.is_none_or(|key| facts.verify(&key.spki).is_err()) {
        return Err("its signature is not that of its issuer".into());
    }
    Ok(facts)
}

/// Entries by the issuer that each names, or that the one before it named (RFC 5280 §5.3.3).
fn listed<'a>(facts: &CrlFacts<'a>) -> Serials<'a> {
    let mut listed: Serials<'a> = HashMap::new();
    let mut name = facts.issuer;
    for entry in facts.entries() {
        name = entry.certificate_issuer.unwrap_or(name);
        listed.entry(name).or_default().insert(entry.serial.to_vec());
    }
    listed
}
