//! ACME accounts and orders. The page of an order says in one sentence why it failed: many clients show their users
//! nothing of it.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::audit::Event;
use super::format::{clean, millisecond, minute, relative, tail};
use super::frame::Frame;
use super::visit::{Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::http::page::{cursor, cut};
use crate::model::acme::{Account, AccountStatus, Authorization, Challenge, Order, OrderStatus};
use crate::model::attempt::{Attempt, AttemptFilter, NameSearch, OrderFilter};
use crate::model::id::{AccountId, GrantId, OrderId};
use crate::model::identifier::shown;
use crate::model::serial::to_hex;
use crate::registration::timeline::{Entry, Mark};
use crate::validation::Method;

const ROWS: u16 = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct At {
    cursor: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    cursor: Option<String>,
    name: String,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct Accounts {
    frame: Frame,
    rows: Vec<AccountRow>,
    next: Option<String>,
    later: bool,
    directory_url: String,
}

/// One account as lists show it.
struct AccountRow {
    id: String,
    name: String,
    status: &'static str,
    directory: String,
    from: String,
    since: String,
    since_words: String,
    thumbprint: String,
}

impl AccountRow {
    fn of(a: &Account, now: Timestamp) -> Self {
        let contacts: Vec<String> = a.contact.iter().map(|c| clean(c.strip_prefix("mailto:").unwrap_or(c))).collect();
        AccountRow {
            id: a.id.to_string(),
            name: if contacts.is_empty() { tail(&a.id.to_string()) } else { contacts.join(", ") },
            status: a.status.name(),
            directory: a.directory.clone(),
            from: a.created_from.clone(),
            since: minute(a.created_at),
            since_words: relative(a.created_at, now),
            thumbprint: tail(&to_hex(&a.key.thumbprint)),
        }
    }
}

pub async fn accounts(signed: Signed, State(dash): State<Dash>, Query(at): Query<At>) -> Result<Response, Stop> {
    signed.may(Permission::ReadAcme)?;
    let before = cursor::<AccountId>(at.cursor.as_deref())?;
    let mut rows = dash.registration.all_accounts(before, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |a| a.id).map(|c| format!("/accounts?cursor={c}"));
    let list = Accounts {
        frame: Frame::of(&signed, "accounts"),
        rows: rows.iter().map(|a| AccountRow::of(a, dash.now())).collect(),
        next,
        later: before.is_some(),
        directory_url: format!("{}/acme/default/directory", dash.external_url),
    };
    Ok(page(&list)?)
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    account: AccountRow,
    url: String,
    grant: Option<String>,
    terms: Option<String>,
    /// Buttons that resume paused names.
    may_resume: bool,
    /// A form to put it under a grant: for who may manage them, and only while the account is valid.
    may_grant: bool,
    typed: String,
    refusal: Option<Words>,
    key: String,
    orders: Vec<OrderRow>,
    more: Option<String>,
    /// Its newest refused requests.
    refused: Vec<Refused>,
    paused: Vec<PausedRow>,
    events: Vec<Event>,
}

/// A name that it may not order until an operator resumes it.
struct PausedRow {
    name: String,
    failures: i64,
    since: String,
    at: String,
}

pub async fn account(
    signed: Signed,
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Query(at): Query<At>,
) -> Result<Response, Stop> {
    signed.may(Permission::ReadAcme)?;
    Ok(page(&account_page(&dash, &signed, &id, at.cursor.as_deref(), None).await?)?)
}

fn account_id(text: &str) -> Result<AccountId> {
    text.parse().map_err(|_| no_account(text))
}

fn no_account(text: &str) -> Error {
    Error::not_found(format!("ACME account {}", shown(text)))
}

/// Puts the account under the grant of the form.
pub async fn grant(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let account = account_id(&id)?;
    let object = format!("account:{account}");
    refused(&dash, signed.caller(), "account.refused", &object, signed.caller().may_manage_grants()).await?;
    let typed = form.text("grant").trim().to_owned();
    let granted = match typed.parse::<GrantId>() {
        Ok(grant) => dash.registration.grant_account(signed.caller().actor(), account, grant).await,
        Err(_) => Err(Error::refused(
            ErrorKind::Unprocessable,
            "account.grant",
            format!("\"{}\"", shown(&typed)),
            "the id of a grant, grt_…",
            "copy it from `chancery grant list`",
        )
        .explained(format!("\"{}\" is not the id of a grant, which begins with grt_", shown(&typed)))),
    };
    match granted {
        Ok(_) => Ok(see_other(&format!("/accounts/{account}"))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &account_page(&dash, &signed, &id, None, Some((typed, words))).await?)?)
        }
    }
}

