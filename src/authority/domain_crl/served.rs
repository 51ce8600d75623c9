//! A domain's list as it is served: the one in force, read again when it changed. With the database away the one that was
//! served last goes on until its nextUpdate.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::{DomainCrls, LABEL, hold, list_number, of_domain, seal_id};
use crate::authority::Authority;
use crate::authority::crl::{LARGE_OCTETS, SKEW};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::model::serial::to_hex;
use crate::pki::crl_facts::CrlFacts;
use crate::store::domain_crls::{self, DomainCrlAhead, DomainCrlHead};
use crate::store::history::domain_series;

/// A domain's list as it is served.
#[derive(Debug)]
pub struct DomainCrl {
    pub counter: i64,
    /// It stood ready, and its time has come.
    pub stood_ready: bool,
    pub der: Bytes,
    /// A hash of the bytes, in hex.
    pub tag: String,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
}

impl DomainCrls {
    /// A list that was just signed takes the place of the one that was served; where none was, none is kept in memory.
    pub(super) fn take_over(&self, head: &DomainCrlHead, der: Bytes) {
        if let Some(place) = hold(&self.served).get_mut(&head.domain) {
            *place = Arc::new(served(head, None, der));
        }
    }
}

impl Authority {
    /// The list in force of a domain. It works while locked, and for a while without the database.
    pub async fn domain_crl(&self, domain: &str) -> Result<Arc<DomainCrl>> {
        if !self.snapshot().domains.iter().any(|d| d.slug == domain) {
            return Err(Error::not_found(format!("trust domain \"{}\"", shown(domain))));
        }
        let known = self.domain_crls.served(domain);
        match self.read_domain_crl(domain, known.as_ref()).await {
            Err(error) if error.kind == ErrorKind::Unavailable => {
                known.filter(|crl| self.store.now() < crl.next_update).ok_or(error)
            }
            read => read,
        }
    }

    /// Before a list is served its number stands in the anchor.
    pub(super) async fn remember_list(&self, domain: &str, der: &Bytes) {
        if let Some(number) = CrlFacts::parse(der).ok().and_then(|facts| facts.crl_number()) {
            self.remember_served(&domain_series(domain), number, der).await;
        }
    }

