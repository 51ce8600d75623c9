//! Domains, issuers and profiles, as this replica knows them (at most 5 s old), and new ones. A server never loads a
//! root's key: there the answer says which command makes them on the host that has it.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Api, profiles, refused, shape};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::authority::chain::Chain;
use crate::authority::hierarchy::import::fingerprint;
use crate::authority::hierarchy::plan::Wanted;
use crate::authority::signers::NotSigning;
use crate::authority::snapshot::{LoadedIssuer, LoadedProfile, Snapshot};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Json;
use crate::model::identifier::shown;
use crate::model::issuer::{self, IssuerRole, OcspSigner};
use crate::model::serial::to_hex;
use crate::model::status_lifetimes::{LifetimesChange, parse_crl, parse_ocsp};
use crate::model::times::shown_duration;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::pem;
use crate::wire::hierarchy::{AlternateChain, Anchor, Domain, Issuer, IssuerChange, IssuerRequest, Profile};
use crate::wire::page::Page;

/// List issuers
#[utoipa::path(get, path = "/api/v1/issuers", operation_id = "listIssuers", tag = "issuers",
    responses((status = 200, description = "All issuers within the scope", body = Page<Issuer>), Problems))]
pub async fn issuers(caller: Caller, State(api): State<Api>) -> Result<Reply<Page<Issuer>>> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    let seen = snapshot.issuers.values().filter(|i| caller.sees_issuer(&i.issuer.slug));
    whole(seen.map(|i| issuer_shape(&snapshot, i, api.authority.store().now())))
}

/// Get an issuer
#[utoipa::path(get, path = "/api/v1/issuers/{issuer}", operation_id = "getIssuer", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")),
    responses((status = 200, description = "The issuer", body = Issuer), Problems))]
pub async fn issuer(caller: Caller, State(api): State<Api>, Path(slug): Path<String>) -> Result<Reply<Issuer>> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    let found = snapshot.issuers.get(&slug).filter(|i| caller.sees_issuer(&i.issuer.slug));
    let found = found.ok_or_else(|| Error::not_found(format!("issuer \"{}\"", shown(&slug))))?;
    issuer_shape(&snapshot, found, api.authority.store().now()).map(Reply)
}

/// Change an issuer
#[utoipa::path(patch, path = "/api/v1/issuers/{issuer}", operation_id = "changeIssuer", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")), request_body = IssuerChange,
    responses((status = 200, description = "The issuer", body = Issuer), WriteProblems))]
pub async fn change_issuer(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    Json { value: asked, .. }: Json<IssuerChange>,
) -> Result<Reply<Issuer>> {
    refused(&api, &caller, "issuer.refused", &slug, caller.may_manage_hierarchy()).await?;
    // both are read before the first is set
    let crl = asked.crl_lifetime.as_ref().map(|text| text.as_deref().map(parse_crl).transpose()).transpose()?;
    let ocsp = asked.ocsp_lifetime.as_ref().map(|text| text.as_deref().map(parse_ocsp).transpose()).transpose()?;
    let change = (crl.is_some() || ocsp.is_some()).then_some(LifetimesChange { crl, ocsp });
    if let Some(name) = &asked.ocsp_signer {
        let signer = OcspSigner::from_name(name).ok_or_else(|| {
            let all: Vec<_> = OcspSigner::ALL.into_iter().map(OcspSigner::name).collect();
            let value = format!("ocsp_signer \"{}\"", shown(name));
            Error::refused(
                ErrorKind::Unprocessable,
                "issuer.ocsp_signer",
                &value,
                all.join(" or "),
                "name one of them",
            )
            .explained(format!("{value} does not exist; there are {}", all.join(" and ")))
        })?;
        api.authority.set_ocsp_signer(caller.actor(), &slug, signer).await?;
    }
    if let Some(change) = change {
        let set = api.authority.set_lifetimes(caller.actor(), &slug, change).await;
        refused(&api, &caller, "issuer.refused", &slug, set).await?;
    }
    let snapshot = api.authority.snapshot();
    issuer_shape(&snapshot, snapshot.issuer(&slug)?, api.authority.store().now()).map(Reply)
}

