//! Trust domains with their roots and issuers, and of each what it publishes: CRL and OCSP.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Dash;
use super::certificate::{Extension, extensions};
use super::format::{clean, day, grouped, minute, number, relative};
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::authority::snapshot::LoadedIssuer;
use crate::error::Result;
use crate::http::html::{Span, page, spans};
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::model::renewal::{RenewalFilter, RenewalRule};
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;

#[derive(Template)]
#[template(path = "authorities.html")]
struct List {
    frame: Frame,
    domains: Vec<Domain>,
}

struct Domain {
    slug: String,
    name: String,
    lines: Vec<Line>,
}

/// One issuer in the tree.
struct Line {
    /// Steps below the root.
    depth: usize,
    role: &'static str,
    slug: String,
    name: String,
    key: String,
    until: String,
    left: String,
    status: &'static str,
    class: &'static str,
    is_default: bool,
    /// Where its private key is.
    key_place: Vec<Span>,
}

/// What an issuer publishes.
#[derive(Debug)]
pub struct Publication {
    pub issuer: String,
    pub class: &'static str,
    pub words: &'static str,
    pub number: String,
    pub entries: i64,
    pub entries_words: String,
    pub since: String,
    pub next: String,
    pub next_left: String,
    /// When the OCSP delegate ends; none while the status key is not loaded, and where the issuer answers itself.
    pub ocsp: Option<String>,
}

impl Publication {
    pub async fn all(dash: &Dash, signed: &Signed) -> Vec<Publication> {
        let mut all = Vec::new();
        for (slug, loaded) in &dash.authority.snapshot().issuers {
            if signed.caller().sees_issuer(slug) {
                all.push(Publication::of(dash, loaded).await);
            }
        }
        all
    }

    /// An issuer whose CRL cannot be read is told as such: the page is for finding that out.
    async fn of(dash: &Dash, loaded: &LoadedIssuer) -> Publication {
        let (slug, now) = (loaded.issuer.slug.clone(), dash.now());
        let ocsp = loaded.responder.as_ref().map(|r| relative(r.not_after, now));
        let Ok(crl) = dash.authority.current_crl(&slug).await else {
            return Publication {
                issuer: slug,
                class: "bad",
                words: "no CRL",
                number: String::new(),
                entries: 0,
                entries_words: String::new(),
                since: String::new(),
                next: String::new(),
                next_left: String::new(),
                ocsp,
            };
        };
        let (class, words) = if crl.next_update <= now { ("bad", "CRL is over") } else { ("good", "current") };
        Publication {
            issuer: slug,
            class,
            words,
            // the low half counts; the high half is the epoch of the installation
            number: crl.number.to_string(),
            entries: crl.entries,
            entries_words: number(crl.entries),
            since: relative(crl.signed_at, now),
            next: minute(crl.next_update),
            next_left: relative(crl.next_update, now),
            ocsp,
        }
    }
}

pub async fn list(signed: Signed, State(dash): State<Dash>) -> Result<Response, Stop> {
    signed.may(Permission::ReadHierarchy)?;
    let snapshot = dash.authority.snapshot();
    let visible: Vec<_> = snapshot
        .issuers
        .values()
        .filter(|i| signed.caller().sees_issuer(&i.issuer.slug))
        .map(AsRef::as_ref)
        .collect();
    let domains = snapshot.domains.iter().map(|domain| {
        let own: Vec<&LoadedIssuer> = visible.iter().copied().filter(|i| i.issuer.domain == domain.slug).collect();
        // what has no parent here stands at the top, a subordinate of somebody else's root too
        let top = own.iter().filter(|i| !own.iter().any(|p| Some(p.issuer.id) == i.issuer.parent_id));
        Domain {
            slug: domain.slug.clone(),
            name: clean(&domain.name),
            lines: top.fold(Vec::new(), |mut all, i| {
                lines(&dash, i, &own, 0, &mut all);
                all
            }),
        }
    });
    let list = List { frame: Frame::of(&signed, "authorities"), domains: domains.collect() };
    Ok(page(&list)?)
}