    async fn read_domain_crl(&self, domain: &str, known: Option<&Arc<DomainCrl>>) -> Result<Arc<DomainCrl>> {
        let missing = || {
            let detail = format!("trust domain {domain} has no list yet; try again in a few seconds");
            Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(5))
        };
        let series = domain_series(domain);
        // a list may be replaced between the two reads
        for _ in 0..3 {
            let Some(head) = domain_crls::find(&self.store, domain).await? else {
                if !self.is_behind_served(&series, None).await? {
                    return Err(missing());
                }
                return self.last_of_list(&series, known)?.ok_or_else(missing);
            };
            let ahead = head.taken_over_by(self.store.now()).filter(|_| self.can_seal());
            let place = (head.counter, ahead.is_some());
            // that of the one in force or of the one that stands ready, which a later one exceeds
            let highest = list_number(self.anchor.epoch(), head.counter);
            if self.is_behind_served(&series, Some(highest)).await? {
                let newer = known.filter(|known| known.counter > head.counter);
                return self.last_of_list(&series, newer)?.ok_or_else(missing);
            }
            if let Some(known) = known.filter(|known| (known.counter, known.stood_ready) == place) {
                return Ok(Arc::clone(known));
            }
            let _reading = self.domain_crls.reading.lock().await;
            let read = self.domain_crls.served(domain);
            if let Some(known) = read.filter(|known| (known.counter, known.stood_ready) == place) {
                return Ok(known);
            }
            let Some(der) = self.domain_crl_bytes(&head, ahead).await? else { continue };
            let der = Bytes::from(der);
            let number = CrlFacts::parse(&der).ok().and_then(|facts| facts.crl_number());
            let comes = ahead.is_none() && head.taken_over_by(self.store.now() + SKEW).is_some();
            let mut fault = self.fault_of_stored_list(&head, ahead, &der).await?;
            if fault.is_none() && !comes && self.is_behind_served(&series, number).await? {
                fault = Some("it is older than the one that was served last".to_owned());
            }
            if let Some(why) = fault {
                tracing::error!(
                    domain,
                    ?number,
                    why,
                    "the list of a trust domain was changed in the database and is not served"
                );
                self.want_anew(&series);
                return self.last_of_list(&series, known)?.ok_or_else(missing);
            }
            let crl = Arc::new(served(&head, ahead, der));
            self.remember_list(domain, &crl.der).await;
            hold(&self.domain_crls.served).insert(domain.to_owned(), Arc::clone(&crl));
            return Ok(crl);
        }
        Err(Error::new(ErrorKind::Unavailable, "the list changes too fast").retry_after(Duration::from_secs(1)))
    }

    /// The list to serve while the database holds an older one than was served before: from memory, or as it is kept beside
    /// the anchor.
    fn last_of_list(&self, series: &str, known: Option<&Arc<DomainCrl>>) -> Result<Option<Arc<DomainCrl>>> {
        let now = self.store.now();
        if let Some(known) = known.filter(|known| known.next_update > now) {
            return Ok(Some(Arc::clone(known)));
        }
        let kept = self.anchor.kept(series).and_then(read_kept).filter(|kept| kept.next_update > now);
        match kept {
            Some(kept) => Ok(Some(Arc::new(kept))),
            None => self.store.check_history().map(|()| None),
        }
    }

    /// Says why a list that was read from the database is not served: it is not the one that its row describes, or no issuer
    /// of the domain signed it for this domain.
    async fn fault_of_stored_list(
        &self,
        head: &DomainCrlHead,
        ahead: Option<DomainCrlAhead>,
        der: &Bytes,
    ) -> Result<Option<String>> {
        let (snapshot, head, der) = (self.snapshot(), head.clone(), der.clone());
        let highest = list_number(self.anchor.epoch(), head.counter);
        let is_large = der.len() > LARGE_OCTETS;
        let look = move || {
            let facts = match CrlFacts::parse(&der) {
                Err(error) => return Some(format!("it cannot be read: {error}")),
                Ok(facts) => facts,
            };
            let (this_update, next_update, entries) = match ahead {
                None => (head.this_update, head.next_update, head.entries),
                Some(ahead) => (ahead.this_update, ahead.next_update, ahead.entries),
            };
            if let Some(why) = other_than_its_row(&facts, this_update, next_update, entries) {
                return Some(why);
            }
            let is_of_domain = facts.distribution_point.is_some_and(|point| names(point, &head.domain));
            if !is_of_domain {
                return Some("it is the list of another trust domain".to_owned());
            }
            if facts.crl_number().is_none_or(|number| number > highest) {
                return Some("its number is above the highest one that was used".to_owned());
            }
            let is_signed = of_domain(&snapshot, &head.domain)
                .any(|loaded| loaded.subject() == facts.issuer && facts.verify(loaded.public_key()).is_ok());
            (!is_signed).then(|| "its signature is not that of an issuer of the trust domain".to_owned())
        };
        if !is_large {
            return Ok(look());
        }
        tokio::task::spawn_blocking(look).await.map_err(|e| Error::internal("reading a CRL was broken off", e))
    }

    /// Says why the stored list of a domain may not be served: it differs from its row, is not signed by its issuer, or is older
    /// than the list that was served last. None when it may be.
    pub(in crate::authority) async fn fault_of_list(&self, domain: &str) -> Result<Option<String>> {
        let series = domain_series(domain);
        // a list may be replaced between the two reads
        for _ in 0..3 {
            let head = domain_crls::find(&self.store, domain).await?;
            let highest = head.as_ref().map(|head| list_number(self.anchor.epoch(), head.counter));
            if self.is_behind_served(&series, highest).await? {
                return Ok(Some("the one that was served last is gone".to_owned()));
            }
            let Some(head) = head else { return Ok(None) };
            let ahead = head.taken_over_by(self.store.now()).filter(|_| self.can_seal());
            let Some(der) = self.domain_crl_bytes(&head, ahead).await? else { continue };
            return self.fault_of_stored_list(&head, ahead, &der.into()).await;
        }
        Ok(None)
    }

    /// The bytes of a domain's list, opened if it was sealed. None when it was replaced meanwhile.
    pub(in crate::authority) async fn domain_crl_bytes(
        &self,
        head: &DomainCrlHead,
        ahead: Option<DomainCrlAhead>,
    ) -> Result<Option<Vec<u8>>> {
        let Some(stored) = domain_crls::bytes(&self.store, head, ahead).await? else { return Ok(None) };
        let Some(ahead) = ahead else { return Ok(Some(stored)) };
        let der = self.keys.open_status(LABEL, &seal_id(&head.domain, head.counter), stored)?;
        // the row beside it is in clear and could be another's
        if CrlFacts::parse(&der).is_ok_and(|facts| facts.this_update == ahead.this_update.truncated()) {
            return Ok(Some(der));
        }
        Err(Error::inconsistent(format!(
            "the sealed list of trust domain {} is not the one of its row; start the server unlocked, which signs it anew",
            head.domain
        )))
    }
}

/// Names the first value in which a list differs from its row.
pub(in crate::authority) fn other_than_its_row(
    facts: &CrlFacts<'_>,
    this_update: Timestamp,
    next_update: Timestamp,
    entries: i64,
) -> Option<String> {
    let agree = [
        ("kind", facts.is_indirect),
        ("thisUpdate", facts.this_update == this_update.truncated()),
        ("nextUpdate", facts.next_update == Some(next_update.truncated())),
        ("count of entries", i64::try_from(facts.count).is_ok_and(|count| count == entries)),
    ];
    let (what, _) = agree.into_iter().find(|(_, agree)| !agree)?;
    Some(format!("its {what} is not that of its row"))
}

/// Is the distribution point, in DER, the place of this domain's list?
fn names(point: &[u8], domain: &str) -> bool {
    let place = format!("/crl/domain/{domain}.crl");
    point.windows(place.len()).any(|octets| octets == place.as_bytes())
}

fn served(head: &DomainCrlHead, ahead: Option<DomainCrlAhead>, der: Bytes) -> DomainCrl {
    let hash = to_hex(digest(&SHA256, &der).as_ref());
    let (this_update, next_update) =
        ahead.map_or((head.this_update, head.next_update), |ahead| (ahead.this_update, ahead.next_update));
    DomainCrl {
        counter: head.counter,
        stood_ready: ahead.is_some(),
        der,
        tag: hash.get(..32).unwrap_or_default().to_owned(),
        this_update,
        next_update,
    }
}

/// The file beside the anchor is not the database: it is taken as it is.
fn read_kept(der: Bytes) -> Option<DomainCrl> {
    let facts = CrlFacts::parse(&der).ok()?;
    let hash = to_hex(digest(&SHA256, &der).as_ref());
    let (this_update, next_update) = (facts.this_update, facts.next_update?);
    let tag = hash.get(..32).unwrap_or_default().to_owned();
    Some(DomainCrl { counter: 0, stood_ready: false, der: der.clone(), tag, this_update, next_update })
}