/// Create an issuer
#[utoipa::path(post, path = "/api/v1/issuers", operation_id = "createIssuer", tag = "issuers",
    request_body = IssuerRequest,
    responses((status = 201, description = "The issuer", body = Issuer), WriteProblems))]
pub async fn create_issuer(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<IssuerRequest>,
) -> Result<Response> {
    refused(&api, &caller, "issuer.refused", &asked.domain, caller.may_manage_hierarchy()).await?;
    let (under, new_root) = (asked.under.clone(), asked.new_root);
    let asked = wanted(asked)?;
    let slug = match (new_root, under) {
        (true, None) => api.authority.create_root(caller.actor(), &asked).await?,
        (true, Some(under)) => {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "issuer.root",
                format!("a new root under issuer \"{}\"", shown(&under)),
                "a root, which signs itself, or an issuer under another",
                "leave new_root or under out",
            )
            .explained(format!(
                "a root signs itself, so a new one cannot stand under issuer \"{}\"",
                shown(&under)
            )));
        }
        (false, under) => api.authority.create_issuer(caller.actor(), &asked, under.as_deref()).await?,
    };
    let snapshot = api.authority.snapshot();
    let made = issuer_shape(&snapshot, snapshot.issuer(&slug)?, api.authority.store().now())?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/issuers/{slug}"))], Reply(made)).into_response())
}

/// List profiles
#[utoipa::path(get, path = "/api/v1/profiles", operation_id = "listProfiles", tag = "profiles",
    responses((status = 200, description = "All profiles within the scope", body = Page<Profile>), Problems))]
pub async fn profiles(caller: Caller, State(api): State<Api>) -> Result<Reply<Page<Profile>>> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    let seen = snapshot.profiles.iter().filter(|(slug, _)| caller.sees_profile(slug));
    whole(seen.map(|(slug, profile)| profile_shape(slug, profile)))
}

/// Get a profile
#[utoipa::path(get, path = "/api/v1/profiles/{profile}", operation_id = "getProfile", tag = "profiles",
    params(("profile" = String, Path, description = "Its slug")),
    responses((status = 200, description = "The profile", body = Profile), Problems))]
pub async fn profile(caller: Caller, State(api): State<Api>, Path(slug): Path<String>) -> Result<Response> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    if !snapshot.profiles.contains_key(&slug) || !caller.sees_profile(&slug) {
        return Err(Error::not_found(format!("profile \"{}\"", shown(&slug))));
    }
    profiles::shown_profile(&api, &slug)
}

/// List trust domains
#[utoipa::path(get, path = "/api/v1/domains", operation_id = "listDomains", tag = "domains",
    responses((status = 200, description = "All trust domains with their roots", body = Page<Domain>), Problems))]
pub async fn domains(caller: Caller, State(api): State<Api>) -> Result<Reply<Page<Domain>>> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    let all =
        snapshot.domains.iter().map(|domain| domain_shape(&caller, &snapshot, domain, api.authority.store().now()));
    whole(all.filter(|domain| sees_domain(&caller, domain)).map(Ok))
}

/// Get a trust domain
#[utoipa::path(get, path = "/api/v1/domains/{domain}", operation_id = "getDomain", tag = "domains",
    params(("domain" = String, Path, description = "Its slug")),
    responses((status = 200, description = "The trust domain", body = Domain), Problems))]
pub async fn domain(caller: Caller, State(api): State<Api>, Path(slug): Path<String>) -> Result<Reply<Domain>> {
    caller.may(Permission::ReadHierarchy)?;
    let snapshot = api.authority.snapshot();
    let found = snapshot.domains.iter().find(|domain| domain.slug == slug);
    let found = found
        .map(|found| domain_shape(&caller, &snapshot, found, api.authority.store().now()))
        .filter(|found| sees_domain(&caller, found));
    found.map(Reply).ok_or_else(|| Error::not_found(format!("trust domain \"{}\"", shown(&slug))))
}

