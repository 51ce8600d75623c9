//! Authorizations and challenges (RFC 8555 §7.1.4, §7.5).

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::headers::{link, location};
use super::json::string;
use super::orders::asked_name;
use crate::error::{Error, Result};
use crate::model::acme::{Account, Authorization, Challenge, ChallengeStatus};
use crate::validation::Method;

pub async fn show_or_deactivate(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    let id = request.id("authorization")?;
    let registration = &request.acme.registration;
    let (authorization, challenges) = if payload.is_empty() {
        registration.authorization(&account, id).await?
    } else {
        match string(&payload.object()?, "status", "the payload")? {
            Some("deactivated") => registration.deactivate_authorization(&request.origin, &account, id).await?,
            _ => {
                return Err(Error::malformed(
                    "an authorization is read with an empty payload or changed with {\"status\": \"deactivated\"}",
                ));
            }
        }
    };
    let headers = waiting(challenges.iter().any(|c| c.status == ChallengeStatus::Processing));
    Ok((headers, Json(body(&request, &account, &authorization, &challenges))).into_response())
}

/// newAuthz (RFC 8555 §7.4.1, RFC 9444 §4.2), where the directory offers it.
pub async fn create(request: Envelope) -> Result<Response> {
    if !request.directory.config.pre_authorization {
        return Err(Error::not_found("ACME resource: this directory offers no pre-authorization (newAuthz)"));
    }
    let (account, payload) = request.by_account().await?;
    let members = payload.object()?;
    let wrong = || Error::malformed("\"identifier\" must be an object of \"type\" and \"value\"");
    let identifier = members.get("identifier").ok_or_else(wrong)?;
    let asked = asked_name(identifier).ok_or_else(wrong)?;
    let subdomains = match identifier.get("subdomainAuthAllowed") {
        None => false,
        Some(flag) => {
            flag.as_bool().ok_or_else(|| Error::malformed("\"subdomainAuthAllowed\" must be true or false"))?
        }
    };
    let registration = &request.acme.registration;
    registration.check_terms(&request.origin, &request.directory, &account).await?;
    let made = registration.new_authorization(&request.origin, &request.directory, &account, asked, subdomains);
    let (authorization, challenges) = made.await?;
    let mut headers = HeaderMap::new();
    location(&mut headers, &request.urls.authorization(authorization.id));
    Ok((StatusCode::CREATED, headers, Json(body(&request, &account, &authorization, &challenges))).into_response())
}

fn body(request: &Envelope, account: &Account, authorization: &Authorization, challenges: &[Challenge]) -> Value {
    let mut body = json!({
        "identifier": authorization.identifier,
        "status": authorization.shown_status(request.acme.registration.now()).name(),
        "expires": authorization.expires_at,
        "challenges": challenges.iter().map(|c| challenge_body(request, account, c)).collect::<Vec<_>>(),
    });
    // absent when they are not so (RFC 8555 §7.1.4, RFC 9444 §4.1)
    for (name, holds) in [("wildcard", authorization.wildcard), ("subdomainAuthAllowed", authorization.subdomains)] {
        if let (true, Some(members)) = (holds, body.as_object_mut()) {
            members.insert(name.into(), true.into());
        }
    }
    body
}

/// An empty payload reads, `{}` says that the client is ready; other members are ignored.
pub async fn respond(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    let id = request.id("challenge")?;
    let registration = &request.acme.registration;
    let (authorization, challenge) = if payload.is_empty() {
        registration.challenge(&account, id).await?
    } else {
        payload.object()?;
        registration.respond(&request.origin, &account, id).await?
    };
    Ok(shown_challenge(&request, &account, &authorization, &challenge))
}

fn shown_challenge(
    request: &Envelope,
    account: &Account,
    authorization: &Authorization,
    challenge: &Challenge,
) -> Response {
    let mut headers = waiting(challenge.status == ChallengeStatus::Processing);
    link(&mut headers, &request.urls.authorization(authorization.id), "up");
    (headers, Json(challenge_body(request, account, challenge))).into_response()
}

fn waiting(processing: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if processing {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers
}

fn challenge_body(request: &Envelope, account: &Account, challenge: &Challenge) -> Value {
    let mut body = json!({
        "type": challenge.kind,
        "url": request.urls.challenge(challenge.id),
        "status": challenge.status.name(),
    });
    let Some(members) = body.as_object_mut() else { return body };
    match Method::from_name(&challenge.kind) {
        // what the record holds (draft-ietf-acme-dns-persist §3.1)
        Some(Method::DnsPersist01) => {
            members.insert("accounturi".into(), account.url.clone().into());
            members.insert("issuer-domain-names".into(), request.directory.identities().into());
        }
        _ => {
            members.insert("token".into(), challenge.token.clone().into());
        }
    }
    if let Some(at) = challenge.validated_at {
        members.insert("validated".into(), at.to_string().into());
    }
    if let Some(error) = &challenge.error {
        members.insert("error".into(), error.clone());
    }
    body
}
