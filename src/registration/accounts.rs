//! Accounts (RFC 8555 §7.3): one key, one account in a directory.

use serde_json::json;

use super::attempts::Tried;
use super::external_accounts::BindingRequest;
use super::{Directory, Origin, Registration, compromised};
use crate::access::grants;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, AccountKey, AccountStatus};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{AccountId, GrantId};
use crate::model::identifier::{Identifier, shown};
use crate::store::{accounts, authorizations, orders};

/// Contacts of one account.
const MAX_CONTACTS: usize = 10;

/// What newAccount asks.
#[derive(Debug, Clone, Default)]
pub struct NewAccount {
    pub contact: Vec<String>,
    pub terms_agreed: bool,
    pub binding: Option<BindingRequest>,
}

impl Registration {
    /// The account of this id as it was a moment ago, whatever its state; `None` also when it is another directory's.
    pub async fn account(&self, directory: &str, id: AccountId) -> Result<Option<Account>> {
        if let Some(known) = self.known.get(&self.store, id) {
            return Ok(Some(known.as_ref().clone()).filter(|a| a.directory == directory));
        }
        let (now, changes) = (self.store.now(), self.store.account_changes());
        let found = accounts::find(&self.store, id).await?;
        if let Some(account) = &found {
            self.known.put(account.clone(), now, changes);
        }
        Ok(found.filter(|a| a.directory == directory))
    }

    /// The same as its row is now, and remembered so.
    pub async fn reread(&self, account: &Account) -> Result<Account> {
        let (now, changes) = (self.store.now(), self.store.account_changes());
        let found = accounts::find(&self.store, account.id).await?;
        let found = found.ok_or_else(|| Error::not_found("account"))?;
        self.known.put(found.clone(), now, changes);
        Ok(found)
    }

    /// Why a write found no valid account with the key that signed.
    async fn changed(&self, account: &Account) -> Error {
        match self.reread(account).await {
            Ok(now) => super::still_signs(account, &now).err().unwrap_or_else(super::old_key),
            Err(error) => error,
        }
    }

    pub async fn account_by_key(&self, directory: &str, key: &AccountKey) -> Result<Option<Account>> {
        accounts::find_by_key(&self.store, directory, &key.thumbprint).await
    }

    /// Makes an account, or finds the one that the key has already; says whether it is new. `url_of` makes the
    /// account's URL, which is stored and never changes.
    pub async fn new_account(
        &self,
        origin: &Origin,
        directory: &Directory,
        key: AccountKey,
        ask: NewAccount,
        url_of: impl FnOnce(AccountId) -> String,
    ) -> Result<(Account, bool)> {
        match self.made_account(origin, directory, key, ask, url_of).await {
            // a loser of a race is no refusal
            Err(error) if error.kind != ErrorKind::Conflict => {
                self.refused_attempt(&origin.key_holder(), Tried::account(origin, &directory.slug), error).await
            }
            other => other,
        }
    }

    async fn made_account(
        &self,
        origin: &Origin,
        directory: &Directory,
        key: AccountKey,
        ask: NewAccount,
        url_of: impl FnOnce(AccountId) -> String,
    ) -> Result<(Account, bool)> {
        let binding = ask.binding.clone();
        let mut made = self.checked_account(directory, key, ask, origin, url_of)?;
        let eab_key = match &binding {
            Some(asked) => Some(self.bound_by(directory, asked).await?),
            None if directory.config.external_account_required => return Err(binding_required(directory)),
            None => None,
        };
        let mut tx = self.store.begin(&origin.account(&made)).await?;
        Registration::take_new_account(&mut tx, directory, &origin.address).await?;
        compromised::refuse_blocked(&mut tx, &made.key).await?;
        if let (Some(key), Some(asked)) = (&eab_key, &binding) {
            made.binding = Some(self.bind(&mut tx, key, asked).await?);
            made.grant = Some(key.grant_id);
        }
        if accounts::insert(&mut tx, &made).await? {
            let detail = json!({"directory": made.directory, "contact": made.contact, "from": made.created_from,
                "eab_key": eab_key.map(|key| key.id)});
            tx.audit(AuditEvent::done("account.created", object(made.id), detail));
            tx.commit().await?;
            return Ok((made, true));
        }
        drop(tx);
        let found = accounts::find_by_key(&self.store, &made.directory, &made.key.thumbprint).await?;
        found
            .map(|account| (account, false))
            .ok_or_else(|| Error::inconsistent("an account vanished while it was made"))
    }