/// Create a trust domain
#[utoipa::path(post, path = "/api/v1/domains", operation_id = "createDomain", tag = "domains",
    request_body = IssuerRequest,
    responses((status = 201, description = "The trust domain with its root, issuer and profiles", body = Domain), WriteProblems))]
pub async fn create_domain(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<IssuerRequest>,
) -> Result<Response> {
    refused(&api, &caller, "domain.refused", &asked.domain, caller.may_manage_hierarchy()).await?;
    if asked.new_root {
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "domain.root",
            "new_root for a new trust domain",
            "a trust domain, which has a root of its own from the start",
            "leave new_root out, or post to /api/v1/issuers for one more root of a domain that is there",
        )
        .explained("a new trust domain has a root of its own from the start"));
    }
    if let Some(under) = &asked.under {
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "domain.root",
            format!("a new trust domain under issuer \"{}\"", shown(under)),
            "a root of its own: who trusts a root trusts everything below it",
            "leave under out, or post to /api/v1/issuers for one more issuer of a domain that is there",
        ).explained(format!("a new trust domain has a root of its own and cannot stand under issuer \"{}\": who trusts a root trusts everything below it", shown(under))));
    }
    let slug = asked.domain.clone();
    api.authority.create_domain(caller.actor(), &wanted(asked)?).await?;
    let snapshot = api.authority.snapshot();
    let made = snapshot.domains.iter().find(|domain| domain.slug == slug);
    let made = made.ok_or_else(|| Error::inconsistent("a trust domain was made and is not there"))?;
    let location = [(header::LOCATION, format!("/api/v1/domains/{slug}"))];
    Ok((StatusCode::CREATED, location, Reply(domain_shape(&caller, &snapshot, made, api.authority.store().now())))
        .into_response())
}

fn wanted(asked: IssuerRequest) -> Result<Wanted> {
    Ok(Wanted {
        key: asked.key.as_deref().map(str::parse).transpose()?,
        domain: asked.domain,
        usages: asked.usages,
        permit: asked.permit,
        exclude: asked.exclude,
        unconstrained: asked.unconstrained,
        years: asked.years,
        status_url: asked.status_url,
        lifetimes: LifetimesChange {
            crl: asked.crl_lifetime.as_deref().map(parse_crl).transpose()?.map(Some),
            ocsp: asked.ocsp_lifetime.as_deref().map(parse_ocsp).transpose()?.map(Some),
        },
    })
}

/// These collections are short: one page holds them.
fn whole<T>(items: impl Iterator<Item = Result<T>>) -> Result<Reply<Page<T>>> {
    Ok(Reply(Page { items: items.collect::<Result<_>>()?, next_cursor: None }))
}

fn alternate_shape(chain: &Chain) -> AlternateChain {
    AlternateChain { root: shown(&chain.root), not_after: chain.until, certificates: shape::chain(&chain.ders) }
}

fn anchor_shape(anchor: &issuer::Anchor) -> Anchor {
    let name = CaCertificate::read(&anchor.der).map_or_else(|_| String::new(), |ca| shown(&ca.name()));
    Anchor {
        name,
        sha256: to_hex(&fingerprint(&anchor.der)),
        standing: anchor.standing.name().to_owned(),
        trusted: anchor.standing.is_trusted(),
        not_after: anchor.not_after,
    }
}

