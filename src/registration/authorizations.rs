//! Authorizations and their challenges (RFC 8555 §7.5). Another account's are not found, exactly like those that
//! do not exist.

use serde_json::json;

use super::attempts::Tried;
use super::ready::Ready;
use super::{Origin, Registration};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, Authorization, AuthorizationStatus, Challenge, ChallengeStatus};
use crate::model::audit::AuditEvent;
use crate::model::id::{AuthorizationId, ChallengeId};
use crate::store::{authorizations, challenges, orders};

impl Registration {
    pub async fn authorization(
        &self,
        account: &Account,
        id: AuthorizationId,
    ) -> Result<(Authorization, Vec<Challenge>)> {
        let found = challenges::authorization_with(&self.store, id).await?;
        let found = found.filter(|(authorization, _)| authorization.account_id == account.id);
        let (authorization, mut challenges) = found.ok_or_else(|| Error::not_found("authorization"))?;
        // once it is decided, the challenge that decided it stands there alone (RFC 8555 §7.1.4)
        let decided = |c: &Challenge| matches!(c.status, ChallengeStatus::Valid | ChallengeStatus::Invalid);
        if challenges.iter().any(decided) {
            challenges.retain(decided);
        }
        Ok((authorization, challenges))
    }

    pub async fn challenge(&self, account: &Account, id: ChallengeId) -> Result<(Authorization, Challenge)> {
        let found = challenges::find_with(&self.store, id).await?;
        let found = found.filter(|(authorization, _)| authorization.account_id == account.id);
        found.ok_or_else(|| Error::not_found("challenge"))
    }

    /// The client says that it is ready: pending → processing, and the validation starts at once. The job is
    /// enqueued in the same commit, leased to this process; after a crash another one takes it over. A second
    /// POST changes nothing.
    pub async fn respond(
        self: &std::sync::Arc<Self>,
        origin: &Origin,
        account: &Account,
        id: ChallengeId,
    ) -> Result<(Authorization, Challenge)> {
        let (authorization, mut challenge) = self.challenge(account, id).await?;
        if challenge.status != ChallengeStatus::Pending {
            return Ok((authorization, challenge));
        }
        let status = authorization.shown_status(self.store.now());
        if status != AuthorizationStatus::Pending {
            return Err(Error::malformed(format!(
                "the authorization is {}: only a pending one can be proved",
                status.name()
            )));
        }
        let ready = Ready {
            actor: origin.account(account),
            account: account.id,
            key: account.key.thumbprint,
            limits: self.shared_directory(&account.directory)?.config.limits,
            authorization: authorization.id,
            challenge: id,
            address: origin.address.clone(),
            identifier: authorization.identifier.clone(),
            kind: challenge.kind.clone(),
        };
        let job = match self.ready.commit(ready).await {
            Ok(job) => job,
            Err(error) => {
                let tried = Tried::challenge(origin, &account.directory, &authorization, id);
                return self.refused_attempt(&origin.account(account), tried, error).await;
            }
        };
        let Some(job) = job else { return self.challenge(account, id).await };
        challenge.status = ChallengeStatus::Processing;
        let registration = std::sync::Arc::clone(self);
        let subject = (account.clone(), authorization.clone(), challenge.clone());
        tokio::spawn(async move {
            let (account, authorization, challenge) = &subject;
            let validated = registration.validate_subject(&job, account, authorization, challenge).await;
            if let Err(error) = validated {
                tracing::warn!(job = %job.id, error = %error.chain(), "a validation is left to the job runner");
            }
        });
        Ok((authorization, challenge))
    }

    /// Gives an authorization up; orders that rest on it cannot succeed any more.
    pub async fn deactivate_authorization(
        &self,
        origin: &Origin,
        account: &Account,
        id: AuthorizationId,
    ) -> Result<(Authorization, Vec<Challenge>)> {
        let (mut authorization, challenges) = self.authorization(account, id).await?;
        let mut tx = self.store.begin(&origin.account(account)).await?;
        super::hold(&mut tx, account).await?;
        authorizations::lock(&mut tx, id).await?;
        if !authorizations::deactivate(&mut tx, id).await? {
            return Err(Error::malformed("only a pending or valid authorization can be deactivated"));
        }
        let why = Error::new(
            ErrorKind::Forbidden,
            format!("the authorization for {} was deactivated by its account", authorization.identifier),
        );
        orders::lock_of(&mut tx, std::iter::once(id)).await?;
        orders::fail(&mut tx, id, &(self.describe)(&why)).await?;
        let detail = json!({"identifier": authorization.identifier});
        tx.audit(AuditEvent::done("authorization.deactivated", format!("authorization:{id}"), detail));
        tx.commit().await?;
        authorization.status = AuthorizationStatus::Deactivated;
        Ok((authorization, challenges))
    }
}
