//! What mends a finding: commands as an operator types them, with the names of this installation.

use std::sync::Arc;

use super::issuers::issuing;
use crate::authority::Authority;
use crate::authority::ca_revocation::how_to_sign;
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::model::identifier::shown;
use crate::model::issuer::{IssuerRole, IssuerState};

/// Who signs the next CRL and the OCSP delegate of an issuer.
pub(in crate::authority) fn how_to_publish(loaded: &LoadedIssuer) -> String {
    match loaded.issuer.role {
        IssuerRole::Root => how_to_sign(loaded),
        IssuerRole::Issuing => "a server that runs with its unlock key signs it: `chancery serve`".to_owned(),
    }
}

impl Authority {
    /// Names the command that gets the next CRL of an issuer signed, for `/readyz/status`.
    pub fn how_to_publish(&self, loaded: &LoadedIssuer) -> String {
        how_to_publish(loaded)
    }
}

/// What lets a domain issue in which nothing signs: moving an issuer that is there, else renewing one that has expired,
/// else making another one.
pub(super) fn how_to_issue(snapshot: &Snapshot, domain: &str, now: Timestamp) -> String {
    // a CA that was removed does not come back while there is a root to go on from
    let goes_on = roots(snapshot, domain)
        .any(|i| matches!(i.issuer.state, IssuerState::Active | IssuerState::Prepared) && !i.is_expired(now));
    let removed = |i: &LoadedIssuer| i.issuer.state == IssuerState::Removed;
    let usable = issuing(snapshot, domain).filter(|i| !goes_on || !snapshot.above(i).any(|above| removed(above)));
    let moves = usable.filter_map(|i| moves(snapshot, i, now)).min_by_key(Vec::len);
    if let Some(steps) = moves {
        return run(&steps);
    }
    let expired = |i: &&Arc<LoadedIssuer>| i.revoked_at.is_none() && i.issuer.state.signs() && i.is_expired(now);
    let renewed = issuing(snapshot, domain).filter(expired).find_map(|i| renewal(snapshot, i, now));
    let held = || issuing(snapshot, domain).find(|i| i.on_hold).map(|i| how_to_lift(i));
    renewed.or_else(held).unwrap_or_else(|| how_to_create(snapshot, domain, now))
}

/// Who brings an issuer back that a CA elsewhere put on hold.
pub(in crate::authority) fn how_to_lift(held: &LoadedIssuer) -> String {
    let by = held.revoked_by.as_deref().map_or_else(|| "the CA above it".to_owned(), shown);
    format!(
        "ask {by} whether it lifts the hold of {}, and run `chancery ca crl import FILE` with its next CRL if that is not \
         fetched from here",
        held.issuer.slug
    )
}

/// What to do before a CA expires at `end`.
pub(super) fn how_to_outlast(snapshot: &Snapshot, loaded: &LoadedIssuer, end: Timestamp, now: Timestamp) -> String {
    let (slug, domain) = (&loaded.issuer.slug, &loaded.issuer.domain);
    match loaded.issuer.role {
        IssuerRole::Root => match successor(snapshot, loaded, end) {
            None => format!("run `chancery ca create {domain} --new-root` and what it prints next"),
            Some(next) if next.issuer.state.signs() => {
                format!("{} stands for it: run `chancery ca retire {slug}`", next.issuer.slug)
            }
            Some(next) => format!(
                "run `chancery ca activate {}` once clients have /bundles/{domain}.pem, then `chancery ca retire {slug}`",
                next.issuer.slug
            ),
        },
        IssuerRole::Issuing => {
            let other =
                snapshot.signers(domain, now).into_iter().find(|i| i.not_after().is_some_and(|other| other > end));
            if let Some(other) = other {
                return format!("{} lasts longer: run `chancery ca retire {slug}`", other.issuer.slug);
            }
            let outlasts =
                |i: &LoadedIssuer| snapshot.above(i).all(|above| above.not_after().is_some_and(|up| up > end));
            let renewed = outlasts(loaded).then(|| renewal(snapshot, loaded, now)).flatten();
            renewed.unwrap_or_else(|| {
                format!("{}, then `chancery ca retire {slug}`", how_to_create(snapshot, domain, now))
            })
        }
    }
}

