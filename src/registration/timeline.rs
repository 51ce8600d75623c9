//! Why an order is as it is: everything that the CA saw of it in the order of time, one sentence that sums it up and
//! one that says what to do next. Made when somebody asks, from rows that are there anyway.

use serde_json::Value;

use super::Registration;
use crate::clock::Timestamp;
use crate::error::{Result, parts};
use crate::model::acme::{
    Account, Authorization, AuthorizationStatus, Challenge, ChallengeStatus, GRANTED, Order, OrderStatus,
};
use crate::model::attempt::Attempt;
use crate::model::audit::ChainedEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::OrderId;
use crate::store::{accounts, attempts, audit, certificates, challenges};
use crate::validation::{Step, StepKind};

/// Events and refusals that are read of one object.
const EVENTS: i64 = 100;
/// Entries of one timeline; the newest ones stay.
const ENTRIES: usize = 1_000;

/// What there is to tell of one order.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub order: Order,
    pub account: Option<Account>,
    pub status: OrderStatus,
    /// One sentence.
    pub summary: String,
    /// What to do next, when there is something to do.
    pub next: Option<String>,
    pub entries: Vec<Entry>,
}

/// One thing that was done or seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: Timestamp,
    /// `ordered`, `offered`, `answered`, `resolve`, `deny`, `dial`, …, `result`, `retry`, `ready`, `finalize`,
    /// `intended`, `issued`, `downloaded`, `revoked`, `ended`.
    pub what: &'static str,
    /// The name that it is about, when it is about one.
    pub name: Option<String>,
    pub detail: String,
    pub mark: Mark,
}

impl Entry {
    /// A step of a validation of this name.
    pub(super) fn of_step(step: Step, name: &str) -> Entry {
        let mark = match (step.verdict(), step.what) {
            (Some(true), _) => Mark::Good,
            (Some(false), _) | (None, StepKind::Deny) => Mark::Bad,
            (None, _) => Mark::Plain,
        };
        Entry { at: step.at, what: step.what.name(), name: Some(name.to_owned()), detail: step.detail, mark }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Good,
    Bad,
    Plain,
}

impl Mark {
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Plain => "plain",
        }
    }
}

/// One name of the order with what was tried.
struct Proof {
    authorization: Authorization,
    name: String,
    challenges: Vec<Challenge>,
}

impl Registration {
    pub async fn timeline(&self, id: OrderId) -> Result<Option<Timeline>> {
        let Some(order) = self.any_order(id).await? else { return Ok(None) };
        let account = accounts::look(&self.store, order.account_id).await?;
        let now = self.store.now();
        let status = order.shown_status(now);
        let mut proofs = Vec::new();
        for (authorization, challenges) in self.proofs(id).await? {
            let name = authorization.name()?.value();
            proofs.push(Proof { authorization, name, challenges });
        }
        let refused = attempts::of_order(&self.store, id, EVENTS).await?;
        let certificate = certificates::find_by_order(&self.store, id).await?;
        let events = self.events(&format!("order:{id}")).await?;
        let mut entries = vec![ordered(&order, account.as_ref(), &events)];
        entries.extend(events.iter().filter(|event| event.action == "order.reopened").map(reopened));
        for proof in &proofs {
            self.proved(&order, proof, &mut entries).await?;
        }
        entries.extend(ready(&order, status, &proofs));
        entries.extend(refused.iter().map(refusal));
        if let Some(certificate) = &certificate {
            issued(certificate, &mut entries);
        }
        entries.extend(self.downloaded(id).await?);
        let ended = self.ended(&order, status, account.as_ref(), &proofs).await?;
        entries.extend(ended.clone());
        entries.sort_by_key(|entry| entry.at);
        let entries = entries.split_off(entries.len().saturating_sub(ENTRIES));
        let told = Told { order: &order, status, proofs: &proofs, refused: &refused };
        let (summary, next) = told.sum(certificate.as_ref(), ended.as_ref());
        Ok(Some(Timeline { order, account, status, summary, next, entries }))
    }

