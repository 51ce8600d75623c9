//! Going on after a restore: what is missing is shown, the newest published CRLs are taken in, a new epoch begins, so that
//! no CRL number is ever given twice, and what was suspended is confirmed by name. Running it twice begins two epochs,
//! which is harmless.

use serde_json::{Value, json};

use super::Authority;
use super::ended_rows::last_end;
use super::hierarchy::published::{Merged, Published, restore_crl, take_late};
use super::reconciled_rows::{ReconciledRows, RowsAfter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::anchor::{Anchor, Figures};
use crate::model::audit::{AuditEvent, ChainedEvent};
use crate::model::crl::CrlNumber;
use crate::model::identifier::shown;
use crate::model::issuer::IssuerRole;
use crate::store::history::{self, FoundHistory, Mark};
use crate::store::row_macs::{ALL_TABLES, WITHDRAWALS};
use crate::store::suspensions::{self, Suspended, SuspendedId};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, audit, hierarchy};

/// Epochs are Unix seconds or a little more. A number above is one that an imported CA chose.
const EPOCHS: i64 = 1 << 40;

/// What an operator asks for.
#[derive(Debug, Clone, Default)]
pub struct ReconcileRequest {
    /// The newest published CRL of an issuer each, in DER.
    pub crls: Vec<Vec<u8>>,
    /// Where each of these CRLs was read, for refusals.
    pub crl_files: Vec<String>,
    /// Names, ids or kids of what works again.
    pub confirm: Vec<String>,
    /// The database was restored although nothing that is remembered says so.
    pub restored: bool,
    /// Every row that grants something is accepted as it stands.
    pub accept_rows: bool,
    /// Show it and change nothing.
    pub dry_run: bool,
}

impl ReconcileRequest {
    /// The CRLs, each with what names it in a refusal.
    fn named_crls(&self) -> impl Iterator<Item = (&[u8], Naming<'_>)> {
        let files = self.crl_files.iter().map(Some).chain(std::iter::repeat(None));
        self.crls.iter().zip(files).map(|(der, file)| (der.as_slice(), Naming(file.map(String::as_str))))
    }
}

/// The file of a CRL.
#[derive(Debug, Clone, Copy)]
struct Naming<'a>(Option<&'a str>);

impl Naming<'_> {
    fn refusal(self, mut error: Error) -> Error {
        if let Some(file) = self.0 {
            error.detail = format!("{}: {}", shown(file), error.detail);
        }
        error
    }
}

/// What was missing and what was done.
#[derive(Debug, Clone, Default)]
pub struct Reconciliation {
    /// What the database lacks of what is remembered, as sentences.
    pub findings: Vec<String>,
    /// The new epoch; None: there was nothing to reconcile.
    pub epoch: Option<i64>,
    pub missing: Missing,
    pub crls: Vec<ReconciledCrl>,
    pub rows: ReconciledRows,
    /// What does not work until it is confirmed.
    pub suspended: Vec<Suspended>,
    pub confirmed: Vec<Suspended>,
    /// What was to be confirmed and works already.
    pub working: Vec<Suspended>,
    /// Roots whose CRLs have to be signed anew.
    pub roots: Vec<String>,
    /// No anchor is at hand, so nothing tells whether the database is older than it was.
    pub nothing_remembered: bool,
}

/// What is known to be missing by its number alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    pub events: u64,
    /// Certificates that were issued by processes whose anchor is at hand.
    pub certificates: u64,
}

/// A published CRL that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciledCrl {
    pub issuer: String,
    pub number: CrlNumber,
    /// Revocations that the database did not have.
    pub revocations: u64,
    /// The part of `revocations` whose certificate is not in the database.
    pub unknown: u64,
    /// It was kept beside the anchor.
    pub kept: bool,
    /// When a server took it in that found the older database before this command.
    pub taken_at: Option<Timestamp>,
}

impl ReconciledCrl {
    fn of(issuer: String, number: CrlNumber, merged: Merged) -> Self {
        let (revocations, unknown) = (merged.revocations, merged.unknown);
        ReconciledCrl { issuer, number, revocations, unknown, kept: false, taken_at: None }
    }

    /// As the audit has it.
    fn of_event(event: &ChainedEvent) -> Option<Self> {
        let detail: Value = serde_json::from_str(&event.detail).ok()?;
        let count = |member: &str| detail[member].as_u64();
        Some(ReconciledCrl {
            // none for the list of a trust domain
            issuer: detail["issuer"].as_str()?.to_owned(),
            number: detail["number"].as_str()?.parse().ok()?,
            revocations: count("revocations")?,
            unknown: count("of_unknown_certificates")?,
            kept: true,
            taken_at: Some(event.at),
        })
    }