/// Another root of the domain that lasts longer: one that signs before one that is prepared.
fn successor<'s>(snapshot: &'s Snapshot, root: &LoadedIssuer, end: Timestamp) -> Option<&'s Arc<LoadedIssuer>> {
    let later = roots(snapshot, &root.issuer.domain).filter(|i| i.not_after().is_some_and(|other| other > end));
    let usable = later.filter(|i| matches!(i.issuer.state, IssuerState::Active | IssuerState::Prepared));
    usable.max_by_key(|i| (i.issuer.state.signs(), i.not_after()))
}

fn roots<'s>(snapshot: &'s Snapshot, domain: &str) -> impl Iterator<Item = &'s Arc<LoadedIssuer>> {
    snapshot.issuers.values().filter(move |i| i.issuer.domain == domain && i.issuer.role == IssuerRole::Root)
}

/// The commands after which an issuer signs; none where no command brings it back.
fn moves(snapshot: &Snapshot, issuer: &LoadedIssuer, now: Timestamp) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let above: Vec<_> = snapshot.above(issuer).collect();
    for ca in above.into_iter().rev() {
        let slug = &ca.issuer.slug;
        match ca.issuer.state {
            _ if ca.is_expired(now) => return None,
            IssuerState::Active | IssuerState::Retiring => {}
            IssuerState::Prepared => steps.push(format!("ca activate {slug}")),
            IssuerState::Removed => steps.push(format!("ca retire {slug}")),
            IssuerState::Revoked => return None,
        }
    }
    let slug = &issuer.issuer.slug;
    match issuer.issuer.state {
        _ if issuer.is_expired(now) || issuer.revoked_at.is_some() => return None,
        IssuerState::Active => {}
        IssuerState::Prepared | IssuerState::Retiring => steps.push(format!("ca activate {slug}")),
        IssuerState::Removed => steps.extend([format!("ca retire {slug}"), format!("ca activate {slug}")]),
        IssuerState::Revoked => return None,
    }
    Some(steps)
}

/// One more certificate for the same key, from the CA above it. None where that CA signs no more.
fn renewal(snapshot: &Snapshot, issuer: &LoadedIssuer, now: Timestamp) -> Option<String> {
    let slug = &issuer.issuer.slug;
    let Some(above) = issuer.issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id)) else {
        return Some(format!(
            "run `chancery ca csr --issuer {slug}`, have the CSR signed by the CA above it, and run `chancery ca install FILE`"
        ));
    };
    let signs = matches!(above.issuer.state, IssuerState::Active | IssuerState::Prepared) && !above.is_expired(now);
    signs.then(|| with_key(above, format!("ca renew {slug}")))
}

/// Another issuer for a domain: under its newest root that may sign, under a new root, or under a CA elsewhere.
fn how_to_create(snapshot: &Snapshot, domain: &str, now: Timestamp) -> String {
    let rank = |i: &Arc<LoadedIssuer>| match i.issuer.state {
        IssuerState::Active => Some(3),
        IssuerState::Prepared => Some(2),
        IssuerState::Retiring => Some(1),
        IssuerState::Removed | IssuerState::Revoked => None,
    };
    let usable = roots(snapshot, domain).filter(|i| !i.is_expired(now));
    let best = usable.filter_map(|i| Some((rank(i)?, i.not_after(), i))).max_by_key(|(rank, end, _)| (*rank, *end));
    let foreign = snapshot.anchors.iter().any(|a| a.domain == domain && a.standing.is_trusted());
    match best {
        Some((_, _, root)) => {
            let slug = &root.issuer.slug;
            let create = with_key(root, format!("ca create {domain} --under {slug}"));
            match root.issuer.state.signs() {
                true => create,
                false => format!("{}; then {create}", run(&[format!("ca activate {slug}")])),
            }
        }
        None if foreign => format!(
            "run `chancery ca csr {domain}`, have the CSR signed by the CA above it, and run `chancery ca install FILE`"
        ),
        None => format!("run `chancery ca create {domain} --new-root` and what it prints next"),
    }
}

/// A command that needs the key of a CA here.
fn with_key(above: &LoadedIssuer, command: String) -> String {
    if above.sealed_key.is_offline() {
        return run(&["ca root online FILE".to_owned(), command]);
    }
    match above.issuer.role {
        IssuerRole::Root => {
            format!("{} on the host that has root.key; `--root-key FILE` says where it lies", run(&[command]))
        }
        IssuerRole::Issuing => run(&[command]),
    }
}

fn run(steps: &[String]) -> String {
    let commands: Vec<_> = steps.iter().map(|step| format!("`chancery {step}`")).collect();
    format!("run {}", commands.join(", then "))
}
