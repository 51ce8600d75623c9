//! What an order may say that it replaces (RFC 9773 §5): a certificate of ours that this account was given, for one of
//! the same names at least, and that no other order replaces unless that one is invalid.

use super::Registration;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, Order};
use crate::model::identifier::{Identifier, shown};
use crate::model::renewal::{Renewal, RenewalId};
use crate::store::{Tx, orders};

const FIX: &str = "send the order without \"replaces\"";

impl Registration {
    /// When the certificate should be renewed that a client asks for, if it is one of ours.
    pub async fn renewal(&self, id: &RenewalId) -> Result<Option<Renewal>> {
        let found = self.authority.certificate_by_renewal_id(id).await?;
        Ok(found.map(|certificate| self.authority.renewal(&certificate, Some(id))))
    }

    /// All but the slot, which is looked at in the order's transaction. Whoever lost the account renews with the new
    /// one without `replaces`: nothing here shows that both belong to one subscriber.
    pub(super) async fn check_replaces(&self, account: &Account, text: &str, names: &[Identifier]) -> Result<()> {
        let refuse = |kind, value: String, allowed: &str| {
            let wrong = format!("replaces names {value}; it must be {allowed}");
            Err(Error::refused(kind, "acme.replaces", value, allowed, FIX).explained(wrong))
        };
        let id: RenewalId = text.parse()?;
        let Some(certificate) = self.authority.certificate_by_renewal_id(&id).await? else {
            let value = format!("\"{}\", which is no certificate of this CA", shown(text));
            return refuse(ErrorKind::Malformed, value, "a certificate that this account was given");
        };
        if certificate.account_id != Some(account.id) {
            let value = format!("serial {} of another account", certificate.serial);
            return refuse(ErrorKind::Forbidden, value, "a certificate that this account was given");
        }
        if !certificate.names.iter().any(|name| names.contains(name)) {
            let value = format!("serial {}, which has none of the names of this order", certificate.serial);
            return refuse(ErrorKind::Malformed, value, "a certificate that has a name in common with the order");
        }
        Ok(())
    }
}

/// In the order's transaction: nobody else replaces the certificate.
pub(super) async fn check_slot(tx: &mut Tx, order: &Order) -> Result<()> {
    let Some(text) = &order.replaces else { return Ok(()) };
    match orders::replacing(tx, text).await? {
        Some(other) => Err(replaced(text, &format!("order {other}"))),
        None => Ok(()),
    }
}

/// What the insertion of an order that lost the race for the slot means: the unique index is what decides it.
pub(super) fn slot_taken(error: Error, order: &Order) -> Error {
    match (error.kind, &order.replaces) {
        (ErrorKind::Conflict, Some(text)) => replaced(text, "another order"),
        _ => error,
    }
}

fn replaced(text: &str, by: &str) -> Error {
    Error::refused(
        ErrorKind::AlreadyReplaced,
        "acme.replaces",
        format!("certificate {}, which {by} replaces already", shown(text)),
        "one order that is not invalid for each certificate",
        FIX,
    )
    .explained(format!(
        "certificate {} is replaced by {by} already; one order that is not invalid may replace it",
        shown(text)
    ))
}