    fn is_same_as(&self, other: &ReconciledCrl) -> bool {
        (&self.issuer, self.number) == (&other.issuer, other.number)
    }
}

impl Authority {
    pub async fn reconcile(&self, actor: &Actor, request: &ReconcileRequest) -> Result<Reconciliation> {
        self.store.check_clock()?;
        let found = self.read_history(None).await?;
        // rows that are accepted unseen wait to be confirmed, like those of a backup
        let needed = self.store.rollback().is_some()
            || request.restored
            || self.anchor.health().replaced_at.is_some()
            || request.accept_rows;
        if !needed && !request.crls.is_empty() && found.figures.epoch == 0 {
            let detail = "the database is not older than what is remembered of it, so no published CRL is taken in; if a \
                          backup was restored that nobody noticed, add --restored";
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let installation = found.installation.as_deref().unwrap_or_default();
        let fresh = || Anchor::new(installation, self.store.now(), found.figures.clone());
        let own = self.anchor.memory().unwrap_or_else(fresh);
        let missing = self.missing(&own.figures, &found.figures).await?;
        let nothing_remembered = self.anchor.found_nothing();
        let mut done = Reconciliation { missing, nothing_remembered, ..Default::default() };
        if needed {
            done.rows = self.decide_rows(&own.figures, &found.figures, request.accept_rows).await?;
        }
        if done.rows.after == RowsAfter::Accepted && !request.dry_run {
            self.accept_all_rows().await?;
        } else if done.rows.after == RowsAfter::Accepted {
            // what is written here is taken back
            self.store.row_macs().forget();
        }
        let mut tx = self.store.begin(actor).await?;
        if done.rows.after == RowsAfter::MarkedAgain {
            let names = ALL_TABLES.iter().map(|table| table.name).chain([WITHDRAWALS]);
            self.mark_tables(&mut tx, &names.collect::<Vec<_>>()).await?;
        }
        if needed {
            self.begin_again(&mut tx, &own, &found, request, &mut done).await?;
        } else {
            for (der, naming) in request.named_crls() {
                let published = self.published(der).map_err(|error| naming.refusal(error))?;
                let merged = take_late(&mut tx, &published).await?;
                done.crls.push(ReconciledCrl::of(published.slug.clone(), published.number, merged));
            }
        }
        (done.confirmed, done.working) = confirm(&mut tx, &request.confirm).await?;
        let now = tx.now();
        done.suspended = suspensions::list(&mut tx, now).await?;
        if request.dry_run {
            return Ok(done);
        }
        tx.commit().await?;
        if needed {
            self.store.set_rollback(None);
            self.recall().await?;
        }
        self.forget_answers();
        self.reload().await?;
        Ok(done)
    }

    async fn begin_again(
        &self,
        tx: &mut Tx,
        own: &Anchor,
        history: &FoundHistory,
        request: &ReconcileRequest,
        done: &mut Reconciliation,
    ) -> Result<()> {
        let found = &history.figures;
        done.findings = self.store.rollback().map(|rollback| rollback.findings.clone()).unwrap_or_default();
        let remembered = super::anchor::mark(tx, own, &done.findings).await?;
        // the row of the mark is held from here on
        let begun = hierarchy::installation(&mut *tx).await?.map_or(0, |installation| installation.epoch);
        if begun != found.epoch {
            let detail = format!(
                "another `chancery reconcile` has just begun epoch {begun}, and nothing was changed here; run `chancery reconcile` once \
                 more to see what is left"
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let mut numbers: Vec<CrlNumber> = remembered.figures.crls.values().map(|crl| crl.highest).collect();
        numbers.extend(found.crls.values().map(|crl| crl.highest));
        for (der, naming) in request.named_crls() {
            let taken = self.take_published(tx, &remembered.figures, der).await;
            let taken = taken.map_err(|error| naming.refusal(error))?;
            numbers.push(taken.number);
            done.crls.push(taken);
        }
        for kept in self.take_kept(tx).await? {
            numbers.push(kept.number);
            if done.crls.iter().all(|crl| !crl.is_same_as(&kept)) {
                done.crls.push(kept);
            }
        }
        for taken in taken_by_servers(tx, history.rolled_back_at).await? {
            // what a server took in before is not new to this command
            match done.crls.iter_mut().find(|crl| crl.is_same_as(&taken)) {
                Some(known) => *known = ReconciledCrl { kept: known.kept, ..taken },
                None => done.crls.push(taken),
            }
        }
        let epochs = numbers.iter().filter_map(CrlNumber::epoch).filter(|epoch| *epoch < EPOCHS);
        let highest = epochs.chain([found.epoch, remembered.figures.epoch, tx.now().secs()]).max();
        let epoch = highest.unwrap_or(0).saturating_add(1);
        history::begin_epoch(tx, epoch).await?;
        self.prove_epoch(tx, epoch).await?;
        self.raise_imported(tx, &remembered.figures, &done.crls).await?;
        history::mark(tx, &Mark::default()).await?;
        for topic in [Topic::Hierarchy, Topic::Revocations, Topic::Access] {
            versions::bump(&mut *tx, topic).await?;
        }
        done.roots = self.roots();
        done.epoch = Some(epoch);
        let crls: Vec<_> = done.crls.iter().map(|crl| json!({"issuer": crl.issuer, "number": crl.number})).collect();
        let detail = json!({"epoch": epoch, "findings": done.findings, "crls": crls,
            "row_macs": done.rows.after.name(),
            "missing_certificates": done.missing.certificates, "missing_events": done.missing.events});
        tx.audit(AuditEvent::done("history.reconciled", "", detail));
        Ok(())
    }

    /// What the database lacks of what this host remembers.
    async fn missing(&self, remembered: &Figures, found: &Figures) -> Result<Missing> {
        let mut missing = Missing::default();
        if found.epoch > remembered.epoch {
            return Ok(missing);
        }
        for chain in history::chains(&self.store, &remembered.events).await?.iter().filter(|c| !c.is_whole()) {
            missing.events += chain.missing();
            let Some(issued) = chain.end.certificates else { continue };
            missing.certificates += issued.saturating_sub(history::certificates_of(&self.store, &chain.end).await?);
        }
        Ok(missing)
    }

    /// Only the newest CRL of an issuer: an older one lists holds that were lifted.
    async fn take_published(&self, tx: &mut Tx, remembered: &Figures, der: &[u8]) -> Result<ReconciledCrl> {
        let published = self.published(der)?;
        let served = remembered.crls.get(&published.issuer.to_string()).and_then(|crl| crl.served);
        let (slug, number) = (published.slug.clone(), published.number);
        if let Some(served) = served.filter(|served| *served > number) {
            let sentence = format!(
                "the CRL of {slug} has number {number}, and number {served} was published after it; take the newest one, \
                 because an older one lists holds that were lifted"
            );
            let refused =
                Error::refused(ErrorKind::Unprocessable, "crl.number", number, served, "take the newest one");
            return Err(refused.saying(sentence));
        }
        let merged = restore_crl(tx, &published).await?.unwrap_or_default();
        Ok(ReconciledCrl::of(slug, number, merged))
    }

    fn published<'a>(&self, der: &'a [u8]) -> Result<Published<'a>> {
        let none =
            || Error::malformed("the CRL is of no issuer of this CA; name the published CRL of one of its issuers");
        Published::read(&self.snapshot(), der)?.ok_or_else(none)
    }

    /// The CRLs that were served last, as they are kept beside the anchor. A server that found the older database has taken
    /// them in already.
    async fn take_kept(&self, tx: &mut Tx) -> Result<Vec<ReconciledCrl>> {
        let mut taken = Vec::new();
        for issuer in hierarchy::issuers(&mut *tx).await? {
            let Some(der) = self.anchor.kept(&issuer.id.to_string()) else { continue };
            let published = match Published::read(&self.snapshot(), &der) {
                Ok(Some(published)) if published.issuer == issuer.id => published,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(issuer = %issuer.slug, error = %error.chain(), "a kept CRL could not be read");
                    continue;
                }
            };
            let merged = restore_crl(tx, &published).await?.unwrap_or_default();
            let crl = ReconciledCrl::of(published.slug.clone(), published.number, merged);
            taken.push(ReconciledCrl { kept: true, ..crl });
        }
        Ok(taken)
    }