/// An issuer and what stands below it, depth first. A hierarchy is a few levels deep; the bound stops a loop that a
/// damaged database might hold.
fn lines(dash: &Dash, i: &LoadedIssuer, all: &[&LoadedIssuer], depth: usize, into: &mut Vec<Line>) {
    let now = dash.now();
    let until = i.certificates.first().map(|c| c.not_after);
    into.push(Line {
        depth,
        slug: i.issuer.slug.clone(),
        name: clean(&i.issuer.name),
        role: i.issuer.role.name(),
        key: i.sealed_key.algorithm.name(),
        until: until.map(day).unwrap_or_default(),
        left: until.map(|at| relative(at, now)).unwrap_or_default(),
        status: i.issuer.state.name(),
        class: state(i, dash),
        is_default: signs_first(dash, i),
        key_place: spans(key_place(i)),
    });
    for child in
        all.iter().filter(|c| depth < 4 && c.issuer.parent_id == Some(i.issuer.id) && c.issuer.id != i.issuer.id)
    {
        lines(dash, child, all, depth + 1, into);
    }
}

/// Where a private key is. What a file on some disk holds this process cannot know: root.key may lie beside the database.
fn key_place(i: &LoadedIssuer) -> &'static str {
    match i.issuer.role {
        _ if i.sealed_key.is_offline() => "offline: in the file of `chancery ca root offline`, not in the database",
        IssuerRole::Root => "in the database, under root.key, which the server does not load",
        IssuerRole::Issuing if i.key.is_some() => "in the database, under unlock.key",
        IssuerRole::Issuing => "in the database, under unlock.key, not loaded: the server is locked",
    }
}

/// Whether it signs for its domain where no issuer is named.
fn signs_first(dash: &Dash, i: &LoadedIssuer) -> bool {
    let snapshot = dash.authority.snapshot();
    snapshot.default_signer(&i.issuer.domain, dash.now()).is_some_and(|first| first.issuer.id == i.issuer.id)
}

fn state(i: &LoadedIssuer, dash: &Dash) -> &'static str {
    if i.is_expired(dash.now()) { "expired" } else { i.issuer.state.name() }
}

/// What a state means, and the commands that change it.
fn what_next(i: &LoadedIssuer) -> String {
    let slug = &i.issuer.slug;
    match i.issuer.state {
        IssuerState::Prepared => format!(
            "It is in the bundle and signs nothing yet. `chancery ca activate {slug}` lets it sign, `chancery ca remove {slug}` \
             takes it out of the bundle."
        ),
        IssuerState::Active => format!(
            "It signs certificates, and its CRL and OCSP answers are published. `chancery ca retire {slug}` stops it from \
             signing."
        ),
        IssuerState::Retiring => format!(
            "It signs no certificates, and its CRL and OCSP answers are published on. `chancery ca activate {slug}` lets it \
             sign again, `chancery ca remove {slug}` takes it out of the bundle."
        ),
        IssuerState::Removed => format!(
            "It is out of the bundle and signs no certificates, and its CRL and OCSP answers are published on. \
             `chancery ca retire {slug}` brings it back into the bundle."
        ),
        IssuerState::Revoked if i.revoked_by.is_some() => {
            "The CA above it, elsewhere, revoked it: it signs no certificates unless that CA takes this back. Its CRL and OCSP \
             answers are published on."
                .to_owned()
        }
        IssuerState::Revoked => {
            "It was revoked and never signs a certificate again. Its CRL and OCSP answers are published on.".to_owned()
        }
    }
}

#[derive(Template)]
#[template(path = "authority.html")]
struct Detail {
    frame: Frame,
    slug: String,
    name: String,
    domain: String,
    is_root: bool,
    key: String,
    has_key: bool,
    key_place: Vec<Span>,
    status: &'static str,
    class: &'static str,
    is_default: bool,
    what_next: Vec<Span>,
    publication: Publication,
    crl_url: String,
    ocsp_url: String,
    certificate_url: String,
    parent: Option<(String, String)>,
    certificates: Vec<Own>,
    profiles: Vec<String>,
    moved: Vec<Moved>,
}

