//! The validator run now for one name, without a client: an operator sees what the CA sees before anybody orders, or
//! again after an order failed. The same directory, rules and guard as for an order; nothing is proved by it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::Registration;
use super::directories::Directory;
use super::orders::AskedName;
use super::timeline::{Entry, Mark};
use crate::clock::Timestamp;
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result, parts};
use crate::model::acme::{Account, Order};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{AccountId, OrderId};
use crate::model::identifier::{Identifier, shown};
use crate::model::limits::Rate;
use crate::store::{accounts, limits};
use crate::validation::resolver::DnsFailure;
use crate::validation::{CaaMode, Claim, Method, Outcome, Step, StepKind, ValidationError, key_authorization};

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
    /// It is to hold for the names below it too.
    subdomains: bool,
    order: Option<OrderId>,
}

impl Registration {
    /// With an order, which the caller may see: its challenge with its token, for its account.
    pub async fn test_challenge(&self, actor: &Actor, test: &ChallengeTest, order: Option<&Order>) -> Result<Tested> {
        let begun = match self.subject_of_test(test, order).await {
            Ok(subject) => self.take_test(actor, &subject).await.map(|()| subject),
            Err(error) => Err(error),
        };
        let subject = match begun {
            Ok(subject) => subject,
            Err(error) => {
                let object = order.map_or("challenge".to_owned(), |order| format!("order:{}", order.id));
                return self.refused_test(actor, object, error).await;
            }
        };
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
            entries: outcome.timeline.into_iter().map(|step| entry(step, &name, verdict)).collect(),
            name,
        })
    }

    /// Operators alone get here, so a refusal is an event each, with who it was.
    async fn refused_test(&self, actor: &Actor, object: String, error: Error) -> Result<Tested> {
        if !error.is_refusal() {
            return Err(error);
        }
        let detail = json!({"why": error.detail, "rule": error.rule.as_ref().map(|rule| rule.name.clone())});
        self.store.record(actor, AuditEvent::refused("challenge.test_refused", object, detail)).await?;
        Err(error.recorded())
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
        let account = match (order, test.account) {
            (Some(_), Some(id)) => {
                return Err(wrong("account", id, "none beside an order, which has its own", "leave it out"));
            }
            (Some(order), None) => accounts::look(&self.store, order.account_id).await?,
            (None, id) => self.account_of_test(&directory, id).await?,
        };
        let name = match (&test.name, order.map(|order| order.identifiers.as_slice())) {
            (Some(text), _) => Identifier::guess(text.trim())?,
            (None, Some([only])) => only.clone(),
            (None, _) => {
                return Err(wrong("name", "missing", "a DNS name or an address", "say which is to be tried"));
            }
        };
        let mut subject =
            Subject { directory, name, method, account, token: None, subdomains: false, order: order.map(|o| o.id) };
        match order {
            Some(order) => self.of_order(&mut subject, order).await?,
            None => self.could_be_ordered(&subject).await?,
        }
        if subject.account.is_none() && matches!(method, Method::DnsAccount01 | Method::DnsPersist01) {
            let value = format!("{} without an account", method.name());
            let fix = "its record names the account: say which";
            return Err(wrong("account", value, "the id of an account, acc_…", fix));
        }
        Ok(subject)
    }

    /// An order for the name would be refused in the same words, and its challenges would be these.
    async fn could_be_ordered(&self, subject: &Subject) -> Result<()> {
        let Subject { directory, name, method, account, .. } = subject;
        if !matches!(name, Identifier::Dns(_) | Identifier::Ip(_)) {
            return Err(wrong("name", name.kind(), "a DNS name or an address", "name what ACME can prove"));
        }
        let profile = directory.profile(None)?;
        let grant = match account {
            Some(account) => self.grant_of(account).await?,
            None => None,
        };
        let asked = AskedName { kind: name.kind().to_owned(), value: name.value(), ancestor: None };
        self.checked_names(directory, profile, grant.as_ref(), &[asked])?;
        let offered = directory.challenges_for(name);
        if offered.contains(&method.name()) {
            return Ok(());
        }
        let value = format!("{} for {} \"{name}\"", method.name(), name.kind());
        let allowed = match offered.as_slice() {
            [] => format!("no challenge, in directory {}", directory.slug),
            some => format!("{}, in directory {}", some.join(", "), directory.slug),
        };
        Err(wrong("type", value, &allowed, "try one of these, or let the directory offer it"))
    }

    /// The challenge of the order that stands for the name, with the token that its client was given.
    async fn of_order(&self, subject: &mut Subject, order: &Order) -> Result<()> {
        let kind = subject.method.name();
        for (authorization, challenges) in self.proofs(order.id).await? {
            if let (true, Some(found)) =
                (authorization.covers(&subject.name), challenges.iter().find(|c| c.kind == kind))
            {
                // what is proved is the authorization's name, which may stand above the one of the order
                subject.name = authorization.name()?;
                subject.subdomains = authorization.subdomains;
                subject.token = Some(found.token.clone());
                return Ok(());
            }
        }
        let value = format!("{kind} for \"{}\" in order {}", subject.name, order.id);
        let fix = "look at the order for its names and challenges";
        Err(wrong("order", value, "a challenge that the order has", fix))
    }

    async fn account_of_test(&self, directory: &Directory, id: Option<AccountId>) -> Result<Option<Account>> {
        let Some(id) = id else { return Ok(None) };
        let found = accounts::look(&self.store, id).await?.filter(|account| account.directory == directory.slug);
        let missing = || Error::not_found(format!("ACME account {id} in directory {}", directory.slug));
        found.map(Some).ok_or_else(missing)
    }

    /// One of the actor's tests is taken and told before anything is sent.
    async fn take_test(&self, actor: &Actor, subject: &Subject) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        let (row, now) = (format!("tests/{actor}"), tx.now());
        let kept = limits::lock(&mut tx, std::iter::once(row.clone())).await?;
        let kept = kept.get(&row).copied().unwrap_or(Timestamp::from_micros(0));
        let next = RATE.take(kept, now).map_err(|again| full(now, again))?;
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
            subdomains: subject.subdomains,
        };
        let rules = subject.directory.validation_rules();
        let mut outcome = self.validator.prove(subject.method, &rules, &claim).await;
        if let (false, Err(ValidationError::TxtLookup { failure: DnsFailure::NxDomain, .. }), Identifier::Dns(name)) =
            (exact, &outcome.result, &subject.name)
        {
            // no record yet, or no such name at all?
            outcome = outcome.and(self.validator.known(&rules, name).await);
        }
        let open = outcome.result.as_ref().err().is_some_and(ValidationError::lacks_only_the_answer);
        if !exact && open && rules.caa != CaaMode::Off {
            // an order would meet CAA behind the proof
            outcome = outcome.and(self.validator.caa(&rules, &subject.name, url, subject.method.name()).await);
        }
        Ok((outcome, exact))
    }
}