    /// Series whose numbers are above every epoch go on above what was published, by as much as the time is: so a second
    /// restore of the same backup gives other numbers.
    async fn raise_imported(&self, tx: &mut Tx, remembered: &Figures, taken: &[ReconciledCrl]) -> Result<()> {
        let seconds = u64::try_from(tx.now().secs()).unwrap_or(0);
        for issuer in hierarchy::issuers(&mut *tx).await? {
            let known = crate::store::crls::state(tx, issuer.id, 0).await?.number;
            let remembered = remembered.crls.get(&issuer.id.to_string()).map(|crl| crl.highest);
            let taken = taken.iter().filter(|crl| crl.issuer == issuer.slug).map(|crl| crl.number);
            let highest = taken.chain(remembered).fold(known, CrlNumber::max);
            if highest.epoch().is_some_and(|epoch| epoch < EPOCHS) {
                continue;
            }
            let Some(raised) = highest.after_epochs(seconds) else {
                let detail = format!(
                    "the CRL numbers of {} are used up; make its successor with `chancery ca create`",
                    issuer.slug
                );
                return Err(Error::new(ErrorKind::Inconsistent, detail));
            };
            history::raise_crl_number(tx, issuer.id, raised).await?;
        }
        Ok(())
    }

    fn roots(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        let is_root = |role: &IssuerRole| *role == IssuerRole::Root;
        snapshot.issuers.iter().filter(|(_, i)| is_root(&i.issuer.role)).map(|(slug, _)| slug.clone()).collect()
    }

