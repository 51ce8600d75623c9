//! A certificate from a pasted CSR. "Check" shows what would be issued, "Issue" issues it; a refusal stands at the
//! form, which keeps what was typed.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::format::{clean, life, minute};
use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::access::caller::Wish;
use crate::authority::guard::{Granted, Guard};
use crate::authority::issue::Issuance;
use crate::authority::signers::Candidates;
use crate::error::{Error, ErrorKind, Result};
use crate::http::html::{Words, page, refused_page, see_other};
use crate::model::certificate::Certificate;
use crate::model::identifier::{Identifier, shown};
use crate::model::validity::RequestedValidity;
use crate::pki::key_policy::KeyPolicy;
use crate::pki::name::SubjectFields;
use crate::pki::profile::Profile;
use crate::pki::request::CertificateRequest;

#[derive(Template)]
#[template(path = "issue.html")]
struct New<'a> {
    frame: Frame,
    csr: &'a str,
    ttl: &'a str,
    profile: &'a str,
    subject: Vec<Field<'a>>,
    /// One of them was filled in.
    has_subject: bool,
    profiles: Vec<Choice>,
    refusal: Option<Words>,
    preview: Option<Preview>,
}

/// An attribute of the subject: name of the field, words, what was typed.
struct Field<'a> {
    name: &'static str,
    words: &'static str,
    value: &'a str,
}

const SUBJECT: [(&str, &str); 5] = [
    ("common_name", "Common name (CN)"),
    ("organization", "Organization (O)"),
    ("country", "Country (C), two letters"),
    ("state", "State or province (ST)"),
    ("locality", "Locality (L)"),
];

/// A profile that this person may use and that has an issuer.
struct Choice {
    slug: String,
    lifetime: String,
    issuer: String,
}

/// What would be issued.
struct Preview {
    names: Vec<String>,
    subject: String,
    from: String,
    until: String,
    life: String,
    issuer: String,
}

pub async fn show(signed: Signed, State(dash): State<Dash>) -> Result<Response, Stop> {
    signed.may(Permission::Issue)?;
    Ok(page(&form(&dash, &signed, &Form::default(), None, None))?)
}

pub async fn create(State(dash): State<Dash>, Posted { signed, form: given }: Posted) -> Result<Response, Stop> {
    refused(&dash, signed.caller(), "certificate.rejected", "", signed.may(Permission::Issue)).await?;
    let outcome = match given.text("action") {
        "check" => preview(&dash, &signed, &given).await.map(Outcome::Preview),
        _ => issue(&dash, &signed, &given).await.map(|c| Outcome::Issued(Box::new(c))),
    };
    match outcome {
        Ok(Outcome::Issued(certificate)) => Ok(see_other(&format!("/certificates/{}?new=1", certificate.id))),
        Ok(Outcome::Preview(preview)) => Ok(page(&form(&dash, &signed, &given, None, Some(preview)))?),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &form(&dash, &signed, &given, Some(words), None))?)
        }
    }
}

enum Outcome {
    Preview(Preview),
    Issued(Box<Certificate>),
}

async fn preview(dash: &Dash, signed: &Signed, given: &Form) -> Result<Preview> {
    let issuance = read(dash, signed, given).await?;
    let (issuer, prepared) = dash.authority.preview(signed.caller().actor(), &issuance)?;
    let facts = prepared.facts();
    let (from, until) = (facts.validity.not_before(), facts.validity.not_after());
    Ok(Preview {
        names: facts.names.iter().map(|n| clean(&n.value())).collect(),
        subject: clean(&facts.subject),
        from: minute(from),
        until: minute(until),
        life: life(from, until),
        issuer,
    })
}

async fn issue(dash: &Dash, signed: &Signed, given: &Form) -> Result<Certificate> {
    let issuance = read(dash, signed, given).await?;
    Ok(dash.authority.issue(signed.caller().actor(), issuance).await?.certificate)
}

