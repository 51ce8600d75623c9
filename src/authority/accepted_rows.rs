//! Accepting a row that was changed in the database, by the word of an operator on the host: only one that is refused, and
//! none that the audit says was revoked.

use serde_json::json;

use super::Authority;
use super::audit_check::KnownOutside;
use super::ended_rows::{LastEnd, state_says};
use super::row_macs::changed;
use super::told_rows::{TWICE, ToldRow, ToldRows};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::{AnchorStanding, IssuerState};
use crate::store::row_macs;
use crate::store::versions::{self, Topic};

/// A row that an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRow {
    pub object: String,
    /// The fault of the row, as the rest of a sentence that begins with its name.
    pub what: String,
    /// The values of the row, each with the name of its column.
    pub columns: Vec<(&'static str, String)>,
}

impl Authority {
    /// Gives a row that is refused a MAC as it stands now.
    pub async fn accept_row(&self, actor: &Actor, object: &str) -> Result<AcceptedRow> {
        let none = || Error::not_found(format!("{object} with a MAC"));
        let (row, columns) = row_macs::find(&self.store, object).await?.ok_or_else(none)?;
        let (mut told, mut last) = (ToldRows::default(), LastEnd::default());
        self.read_audit(KnownOutside::default(), |event| {
            if event.detail.contains(object) {
                told.take(&event.detail);
            }
            last.take(object, event);
        })
        .await?;
        let Some(changed) = changed(&row, told.get(object)) else {
            let detail = format!("{object} is as this CA wrote it; there is nothing to accept");
            return Err(Error::new(ErrorKind::Conflict, detail));
        };
        let has_ended = match last.action() {
            Some(action) => !says_so(action, &columns),
            None => told.get(object).is_some_and(ToldRow::has_ended),
        };
        if has_ended {
            let detail = format!(
                "the audit says that {object} was revoked, disabled, removed or ended, and its row was put back in the database; \
                 it stays refused, so make a new one"
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let mut tx = self.store.begin(actor).await?;
        if !row_macs::accept(&mut tx, object, told.as_told(object)).await? {
            return Err(none());
        }
        for topic in [Topic::Hierarchy, Topic::Profiles, Topic::Access, Topic::Directories] {
            versions::bump(&mut tx, topic).await?;
        }
        let says: serde_json::Map<_, _> =
            columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        tx.audit(AuditEvent::done(
            "row.accepted",
            object,
            json!({"was": changed.what, "says": says, TWICE: told.twice([&object.to_owned()])}),
        ));
        tx.commit().await?;
        self.store.row_macs().accepted(object);
        Ok(AcceptedRow { object: object.to_owned(), what: changed.what, columns })
    }
}

/// Does the row say that it ended by this action?
fn says_so(action: &str, columns: &[(&'static str, String)]) -> bool {
    let is = |name: &str, says: &dyn Fn(&str) -> bool| columns.iter().any(|(own, value)| *own == name && says(value));
    match action.split_once('.') {
        Some(("issuer", _)) => {
            is("state", &|value| IssuerState::from_name(value).is_some_and(|state| state_says(action, state)))
        }
        Some(("anchor", _)) => is("standing", &|value| value == AnchorStanding::Chain.name()),
        Some(("account" | "authorization", _)) => is("status", &|value| value != "valid" && value != "pending"),
        _ => columns.iter().any(|(name, _)| matches!(*name, "revoked_at" | "disabled_at")),
    }
}
