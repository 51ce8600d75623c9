//! Comparing the database with what is remembered: at the start, every second, and before a CRL of a new number is served.

use std::sync::atomic::Ordering;

use super::FileTrouble;
use crate::authority::{Authority, row_macs};
use crate::error::{ErrorKind, Result};
use crate::model::anchor::{Anchor, Figures, Lack};
use crate::model::crl::CrlNumber;
use crate::pki::signer::KeyPurpose;
use crate::store::history::{self, FoundHistory, Rollback};
use crate::store::{replicas, servers};

impl Authority {
    /// Reads the anchor file and compares the database with it; changes neither.
    pub async fn recall(&self) -> Result<()> {
        let _turn = self.anchor.turn.lock().await;
        let Some(installation) = self.read_history(None).await?.installation else { return Ok(()) };
        let (recalled, trouble) = self.anchor.recall(&installation).await?;
        // read after the anchor: a server beside this process raises both, the database first
        let found = self.read_history(None).await?;
        let figures = match &recalled {
            Some(anchor) => anchor.figures.clone(),
            None => self.figures_of_kept(&found.figures),
        };
        if figures.epoch < found.figures.epoch {
            self.anchor.unmerged.store(true, Ordering::Release);
        }
        let lacks = self.lacks(&figures, &found).await?;
        let fresh = || Anchor::new(&installation, self.store.now(), figures);
        {
            let mut state = self.anchor.state();
            state.found = trouble;
            state.written.clone_from(&recalled);
            state.memory = Some(recalled.unwrap_or_else(fresh));
        }
        self.heed_marks(&lacks, false).await?;
        self.conclude(&found, &lacks);
        Ok(())
    }

    /// From now on this process writes the anchor. Called once by a server, before it serves.
    pub async fn begin_remembering(&self) -> Result<()> {
        self.replace_missing().await?;
        self.anchor.writes.store(true, Ordering::Release);
        self.keep_epoch_proof().await?;
        self.remember().await?;
        if self.anchor.state().written.is_some() {
            history::anchored(&self.store).await?;
        }
        Ok(())
    }

    /// A first anchor is made in silence; one in the place of another is remembered as such, because whoever removed that
    /// one hides an older database. While another process lives, which remembers too, a new one joins.
    async fn replace_missing(&self) -> Result<()> {
        let Some(trouble) = self.anchor.state().found.clone() else { return Ok(()) };
        let path = self.anchor.place().unwrap_or_default();
        if let FileTrouble::Away(why) = &trouble {
            tracing::error!(
                path,
                why,
                "the anchor cannot be read; the database is compared with it as soon as it can"
            );
            return Ok(());
        }
        if let (FileTrouble::Unreadable(why), Some(file), None) = (&trouble, &self.anchor.file, &self.anchor.shared) {
            tracing::error!(path, why, "the anchor cannot be read; it is set aside");
            if let Err(error) = file.set_aside() {
                tracing::warn!(path, %error, "the anchor that cannot be read could not be set aside");
            }
        }
        let anchored = history::read(&self.store, None).await?.anchored;
        if !anchored && trouble == FileTrouble::Missing {
            tracing::info!(
                path,
                "the first anchor of this database is made: a backup that is restored will be noticed"
            );
        } else if trouble != FileTrouble::Missing || !self.another_remembers().await? {
            tracing::warn!(
                path,
                "the anchor was missing, so whether this database is older than it was cannot be told"
            );
            let now = self.store.now();
            if let Some(memory) = &mut self.anchor.state().memory {
                memory.replaced_at = Some(now);
            }
        }
        self.anchor.state().found = None;
        Ok(())
    }

