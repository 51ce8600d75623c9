//! The validator run now for one name: from the page of a directory, or for a challenge of an order.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::acme::Told;
use super::format::{clean, second};
use super::frame::Frame;
use super::visit::{Posted, Signed, Stop};
use super::{Dash, refused};
use crate::error::{Error, Result};
use crate::http::html::{Words, page, refused_page};
use crate::model::acme::Order;
use crate::model::identifier::shown;
use crate::registration::challenge_tests::{ChallengeTest, Tested, Verdict};

#[derive(Template)]
#[template(path = "challenge_test.html")]
struct TestPage {
    frame: Frame,
    /// Where it was asked from.
    back: String,
    back_words: String,
    /// Where the form goes.
    action: String,
    /// An order's names are those that it has.
    of_order: bool,
    name: String,
    kinds: Vec<(String, bool)>,
    account: String,
    told: Option<Verdicts>,
    refusal: Option<Words>,
    same: String,
}

struct Verdicts {
    word: &'static str,
    note: &'static str,
    at: String,
    summary: String,
    next: Option<String>,
    told: Vec<Told>,
}

impl Verdicts {
    fn of(tested: &Tested) -> Self {
        Verdicts {
            word: tested.verdict.name(),
            note: match tested.verdict {
                Verdict::Proved | Verdict::Open => "good",
                Verdict::Failed => "bad",
            },
            at: second(tested.at),
            summary: clean(&tested.summary),
            next: tested.next.as_deref().map(clean),
            told: tested.entries.iter().map(Told::of).collect(),
        }
    }
}

pub async fn of_directory(
    State(dash): State<Dash>,
    Path(slug): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let directory = dash.registration.directory(&slug)?;
    refused(&dash, signed.caller(), "challenge.test_refused", "challenge", signed.caller().may_manage_acme()).await?;
    let test = ChallengeTest {
        directory: Some(directory.slug.clone()),
        name: Some(form.text("name").trim().to_owned()),
        kind: form.text("type").to_owned(),
        account: None,
    };
    let typed = form.text("account").trim().to_owned();
    let tested = match typed.as_str() {
        "" => dash.registration.test_challenge(signed.caller().actor(), &test, None).await,
        id => match id.parse() {
            Ok(account) => {
                let test = ChallengeTest { account: Some(account), ..test.clone() };
                dash.registration.test_challenge(signed.caller().actor(), &test, None).await
            }
            Err(_) => Err(Error::not_found(format!("ACME account {}", shown(id)))),
        },
    };
    let name = test.name.clone().unwrap_or_default();
    let shell = TestPage {
        frame: Frame::of(&signed, "directories"),
        back: format!("/directories/{slug}"),
        back_words: format!("directory {slug}"),
        action: format!("/directories/{slug}/test"),
        of_order: false,
        kinds: kinds(&directory.config.challenges, &test.kind),
        same: same(&name, &test.kind, &format!(" --directory {slug}")),
        name: shown(&name),
        account: shown(&typed),
        told: None,
        refusal: None,
    };
    answer(shell, &signed, tested)
}

pub async fn of_order(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    refused(&dash, signed.caller(), "challenge.test_refused", "challenge", signed.caller().may_manage_acme()).await?;
    let none = || Error::not_found(format!("ACME order {}", shown(&id)));
    let order: Order = dash.registration.any_order(id.parse().map_err(|_| none())?).await?.ok_or_else(none)?;
    let test = ChallengeTest {
        name: Some(form.text("name").trim().to_owned()),
        kind: form.text("type").to_owned(),
        ..ChallengeTest::default()
    };
    let tested = dash.registration.test_challenge(signed.caller().actor(), &test, Some(&order)).await;
    let offered = dash.registration.directory(&order.directory).map(|d| d.config.challenges).unwrap_or_default();
    let name = test.name.clone().unwrap_or_default();
    let shell = TestPage {
        frame: Frame::of(&signed, "orders"),
        back: format!("/orders/{}", order.id),
        back_words: format!(
            "the order of {}",
            order.identifiers.first().map(ToString::to_string).unwrap_or_default()
        ),
        action: format!("/orders/{}/test", order.id),
        of_order: true,
        kinds: kinds(&offered, &test.kind),
        same: same(&name, &test.kind, &format!(" --order {}", order.id)),
        name: shown(&name),
        account: String::new(),
        told: None,
        refusal: None,
    };
    answer(shell, &signed, tested)
}

fn answer(shell: TestPage, signed: &Signed, tested: Result<Tested>) -> Result<Response, Stop> {
    match tested {
        Ok(tested) => Ok(page(&TestPage { told: Some(Verdicts::of(&tested)), ..shell })?),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &TestPage { refusal: Some(words), ..shell })?)
        }
    }
}

fn kinds(offered: &[String], chosen: &str) -> Vec<(String, bool)> {
    offered.iter().map(|kind| (kind.clone(), kind == chosen)).collect()
}

fn same(name: &str, kind: &str, rest: &str) -> String {
    format!("chancery acme test {} --type {}{rest}", shown(name), shown(kind))
}
