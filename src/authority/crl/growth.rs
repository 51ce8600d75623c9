//! Large lists that grow: a list takes over the entries of the CRL that this process published last, which is in memory
//! because it is served, and reads what was revoked since. Unless a row of a revocation was changed or removed, which the
//! issuer's row counts, both parts hold rows alone, so the list is whole exactly when it has as many entries as there are
//! rows. A revocation whose
//! commit came late, or whose time lies back, is missed by its time and found by that count: then all is read.

use std::time::Duration;

use super::{CRL_EVERY, LARGE};
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::IssuerId;
use crate::pki::crl::CrlEntries;
use crate::pki::crl_facts::encoded_entries;
use crate::store::revocations;

/// Revocations that were under way at the last reading are read again.
const OVERLAP: Duration = Duration::from_secs(10);

/// How the entries of a list were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authority) struct Basis {
    /// Every certificate that it lists ends then or later.
    pub alive_at: Timestamp,
    pub read_at: Timestamp,
    /// When all of it was read: entries that have expired stay until then.
    pub whole_at: Timestamp,
    /// How often revocations of the issuer had been changed or taken back before all of it was read.
    pub changes: i64,
}

impl Authority {
    /// Adds the entries of an issuer's last list and what was revoked since. None, and `entries` are given back as they
    /// were, when all must be read.
    pub(in crate::authority) async fn grow(
        &self,
        issuer: IssuerId,
        mut entries: CrlEntries,
    ) -> Result<(CrlEntries, Option<Basis>)> {
        let now = self.store.now();
        let usable = |basis: &Basis| basis.read_at <= now && now.since(basis.whole_at) < CRL_EVERY;
        let Some((crl, basis)) =
            self.served.basis(issuer).filter(|(crl, basis)| crl.entries > LARGE && usable(basis))
        else {
            return Ok((entries, None));
        };
        let changed = revocations::changed(&self.store, issuer, basis.alive_at, basis.read_at - OVERLAP).await?;
        if changed.changes != basis.changes {
            tracing::debug!(%issuer, "a list is read as a whole: revocations were changed or taken back");
            return Ok((entries, None));
        }
        let (count, fresh) = (changed.count, changed.recent);
        // tens of megabytes are walked through and copied
        let merging = tokio::task::spawn_blocking(move || {
            let known = encoded_entries(&crl.der)?;
            entries.merge(known, fresh, count).map(|whole| (entries, whole))
        });
        let merged = merging.await.map_err(|e| Error::internal("making a list of revocations was broken off", e))?;
        let (entries, whole) = merged.map_err(super::series::failed)?;
        if !whole {
            tracing::debug!(%issuer, rows = count, "a list is read as a whole: it cannot go on from the last one");
        }
        Ok((entries, whole.then_some(Basis { read_at: now, ..basis })))
    }
}