    fn checked_account(
        &self,
        directory: &Directory,
        key: AccountKey,
        ask: NewAccount,
        origin: &Origin,
        url_of: impl FnOnce(AccountId) -> String,
    ) -> Result<Account> {
        if let (Some(terms), false) = (&directory.config.terms_of_service, ask.terms_agreed) {
            return Err(Error::new(
                ErrorKind::UserActionRequired,
                format!("agree to the terms of service at {terms} by \"termsOfServiceAgreed\": true"),
            ));
        }
        let now = self.store.now();
        let id = AccountId::new(now, self.store.entropy.as_ref())?;
        Ok(Account {
            id,
            directory: directory.slug.clone(),
            status: AccountStatus::Valid,
            key,
            contact: checked_contacts(ask.contact)?,
            url: url_of(id),
            terms_agreed: ask.terms_agreed,
            terms_url: directory.config.terms_of_service.clone().filter(|_| ask.terms_agreed),
            grant: None,
            binding: None,
            created_at: now,
            created_from: origin.address.clone(),
        })
    }

    pub async fn set_contact(&self, origin: &Origin, account: &Account, contact: Vec<String>) -> Result<Account> {
        let actor = origin.account(account);
        let contact = match checked_contacts(contact) {
            Ok(contact) => contact,
            Err(error) => return self.refused_attempt(&actor, Tried::change(origin, account), error).await,
        };
        // clients say it again with each renewal: that changes nothing and is no event
        let now = self.reread(account).await?;
        super::still_signs(account, &now)?;
        if now.contact == contact {
            return Ok(now);
        }
        let mut tx = self.store.begin(&actor).await?;
        tx.accounts_change();
        if !accounts::set_contact(&mut tx, account.id, &account.key.thumbprint, &contact).await? {
            drop(tx);
            return Err(self.changed(account).await);
        }
        tx.audit(AuditEvent::done("account.updated", object(account.id), json!({"contact": contact})));
        tx.commit().await?;
        Ok(Account { contact, ..account.clone() })
    }

    /// For ever. Open orders and authorizations end; certificates stay as they are (RFC 8555 §7.3.6).
    pub async fn deactivate_account(&self, origin: &Origin, account: &Account) -> Result<Account> {
        let mut tx = self.store.begin(&origin.account(account)).await?;
        tx.accounts_change();
        if !accounts::deactivate(&mut tx, account.id, &account.key.thumbprint).await? {
            drop(tx);
            return Err(self.changed(account).await);
        }
        // authorizations before orders, as a verdict takes them
        authorizations::deactivate_of_account(&mut tx, account.id).await?;
        let ended = orders::fail_of_account(&mut tx, account.id).await?;
        tx.audit(AuditEvent::done("account.deactivated", object(account.id), json!({"orders_ended": ended})));
        tx.commit().await?;
        Ok(Account { status: AccountStatus::Deactivated, ..account.clone() })
    }

    /// An operator's word: the account acts under this grant from now on, whatever it was registered with. As with an
    /// account of an external account key, it ends with its grant. Call `Caller::may_manage_grants` first.
    pub async fn grant_account(&self, actor: &Actor, id: AccountId, grant: GrantId) -> Result<Account> {
        let mut tx = self.store.begin(actor).await?;
        // the account before the grant, as a revocation of the grant does
        let found = accounts::lock(&mut tx, id).await?;
        let account = found.ok_or_else(|| Error::not_found(format!("ACME account {id}")))?;
        if account.status != AccountStatus::Valid {
            let why = format!("ACME account {id} is {}: only a valid account can be granted", account.status.name());
            return Err(Error::new(ErrorKind::Conflict, why));
        }
        let grant = grants::alive(&mut tx, grant).await?;
        tx.accounts_change();
        if !accounts::set_grant(&mut tx, id, grant.id).await? {
            return Err(Error::inconsistent("an account changed while its row was held"));
        }
        let detail = json!({"grant": grant.id, "before": account.grant, "scope": grant.scope});
        tx.audit(AuditEvent::done("account.granted", object(id), detail));
        tx.commit().await?;
        Ok(Account { grant: Some(grant.id), ..account })
    }

