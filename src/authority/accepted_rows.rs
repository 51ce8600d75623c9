//! Accepting a row that was changed in the database, by the word of an operator on the host: only one that is refused, and
//! none that the audit says was revoked.

use serde_json::json;

use super::Authority;
use super::audit_check::KnownOutside;
use super::row_macs::{ToldRows, changed, take_told};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::{AuditEvent, Outcome};
use crate::model::id::EventId;
use crate::store::row_macs;
use crate::store::versions::{self, Topic};

/// Actions after which a row has no power any more.
pub(super) const ENDS: [&str; 6] =
    ["token.revoked", "grant.revoked", "eab_key.revoked", "account.revoked", "account.deactivated", "user.disabled"];
/// The action that takes the last of them back.
pub(super) const ENABLED: &str = "user.enabled";

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
        let (mut told, mut ended) = (ToldRows::new(), None::<(EventId, bool)>);
        self.read_audit(KnownOutside::default(), |event| {
            if event.detail.contains(object) {
                take_told(&mut told, &event.detail);
            }
            let is_end = ENDS.contains(&event.action.as_str());
            let counts = event.object == object && event.outcome == Outcome::Done.name();
            if counts && (is_end || event.action == ENABLED) && ended.is_none_or(|(id, _)| id <= event.id) {
                ended = Some((event.id, is_end));
            }
        })
        .await?;
        let Some(changed) = changed(&row, told.get(object)) else {
            let detail = format!("{object} is as this CA wrote it; there is nothing to accept");
            return Err(Error::new(ErrorKind::Conflict, detail));
        };
        let says_so = |(name, value): &(&str, String)| match *name {
            "revoked_at" | "disabled_at" => true,
            "status" => value != "valid",
            _ => false,
        };
        if ended.is_some_and(|(_, is_end)| is_end) && !columns.iter().any(says_so) {
            let detail = format!(
                "the audit says that {object} was revoked or disabled, and its row was put back in the database; it stays \
                 refused, so make a new one"
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let mut tx = self.store.begin(actor).await?;
        if !row_macs::accept(&mut tx, object).await? {
            return Err(none());
        }
        for topic in [Topic::Hierarchy, Topic::Profiles, Topic::Access, Topic::Directories] {
            versions::bump(&mut tx, topic).await?;
        }
        let says: serde_json::Map<_, _> =
            columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        tx.audit(AuditEvent::done("row.accepted", object, json!({"was": changed.what, "says": says})));
        tx.commit().await?;
        self.store.row_macs().accepted(object);
        Ok(AcceptedRow { object: object.to_owned(), what: changed.what, columns })
    }
}