/// Lets the account order a paused name again.
pub async fn resume(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let account = account_id(&id)?;
    let object = format!("account:{account}");
    refused(&dash, signed.caller(), "account.refused", &object, signed.caller().may_manage_acme()).await?;
    dash.registration.resume(signed.caller().actor(), account, Some(form.text("name").trim())).await?;
    Ok(see_other(&format!("/accounts/{account}")))
}

async fn account_page(
    dash: &Dash,
    signed: &Signed,
    id: &str,
    at: Option<&str>,
    refusal: Option<(String, Words)>,
) -> Result<AccountPage> {
    let found = dash.registration.any_account(account_id(id)?).await?.ok_or_else(|| no_account(id))?;
    let before = cursor::<OrderId>(at)?;
    let mut orders = dash.registration.all_orders(Some(found.id), before, 21).await?;
    let more = cut(&mut orders, 20, |o| o.id).map(|c| format!("/accounts/{}?cursor={c}", found.id));
    let now = dash.now();
    let (typed, refusal) = refusal.unzip();
    let of_account = AttemptFilter { account: Some(found.id), ..AttemptFilter::default() };
    let refused = dash.registration.find_attempts(&of_account, None, 10).await?;
    let (_, paused) = dash.registration.account_limits(found.id).await?;
    Ok(AccountPage {
        events: history(dash, signed, &format!("account:{}", found.id)).await?,
        frame: Frame::of(signed, "accounts"),
        url: found.url.clone(),
        grant: found.grant.map(|grant| grant.to_string()),
        terms: found.terms_url.clone(),
        may_grant: found.status == AccountStatus::Valid && signed.caller().may_manage_grants().is_ok(),
        typed: typed.unwrap_or_default(),
        refusal,
        key: found.key.kind(),
        orders: orders.iter().map(|o| OrderRow::of(o, now)).collect(),
        more,
        refused: refused.iter().map(Refused::of).collect(),
        paused: paused
            .iter()
            .map(|p| PausedRow {
                name: clean(&p.name),
                failures: p.failures,
                since: minute(p.since),
                at: minute(p.paused_at),
            })
            .collect(),
        may_resume: signed.caller().may_manage_acme().is_ok(),
        account: AccountRow::of(&found, now),
    })
}

/// One order as lists show it.
pub struct OrderRow {
    id: String,
    name: String,
    more: usize,
    names: String,
    status: &'static str,
    account: String,
    account_tail: String,
    profile: String,
    at: String,
    at_words: String,
    /// Why it failed, when it did.
    why: Option<String>,
}

impl OrderRow {
    fn of(o: &Order, now: Timestamp) -> Self {
        let names: Vec<String> = o.identifiers.iter().map(|i| clean(&i.value())).collect();
        OrderRow {
            id: o.id.to_string(),
            name: names.first().cloned().unwrap_or_default(),
            more: names.len().saturating_sub(1),
            names: names.join(", "),
            status: o.shown_status(now).name(),
            account: o.account_id.to_string(),
            account_tail: tail(&o.account_id.to_string()),
            profile: o.profile.clone(),
            at: minute(o.created_at),
            at_words: relative(o.created_at, now),
            why: why(o, now),
        }
    }
}

fn why(order: &Order, now: Timestamp) -> Option<String> {
    let told = order.error.as_ref().and_then(detail);
    let ran_out = order.shown_status(now) == OrderStatus::Invalid && order.status != OrderStatus::Invalid;
    told.or_else(|| ran_out.then(|| "it ran out before it was finalized".to_owned()))
}

/// The sentence of a problem document.
fn detail(problem: &Value) -> Option<String> {
    problem["detail"].as_str().map(clean)
}

#[derive(Template)]
#[template(path = "orders.html")]
struct Orders {
    frame: Frame,
    rows: Vec<OrderRow>,
    refused: Vec<Refused>,
    /// What was looked for.
    name: String,
    next: Option<String>,
    later: bool,
    directory_url: String,
}