    async fn another_remembers(&self) -> Result<bool> {
        for server in servers::newest(&self.store.db).await? {
            if server.replica != self.store.replica() && replicas::is_alive(&self.store, server.replica).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Compares and remembers. Says whether it changed what is thought of the database, so that callers forget what they
    /// cached. Called every second.
    pub async fn remember(&self) -> Result<bool> {
        let _turn = self.anchor.turn.lock().await;
        let Some(memory) = self.anchor.memory() else { return Ok(false) };
        let own = self.store.own_ends();
        let found = self.read_history(memory.figures.checkpoint.as_ref()).await?;
        // always all ends: the newest event by its id is not always the one that was committed last
        let lacks = self.lacks(&memory.figures, &found).await?;
        // a process without any key cannot tell who raised the epoch
        let raised = found.figures.epoch > memory.figures.epoch;
        let can_tell = self.keys.can_open(KeyPurpose::Internal) || self.keys.can_open(KeyPurpose::Responder);
        let is_known = !raised || can_tell;
        self.heed_marks(&lacks, raised && is_known && lacks.is_empty()).await?;
        let changed = self.conclude(&found, &lacks);
        let is_told = self.anchor.state().marked && found.rolled_back_at.is_some();
        if !lacks.is_empty() && self.store.row_macs().lost().is_some() {
            // nothing can be suspended and nothing works: `chancery reconcile` marks the database when rows can be written
            if !std::mem::replace(&mut self.anchor.state().marked, true) && self.anchor.writes() {
                self.publish_kept().await;
            }
        } else if !lacks.is_empty() && !is_told && self.anchor.writes() {
            let findings: Vec<String> = lacks.iter().map(ToString::to_string).collect();
            match self.mark_rollback(&memory, &findings).await {
                // a process that is not locked suspends what has to be confirmed
                Err(error) if error.kind == ErrorKind::Locked && self.anchor.state().marked => {}
                Err(error) if error.kind == ErrorKind::Locked => self.publish_kept().await,
                marked => marked?,
            }
            self.anchor.state().marked = true;
        }
        if self.store.rollback().is_none() && is_known {
            self.merge_earlier(raised).await;
            self.rise(&found, &own);
            self.anchor.write().await;
        }
        Ok(changed)
    }

    /// Where the epoch rose and this process did not put its CRLs back before, it takes in what they list, and forgets the versions
    /// of rows that it knew.
    async fn merge_earlier(&self, raised: bool) {
        if raised && !self.anchor.state().marked {
            self.anchor.unmerged.store(true, Ordering::Release);
            self.store.row_macs().forget_versions();
        }
        let may_write = self.anchor.writes() && self.keys.can_open(KeyPurpose::Internal);
        if !may_write || !self.anchor.has_unmerged() {
            return;
        }
        match self.take_earlier().await {
            Ok(()) => self.anchor.unmerged.store(false, Ordering::Release),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "CRLs that were kept in an earlier epoch could not be compared; it is tried again");
            }
        }
    }

    /// Marks that are remembered count as if they were there. After `chancery reconcile` the key and the marks are read anew.
    async fn heed_marks(&self, lacks: &[Lack], begun: bool) -> Result<()> {
        let insists = lacks.iter().any(|lack| matches!(lack, Lack::RowMacs { .. }));
        let changed = self.store.row_macs().insist(insists);
        if changed && insists {
            row_macs::open(&self.store, self.keys.as_ref()).await?;
        } else if changed || begun {
            row_macs::reopen(&self.store, self.keys.as_ref()).await?;
        } else {
            return Ok(());
        }
        // rows of bundles may have been read without a look at their MACs
        self.reload().await
    }

    /// Takes over the figures of a database that lacks nothing.
    fn rise(&self, found: &FoundHistory, own: &[crate::model::anchor::ChainEnd]) {
        let revocations = found.figures.versions.get("revocations").copied().unwrap_or(0);
        let mut state = self.anchor.state();
        let Some(memory) = &mut state.memory else { return };
        if found.figures.epoch > memory.figures.epoch {
            memory.replaced_at = None;
            self.store.forget_revocations(revocations);
        }
        self.store.saw_revocations(revocations);
        let before = memory.figures.clone();
        memory.figures.rise_to(&found.figures);
        memory.figures.add_chains(own);
        if memory.figures != before {
            memory.at = self.store.now();
        }
        state.marked = false;
    }