    /// Moves the account to another key (RFC 8555 §7.3.5). `Err(account)` when that key has an account already.
    pub async fn change_key(
        &self,
        origin: &Origin,
        account: &Account,
        key: AccountKey,
    ) -> Result<std::result::Result<Account, Account>> {
        if let Some(holder) = self.account_by_key(&account.directory, &key).await? {
            return Ok(Err(holder));
        }
        let mut tx = self.store.begin(&origin.account(account)).await?;
        if let Err(error) = compromised::refuse_blocked(&mut tx, &key).await {
            drop(tx);
            return self.refused_attempt(&origin.account(account), Tried::change(origin, account), error).await;
        }
        tx.accounts_change();
        match accounts::set_key(&mut tx, account.id, &account.key.thumbprint, &key).await {
            Ok(true) => {}
            Ok(false) => {
                drop(tx);
                // of two changes at once the second: its key was good when it was asked
                super::must_be_valid(self.reread(account).await?.status)?;
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the key of the account changed meanwhile: sign with its present key",
                ));
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                drop(tx);
                let holder = self.account_by_key(&account.directory, &key).await?;
                return holder.map(Err).ok_or(error);
            }
            Err(error) => return Err(error),
        }
        tx.audit(AuditEvent::done("account.key_changed", object(account.id), json!({})));
        tx.commit().await?;
        Ok(Ok(Account { key, ..account.clone() }))
    }
}

fn binding_required(directory: &Directory) -> Error {
    Error::new(
        ErrorKind::ExternalAccountRequired,
        format!(
            "directory {} takes accounts with an external account binding only: ask an administrator for a key (chancery acme eab create) and register with it",
            directory.slug
        ),
    )
}

pub(super) fn object(id: AccountId) -> String {
    format!("account:{id}")
}

/// `mailto:` with one address and nothing else (RFC 8555 §7.3, RFC 6068).
fn checked_contacts(contact: Vec<String>) -> Result<Vec<String>> {
    if contact.len() > MAX_CONTACTS {
        return Err(Error::new(
            ErrorKind::InvalidContact,
            format!("an account has at most {MAX_CONTACTS} contacts, not {}", contact.len()),
        ));
    }
    contact.iter().map(|url| checked_contact(url)).collect()
}

/// Blanks around the URL and behind its scheme are left out: people write them into the settings of their clients.
fn checked_contact(url: &str) -> Result<String> {
    let url = url.trim();
    let scheme = url.get(..7).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("mailto:") {
        return Err(Error::new(
            ErrorKind::UnsupportedContact,
            format!("contact \"{}\" is not supported: allowed are mailto: URLs", shown(url)),
        ));
    }
    let address = url.get(7..).unwrap_or_default().trim();
    if address.contains(['?', ',']) || Identifier::email(address).is_err() {
        return Err(Error::new(
            ErrorKind::InvalidContact,
            format!("contact \"{}\" is not mailto: and one mail address without header fields", shown(url)),
        ));
    }
    Ok(format!("{scheme}{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_one_plain_mailbox_each() {
        for good in ["mailto:admin@example.org", "MAILTO:a+b@sub.example.org"] {
            assert_eq!(checked_contact(good).unwrap(), good);
        }
        for spaced in ["mailto: ops@lab.example", " mailto:ops@lab.example ", "mailto:  ops@lab.example\t"] {
            assert_eq!(checked_contact(spaced).unwrap(), "mailto:ops@lab.example");
        }
        for bad in ["mailto:a@b,c@d", "mailto:a@b?subject=x", "mailto:", "mailto:a", "mailto:ä@example.org"] {
            assert_eq!(checked_contact(bad).unwrap_err().kind, ErrorKind::InvalidContact, "{bad}");
        }
        for bad in ["tel:+123", "", "https://example.org", "mäilto:a@example.org"] {
            assert_eq!(checked_contact(bad).unwrap_err().kind, ErrorKind::UnsupportedContact, "{bad}");
        }
    }
}