pub(super) fn issuer_shape(snapshot: &Snapshot, loaded: &LoadedIssuer, now: Timestamp) -> Result<Issuer> {
    let issuer = &loaded.issuer;
    let certificate = loaded.certificate()?;
    Ok(Issuer {
        id: issuer.id.to_string(),
        slug: issuer.slug.clone(),
        domain: issuer.domain.clone(),
        name: issuer.name.clone(),
        role: issuer.role.name().to_owned(),
        status: issuer.state.status().to_owned(),
        state: issuer.state.name().to_owned(),
        on_hold: loaded.on_hold,
        signs_not: not_signing(snapshot, loaded, now).map(|why| why.clause()),
        is_default: snapshot.default_signer(&issuer.domain, now).is_some_and(|first| first.issuer.id == issuer.id),
        permitted_names: loaded.path.permitted_names(),
        key_algorithm: loaded.sealed_key.algorithm.name(),
        can_sign: loaded.key.is_some(),
        key_offline: loaded.sealed_key.is_offline(),
        not_before: Some(certificate.not_before),
        not_after: Some(certificate.not_after),
        crl_url: issuer.crl_url(),
        ocsp_url: issuer.ocsp_url(),
        ocsp_signer: loaded.ocsp_signer.name().to_owned(),
        crl_lifetime: (issuer.role == IssuerRole::Issuing).then(|| shown_duration(loaded.lifetimes.crl)),
        ocsp_lifetime: shown_duration(loaded.lifetimes.ocsp),
        sha256: to_hex(&fingerprint(&certificate.der)),
        certificate: pem::encode(pem::CERTIFICATE, &certificate.der),
        chain: shape::chain(&snapshot.chain(issuer.id)),
        chains: loaded.alternates(now).map(alternate_shape).collect(),
    })
}

/// A root signs CA certificates alone, which is no reason.
fn not_signing(snapshot: &Snapshot, loaded: &LoadedIssuer, now: Timestamp) -> Option<NotSigning> {
    let state = loaded.issuer.state;
    match snapshot.may_sign(loaded, now).err()? {
        NotSigning::Root if !state.signs() => Some(NotSigning::State(state)),
        NotSigning::Root if loaded.is_expired(now) => Some(NotSigning::Expired(loaded.not_after().unwrap_or(now))),
        NotSigning::Root => None,
        why => Some(why),
    }
}

pub(super) fn profile_shape(slug: &str, loaded: &LoadedProfile) -> Result<Profile> {
    let rules =
        serde_json::to_value(&loaded.config).map_err(|e| Error::internal("a profile does not serialise", e))?;
    Ok(Profile { slug: slug.to_owned(), revision: loaded.revision, updated_at: loaded.updated_at, rules })
}

/// A bounded caller sees the domains of the issuers in its grant.
fn sees_domain(caller: &Caller, domain: &Domain) -> bool {
    !caller.is_bounded() || !domain.issuers.is_empty()
}

/// With the issuers and profiles that the caller sees.
fn domain_shape(caller: &Caller, snapshot: &Snapshot, domain: &issuer::Domain, now: Timestamp) -> Domain {
    let own = |issuer: &&std::sync::Arc<LoadedIssuer>| issuer.issuer.domain == domain.slug;
    Domain {
        id: domain.id.to_string(),
        slug: domain.slug.clone(),
        name: domain.name.clone(),
        created_at: domain.created_at,
        bundle: shape::chain(&snapshot.roots(&domain.slug)),
        anchors: snapshot.anchors.iter().filter(|a| a.domain == domain.slug).map(anchor_shape).collect(),
        issuers: snapshot
            .issuers
            .values()
            .filter(own)
            .map(|i| i.issuer.slug.clone())
            .filter(|slug| caller.sees_issuer(slug))
            .collect(),
        default_issuer: snapshot
            .default_signer(&domain.slug, now)
            .map(|i| i.issuer.slug.clone())
            .filter(|slug| caller.sees_issuer(slug)),
        profiles: snapshot
            .profiles
            .iter()
            .filter(|(_, p)| p.config.domain == domain.slug)
            .map(|(s, _)| s.clone())
            .filter(|slug| caller.sees_profile(slug))
            .collect(),
    }
}
