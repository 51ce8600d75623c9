//! The validator run now for one name, without a client: an operator sees what the CA sees before anybody orders, or
//! again after an order failed. The same directory, rules and guard as for an order; nothing is proved by it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::Registration;
use super::directories::Directory;
use super::timeline::{Entry, parted};
use crate::authority::guard::limited;
use crate::clock::Timestamp;
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, Order};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{AccountId, OrderId};
use crate::model::identifier::{Identifier, shown};
use crate::model::limits::Rate;
use crate::store::{accounts, limits};
use crate::validation::{CaaMode, Claim, Method, Outcome, ValidationError, key_authorization};

/// Of one actor: a person who mends a responder never meets it, a loop does.
const RATE: Rate = Rate::new(30, 600);

/// What is to be tried.
#[derive(Debug, Clone, Default)]
pub struct ChallengeTest {
    /// `None` is the order's, or `default`.
    pub directory: Option<String>,
    /// `None` is the only name of the order.
    pub name: Option<String>,
    /// `http-01`, …
    pub kind: String,
    /// Whose answer is looked for.
    pub account: Option<AccountId>,
}

/// What a test came to.
#[derive(Debug, Clone)]
pub struct Tested {
    pub at: Timestamp,
    pub directory: String,
    pub name: String,
    pub kind: &'static str,
    pub verdict: Verdict,
    /// One sentence.
    pub summary: String,
    /// What to do next.
    pub next: Option<String>,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is there, and CAA permits.
    Proved,
    /// Nobody has put an answer there, as is to be expected without an order; everything before it works.
    Open,
    Failed,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Proved => "proved",
            Verdict::Open => "open",
            Verdict::Failed => "failed",
        }
    }
}

/// A test that may be run.
struct Subject {
    directory: std::sync::Arc<Directory>,
    name: Identifier,
    method: Method,
    account: Option<Account>,
    /// The token of an order's challenge; without one nothing can be there to be found.
    token: Option<String>,
    order: Option<OrderId>,
}

impl Registration {
    /// With an order, which the caller may see: its challenge with its token, for its account.
    pub async fn test_challenge(&self, actor: &Actor, test: &ChallengeTest, order: Option<&Order>) -> Result<Tested> {
        let subject = self.subject_of_test(test, order).await?;
        self.take_test(actor, &subject).await?;
        let at = self.now();
        let (outcome, exact) = self.run_test(&subject).await?;
        if let Err(ours) = &outcome.result
            && ours.is_ours()
        {
            return Err(Error::from(ours.clone()));
        }
        let name = subject.name.value();
        let verdict = match &outcome.result {
            Ok(()) if exact => Verdict::Proved,
            Ok(()) => Verdict::Open,
            Err(failure) if !exact && failure.lacks_only_the_answer() => Verdict::Open,
            Err(_) => Verdict::Failed,
        };
        let (summary, next) = sum(&subject, verdict, outcome.result.as_ref().err());
        metrics::counter!("chancery_acme_challenge_tests_total", "type" => subject.method.name(), "outcome" => verdict.name())
            .increment(1);
        Ok(Tested {
            at,
            directory: subject.directory.slug.clone(),
            kind: subject.method.name(),
            verdict,
            summary,
            next,
            entries: outcome.timeline.into_iter().map(|step| Entry::of_step(step, &name)).collect(),
            name,
        })
    }

    async fn subject_of_test(&self, test: &ChallengeTest, order: Option<&Order>) -> Result<Subject> {
        let method = Method::from_name(&test.kind).ok_or_else(|| {
            let allowed = Method::ALL.map(Method::name).join(", ");
            wrong("type", format!("\"{}\"", shown(&test.kind)), &allowed, "name one of them")
        })?;
        let slug = match (&test.directory, order) {
            (None, None) => "default",
            (None, Some(order)) => &order.directory,
            (Some(slug), Some(order)) if *slug != order.directory => {
                let allowed = format!("{}, the order's", order.directory);
                return Err(wrong("directory", format!("\"{}\"", shown(slug)), &allowed, "leave it out"));
            }
            (Some(slug), _) => slug,
        };
        let directory = self
            .shared_directory(slug)
            .map_err(|_| Error::not_found(format!("ACME directory \"{}\"", shown(slug))))?;
        let name = match (&test.name, order.map(|order| order.identifiers.as_slice())) {
            (Some(text), _) => Identifier::guess(text.trim())?,
            (None, Some([only])) => only.clone(),
            (None, _) => {
                return Err(wrong("name", "no name", "a DNS name or an address", "say which is to be tried"));
            }
        };
        if !matches!(name, Identifier::Dns(_) | Identifier::Ip(_)) {
            return Err(wrong("name", name.kind(), "a DNS name or an address", "name what ACME can prove"));
        }
        directory.check_name(&name)?;
        if !directory.challenges_for(&name).contains(&method.name()) {
            let offered = match directory.challenges_for(&name).as_slice() {
                [] => format!("no challenge, in directory {slug}"),
                some => format!("{}, in directory {slug}", some.join(", ")),
            };
            let value = format!("{} for {} \"{}\"", method.name(), name.kind(), name.value());
            return Err(wrong("type", value, &offered, "try one of these, or let the directory offer it"));
        }
        let mut subject = Subject { directory, name, method, account: None, token: None, order: None };
        match order {
            Some(order) => self.of_order(&mut subject, order).await?,
            None => subject.account = self.account_of_test(&subject.directory, test.account).await?,
        }
        if subject.account.is_none() && matches!(method, Method::DnsAccount01 | Method::DnsPersist01) {
            let value = format!("{} without an account", method.name());
            return Err(wrong(
                "account",
                value,
                "the id of an account, acc_…",
                "its record names the account: say which",
            ));
        }
        Ok(subject)
    }