    async fn proved(&self, order: &Order, proof: &Proof, into: &mut Vec<Entry>) -> Result<()> {
        let Proof { authorization, name, challenges } = proof;
        let entry = |at, what, detail: String, mark| Entry { at, what, name: Some(name.clone()), detail, mark };
        if challenges.iter().any(|c| c.kind == GRANTED) {
            let detail = "within the account's grant: nothing is to be proved".to_owned();
            into.push(entry(order.created_at, "offered", detail, Mark::Good));
        } else if authorization.order_id != Some(order.id) {
            let of = authorization.order_id.map_or("ahead of any order".to_owned(), |id| format!("for order {id}"));
            let detail = format!("rests on the authorization {} that was made {of}", authorization.id);
            into.push(entry(order.created_at, "offered", detail, Mark::Plain));
        } else {
            let kinds: Vec<&str> = challenges.iter().map(|c| c.kind.as_str()).collect();
            let detail = format!("can be proved by {}", kinds.join(" or "));
            into.push(entry(authorization.created_at, "offered", detail, Mark::Plain));
        }
        let timelines = challenges::timelines(&self.store, authorization.id).await?;
        for challenge in challenges.iter().filter(|c| c.status != ChallengeStatus::Pending) {
            for event in self.events(&format!("challenge:{}", challenge.id)).await? {
                if event.action == "challenge.started" {
                    let from = detail_of(&event)["from"].as_str().map(|from| format!(" from {from}"));
                    let from = from.filter(|text| text != " from ").unwrap_or_default();
                    let detail = format!("the client{from} said that {} can be checked", challenge.kind);
                    into.push(entry(event.at, "answered", detail, Mark::Plain));
                }
            }
            let steps = timelines.iter().find(|(id, _)| *id == challenge.id);
            let steps: Vec<Step> = steps.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default();
            into.extend(steps.into_iter().map(|step| Entry::of_step(step, name)));
        }
        Ok(())
    }

    async fn downloaded(&self, order: OrderId) -> Result<Option<Entry>> {
        let written = attempts::downloads(&self.store, order).await?;
        let waiting = self.attempts.waiting(order);
        let Some(first) = written.as_ref().or(waiting.as_ref()) else { return Ok(None) };
        let times = [&written, &waiting].into_iter().flatten().map(|d| d.times).sum::<i64>();
        let from = if first.address.is_empty() { String::new() } else { format!(" from {}", first.address) };
        let often = if times > 1 { format!(", {times} times by now") } else { String::new() };
        let detail = format!("the client fetched the certificate{from}{often}");
        Ok(Some(Entry { at: first.first_at, what: "downloaded", name: None, detail, mark: Mark::Good }))
    }

    /// Why an order ended that no challenge ended.
    async fn ended(
        &self,
        order: &Order,
        status: OrderStatus,
        account: Option<&Account>,
        proofs: &[Proof],
    ) -> Result<Option<Entry>> {
        if status != OrderStatus::Invalid || proofs.iter().any(|proof| proof.failure().is_some()) {
            return Ok(None);
        }
        let entry = |at, detail: String| Some(Entry { at, what: "ended", name: None, detail, mark: Mark::Bad });
        if let Some(told) = order.error.as_ref().and_then(sentence) {
            let mut at = order.created_at;
            for proof in proofs.iter().filter(|p| p.authorization.status == AuthorizationStatus::Deactivated) {
                let events = self.events(&format!("authorization:{}", proof.authorization.id)).await?;
                at = events.iter().map(|event| event.at).fold(at, Timestamp::max);
            }
            let last = proofs.iter().flat_map(|p| &p.challenges).filter_map(|c| c.validated_at);
            return Ok(entry(last.fold(at, Timestamp::max), told));
        }
        if let Some(account) = account {
            let events = self.events(&format!("account:{}", account.id)).await?;
            let ends = |e: &&ChainedEvent| e.action == "account.revoked" || e.action == "account.deactivated";
            if let Some(end) =
                events.iter().filter(ends).find(|e| e.at >= order.created_at && e.at < order.expires_at)
            {
                let why = detail_of(end)["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
                let whose = if end.action == "account.revoked" { "by an operator" } else { "by its owner" };
                return Ok(entry(end.at, format!("the account was ended {whose}{why}")));
            }
        }
        let open = "it ran out before it was finalized".to_owned();
        Ok(entry(order.expires_at.min(self.store.now()), open))
    }

    async fn events(&self, object: &str) -> Result<Vec<ChainedEvent>> {
        let events = audit::of_object(&self.store, object, EVENTS).await?;
        Ok(events.into_iter().filter(|listed| listed.fault.is_none()).map(|listed| listed.event).collect())
    }
}

impl Proof {
    /// What the first challenge that failed was told.
    fn failure(&self) -> Option<String> {
        let failed = self.challenges.iter().filter(|c| c.status == ChallengeStatus::Invalid);
        failed.filter_map(|c| c.error.as_ref().and_then(sentence)).next()
    }

