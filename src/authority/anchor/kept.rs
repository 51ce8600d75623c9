//! The CRLs that were served last, kept beside the anchor. When the database turns out to be older they go back into it,
//! with the revocations that they list: status goes on with what was published last.

use std::time::Duration;

use bytes::Bytes;

use super::AnchorKeeper;
use crate::authority::Authority;
use crate::authority::hierarchy::published::{Published, restore_crl, restore_list, take_late};
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::anchor::Figures;
use crate::store::hierarchy;
use crate::store::history::domain_series;

/// How long a write of a kept CRL may hold up the request that serves it.
const PATIENCE: Duration = Duration::from_secs(2);

impl AnchorKeeper {
    /// Keeps a CRL that is served from now on. A failure is no reason not to serve it. One of an earlier epoch stays until its
    /// revocations were taken in.
    pub(super) async fn keep(&self, series: &str, der: &Bytes) {
        let (Some(file), true, false) = (self.file.clone(), self.writes(), self.has_unmerged()) else { return };
        let (series, der) = (series.to_owned(), der.clone());
        let writing = tokio::task::spawn_blocking(move || file.keep_crl(&series, &der));
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "a CRL that is served could not be kept beside the anchor"),
            Ok(Err(error)) => tracing::warn!(%error, "a CRL that is served could not be kept beside the anchor"),
            Err(_) => tracing::warn!("keeping a CRL beside the anchor takes long"),
        }
    }

    pub(in crate::authority) fn kept(&self, series: &str) -> Option<Bytes> {
        self.file.as_ref()?.kept_crl(series).map(Bytes::from)
    }
}

impl Authority {
    /// Puts the CRLs that were served last back into the database where it has older ones. One that cannot be put back
    /// does not keep the others waiting.
    pub(super) async fn publish_kept(&self) {
        let issuers = match hierarchy::issuers(&self.store).await {
            Ok(issuers) => issuers,
            Err(error) => return tracing::warn!(error = %error.chain(), "the kept CRLs could not be compared"),
        };
        for issuer in &issuers {
            let series = issuer.id.to_string();
            for der in [self.served.last_of(issuer.id), self.anchor.kept(&series)].into_iter().flatten() {
                told(&issuer.slug, self.put_back(&der).await);
            }
        }
        for domain in &self.snapshot().domains {
            let series = domain_series(&domain.slug);
            for der in [self.domain_crls.last_of(&domain.slug), self.anchor.kept(&series)].into_iter().flatten() {
                told(&domain.slug, self.put_back_list(&domain.slug, &der).await);
            }
        }
    }

    /// Takes in what the CRLs list that this process served or kept in an earlier epoch. It may have been away when the older
    /// database was found, and then nobody else has them.
    pub(super) async fn take_earlier(&self) -> Result<()> {
        let snapshot = self.snapshot();
        for issuer in hierarchy::issuers(&self.store).await? {
            let series = issuer.id.to_string();
            for der in [self.served.last_of(issuer.id), self.anchor.kept(&series)].into_iter().flatten() {
                let published = match Published::read(&snapshot, &der) {
                    Ok(Some(published)) if published.issuer == issuer.id => published,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::warn!(issuer = %issuer.slug, error = %error.chain(), "a kept CRL could not be read");
                        continue;
                    }
                };
                let mut tx = self.store.begin(&Actor::system("anchor")).await?;
                let merged = take_late(&mut tx, &published).await?;
                if merged.revocations + merged.raised == 0 {
                    continue;
                }
                tx.commit().await?;
                tracing::warn!(issuer = %issuer.slug, number = %published.number, revocations = merged.revocations,
                    "revocations of a CRL that was kept in an earlier epoch were missing and are taken in");
            }
        }
        self.forget_answers();
        Ok(())
    }

    /// The figures of a database with the numbers of the CRLs that were kept: what is left of the memory when the anchor
    /// itself is gone. Lists of domains are left out, because their names are those of other installations too.
    pub(super) fn figures_of_kept(&self, found: &Figures) -> Figures {
        let (snapshot, mut figures) = (self.snapshot(), found.clone());
        for (series, known) in &mut figures.crls {
            let Some(der) = self.anchor.kept(series) else { continue };
            if let Ok(Some(published)) = Published::read(&snapshot, &der)
                && published.issuer.to_string() == *series
            {
                known.highest = known.highest.max(published.number);
            }
        }
        figures
    }

    async fn put_back(&self, der: &[u8]) -> Result<bool> {
        let snapshot = self.snapshot();
        let Some(published) = Published::read(&snapshot, der)? else { return Ok(false) };
        let mut tx = self.store.begin(&Actor::system("anchor")).await?;
        let taken = restore_crl(&mut tx, &published).await?;
        tx.commit().await?;
        Ok(taken.is_some())
    }

    async fn put_back_list(&self, domain: &str, der: &[u8]) -> Result<bool> {
        let snapshot = self.snapshot();
        let mut tx = self.store.begin(&Actor::system("anchor")).await?;
        let taken = restore_list(&mut tx, &snapshot, domain, der).await?;
        tx.commit().await?;
        Ok(taken)
    }
}

fn told(series: &str, taken: Result<bool>) {
    match taken {
        Ok(true) => {
            tracing::warn!(series, "the CRL that was served last is served on in place of the database's older one")
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(series, error = %error.chain(), "a kept CRL could not be put back"),
    }
}
