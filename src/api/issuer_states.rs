//! The states of issuers and roots: what depends on one, and its change. A change that takes something away which no
//! other issuer takes over is made only when the caller confirms it.

use axum::Json as Reply;
use axum::extract::{Path, State};

use super::{Api, hierarchy, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Json;
use crate::model::certificate::Certificate;
use crate::model::identifier::shown;
use crate::model::issuer::{IssuerMove, IssuerState};
use crate::wire::hierarchy::{Issuer, IssuerDependents, IssuerStateRequest};

/// The changes that may need to be confirmed. All but the last are asked for by their state; the revocation of its
/// certificate makes an issuer revoked.
const MOVES: [(IssuerMove, IssuerState); 4] = [
    (IssuerMove::Activate, IssuerState::Active),
    (IssuerMove::Retire, IssuerState::Retiring),
    (IssuerMove::Remove, IssuerState::Removed),
    (IssuerMove::Revoke, IssuerState::Revoked),
];

/// Show what depends on an issuer
#[utoipa::path(get, path = "/api/v1/issuers/{issuer}/dependents", operation_id = "getIssuerDependents", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")),
    responses((status = 200, description = "What depends on it", body = IssuerDependents), Problems))]
pub async fn dependents(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
) -> Result<Reply<IssuerDependents>> {
    caller.may(Permission::ReadHierarchy)?;
    if !caller.sees_issuer(&slug) {
        return Err(Error::not_found(format!("issuer \"{}\"", shown(&slug))));
    }
    found(&api, &slug).await.map(Reply)
}

/// Change the state of an issuer
#[utoipa::path(put, path = "/api/v1/issuers/{issuer}/state", operation_id = "changeIssuerState", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")), request_body = IssuerStateRequest,
    responses((status = 200, description = "The issuer in its new state", body = Issuer), WriteProblems))]
pub async fn change(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    Json { value: asked, .. }: Json<IssuerStateRequest>,
) -> Result<Reply<Issuer>> {
    refused(&api, &caller, "issuer.refused", &slug, caller.may_manage_hierarchy()).await?;
    let step = step(&asked)?;
    refused(&api, &caller, "issuer.refused", &slug, api.authority.check_move(&slug, step).await).await?;
    let dependents = found(&api, &slug).await?;
    if dependents.confirm_for.contains(&asked.state) && !asked.confirm {
        let unconfirmed = Err(unconfirmed(&slug, &dependents));
        return refused(&api, &caller, "issuer.refused", &slug, unconfirmed).await;
    }
    if asked.confirm {
        api.authority.move_issuer(caller.actor(), &slug, step).await?;
    } else {
        api.authority.move_issuer_unconfirmed(caller.actor(), &slug, step).await?;
    }
    let snapshot = api.authority.snapshot();
    hierarchy::issuer_shape(&snapshot, snapshot.issuer(&slug)?, api.authority.store().now()).map(Reply)
}

fn step(asked: &IssuerStateRequest) -> Result<IssuerMove> {
    let refuse = |value: String, allowed: &str, fix: &str| {
        let sentence = format!("{value}; {fix}");
        Err(Error::refused(ErrorKind::Unprocessable, "issuer.state", value, allowed, fix).saying(sentence))
    };
    match (asked.state.as_str(), asked.default) {
        ("active", true) => Ok(IssuerMove::MakeDefault),
        ("active", false) => Ok(IssuerMove::Activate),
        ("retiring", false) => Ok(IssuerMove::Retire),
        ("removed", false) => Ok(IssuerMove::Remove),
        ("retiring" | "removed", true) => refuse(
            "an issuer that signs nothing cannot be the default".to_owned(),
            "default with state active",
            "leave default out",
        ),
        (other, _) => refuse(
            format!("\"{}\" is no state to ask for", shown(other)),
            "active, retiring, removed",
            "ask for active, retiring or removed: an issuer is prepared when it is created, and revoked by the revocation \
             of its certificate",
        ),
    }
}

/// What depends on the issuer or root whose own certificate this is; none for other certificates.
pub(super) async fn of_certificate(
    api: &Api,
    certificate: &Certificate,
) -> Result<Option<(String, IssuerDependents)>> {
    let Some(owner) = api.authority.issuer_with_now(certificate).await? else { return Ok(None) };
    let slug = owner.issuer.slug.clone();
    Ok(Some((slug.clone(), found(api, &slug).await?)))
}

async fn found(api: &Api, slug: &str) -> Result<IssuerDependents> {
    let found = api.authority.dependents(slug).await?;
    let directories = api.registration.directories_without(&found.issuers);
    let confirm_for = MOVES
        .iter()
        .filter(|(step, _)| found.must_confirm(*step, directories.len()))
        .map(|(_, to)| to.name().to_owned())
        .collect();
    Ok(IssuerDependents {
        issuers: found.issuers,
        profiles: found.profiles,
        acme_directories: directories,
        valid_certificates: found.valid_certificates,
        own_certificate: found.own_certificate,
        own_successor: found.own_successor,
        successor: found.successor,
        signing_on: found.signing_on,
        confirm_for,
    })
}

/// A change that is not confirmed, with what depends on the issuer or root.
pub(super) fn unconfirmed(slug: &str, dependents: &IssuerDependents) -> Error {
    let counts = format!(
        "{} profiles, {} ACME directories and {} valid certificates{} depend on {slug}; {} would sign instead",
        dependents.profiles.len(),
        dependents.acme_directories.len(),
        dependents.valid_certificates,
        if dependents.own_certificate { ", and the server's own certificate," } else { "" },
        dependents.successor.as_deref().unwrap_or("nobody")
    );
    let fix = format!(
        "look at it with `chancery ca show {slug}`, then run the command again with --yes (REST: \"confirm\": true)"
    );
    let sentence = format!("{counts}, so nothing was changed; {fix}");
    Error::refused(ErrorKind::Conflict, "issuer.dependents", counts, "a change that is confirmed", fix)
        .saying(sentence)
}