    fn kind_tried(&self) -> Option<&str> {
        self.challenges.iter().find(|c| c.status != ChallengeStatus::Pending).map(|c| c.kind.as_str())
    }
}

fn ordered(order: &Order, account: Option<&Account>, events: &[ChainedEvent]) -> Entry {
    let created = events.iter().find(|event| event.action == "order.created").map(detail_of);
    let from = created.as_ref().and_then(|detail| detail["from"].as_str()).filter(|from| !from.is_empty());
    let contact = account.map(|a| a.contact.join(", ").replace("mailto:", "")).filter(|text| !text.is_empty());
    let mut detail = format!(
        "account {}{} asked for {}",
        order.account_id,
        contact.map(|text| format!(" ({text})")).unwrap_or_default(),
        names(order)
    );
    if let Some(from) = from {
        detail.push_str(&format!(" from {from}"));
    }
    detail.push_str(&format!(", profile {}, directory {}", order.profile, order.directory));
    if let Some(replaced) = &order.replaces {
        detail.push_str(&format!(", in place of certificate {replaced}"));
    }
    Entry { at: order.created_at, what: "ordered", name: None, detail, mark: Mark::Plain }
}

fn reopened(event: &ChainedEvent) -> Entry {
    let serial = detail_of(event)["serial"].as_str().unwrap_or("unknown").to_owned();
    let detail = format!(
        "the server that made serial {serial} ended before it was done: the serial is listed as revoked, and the order was ready again"
    );
    Entry { at: event.at, what: "revoked", name: None, detail, mark: Mark::Bad }
}

fn ready(order: &Order, status: OrderStatus, proofs: &[Proof]) -> Option<Entry> {
    let all = matches!(status, OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid)
        || proofs.iter().all(|p| p.authorization.status == AuthorizationStatus::Valid);
    let times = proofs.iter().flat_map(|p| &p.challenges).filter_map(|c| c.validated_at);
    let at = times.fold(order.created_at, Timestamp::max);
    let detail = "every name is proved: the client may finalize".to_owned();
    (all && !proofs.is_empty()).then_some(Entry { at, what: "ready", name: None, detail, mark: Mark::Good })
}

fn refusal(attempt: &Attempt) -> Entry {
    let often = if attempt.times > 1 {
        format!(" ({} times until {})", attempt.times, attempt.last_at)
    } else {
        String::new()
    };
    let from = if attempt.address.is_empty() { String::new() } else { format!(" from {}", attempt.address) };
    let (what, request, name) = match attempt.action.as_str() {
        "challenge.refused" => ("answered", "a challenge", attempt.names.first().cloned()),
        _ => ("finalize", "finalize", None),
    };
    let detail = format!("{request}{from} was refused{often}: {}", attempt.detail);
    Entry { at: attempt.at, what, name, detail, mark: Mark::Bad }
}

fn issued(certificate: &Certificate, into: &mut Vec<Entry>) {
    let mut tell = |at, what, mark, detail: String| into.push(Entry { at, what, name: None, detail, mark });
    let serial = &certificate.serial;
    let chosen = format!("finalize was accepted: serial {serial}, to be signed by {}", certificate.issuer);
    tell(certificate.intended_at, "intended", Mark::Plain, chosen);
    if let Some(at) = certificate.issued_at {
        let until = certificate.validity.not_after();
        let detail =
            format!("certificate {} was issued by {}, good until {until}", certificate.id, certificate.issuer);
        tell(at, "issued", Mark::Good, detail);
    }
    if let CertificateStatus::Revoked { at, reason, .. } = certificate.status {
        let detail = match certificate.issued_at {
            Some(_) => format!("the certificate was revoked: {}", reason.name()),
            None => format!("the signature never came about: serial {serial} was given up and is listed as revoked"),
        };
        tell(at, "revoked", Mark::Bad, detail);
    }
}

/// What the sentence about an order is made from.
struct Told<'a> {
    order: &'a Order,
    status: OrderStatus,
    proofs: &'a [Proof],
    refused: &'a [Attempt],
}