/// From the form to what the authority takes, within what this person may.
async fn read(dash: &Dash, signed: &Signed, given: &Form) -> Result<Issuance> {
    let csr = given.given("csr").ok_or_else(|| {
        Error::new(ErrorKind::Unprocessable, "there is no CSR: paste it, from BEGIN to END, or choose its file")
    })?;
    let validity = given.given("ttl").map(RequestedValidity::until).transpose()?.unwrap_or_default();
    let profile = given.text("profile").to_owned();
    let request = CertificateRequest::from_pem_or_der(csr.as_bytes(), &KeyPolicy::with_any_rsa_length())?;
    let subject = subject(given);
    let permitted = permit(dash, signed, &profile, &request, &subject);
    let names = refused(dash, signed.caller(), "certificate.rejected", "", permitted).await?;
    Ok(Issuance {
        profile,
        issuer: None,
        common_name: subject.common_name.clone().or_else(|| request.common_name().map(str::to_owned)),
        request,
        names: Some(names),
        subject,
        validity,
        guard: Guard {
            grant: signed.caller().bounds().map(|(id, scope)| Granted::all(id, scope)),
            ..Guard::default()
        },
    })
}

/// What was filled in of the subject; the profile says what it takes.
fn subject(given: &Form) -> SubjectFields {
    let text = |name| given.given(name).map(str::to_owned);
    SubjectFields {
        common_name: text("common_name"),
        country: text("country"),
        state: text("state"),
        locality: text("locality"),
        organization: text("organization").into_iter().collect(),
        ..SubjectFields::default()
    }
}

/// In the order of the CSR, each once. Its CN is one of them where it does not say who somebody is.
fn names(request: &CertificateRequest, profile: &Profile) -> Vec<Identifier> {
    let common_name = request.common_name_identifier().filter(|_| profile.common_name_is_a_name());
    let mut names: Vec<Identifier> = Vec::new();
    for name in request.san().iter().cloned().chain(common_name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The names of the certificate, if this person may have it. Judged is the subject that the profile will give; what
/// was asked of it and would be left out in silence is refused.
fn permit(
    dash: &Dash,
    signed: &Signed,
    slug: &str,
    request: &CertificateRequest,
    subject: &SubjectFields,
) -> Result<Vec<Identifier>> {
    let snapshot = dash.authority.snapshot();
    let profile = &snapshot.profile(slug)?.profile;
    let names = names(request, profile);
    let issuer = &snapshot.signer(profile.domain(), Candidates::Any, &names, dash.now())?.issuer.slug;
    let common_name = subject.common_name.as_deref().or(request.common_name());
    let will = profile.subject(common_name, subject, &names)?;
    let lost = [
        ("common_name", &subject.common_name, &will.common_name),
        ("country", &subject.country, &will.country),
        ("state", &subject.state, &will.state),
        ("locality", &subject.locality, &will.locality),
        ("organization", &subject.organization.first().cloned(), &will.organization.first().cloned()),
    ];
    if let Some((name, asked, given)) = lost.into_iter().find(|(_, asked, given)| asked.is_some() && asked != given) {
        let given = given.as_ref().map_or_else(|| "none".to_owned(), |text| format!("\"{}\"", shown(text)));
        return Err(Error::refused(
            ErrorKind::Refused,
            format!("subject.{name}"),
            format!("\"{}\"", shown(asked.as_deref().unwrap_or_default())),
            format!("{given} by profile {slug}"),
            "leave it out, or choose another profile",
        )
        .explained(format!(
            "profile {slug} sets {name} to {given}, and \"{}\" was asked for",
            shown(asked.as_deref().unwrap_or_default())
        )));
    }
    signed.caller().may_issue(&Wish {
        profile: slug,
        issuer,
        names: &names,
        common_name: will.common_name.as_deref(),
    })?;
    Ok(names)
}

fn form<'a>(
    dash: &Dash,
    signed: &Signed,
    given: &'a Form,
    refusal: Option<Words>,
    preview: Option<Preview>,
) -> New<'a> {
    let snapshot = dash.authority.snapshot();
    let choices = snapshot.profiles.iter().filter(|(slug, _)| signed.caller().sees_profile(slug));
    let choices = choices.filter_map(|(slug, loaded)| {
        let issuer =
            snapshot.signer(loaded.profile.domain(), Candidates::Any, &[], dash.now()).ok()?.issuer.slug.clone();
        Some(Choice { slug: slug.clone(), lifetime: loaded.config.lifetime.default.to_string(), issuer })
    });
    New {
        frame: Frame::of(signed, "certificates"),
        csr: given.text("csr"),
        ttl: given.text("ttl"),
        profile: given.given("profile").unwrap_or("tls-server"),
        subject: SUBJECT.iter().map(|(name, words)| Field { name, words, value: given.text(name) }).collect(),
        has_subject: SUBJECT.iter().any(|(name, _)| given.given(name).is_some()),
        profiles: choices.collect(),
        refusal,
        preview,
    }
}
