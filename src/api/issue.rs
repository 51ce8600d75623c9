//! POST /certificates: sign a CSR, or make key and certificate from names. Both end in the authority's one use case.

use axum::Json as Reply;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use super::idempotent::Claim;
use super::made_key::KeyForm;
use super::{Api, idempotent, made_key, refused, shape, subject};
use crate::access::Caller;
use crate::access::caller::Wish;
use crate::authority::guard::{Granted, Guard, IdempotencyClaim};
use crate::authority::issue::{Issuance, Issued};
use crate::authority::signers::Candidates;
use crate::error::{Error, ErrorKind, Result, Subproblem};
use crate::http::extract::{Json, Query};
use crate::model::certificate::Certificate;
use crate::model::id::CertificateId;
use crate::model::identifier::{Identifier, shown};
use crate::model::key::KeyAlgorithm;
use crate::model::validity::RequestedValidity;
use crate::pki::certificate_facts::{CertificateFacts, extensions_of};
use crate::pki::key_policy::KeyPolicy;
use crate::pki::left_out::left_out;
use crate::pki::name::SubjectFields;
use crate::pki::oids;
use crate::pki::pem;
use crate::pki::profile::Profile;
use crate::pki::request::{CertificateRequest, note_version};
use crate::wire::certificates::{self, ExtensionPreview, IssuePreview, IssueQuery, IssueRequest};

/// Room for a CSR of 32 KB in PEM with its line ends escaped, and little else.
const LIMIT: usize = 64 * 1024;

