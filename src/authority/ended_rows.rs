//! Ends that the audit tells of: an event by which a row lost its power, and none after it that gave it back. An older row
//! that was put back is refused by them where the hierarchy is read, and is neither accepted nor confirmed by an operator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::Result;
use crate::model::audit::{ChainedEvent, Outcome};
use crate::model::id::EventId;
use crate::model::issuer::{Anchor, Issuer, IssuerCertificate, IssuerState};
use crate::model::serial::to_hex;
use crate::pki::key_policy::sha256;
use crate::store::hierarchy::Checked;
use crate::store::{Store, Tx, audit};

/// Actions after which a row has no power any more.
const ENDS: [&str; 11] = [
    "token.revoked",
    "grant.revoked",
    "eab_key.revoked",
    "account.revoked",
    "account.deactivated",
    "authorization.deactivated",
    "user.disabled",
    "issuer.retired",
    "issuer.removed",
    "issuer.revoked",
    "anchor.removed",
];
/// Actions that take one of them back, or came before it.
const BACK: [&str; 6] =
    ["user.enabled", "issuer.activated", "issuer.created", "issuer.imported", "issuer.installed", "anchor.added"];

/// The newest audit event that ended one object or brought it back.
#[derive(Debug, Default)]
pub(super) struct LastEnd(Option<(EventId, String)>);

impl LastEnd {
    /// Events come in any order.
    pub fn take(&mut self, object: &str, event: &ChainedEvent) {
        let action = event.action.as_str();
        if event.outcome != Outcome::Done.name()
            || !ENDS.contains(&action) && !BACK.contains(&action)
            || !is_about(object, event)
            || self.0.as_ref().is_some_and(|(id, _)| *id > event.id)
        {
            return;
        }
        self.0 = Some((event.id, action.to_owned()));
    }

    /// The action by which the object ended.
    pub fn action(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, action)| action.as_str()).filter(|action| ENDS.contains(action))
    }
}

/// Events about a CA certificate of others are about its trust domain, and name its fingerprint.
fn is_about(object: &str, event: &ChainedEvent) -> bool {
    let Some((domain, fingerprint)) = object.strip_prefix("anchor:").and_then(|rest| rest.rsplit_once(':')) else {
        return event.object == object;
    };
    event.object.strip_prefix("domain:") == Some(domain) && fingerprint_in(event).as_deref() == Some(fingerprint)
}

fn fingerprint_in(event: &ChainedEvent) -> Option<String> {
    let detail: Value = serde_json::from_str(&event.detail).ok()?;
    Some(detail.get("sha256")?.as_str()?.to_owned())
}

/// The action by which the object of this name ended.
pub(super) async fn last_end(tx: &mut Tx, object: &str) -> Result<Option<String>> {
    let last = audit::last_of(tx, object, &[&ENDS[..], &BACK[..]].concat()).await?;
    Ok(last.filter(|action| ENDS.contains(&action.as_str())))
}

/// Does a row with this state of an issuer say what the audit says was done last?
pub(super) fn state_says(action: &str, state: IssuerState) -> bool {
    match action {
        "issuer.revoked" => state == IssuerState::Revoked,
        "issuer.removed" => matches!(state, IssuerState::Removed | IssuerState::Revoked),
        "issuer.retired" => !state.signs(),
        _ => true,
    }
}

fn what(action: &str) -> String {
    format!("was put back in the database as it was before the audit event {action}")
}

/// Refuses issuers and CA certificates of others whose row says that they have power, and whose end the audit tells of.
pub(super) async fn refuse_ended(
    store: &Store,
    issuers: &mut Checked<Issuer>,
    certificates: &Checked<IssuerCertificate>,
    anchors: &mut Checked<Anchor>,
) -> Result<()> {
    if !store.row_macs().is_open() && !store.row_macs().is_locked() {
        return Ok(());
    }
    for (issuer, refused) in issuers.iter_mut().filter(|(_, refused)| refused.is_none()) {
        let object = format!("issuer:{}", issuer.id);
        let mut last = LastEnd::default();
        for event in audit::done_to(store, &object, "issuer.%").await? {
            last.take(&object, &event);
        }
        // whoever revoked its certificate ended it for good
        for (certificate, _) in certificates.iter().filter(|(c, _)| c.issuer_id == issuer.id) {
            let Some(id) = certificate.certificate_id else { continue };
            if let Some(event) = audit::done_to(store, &format!("certificate:{id}"), "issuer.revoked").await?.pop() {
                last = LastEnd(Some((event.id, event.action)));
            }
        }
        let Some(action) = last.action().filter(|action| !state_says(action, issuer.state)) else { continue };
        *refused = Some(store.row_macs().refuse_older(&object, &what(action)));
    }
    let mut removed: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let domains: BTreeSet<String> = anchors.iter().map(|(anchor, _)| anchor.domain.clone()).collect();
    for domain in domains {
        let mut of_domain = BTreeMap::new();
        for event in audit::done_to(store, &format!("domain:{domain}"), "anchor.%").await? {
            if let Some(fingerprint) = fingerprint_in(&event) {
                of_domain.insert(fingerprint, event.action == "anchor.removed");
            }
        }
        removed.insert(domain, of_domain);
    }
    for (anchor, refused) in anchors.iter_mut().filter(|(a, refused)| refused.is_none() && a.standing.is_trusted()) {
        let fingerprint = to_hex(&sha256(&anchor.der));
        let is_removed = removed.get(&anchor.domain).and_then(|of_domain| of_domain.get(&fingerprint));
        if is_removed == Some(&true) {
            let object = format!("anchor:{}:{fingerprint}", anchor.domain);
            *refused = Some(store.row_macs().refuse_older(&object, &what("anchor.removed")));
        }
    }
    Ok(())
}
