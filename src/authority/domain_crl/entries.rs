//! The entries of a trust domain's CRL, and the summary by which a change of the entries is noticed.

use std::collections::BTreeMap;

use super::of_domain;
use crate::authority::Authority;
use crate::authority::crl::{KEPT_PAST_END, Reader, push_listed};
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::crl::Listed;
use crate::model::id::CertificateId;
use crate::model::issuer::Issuer;
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::crl::CrlEntries;
use crate::store::domain_crls;
use crate::store::revocations::{self, Revocation};

const PAGE: i64 = 2_000;

impl Authority {
    /// How many revocations each issuer of a domain has and how often some were changed or taken back, which issuers are
    /// revoked themselves, and under which key identifier one signs that had several.
    pub(in crate::authority) async fn content(&self, snapshot: &Snapshot, domain: &str) -> Result<String> {
        let mut parts = Vec::new();
        for loaded in of_domain(snapshot, domain) {
            let count = domain_crls::count(&self.store, loaded.issuer.id).await?;
            let revoked = if loaded.revoked_at.is_some() { "!" } else { "" };
            let key_id =
                if loaded.has_other_key_ids() { format!("~{}", to_hex(&loaded.key_id)) } else { String::new() };
            let changed = match revocations::changes(&self.store, loaded.issuer.id).await? {
                0 => String::new(),
                changes => format!("/{changes}"),
            };
            parts.push(format!("{}:{count}{changed}{revoked}{key_id}", loaded.issuer.slug));
        }
        Ok(parts.join(","))
    }

    /// Entries in groups: one for each name of an issuer, because that is what an entry names.
    pub(super) async fn domain_entries(
        &self,
        snapshot: &Snapshot,
        domain: &str,
        now: Timestamp,
        octets: usize,
    ) -> Result<CrlEntries> {
        let mut groups: BTreeMap<&[u8], Vec<&LoadedIssuer>> = BTreeMap::new();
        for loaded in of_domain(snapshot, domain) {
            groups.entry(loaded.subject()).or_default().push(loaded);
        }
        let mut entries = CrlEntries::with_octets(octets);
        for (name, issuers) in groups {
            entries.under(name);
            match issuers.as_slice() {
                [one] if one.revoked_at.is_none() => {
                    entries = self.push_issuer(&one.issuer, now, entries).await?;
                }
                // twins of one name, and every certificate of a revoked key: put in order first
                several => {
                    let mut all = BTreeMap::new();
                    for issuer in several {
                        self.collect_all(issuer, now, &mut all).await?;
                    }
                    for listed in all.into_values() {
                        entries.list(listed)?;
                    }
                }
            }
        }
        Ok(entries)
    }

    /// What one issuer revoked: from its CRL, where that is large and does not hold what expired long ago.
    async fn push_issuer(&self, issuer: &Issuer, now: Timestamp, entries: CrlEntries) -> Result<CrlEntries> {
        let (mut entries, grown) = match issuer.crl_retained_since {
            None => self.grow(issuer.id, entries).await?,
            Some(_) => (entries, None),
        };
        if grown.is_none() {
            push_listed(&mut Reader::Store(&self.store), issuer.id, now - KEPT_PAST_END, &mut entries).await?;
        }
        Ok(entries)
    }

    /// Everything of a revoked issuer's key is revoked with it, without a reason of its own.
    async fn collect_all(
        &self,
        issuer: &LoadedIssuer,
        now: Timestamp,
        all: &mut BTreeMap<Vec<u8>, Listed>,
    ) -> Result<()> {
        let (id, alive_at) = (issuer.issuer.id, now - KEPT_PAST_END);
        if let Some(at) = issuer.revoked_at {
            let mut after = (alive_at, CertificateId::from_bytes([0; 16]));
            loop {
                let page = domain_crls::certificates(&self.store, id, alive_at, after, PAGE).await?;
                let Some((_, end)) = page.last() else { break };
                after = *end;
                let reason = RevocationReason::Unspecified;
                all.extend(page.into_iter().map(|(serial, _)| {
                    let octets = serial.octets().to_vec();
                    (octets, Listed { serial, revoked_at: at, reason, invalidity_date: None })
                }));
            }
        }
        let mut last = None;
        loop {
            let page = revocations::page(&self.store, id, last.as_ref(), alive_at, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.serial.clone());
            all.extend(page.into_iter().map(|r| {
                let Revocation { serial, revoked_at, reason, invalidity_date, .. } = r;
                (serial.octets().to_vec(), Listed { serial, revoked_at, reason, invalidity_date })
            }));
        }
    }
}
