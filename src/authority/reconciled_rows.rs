//! What becomes of the MACs of rows when a database is reconciled. Their key made the MACs of every honest backup too, so
//! while there is a key, rows are compared with it and marks that are missing are written again: a backup that was restored
//! passes, and a row that somebody changed does not. Without a key nothing can be compared. A backup of a time before rows
//! had MACs says nothing of them in its audit; where the audit tells of them, or does not hold together, the key was taken
//! away, and only an operator can accept the rows as they stand.

use super::Authority;
use super::audit_check::KnownOutside;
use super::row_macs::{Look, reopen};
use super::told_rows::ToldRows;
use crate::error::{Error, ErrorKind, Result};
use crate::model::anchor::Figures;
use crate::pki::signer::KeyPurpose;
use crate::store::row_macs::{ALL_TABLES, WITHDRAWALS};
use crate::store::secrets;

/// How rows that grant something go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowsAfter {
    /// They are compared with their MACs, as before.
    #[default]
    Compared,
    /// The same; the marks that every row must have a MAC were missing and are written again.
    MarkedAgain,
    /// The database is of a time before rows had MACs: a server that starts takes its rows as they stand.
    BeforeMacs,
    /// An operator accepted every row as it stands.
    Accepted,
}

impl RowsAfter {
    pub const fn name(self) -> &'static str {
        match self {
            RowsAfter::Compared => "compared",
            RowsAfter::MarkedAgain => "marked-again",
            RowsAfter::BeforeMacs => "before-macs",
            RowsAfter::Accepted => "accepted",
        }
    }
}

/// Rows that grant something, after `chancery reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReconciledRows {
    pub after: RowsAfter,
    /// Rows that are refused because their MAC does not fit or is missing: object, and what is wrong with it.
    pub refused: Vec<(String, String)>,
}

impl Authority {
    /// Decides how rows go on, for all that this process writes from then on; changes nothing in the database.
    pub(super) async fn decide_rows(
        &self,
        remembered: &Figures,
        found: &Figures,
        accept: bool,
    ) -> Result<ReconciledRows> {
        let (macs, mut rows) = (self.store.row_macs(), ReconciledRows::default());
        let lacks = self.store.rollback().is_some() && found.row_macs < remembered.row_macs;
        if accept || lacks || macs.lost().is_some() {
            if !self.keys.can_open(KeyPurpose::Internal) {
                let detail = "the key of the rows' MACs lies under the unlock key; name its file with --unlock-key";
                return Err(Error::new(ErrorKind::Locked, detail));
            }
            macs.insist(true);
            reopen(&self.store, self.keys.as_ref()).await?;
            rows.after = match (macs.lost(), accept) {
                (None, false) if lacks => RowsAfter::MarkedAgain,
                (None, false) => RowsAfter::Compared,
                (Some(why), _) if self.has_row_key().await? => return Err(unopened(&why)),
                (_, true) => RowsAfter::Accepted,
                (Some(_), false) => {
                    self.check_never_had_macs(remembered, found).await?;
                    macs.insist(false);
                    macs.forget();
                    RowsAfter::BeforeMacs
                }
            };
        }
        if macs.lost().is_none() {
            let refused = self.changed_rows(None, Look::All).await?;
            rows.refused = refused.into_iter().map(|(object, row)| (object, row.what)).collect();
        }
        Ok(rows)
    }

    /// Gives every row a MAC by the word of an operator, under the key that is there or a new one.
    pub(super) async fn accept_all_rows(&self) -> Result<()> {
        if !self.has_row_key().await? {
            // what was taken back under the key that is gone is named anew under the next one
            secrets::delete(&self.store, &format!("{}{WITHDRAWALS}", secrets::ROW_MACS_REQUIRED)).await?;
        }
        // what is there stays
        self.store.row_macs().forget();
        self.make_row_key().await?;
        let mut told = ToldRows::default();
        self.read_audit(KnownOutside::default(), |event| drop(told.take(&event.detail))).await?;
        self.seal_rows(ALL_TABLES, &told).await?;
        self.reload().await
    }

    async fn check_never_had_macs(&self, remembered: &Figures, found: &Figures) -> Result<()> {
        let mut tells = false;
        let verdict = self
            .read_audit(KnownOutside::default(), |event| {
                tells |= event.action == "rows.macs_required" || event.detail.contains("\"rows\":{");
            })
            .await?;
        let why = if found.row_macs > 0 {
            "the database still has marks that every row must have one".to_owned()
        } else if tells {
            "the audit of this database tells of rows with MACs".to_owned()
        } else if let Some(finding) = verdict.findings.first() {
            format!("the audit of this database does not hold together: {finding}")
        } else if remembered.audit_key.is_some() && remembered.audit_key != found.audit_key {
            "nothing proves that this is a backup of a time before rows had MACs, because its audit is not signed by the key that \
             is remembered"
                .to_owned()
        } else {
            return Ok(());
        };
        let detail = format!(
            "the key of the rows' MACs is missing, and somebody may have changed users, tokens and issuers: {why}. Restore the whole \
             database from a backup, or, after you have looked at every user, token, grant, EAB key, profile and issuer, accept \
             all rows as they stand with `chancery reconcile --accept-rows`"
        );
        Err(Error::new(ErrorKind::Conflict, detail))
    }
}

fn unopened(why: &str) -> Error {
    let detail = format!(
        "the key of the rows' MACs is in the database and cannot be opened: {why}; name the unlock key of this installation with \
         --unlock-key, or restore the row \"row-macs\" of the table shared_secrets from a backup"
    );
    Error::new(ErrorKind::Unavailable, detail)
}