impl Told<'_> {
    fn sum(&self, certificate: Option<&Certificate>, ended: Option<&Entry>) -> (String, Option<String>) {
        match self.status {
            OrderStatus::Valid => (self.done(certificate), None),
            OrderStatus::Processing => {
                ("the certificate is being signed".to_owned(), Some("let the client poll the order".to_owned()))
            }
            OrderStatus::Ready => self.ready(),
            OrderStatus::Pending => self.pending(),
            OrderStatus::Invalid => self.failed(ended),
        }
    }

    fn done(&self, certificate: Option<&Certificate>) -> String {
        let names = names(self.order);
        match certificate {
            Some(c) => format!("{names}: certificate {} was issued by {}, serial {}", c.id, c.issuer, c.serial),
            None => format!("{names}: a certificate was issued"),
        }
    }

    fn ready(&self) -> (String, Option<String>) {
        match self.refused.last() {
            Some(last) => {
                let (seen, fix) = parts(&last.detail);
                let fix = fix.unwrap_or("mend the CSR");
                (
                    format!("every name is proved, and the last finalize was refused: {seen}"),
                    Some(format!("{fix}; the order still waits")),
                )
            }
            None => (
                "every name is proved, and the client has not sent its CSR yet".to_owned(),
                Some("let the client go on: it finalizes the order".to_owned()),
            ),
        }
    }

    fn pending(&self) -> (String, Option<String>) {
        let open = self.proofs.iter().filter(|p| p.authorization.status == AuthorizationStatus::Pending);
        let (checked, waiting): (Vec<&Proof>, Vec<&Proof>) =
            open.partition(|p| p.challenges.iter().any(|c| c.status == ChallengeStatus::Processing));
        let list = |proofs: &[&Proof]| shortened(&proofs.iter().map(|p| p.name.clone()).collect::<Vec<_>>());
        if waiting.is_empty() {
            let kinds = checked.iter().find_map(|p| p.kind_tried()).unwrap_or("a challenge");
            return (format!("the CA is checking {kinds} for {}", list(&checked)), None);
        }
        (
            format!("the client has not yet asked to have {} checked", list(&waiting)),
            Some("let the client put its answer in place and answer the challenge".to_owned()),
        )
    }

    fn failed(&self, ended: Option<&Entry>) -> (String, Option<String>) {
        if let Some((proof, told)) = self.proofs.iter().find_map(|p| p.failure().map(|told| (p, told))) {
            let (seen, fix) = parts(&told);
            let kind = proof.kind_tried().unwrap_or("its challenge");
            let next =
                fix.map_or("run the client again".to_owned(), |fix| format!("{fix}; then run the client again"));
            let seen = seen.strip_prefix(&proof.name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(seen);
            return (format!("{kind} failed for {}: {seen}", proof.name), Some(next));
        }
        let told = ended.map_or("it ended", |entry| entry.detail.as_str());
        let (seen, fix) = parts(told);
        (seen.to_owned(), Some(fix.unwrap_or("run the client again: it makes a new order").to_owned()))
    }
}

fn sentence(problem: &Value) -> Option<String> {
    problem["detail"].as_str().map(str::to_owned)
}

fn detail_of(event: &ChainedEvent) -> Value {
    serde_json::from_str(&event.detail).unwrap_or_default()
}

fn names(order: &Order) -> String {
    shortened(&order.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The first three and how many more.
fn shortened(names: &[String]) -> String {
    let mut text = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text.push_str(&format!(" and {} more", names.len() - 3));
    }
    text
}