/// That only the client's answer is missing is nothing bad.
fn entry(step: Step, name: &str, verdict: Verdict) -> Entry {
    let entry = Entry::of_step(step, name);
    match verdict {
        Verdict::Open if entry.what == StepKind::Result.name() && entry.mark == Mark::Bad => {
            Entry { mark: Mark::Plain, ..entry }
        }
        Verdict::Proved | Verdict::Open | Verdict::Failed => entry,
    }
}

fn sum(subject: &Subject, verdict: Verdict, failure: Option<&ValidationError>) -> (String, Option<String>) {
    let (name, kind) = (subject.name.value(), subject.method.name());
    let told = failure.map(ValidationError::detail).unwrap_or_default();
    let (seen, fix) = parts(&told);
    let seen = seen.strip_prefix(&name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(seen);
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

fn full(now: Timestamp, again: Timestamp) -> Error {
    let wait = again.since(now);
    let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    let fix = format!("wait until {}", (now + wait).truncated());
    let value = "one more test by the same caller";
    Error::refused(ErrorKind::RateLimited, "challenge_tests.rate", value, RATE, fix)
        .explained(format!("more tests than {RATE} were asked for by the same caller"))
        .retry_after(wait)
}

fn wrong(member: &str, value: impl std::fmt::Display, allowed: &str, fix: &str) -> Error {
    let sentence = format!("{member} is {value}; it must be {allowed}");
    Error::refused(ErrorKind::Unprocessable, format!("challenge_tests.{member}"), value, allowed, fix)
        .explained(sentence)
}
