//! Terms of service that changed (RFC 8555 §7.3.3). A directory may want agreement to its present terms before it
//! takes orders again. An update of the account cannot give it (§7.3.2 has us ignore it there): a person opens the
//! page whose address the refused client was told, which nobody else knows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::accounts::object;
use super::attempts::Tried;
use super::{Directory, Origin, Registration, active};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Account;
use crate::model::audit::AuditEvent;
use crate::model::id::AccountId;
use crate::model::identifier::shown;
use crate::store::accounts;

/// What is sealed into the address: the terms as they were when the client was refused.
const LABEL: &str = "terms";

/// What the page is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub account: Account,
    /// The present terms of its directory.
    pub terms: String,
}

impl Consent {
    pub fn is_given(&self) -> bool {
        agrees(&self.account, &self.terms)
    }
}

impl Registration {
    /// Refuses an account that has not agreed to the present terms, where the directory wants that. Accounts made
    /// before it was kept to what they agreed count as others that have not.
    pub async fn check_terms(&self, origin: &Origin, directory: &Directory, account: &Account) -> Result<()> {
        let Some(terms) =
            directory.config.terms_of_service.as_deref().filter(|_| directory.config.require_current_terms)
        else {
            return Ok(());
        };
        if agrees(account, terms) {
            return Ok(());
        }
        let sealed = self.authority.keys.seal_secret(LABEL, &account.id.bytes(), terms.as_bytes())?;
        let why = format!(
            "the terms of service are now those at {}: read them and agree on the page in \"instance\", then repeat this request",
            shown(terms)
        );
        let path = format!("/terms/{}/{}", account.id, URL_SAFE_NO_PAD.encode(sealed));
        let error = Error::new(ErrorKind::UserActionRequired, why).visit(path);
        self.refused_attempt(&origin.account(account), Tried::terms(origin, account), error).await
    }

    /// Of the two last segments of the page's path.
    pub async fn consent(&self, account: &str, seal: &str) -> Result<Consent> {
        let none = || Error::not_found("page of terms: repeat the ACME request and open the page that it names");
        let id: AccountId = account.parse().map_err(|_| none())?;
        let sealed = URL_SAFE_NO_PAD.decode(seal).map_err(|_| none())?;
        let told = match self.authority.keys.open_secret(LABEL, &id.bytes(), &sealed) {
            Err(error) if error.kind == ErrorKind::Locked => return Err(error),
            other => other.map_err(|_| none())?,
        };
        let account = active(accounts::find(&self.store, id).await?.ok_or_else(none)?)?;
        let terms = self.directory(&account.directory)?.config.terms_of_service.ok_or_else(none)?;
        if terms.as_bytes() != told.as_slice() {
            let why = "the terms of service changed again: repeat the ACME request and open the page that it names";
            return Err(Error::new(ErrorKind::Conflict, why));
        }
        Ok(Consent { account, terms })
    }

    /// A person with the page before them agrees. Agreeing twice is harmless.
    pub async fn agree(&self, origin: &Origin, account: &str, seal: &str) -> Result<Consent> {
        let Consent { account, terms } = self.consent(account, seal).await?;
        let mut tx = self.store.begin(&origin.account(&account)).await?;
        tx.accounts_change();
        if !accounts::agree(&mut tx, account.id, &terms).await? {
            return Err(Error::new(ErrorKind::Conflict, "the account changed meanwhile or is no longer valid"));
        }
        let detail = json!({"terms": terms, "before": account.terms_url, "from": origin.address});
        tx.audit(AuditEvent::done("account.terms_agreed", object(account.id), detail));
        tx.commit().await?;
        let account = Account { terms_agreed: true, terms_url: Some(terms.clone()), ..account };
        Ok(Consent { account, terms })
    }
}

fn agrees(account: &Account, terms: &str) -> bool {
    account.terms_agreed && account.terms_url.as_deref() == Some(terms)
}