/// Issue or sign a certificate
#[utoipa::path(post, path = "/api/v1/certificates", operation_id = "issueCertificate", tag = "certificates",
    params(IssueQuery, ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating safe for 24 hours")),
    request_body = IssueRequest,
    responses(
        (status = 201, description = "Issued, or told again with Idempotent-Replayed", body = certificates::Certificate),
        (status = 200, description = "What would be issued (dry_run)", body = IssuePreview),
        crate::api::document::WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<IssueQuery>,
    uri: Uri,
    headers: HeaderMap,
    Json { value: asked, raw }: Json<IssueRequest, LIMIT>,
) -> Result<Response> {
    refused(&api, &caller, "certificate.rejected", "", caller.may(crate::access::Permission::Issue)).await?;
    let key = idempotent::key(&headers, &uri, &raw)?;
    let claim = match idempotent::claim(&api, &caller, key).await? {
        Claim::Done(id) => return told_again(&api, id).await,
        Claim::Go(claim) => claim,
    };
    let form = KeyForm::of(&asked)?;
    let (issuance, private_key) = read(&api, &caller, asked, claim).await?;
    if query.dry_run {
        return preview(&api, &caller, &issuance).await;
    }
    let request = issuance.request.der().is_some().then(|| issuance.request.clone());
    let issued = api.authority.issue(caller.actor(), issuance).await?;
    let mut shape = shape_of(&api, &issued, request.as_ref());
    if let Some(key) = private_key {
        form.give(&api, &issued, key, &mut shape).await;
    }
    Ok(answer(&issued, shape))
}

async fn told_again(api: &Api, id: CertificateId) -> Result<Response> {
    let record = api.authority.certificate(id).await?;
    let record = record.ok_or_else(|| Error::inconsistent(format!("certificate {id} of a key is missing")))?;
    let shape = shape::whole(&api.authority, &record).await?;
    let location = [(header::LOCATION, format!("/api/v1/certificates/{id}"))];
    Ok(idempotent::replayed((StatusCode::CREATED, location, Reply(shape)).into_response()))
}

/// From the request to what the authority takes, within what the caller may. The key is made last.
async fn read(
    api: &Api,
    caller: &Caller,
    asked: IssueRequest,
    idempotency: Option<IdempotencyClaim>,
) -> Result<(Issuance, Option<Zeroizing<Vec<u8>>>)> {
    let mut validity = validity(&asked)?;
    let mut subject = subject::read(&asked)?;
    let source = source(&asked)?;
    if let Source::Csr(request) = &source {
        let own = api.registration.check_account_key(request.public_key(), ErrorKind::BadKey).await;
        refused(api, caller, "certificate.rejected", "", own).await?;
    }
    let permitted = permit(api, caller, &asked, &source, &subject);
    let names = refused(api, caller, "certificate.rejected", "", permitted).await?;
    let common_name = subject.common_name.take().or_else(|| source.common_name());
    let replaces = match &asked.replaces {
        Some(text) => {
            let found = replaced(api, caller, text, &names, common_name.as_deref()).await;
            let before = refused(api, caller, "certificate.rejected", "", found).await?;
            validity.like_before = api.authority.length_kept(&before);
            Some(before.id)
        }
        None => None,
    };
    let (request, private_key) = source.into_request().await?;
    let grant = caller.bounds().map(|(id, scope)| Granted::all(id, scope));
    let (token, token_expires_at) = (caller.token(), caller.expires_at());
    let guard = Guard { token, token_expires_at, grant, replaces, idempotency, ..Guard::default() };
    let names = Some(names);
    let (profile, issuer) = (asked.profile, asked.issuer);
    Ok((Issuance { profile, issuer, request, names, common_name, subject, validity, guard }, private_key))
}

/// Whose key it will be.
enum Source {
    Csr(Box<CertificateRequest>),
    Made(Vec<Identifier>, KeyAlgorithm),
}

fn source(asked: &IssueRequest) -> Result<Source> {
    match (&asked.csr, &asked.names) {
        (Some(_), Some(_)) => Err(unfit("/names", "give csr or names, not both: a CSR brings its names")),
        (None, None) => Err(unfit("", "give csr (a certificate request in PEM) or names (a list)")),
        (Some(_), None) if asked.key.is_some() => Err(unfit("/key", "a CSR brings its key: leave key out")),
        (Some(csr), None) => {
            let request = CertificateRequest::from_pem_or_der(csr.as_bytes(), &KeyPolicy::with_any_rsa_length())?;
            note_version(&request, "rest");
            Ok(Source::Csr(Box::new(request)))
        }
        (None, Some(names)) => {
            let algorithm = asked.key.as_deref().map_or(Ok(KeyAlgorithm::P256), str::parse);
            Ok(Source::Made(parse_names(names)?, algorithm.map_err(|e: Error| at("/key", &e))?))
        }
    }
}

impl Source {
    /// In the order asked, each once. A CSR's CN is one of them where it does not say who somebody is.
    fn names(&self, profile: &Profile) -> Vec<Identifier> {
        let mut names: Vec<Identifier> = Vec::new();
        let asked = match self {
            Source::Csr(request) => {
                let common_name = request.common_name_identifier().filter(|_| profile.common_name_is_a_name());
                request.san().iter().cloned().chain(common_name).collect()
            }
            Source::Made(names, _) => names.clone(),
        };
        for name in asked {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn common_name(&self) -> Option<String> {
        match self {
            Source::Csr(request) => request.common_name().map(str::to_owned),
            Source::Made(..) => None,
        }
    }

    async fn into_request(self) -> Result<(CertificateRequest, Option<Zeroizing<Vec<u8>>>)> {
        match self {
            Source::Csr(request) => Ok((*request, None)),
            Source::Made(names, algorithm) => {
                let made = made_key::make(algorithm).await?;
                let public_key = KeyPolicy::default().check(&made.spki)?;
                Ok((CertificateRequest::for_key(public_key, names), Some(made.pkcs8)))
            }
        }
    }
}

/// The names of the certificate, if the caller may have it. The scope is judged on the subject that the profile will
/// give, not on what was asked.
fn permit(
    api: &Api,
    caller: &Caller,
    asked: &IssueRequest,
    source: &Source,
    subject: &SubjectFields,
) -> Result<Vec<Identifier>> {
    let snapshot = api.authority.snapshot();
    let profile = &snapshot.profile(&asked.profile).map_err(|e| at("/profile", &e))?.profile;
    let names = source.names(profile);
    let issuer = match &asked.issuer {
        Some(slug) => snapshot.issuer(slug),
        None => snapshot.signer(profile.domain(), Candidates::Any, &names, api.authority.store().now()),
    };
    let common_name = subject.common_name.clone().or_else(|| source.common_name());
    let given = profile.subject(common_name.as_deref(), subject, &names)?;
    subject::is_given(profile, subject, &given)?;
    let issuer = &issuer?.issuer.slug;
    let common_name = given.common_name.as_deref();
    caller.may_issue(&Wish { profile: &asked.profile, issuer, names: &names, common_name })?;
    caller.may_say(&subject::taken_as_asked(profile, &given))?;
    Ok(names)
}

/// The certificate that the new one is to replace, if the caller may see it and both are for the same thing.
async fn replaced(
    api: &Api,
    caller: &Caller,
    text: &str,
    names: &[Identifier],
    common_name: Option<&str>,
) -> Result<Certificate> {
    let refuse = |value: String, allowed: &str| {
        let wrong = format!("replaces names {value}; it must be {allowed}");
        let fix = "leave replaces out, or name the certificate that this one is for";
        let error =
            Error::refused(ErrorKind::Unprocessable, "certificate.replaces", value, allowed, fix).explained(wrong);
        Err(at("/replaces", &error))
    };
    let found = api.authority.certificate_named_by(text).await?;
    let Some(before) = found.filter(|before| before.fingerprint.is_some() && caller.may_see(before).is_ok()) else {
        let value = format!("\"{}\", which is no certificate that you may see", shown(text));
        return refuse(value, "the id, serial number or SHA-256 of a certificate");
    };
    let in_common = match before.names.is_empty() {
        true => common_name.is_some() && common_name_of(api, &before).await?.as_deref() == common_name,
        false => before.names.iter().any(|name| names.contains(name)),
    };
    if before.is_of_hierarchy() || !in_common {
        let value = format!("serial {}, which has none of the names of this request", before.serial);
        return refuse(value, "a certificate that has a name in common with the new one");
    }
    Ok(before)
}

async fn common_name_of(api: &Api, certificate: &Certificate) -> Result<Option<String>> {
    let Some(der) = api.authority.certificate_der(certificate.id).await? else { return Ok(None) };
    let unreadable = |e| Error::inconsistent(format!("{} cannot be read", certificate.id)).because(e);
    let facts = CertificateFacts::parse(&der).map_err(unreadable)?;
    Ok(facts.subject.texts(&oids::COMMON_NAME).ok().and_then(|texts| texts.into_iter().next()))
}

fn parse_names(texts: &[String]) -> Result<Vec<Identifier>> {
    if texts.len() > CertificateRequest::MAX_NAMES {
        let most = format!("at most {}", CertificateRequest::MAX_NAMES);
        let value = format!("{} names", texts.len());
        return Err(Error::refused(
            ErrorKind::TooLarge,
            "names.count",
            &value,
            &most,
            "ask for several certificates",
        )
        .explained(format!("the request has {value}; a certificate has {most}")));
    }
    let mut names = Vec::with_capacity(texts.len());
    let mut wrong = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match Identifier::guess(text) {
            Ok(name) => names.push(name),
            Err(error) => wrong.push(Subproblem {
                kind: error.kind,
                detail: error.detail,
                identifier: None,
                pointer: Some(format!("/names/{i}")),
                rule: error.rule,
            }),
        }
    }
    match wrong.first() {
        None => Ok(names),
        Some(first) => Err(Error::new(ErrorKind::Unprocessable, first.detail.clone()).with_subproblems(wrong)),
    }
}

fn validity(asked: &IssueRequest) -> Result<RequestedValidity> {
    if asked.ttl.is_some() && asked.not_after.is_some() {
        return Err(unfit("/ttl", "give ttl or not_after, not both"));
    }
    let ttl = asked.ttl.as_deref().map(RequestedValidity::until).transpose().map_err(|e| at("/ttl", &e))?;
    let until = ttl.unwrap_or(RequestedValidity { not_after: asked.not_after, ..RequestedValidity::default() });
    Ok(RequestedValidity { not_before: asked.not_before, ..until })
}

pub(super) fn unfit(pointer: &str, detail: &str) -> Error {
    at(pointer, &Error::new(ErrorKind::Unprocessable, detail))
}

/// The same error with the place in the body that it is about.
fn at(pointer: &str, error: &Error) -> Error {
    let part = Subproblem {
        kind: error.kind,
        detail: error.detail.clone(),
        identifier: None,
        pointer: Some(pointer.to_owned()),
        rule: error.rule.clone(),
    };
    let mut told = Error::new(error.kind, error.detail.clone()).with_subproblems(vec![part]);
    told.rule = error.rule.clone();
    told
}

async fn preview(api: &Api, caller: &Caller, issuance: &Issuance) -> Result<Response> {
    let (issuer, prepared) = api.authority.would_issue(caller.actor(), issuance).await?;
    let facts = prepared.facts();
    let extensions = extensions_of(prepared.tbs())
        .map_err(|e| Error::inconsistent("bytes that were just built cannot be read").because(e))?;
    let shape = IssuePreview {
        dry_run: true,
        names: facts.names.iter().map(Identifier::value).collect(),
        subject: facts.subject.clone(),
        not_before: facts.validity.not_before(),
        not_after: facts.validity.not_after(),
        profile: issuance.profile.clone(),
        issuer,
        key_algorithm: issuance.request.public_key().algorithm().name(),
        extensions: extensions
            .into_iter()
            .map(|e| ExtensionPreview { name: e.name(), critical: e.critical, value: e.words })
            .collect(),
    };
    Ok(Reply(shape).into_response())
}

fn shape_of(api: &Api, issued: &Issued, request: Option<&CertificateRequest>) -> certificates::Certificate {
    let mut shape = shape::certificate(&api.authority, &issued.certificate);
    shape.certificate = Some(pem::encode(pem::CERTIFICATE, &issued.der));
    shape.chain = Some(shape::chain(&issued.chain));
    // both were read before: nothing that could be told is lost to an error here
    shape.left_out = request.and_then(|request| left_out(request, &issued.der).ok()).unwrap_or_default();
    shape
}

fn answer(issued: &Issued, shape: certificates::Certificate) -> Response {
    let headers = [(header::LOCATION, format!("/api/v1/certificates/{}", issued.certificate.id))];
    let mut response = (StatusCode::CREATED, headers, Reply(shape)).into_response();
    // it may hold a private key
    response.headers_mut().insert(header::CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    response
}