    async fn lacks(&self, remembered: &Figures, found: &FoundHistory) -> Result<Vec<Lack>> {
        let (mut figures, mut lacks) = (found.figures.clone(), Vec::new());
        if figures.epoch > remembered.epoch {
            let installation = found.installation.as_deref().unwrap_or_default();
            let Some(lack) = self.epoch_lack(installation, figures.epoch).await? else { return Ok(lacks) };
            lacks.push(lack);
            figures.epoch = remembered.epoch;
        }
        let chains = history::chains(&self.store, &remembered.events).await?;
        lacks.extend(remembered.lacks(&figures, &chains));
        lacks.extend(self.audit_key_lack(remembered, &figures));
        for lack in &mut lacks {
            if let Lack::Crl { series, .. } = lack {
                *series = self.name_of(series);
            }
        }
        Ok(lacks)
    }

    /// A series of CRLs as people know it: by the slug of its issuer or trust domain.
    fn name_of(&self, series: &str) -> String {
        if let Some(domain) = series.strip_prefix("domain:") {
            return format!("trust domain {domain}");
        }
        let snapshot = self.snapshot();
        let issuer = series.parse().ok().and_then(|id| snapshot.issuer_by_id(id));
        issuer.map_or_else(
            || format!("an issuer that this database does not know ({series})"),
            |issuer| issuer.issuer.slug.clone(),
        )
    }

    /// Sets what is thought of the database. A mark that another process left counts as much as what this one found.
    fn conclude(&self, found: &FoundHistory, lacks: &[Lack]) -> bool {
        // what the first process found: marking the database has raised some figures since
        let findings: Vec<String> = match found.rolled_back_at {
            Some(_) => found.findings.clone(),
            None => lacks.iter().map(ToString::to_string).collect(),
        };
        let rolled_back = !lacks.is_empty() || found.rolled_back_at.is_some();
        let found_at = found.rolled_back_at.unwrap_or_else(|| self.store.now());
        let before = self.store.set_rollback(rolled_back.then(|| Rollback { found_at, findings: findings.clone() }));
        metrics::gauge!("chancery_database_rolled_back").set(if rolled_back { 1.0 } else { 0.0 });
        if before.is_some() != rolled_back {
            self.served.forget_bases();
            self.forget_answers();
        }
        match (before.is_some(), rolled_back) {
            (false, true) => {
                tracing::error!(findings = findings.join("; "), "{}", history::ROLLED_BACK);
            }
            (true, false) => {
                tracing::warn!("the database is no longer older than remembered; signing goes on");
            }
            _ => {}
        }
        before.is_some() != rolled_back
    }

    /// Before a CRL is served: its number stands in the file. Where the file cannot be written the CRL is served all the
    /// same, because withholding a revocation is worse than forgetting a number; doctor says so.
    pub(in crate::authority) async fn remember_served(&self, series: &str, number: CrlNumber, der: &bytes::Bytes) {
        if self.store.rollback().is_some() || self.anchor.served(series).is_some_and(|served| served >= number) {
            return;
        }
        let _turn = self.anchor.turn.lock().await;
        if let Some(memory) = &mut self.anchor.state().memory {
            let figures = crate::model::anchor::CrlFigures { highest: number, served: Some(number) };
            let known = memory.figures.crls.entry(series.to_owned()).or_insert(figures);
            known.highest = known.highest.max(number);
            known.served = known.served.max(Some(number));
        }
        self.anchor.write().await;
        self.anchor.keep(series, der).await;
    }

    /// Was a CRL of a higher number served than this one, or is none left? Then the database is looked at before anything else
    /// is said: after `chancery reconcile` nothing was served yet.
    pub(in crate::authority) async fn is_behind_served(
        &self,
        series: &str,
        number: Option<CrlNumber>,
    ) -> Result<bool> {
        if !self.is_behind(series, number) {
            return Ok(false);
        }
        self.remember().await?;
        Ok(self.is_behind(series, number))
    }
}