/// A rule that moves renewals of this issuer's certificates.
struct Moved {
    id: String,
    reason: String,
    which: String,
    start: String,
    end: String,
    until: String,
}

impl Moved {
    fn of(rule: RenewalRule) -> Self {
        let RenewalFilter { certificates, issuer: _, profile, account, requester, name, expires_before } =
            rule.filter;
        let mut which = Vec::new();
        if !certificates.is_empty() {
            which.push(format!("{} named one by one", certificates.len()));
        }
        which.extend(profile.map(|p| format!("profile {p}")));
        which.extend(account.map(|id| format!("account {id}")));
        which.extend(requester.map(|r| format!("requester {}", clean(&r))));
        which.extend(name.map(|n| format!("name {}", clean(&n))));
        which.extend(expires_before.map(|at| format!("ending before {}", day(at))));
        which.push(format!("issued before {}", minute(rule.issued_before)));
        Moved {
            id: rule.id.to_string(),
            reason: clean(&rule.reason),
            which: which.join(", "),
            start: minute(rule.window.start),
            end: minute(rule.window.end),
            until: day(rule.expires_at),
        }
    }
}

/// One certificate of the issuer's name and key.
struct Own {
    /// None for one that was imported.
    id: Option<String>,
    /// The one that stands in the chains of what it signs now, among several.
    current: bool,
    subject: String,
    from: String,
    until: String,
    left: String,
    fingerprint: String,
    extensions: Vec<Extension>,
}

pub async fn show(signed: Signed, State(dash): State<Dash>, Path(slug): Path<String>) -> Result<Response, Stop> {
    signed.may(Permission::ReadHierarchy)?;
    let snapshot = dash.authority.snapshot();
    let loaded = snapshot.issuer(&slug)?;
    if !signed.caller().sees_issuer(&slug) {
        return Err(crate::error::Error::not_found("issuer").into());
    }
    let now = dash.now();
    let issuer = &loaded.issuer;
    let parent = issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id));
    let (several, newest) = (loaded.certificates.len() > 1, loaded.certificate().ok().map(|c| &c.der));
    let own = loaded.certificates.iter().map(|c| {
        let facts = CertificateFacts::parse(&c.der).ok();
        Own {
            id: c.certificate_id.map(|id| id.to_string()),
            current: several && newest == Some(&c.der),
            subject: facts.as_ref().map(|f| clean(&f.subject.to_string())).unwrap_or_default(),
            from: day(c.not_before),
            until: day(c.not_after),
            left: relative(c.not_after, now),
            fingerprint: facts.as_ref().map(|f| grouped(&to_hex(&f.fingerprint))).unwrap_or_default(),
            extensions: facts.as_ref().map(extensions).unwrap_or_default(),
        }
    });
    let profiles = snapshot.profiles.iter().filter(|(_, p)| p.profile.domain() == issuer.domain);
    let detail = Detail {
        frame: Frame::of(&signed, "authorities"),
        name: clean(&issuer.name),
        domain: issuer.domain.clone(),
        is_root: issuer.role == IssuerRole::Root,
        key: loaded.sealed_key.algorithm.name(),
        has_key: loaded.key.is_some(),
        key_place: spans(key_place(loaded)),
        status: issuer.state.name(),
        class: state(loaded, &dash),
        is_default: signs_first(&dash, loaded),
        what_next: spans(&what_next(loaded)),
        publication: Publication::of(&dash, loaded).await,
        crl_url: issuer.crl_url(),
        ocsp_url: issuer.ocsp_url(),
        certificate_url: issuer.certificate_url(),
        parent: parent.map(|p| (p.issuer.slug.clone(), clean(&p.issuer.name))),
        certificates: own.collect(),
        profiles: profiles.map(|(slug, _)| slug.clone()).collect(),
        moved: match signed.may(Permission::ReadAcme) {
            Ok(()) => dash.authority.renewal_rules_over(&slug).into_iter().map(Moved::of).collect(),
            Err(_) => Vec::new(),
        },
        slug,
    };
    Ok(page(&detail)?)
}
