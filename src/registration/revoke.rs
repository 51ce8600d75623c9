//! Revocation over ACME (RFC 8555 §7.6): by the account that was issued to, by another account that holds valid
//! authorizations for all its names, or by whoever holds the certificate's key. The other account has shown control
//! over names and nothing of the key, so that it cannot say that the key is compromised: that ends more than this one
//! certificate.

use super::attempts::Tried;
use super::{Origin, Registration};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Account;
use crate::model::certificate::{Certificate, ShownStatus};
use crate::model::identifier::Identifier;
use crate::model::reason::RevocationReason;
use crate::store::{accounts, authorizations, certificates};

/// Who asks.
#[derive(Debug, Clone)]
pub enum Revoker<'a> {
    Account(&'a Account),
    /// Signed with this SubjectPublicKeyInfo.
    Key(&'a [u8]),
}

impl Registration {
    pub async fn revoke(
        &self,
        origin: &Origin,
        directory: &str,
        revoker: &Revoker<'_>,
        der: &[u8],
        reason: Option<i64>,
    ) -> Result<Certificate> {
        let actor = match revoker {
            Revoker::Account(account) => origin.account(account),
            Revoker::Key(_) => origin.key_holder(),
        };
        match self.may_revoke(revoker, der, reason).await {
            Ok((certificate, reason)) => self.authority.revoke(&actor, certificate.id, reason).await,
            // whoever has a key of any kind can have this refused without end
            Err(error) => self.refused_attempt(&actor, Tried::revocation(origin, directory), error).await,
        }
    }

    async fn may_revoke(
        &self,
        revoker: &Revoker<'_>,
        der: &[u8],
        reason: Option<i64>,
    ) -> Result<(Certificate, RevocationReason)> {
        let reason = allowed_reason(reason)?;
        let found = certificates::find_by_fingerprint(&self.store, &sha256(der)).await?;
        let certificate = found.ok_or_else(|| Error::not_found("certificate: this CA did not issue these bytes"))?;
        if let Revoker::Account(account) = revoker {
            // as it is now: nothing else on the way looks at its row
            let found = accounts::find(&self.store, account.id).await?;
            super::still_signs(account, &found.ok_or_else(|| Error::not_found("account"))?)?;
        }
        let entitled = match revoker {
            Revoker::Key(spki) => sha256(spki) == certificate.spki_sha256,
            Revoker::Account(account) if certificate.account_id == Some(account.id) => true,
            Revoker::Account(account) => {
                self.is_of_directory(account, &certificate).await? && self.holds_all(account, &certificate).await?
            }
        };
        if planted!("anybody-revokes", false, !entitled) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "only the account that was issued to, an account of the same directory with valid authorizations for \
                 all names, or the holder of the certificate's key may revoke it",
            ));
        }
        if let (Revoker::Account(account), RevocationReason::KeyCompromise) = (revoker, reason)
            && planted!("prover-says-key-compromise", false, certificate.account_id != Some(account.id))
        {
            return Err(Error::refused(
                ErrorKind::BadRevocationReason,
                "revocation.reason",
                "1 (keyCompromise) from an account that has proved the names only",
                "keyCompromise from the account that it was issued to, or signed by the certificate's own key",
                "give another reason or none, or sign the request with the key that is compromised",
            ).explained("this account only proved the names, so it may not give reason 1 (keyCompromise); the account that the certificate was issued to and the certificate's own key may"));
        }
        let now = self.store.now();
        if certificate.shown_status(now) == ShownStatus::Expired {
            // no status that this protocol has says "conflict"
            return Err(Error::refused(
                ErrorKind::Forbidden,
                "revocation.expired",
                format!("a certificate that is over since {}", certificate.validity.not_after()),
                "one that has not expired",
                "nothing needs to be done",
            )
            .explained(format!(
                "the certificate expired at {} and cannot be revoked any more",
                certificate.validity.not_after()
            )));
        }
        Ok((certificate, reason))
    }

    /// What another directory or another surface issued is none of this one's: what proves a name here may not there.
    async fn is_of_directory(&self, account: &Account, certificate: &Certificate) -> Result<bool> {
        let Some(owner) = certificate.account_id else { return Ok(false) };
        Ok(accounts::look(&self.store, owner).await?.is_some_and(|owner| {
            planted!("revoked-from-another-directory", true, owner.directory == account.directory)
        }))
    }

    async fn holds_all(&self, account: &Account, certificate: &Certificate) -> Result<bool> {
        let now = self.store.now();
        for name in &certificate.names {
            let own = authorizations::holds(&self.store, account.id, name, now).await?;
            if !own && !self.holds_above(account, name).await? {
                return Ok(false);
            }
        }
        // a certificate without names is nobody's by its names
        Ok(!certificate.names.is_empty())
    }

    /// By one proof for all names below another (RFC 9444), while the directory takes such; a wildcard has its own.
    async fn holds_above(&self, account: &Account, name: &Identifier) -> Result<bool> {
        let Identifier::Dns(dns) = name else { return Ok(false) };
        if dns.is_wildcard() || !self.shared_directory(&account.directory)?.config.subdomains {
            return Ok(false);
        }
        let now = self.store.now();
        let mut below = dns.as_str();
        while let Some((_, zone)) = below.split_once('.') {
            if authorizations::holds_zone(&self.store, account.id, zone, now).await? {
                return Ok(true);
            }
            below = zone;
        }
        Ok(false)
    }
}

/// Absent means unspecified.
fn allowed_reason(code: Option<i64>) -> Result<RevocationReason> {
    let Some(code) = code else { return Ok(RevocationReason::Unspecified) };
    let found = RevocationReason::ACME.into_iter().find(|r| i64::from(r.code()) == code);
    found.ok_or_else(|| {
        let allowed = RevocationReason::ACME.map(|r| format!("{} ({})", r.code(), r.name())).join(", ");
        {
            let sentence = format!("reason {code} cannot be given here; there are {allowed}");
            Error::refused(
                ErrorKind::BadRevocationReason,
                "revocation.reason",
                code,
                allowed,
                "give one of these or none",
            )
            .explained(sentence)
        }
    })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_those_that_a_client_may_give() {
        for code in [0, 1, 3, 4, 5, 9] {
            assert!(allowed_reason(Some(code)).is_ok(), "{code}");
        }
        for code in [-1, 2, 6, 7, 8, 10, 11, i64::MAX] {
            assert_eq!(allowed_reason(Some(code)).unwrap_err().kind, ErrorKind::BadRevocationReason, "{code}");
        }
    }
}
