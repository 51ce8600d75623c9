//! CAA before issuing (RFC 8659 §4): it is looked up with each proof, and again at finalize when that was more than
//! 8 h ago, when the name rests on a grant or on the proof of a name above it, or when the directory began to ask.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::{Directory, Registration};
use crate::clock::hours;
use crate::error::{Error, ErrorKind, Result, Subproblem};
use crate::model::acme::{Account, Authorization, Challenge, ChallengeStatus, Order};
use crate::model::identifier::Identifier;
use crate::store::{authorizations, challenges};
use crate::validation::{CaaMode, Step};

/// What the Baseline Requirements of public CAs allow (BR 3.2.2.8).
const FRESH: Duration = hours(8);
/// Names of one order that are looked at side by side.
const AT_ONCE: usize = 50;
/// Steps kept of all the lookups of one challenge.
const MAX_STEPS: usize = 500;

impl Registration {
    /// Every name of the order, so that a client learns of each that is refused. The order stays as it is.
    pub(super) async fn check_caa(&self, account: &Account, order: &Order) -> Result<()> {
        let directory = self.directory(&order.directory)?;
        if directory.config.caa == CaaMode::Off {
            return Ok(());
        }
        let mut proofs = Vec::new();
        for authorization in authorizations::of_order(&self.store, order.id).await? {
            let list = challenges::of_authorization(&self.store, authorization.id).await?;
            let deciding = list.into_iter().find(|c| c.status == ChallengeStatus::Valid);
            proofs.extend(deciding.map(|challenge| (authorization, challenge)));
        }
        let names: Vec<_> = order.identifiers.iter().filter(|name| matches!(name, Identifier::Dns(_))).collect();
        let mut refusals = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let looked = some.iter().map(|name| self.check_name_s_caa(&directory, account, &proofs, name).boxed());
            for outcome in join_all(looked.collect::<Vec<_>>()).await {
                refusals.extend(outcome?);
            }
        }
        match refusals.as_slice() {
            [] => Ok(()),
            [only] => Err(Error::new(only.kind, only.detail.clone())),
            [first, ..] => {
                let detail = format!("{}; {} names are refused", first.detail, refusals.len());
                Err(Error::new(ErrorKind::Caa, detail).with_subproblems(refusals))
            }
        }
    }

    /// `Some` is the refusal; an error is a fault of ours.
    async fn check_name_s_caa(
        &self,
        directory: &Directory,
        account: &Account,
        proofs: &[(Authorization, Challenge)],
        name: &Identifier,
    ) -> Result<Option<Subproblem>> {
        let proof = proofs.iter().find(|(authorization, _)| authorization.covers(name));
        let (authorization, challenge) =
            proof.ok_or_else(|| Error::inconsistent(format!("nothing proves {name} of a ready order")))?;
        // the proof of a name above looked at that one's records alone
        let own = authorization.name()? == *name;
        let (checked, timeline) = challenges::caa(&self.store, challenge.id).await?;
        let now = self.store.now();
        if own && checked.is_some_and(|at| now < at + FRESH) {
            return Ok(None);
        }
        let rules = directory.validation_rules();
        let outcome = self.validator.caa(&rules, name, &account.url, &challenge.kind).await;
        let checked = if own && outcome.result.is_ok() { Some(now) } else { checked };
        let timeline = appended(&timeline, outcome.timeline);
        challenges::note_caa(&self.store, challenge.id, checked, &timeline).await?;
        match outcome.result {
            Ok(()) => Ok(None),
            Err(failure) if failure.is_ours() => Err(failure.into()),
            Err(failure) => Ok(Some(Subproblem {
                kind: failure.kind(),
                detail: failure.detail(),
                identifier: Some((name.kind().to_owned(), name.value())),
                pointer: None,
                rule: None,
            })),
        }
    }
}

/// A timeline that cannot be read begins anew: it is for people.
fn appended(timeline: &str, more: Vec<Step>) -> String {
    let mut steps: Vec<Step> = serde_json::from_str(timeline).unwrap_or_default();
    steps.extend(more);
    steps.drain(..steps.len().saturating_sub(MAX_STEPS));
    serde_json::to_string(&steps).unwrap_or_default()
}