pub async fn orders(signed: Signed, State(dash): State<Dash>, Query(at): Query<Search>) -> Result<Response, Stop> {
    signed.may(Permission::ReadAcme)?;
    let before = cursor::<OrderId>(at.cursor.as_deref())?;
    let name: String = at.name.trim().chars().take(300).collect();
    let asked = Some(name.as_str()).filter(|name| !name.is_empty()).map(NameSearch::parse);
    let by_name = OrderFilter { name: asked.clone(), ..OrderFilter::default() };
    let mut rows = dash.registration.find_orders(&by_name, before, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |o| o.id).map(|c| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if asked.is_some() {
            query.append_pair("name", &name);
        }
        format!("/orders?{}", query.append_pair("cursor", &c).finish())
    });
    // what never became an order is looked for by name alone, beside the first page
    let refused = match (asked, before) {
        (Some(asked), None) => {
            let by_name = AttemptFilter { name: Some(asked), ..AttemptFilter::default() };
            dash.registration.find_attempts(&by_name, None, ROWS).await?
        }
        _ => Vec::new(),
    };
    let list = Orders {
        frame: Frame::of(&signed, "orders"),
        refused: refused.iter().map(Refused::of).collect(),
        name: clean(&name),
        rows: rows.iter().map(|o| OrderRow::of(o, dash.now())).collect(),
        next,
        later: before.is_some(),
        directory_url: format!("{}/acme/default/directory", dash.external_url),
    };
    Ok(page(&list)?)
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage {
    frame: Frame,
    order: OrderRow,
    expires: String,
    expires_words: String,
    certificate: Option<String>,
    proofs: Vec<Proof>,
    sentence: Option<String>,
    events: Vec<Event>,
    /// What to do next.
    next: Option<String>,
    told: Vec<Told>,
    may_test: bool,
}

/// One line of what the CA saw.
pub struct Told {
    pub at: String,
    pub what: &'static str,
    pub name: Option<String>,
    pub detail: String,
    pub mark: &'static str,
}

impl Told {
    pub fn of(entry: &Entry) -> Self {
        Told {
            at: millisecond(entry.at),
            what: entry.what,
            name: entry.name.as_deref().map(clean),
            detail: clean(&entry.detail),
            mark: match entry.mark {
                Mark::Good => "valid",
                Mark::Bad => "invalid",
                Mark::Plain => "ended",
            },
        }
    }
}

/// A request that never became an order, or was refused on the way.
struct Refused {
    at: String,
    names: String,
    from: String,
    detail: String,
    times: i64,
}

impl Refused {
    fn of(attempt: &Attempt) -> Self {
        Refused {
            at: minute(attempt.last_at),
            names: clean(&attempt.names.join(", ")),
            from: clean(&attempt.address),
            detail: clean(&attempt.detail),
            times: attempt.times,
        }
    }
}

/// How one name was to be proved.
struct Proof {
    name: String,
    wildcard: bool,
    status: &'static str,
    until: String,
    challenges: Vec<Try>,
}

struct Try {
    kind: String,
    status: &'static str,
    at: Option<String>,
    error: Option<String>,
    /// It is one that the validator can try.
    may_test: bool,
}

pub async fn order(signed: Signed, State(dash): State<Dash>, Path(id): Path<String>) -> Result<Response, Stop> {
    signed.may(Permission::ReadAcme)?;
    let none = || Error::not_found(format!("ACME order {}", shown(&id)));
    let found = dash.registration.any_order(id.parse().map_err(|_| none())?).await?.ok_or_else(none)?;
    let now = dash.now();
    let proofs = dash.registration.proofs(found.id).await?;
    let proofs: Vec<Proof> = proofs.iter().map(|(authorization, tries)| proof(authorization, tries, now)).collect();
    let timeline = dash.registration.timeline(found.id).await?.ok_or_else(none)?;
    let first_error = proofs.iter().flat_map(|p| &p.challenges).find_map(|c| c.error.clone());
    let certificate = found.certificate_id.map(|id| id.to_string());
    let page_of = OrderPage {
        events: history(&dash, &signed, &format!("order:{}", found.id)).await?,
        frame: Frame::of(&signed, "orders"),
        expires: minute(found.expires_at),
        expires_words: relative(found.expires_at, now),
        certificate,
        // what was seen on the network says more than "an authorization failed"
        sentence: first_error.or_else(|| why(&found, now)),
        next: timeline.next.as_deref().map(clean),
        told: timeline.entries.iter().map(Told::of).collect(),
        may_test: signed.caller().may_manage_acme().is_ok(),
        proofs,
        order: OrderRow::of(&found, now),
    };
    Ok(page(&page_of)?)
}

fn proof(a: &Authorization, tries: &[Challenge], now: Timestamp) -> Proof {
    Proof {
        name: clean(&a.identifier.value()),
        wildcard: a.wildcard,
        status: a.shown_status(now).name(),
        until: minute(a.expires_at),
        challenges: tries
            .iter()
            .map(|c| Try {
                kind: c.kind.clone(),
                status: c.status.name(),
                at: c.validated_at.map(minute),
                error: c.error.as_ref().and_then(detail),
                may_test: Method::from_name(&c.kind).is_some(),
            })
            .collect(),
    }
}

async fn history(dash: &Dash, signed: &Signed, object: &str) -> Result<Vec<Event>> {
    if signed.may(Permission::ReadAudit).is_err() {
        return Ok(Vec::new());
    }
    Ok(dash.authority.events_of(object).await?.iter().rev().take(50).map(Event::of).collect())
}