    /// The users, tokens, grants and EAB keys that wait to be confirmed.
    pub(super) async fn suspended(&self) -> Result<Vec<Suspended>> {
        let now: Timestamp = self.store.now();
        suspensions::list(&self.store, now).await
    }
}

/// The CRLs that servers put back when they found the older database, as the audit tells.
async fn taken_by_servers(tx: &mut Tx, found_at: Option<Timestamp>) -> Result<Vec<ReconciledCrl>> {
    let Some(found_at) = found_at else { return Ok(Vec::new()) };
    let events = audit::done_since(&mut *tx, "crl.restored", found_at).await?;
    Ok(events.iter().filter_map(ReconciledCrl::of_event).collect())
}

/// Lets what is named work again, with the grant that it acts under. Returns that, and what worked already.
async fn confirm(tx: &mut Tx, names: &[String]) -> Result<(Vec<Suspended>, Vec<Suspended>)> {
    let now = tx.now();
    let all = suspensions::list(&mut *tx, now).await?;
    let (mut confirmed, mut working) = (Vec::<Suspended>::new(), Vec::new());
    for name in names {
        let one = match named(&all, name) {
            Ok(one) => one,
            Err(error) if error.kind == ErrorKind::NotFound => {
                let works = suspensions::working(&mut *tx, name, now).await?;
                if works.is_empty() {
                    return Err(error);
                }
                working.extend(works);
                continue;
            }
            Err(error) => return Err(error),
        };
        let with_grant = |other: &&Suspended| matches!(other.id, SuspendedId::Grant(id) if Some(id) == one.grant);
        for suspended in [one].into_iter().chain(all.iter().filter(with_grant)) {
            if confirmed.iter().all(|known| known.id != suspended.id) {
                check_not_ended(tx, suspended).await?;
                suspensions::confirm(tx, suspended.id).await?;
                tx.audit(AuditEvent::done("suspension.ended", suspended.object(), json!({"name": suspended.name})));
                confirmed.push(suspended.clone());
            }
        }
    }
    if !confirmed.is_empty() {
        versions::bump(tx, Topic::Access).await?;
    }
    Ok((confirmed, working))
}

/// The audit of a backup is as old as its rows. One that tells of a revocation which the row does not have was not made by a
/// backup.
async fn check_not_ended(tx: &mut Tx, suspended: &Suspended) -> Result<()> {
    if last_end(tx, &suspended.object()).await?.is_none() {
        return Ok(());
    }
    let detail = format!(
        "the audit says that {} {} ({}) was revoked or disabled, and its row was changed in the database; it stays suspended, so make a new one",
        suspended.kind(),
        suspended.name,
        suspended.id()
    );
    Err(Error::new(ErrorKind::Conflict, detail))
}

/// By id, by the kid of a client, or by a name that one token or key has. The grant of a token often has the token's name.
fn named<'a>(all: &'a [Suspended], name: &str) -> Result<&'a Suspended> {
    let mut found: Vec<&Suspended> =
        all.iter().filter(|one| one.id() == name || one.name == name || one.kid.as_deref() == Some(name)).collect();
    if found.iter().any(|suspended| !matches!(suspended.id, SuspendedId::Grant(_))) {
        found.retain(|suspended| !matches!(suspended.id, SuspendedId::Grant(_)));
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let detail = format!(
                "nothing that is suspended is called \"{}\"; `chancery reconcile --dry-run` lists what is suspended",
                shown(name)
            );
            Err(Error::new(ErrorKind::NotFound, detail))
        }
        several => {
            let ids: Vec<String> = several.iter().map(|suspended| suspended.id()).collect();
            let detail = format!("\"{}\" is the name of {}; name one by its id", shown(name), ids.join(" and of "));
            Err(Error::new(ErrorKind::Conflict, detail))
        }
    }
}