    /// Whose order it is, and the token that its client was given.
    async fn of_order(&self, subject: &mut Subject, order: &Order) -> Result<()> {
        let proofs = self.proofs(order.id).await?;
        for (authorization, challenges) in &proofs {
            if authorization.name()? == subject.name {
                let found = challenges.iter().find(|c| c.kind == subject.method.name());
                subject.token = found.map(|c| c.token.clone());
            }
        }
        if subject.token.is_none() {
            let value = format!("{} for \"{}\" in order {}", subject.method.name(), subject.name, order.id);
            return Err(wrong(
                "order",
                value,
                "a challenge that the order has",
                "look at the order for its names and challenges",
            ));
        }
        subject.order = Some(order.id);
        subject.account = accounts::find(&self.store, order.account_id).await?;
        Ok(())
    }

    async fn account_of_test(&self, directory: &Directory, id: Option<AccountId>) -> Result<Option<Account>> {
        let Some(id) = id else { return Ok(None) };
        let found = accounts::find(&self.store, id).await?.filter(|account| account.directory == directory.slug);
        let missing = || Error::not_found(format!("ACME account {id} in directory {}", directory.slug));
        found.map(Some).ok_or_else(missing)
    }

    /// One of the actor's tests is taken and told before anything is sent.
    async fn take_test(&self, actor: &Actor, subject: &Subject) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        let (row, now) = (format!("tests/{actor}"), tx.now());
        let kept = limits::lock(&mut tx, std::iter::once(row.clone())).await?;
        let kept = kept.get(&row).copied().unwrap_or(Timestamp::from_micros(0));
        let next = RATE
            .take(kept, now)
            .map_err(|again| limited("challenge_tests", "one more test by you", &RATE.to_string(), now, again))?;
        limits::save(&mut tx, std::iter::once((row, next, next))).await?;
        let detail = json!({
            "name": subject.name.value(),
            "type": subject.method.name(),
            "order": subject.order.map(|id| id.to_string()),
            "account": subject.account.as_ref().map(|account| account.id.to_string()),
        });
        tx.audit(AuditEvent::done("challenge.tested", format!("directory:{}", subject.directory.slug), detail));
        tx.commit().await
    }

    /// The outcome, and whether the answer of a client could have been found at all.
    async fn run_test(&self, subject: &Subject) -> Result<(Outcome, bool)> {
        let entropy = self.store.entropy.as_ref();
        let exact = subject.token.is_some() || !subject.method.has_token();
        let token = match &subject.token {
            Some(token) if subject.method.has_token() => token.clone(),
            _ => URL_SAFE_NO_PAD.encode(random::<32>(entropy)?),
        };
        let thumbprint = match &subject.account {
            Some(account) => account.key.thumbprint,
            None => random::<32>(entropy)?,
        };
        let expected = key_authorization(&token, &URL_SAFE_NO_PAD.encode(thumbprint))?;
        let url = subject.account.as_ref().map_or("", |account| account.url.as_str());
        let claim = Claim {
            name: &subject.name,
            token: &token,
            key_authorization: &expected,
            account_url: url,
            subdomains: false,
        };
        let rules = subject.directory.validation_rules();
        let mut outcome = self.validator.prove(subject.method, &rules, &claim).await;
        let open = outcome.result.as_ref().err().is_some_and(ValidationError::lacks_only_the_answer);
        if !exact && open && rules.caa != CaaMode::Off {
            // an order would meet CAA behind the proof
            let caa = self.validator.caa(&rules, &subject.name, url, subject.method.name()).await;
            outcome.timeline.extend(caa.timeline);
            if caa.result.is_err() {
                outcome.result = caa.result;
            }
        }
        Ok((outcome, exact))
    }
}

fn sum(subject: &Subject, verdict: Verdict, failure: Option<&ValidationError>) -> (String, Option<String>) {
    let (name, kind) = (subject.name.value(), subject.method.name());
    let told = failure.map(ValidationError::detail).unwrap_or_default();
    let (seen, fix) = parted(&told);
    match verdict {
        Verdict::Proved => (format!("{kind} proves control over {name} now"), None),
        Verdict::Open => (
            format!("the way to {name} is open for {kind}: {seen}, and only a client's answer is missing"),
            Some("let the client order: it puts its answer there for as long as the CA looks".to_owned()),
        ),
        Verdict::Failed => {
            (format!("{kind} fails for {name}: {seen}"), fix.map(|fix| format!("{fix}; then test again")))
        }
    }
}

fn wrong(member: &str, value: impl std::fmt::Display, allowed: &str, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, format!("challenge_tests.{member}"), value, allowed, fix)
}
