//! Who signs: the issuer that a request names, else the default of its domain if the names meet its constraints, else
//! the oldest active issuer that they fit. Only what is active signs, under CAs that clients trust.

use std::cmp::Reverse;
use std::sync::Arc;

use super::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::{Identifier, shown};
use crate::model::issuer::{IssuerRole, IssuerState};

/// A hierarchy is a few levels; the limit stops a loop that a damaged database might hold.
const MAX_DEPTH: usize = 8;

/// Which issuers a request may be signed by.
#[derive(Debug, Clone, Copy)]
pub enum Candidates<'a> {
    Any,
    /// The issuers of an ACME directory.
    Listed(&'a [String]),
}

impl Candidates<'_> {
    pub fn allows(self, slug: &str) -> bool {
        match self {
            Candidates::Any => true,
            Candidates::Listed(slugs) => slugs.iter().any(|listed| listed == slug),
        }
    }
}

/// Why an issuer signs no certificate now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSigning {
    /// It signs CAs alone.
    Root,
    /// It is prepared, retiring, removed or revoked.
    State(IssuerState),
    /// Its row was changed in the database, or its key cannot be used.
    Changed(String),
    /// The CA above it, elsewhere, holds its certificate.
    OnHold,
    Expired(Timestamp),
    /// A CA above it that clients do not trust yet, or any more.
    Under {
        slug: String,
        state: IssuerState,
    },
    UnderExpired {
        slug: String,
        at: Timestamp,
    },
    /// Its own path ends at a root that the bundle of its domain does not hold.
    Untrusted {
        root: String,
    },
}

impl NotSigning {
    /// A clause about an issuer, such as "is retiring".
    pub fn clause(&self) -> String {
        match self {
            NotSigning::Root => "is a root and signs CAs alone".to_owned(),
            NotSigning::State(state) => format!("is {}", state.name()),
            NotSigning::Changed(why) => format!("signs nothing: {why}"),
            NotSigning::OnHold => "was put on hold by the CA above it".to_owned(),
            NotSigning::Expired(at) => format!("expired at {at}"),
            NotSigning::Under { slug, state } => format!("stands under {slug}, which is {}", state.name()),
            NotSigning::UnderExpired { slug, at } => format!("stands under {slug}, which expired at {at}"),
            NotSigning::Untrusted { root } => {
                format!("stands under {root}, which clients of its trust domain do not trust")
            }
        }
    }
}

impl LoadedIssuer {
    /// When the certificate that new ones chain to expires.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.certificates.first().map(|c| c.not_after)
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after().is_none_or(|end| end <= now)
    }

    /// Whether all these names may stand below it and every CA above it.
    pub fn fits(&self, names: &[Identifier]) -> bool {
        self.path.check_names(names).is_ok()
    }
}

impl Snapshot {
    /// Whether an issuer signs certificates now, whatever their names.
    pub fn may_sign(&self, issuer: &LoadedIssuer, now: Timestamp) -> Result<(), NotSigning> {
        match issuer.issuer.role {
            IssuerRole::Root => return Err(NotSigning::Root),
            IssuerRole::Issuing => {}
        }
        if issuer.on_hold {
            return Err(NotSigning::OnHold);
        }
        if let Some(why) = &issuer.refused {
            return Err(NotSigning::Changed(why.clone()));
        }
        if !issuer.issuer.state.signs() {
            return Err(NotSigning::State(issuer.issuer.state));
        }
        self.may_sign_when_active(issuer, now)
    }

    /// The same whatever its own state.
    pub fn may_sign_when_active(&self, issuer: &LoadedIssuer, now: Timestamp) -> Result<(), NotSigning> {
        if issuer.on_hold {
            return Err(NotSigning::OnHold);
        }
        if issuer.revoked_at.is_some() {
            return Err(NotSigning::State(IssuerState::Revoked));
        }
        if issuer.is_expired(now) {
            return Err(NotSigning::Expired(issuer.not_after().unwrap_or(now)));
        }
        if let Some(usual) = issuer.chains.first().filter(|usual| !usual.ends_in_bundle()) {
            return Err(NotSigning::Untrusted { root: shown(&usual.root) });
        }
        self.above(issuer).try_for_each(|above| {
            let slug = above.issuer.slug.clone();
            match above.issuer.state {
                // a retiring root stays in the bundle, so what it signed goes on
                IssuerState::Active | IssuerState::Retiring => {}
                state @ (IssuerState::Prepared | IssuerState::Removed | IssuerState::Revoked) => {
                    return Err(NotSigning::Under { slug, state });
                }
            }
            match above.not_after().filter(|end| *end <= now) {
                Some(at) => Err(NotSigning::UnderExpired { slug, at }),
                None => Ok(()),
            }
        })
    }

    /// The CAs of this installation above an issuer, nearest first.
    pub fn above<'s>(&'s self, issuer: &LoadedIssuer) -> impl Iterator<Item = &'s Arc<LoadedIssuer>> {
        let parent = |of: &LoadedIssuer| of.issuer.parent_id.filter(|id| *id != of.issuer.id);
        let first = parent(issuer).and_then(|id| self.issuer_by_id(id));
        std::iter::successors(first, move |last| parent(last).and_then(|id| self.issuer_by_id(id))).take(MAX_DEPTH)
    }

    /// The issuer of a domain that signs now where a request names none and the names fit it.
    pub fn default_signer(&self, domain: &str, now: Timestamp) -> Option<&Arc<LoadedIssuer>> {
        self.signers(domain, now).into_iter().next()
    }

    /// The base of CRL and OCSP pointers that the issuer made last has.
    pub fn newest_status_url(&self) -> Option<String> {
        let usable = self.issuers.values().filter(|i| i.refused.is_none());
        let newest = usable.max_by_key(|i| (i.issuer.created_at, i.issuer.id.bytes()))?;
        Some(newest.issuer.status_url.clone())
    }

    /// The issuers of a domain that sign now: the default, then the others by age.
    pub fn signers(&self, domain: &str, now: Timestamp) -> Vec<&Arc<LoadedIssuer>> {
        let signs = |i: &&Arc<LoadedIssuer>| i.issuer.domain == domain && self.may_sign(i, now).is_ok();
        let mut signers: Vec<_> = self.issuers.values().filter(signs).collect();
        signers.sort_by_key(|i| (Reverse(i.issuer.is_default), i.issuer.created_at, i.issuer.id.bytes()));
        signers
    }

    /// Who signs a certificate with these names. Where no issuer takes them the first is returned, so that it says why.
    pub fn signer(
        &self,
        domain: &str,
        candidates: Candidates<'_>,
        names: &[Identifier],
        now: Timestamp,
    ) -> Result<&Arc<LoadedIssuer>> {
        let mut signers = self.signers(domain, now);
        signers.retain(|issuer| candidates.allows(&issuer.issuer.slug));
        let found = signers.iter().find(|issuer| issuer.fits(names)).or(signers.first()).copied();
        found.ok_or_else(|| self.nobody_signs(domain, candidates, now))
    }

    /// The issuer that a request names.
    pub fn named_signer(
        &self,
        slug: &str,
        domain: &str,
        profile: &str,
        now: Timestamp,
    ) -> Result<&Arc<LoadedIssuer>> {
        let issuer = self.issuer(slug)?;
        let refuse = |rule: &str, value: String, allowed: String, sentence: String| {
            let fix = "leave the issuer out, and the default issuer of the domain signs";
            Err(Error::refused(ErrorKind::Refused, rule, value, allowed, fix).saying(format!("{sentence}; {fix}")))
        };
        if issuer.issuer.domain != domain {
            let own = &issuer.issuer.domain;
            let sentence =
                format!("issuer {slug} signs for trust domain {own}, and profile {profile} is of {domain}");
            let value = format!("issuer {slug} of domain {own}");
            return refuse("profile.domain", value, format!("an issuer of domain {domain}"), sentence);
        }
        match self.may_sign(issuer, now) {
            Ok(()) => Ok(issuer),
            Err(why) => {
                let clause = why.clause();
                let value = format!("issuer {slug}, which {clause}");
                let allowed = "an active issuer under a CA that is trusted".to_owned();
                refuse("issuer.active", value, allowed, format!("issuer {slug} {clause}, so it signs nothing"))
            }
        }
    }

    fn nobody_signs(&self, domain: &str, candidates: Candidates<'_>, now: Timestamp) -> Error {
        let of_domain = |i: &&Arc<LoadedIssuer>| {
            i.issuer.domain == domain && i.issuer.role == IssuerRole::Issuing && candidates.allows(&i.issuer.slug)
        };
        let why =
            |i: &Arc<LoadedIssuer>| Some(format!("{} {}", i.issuer.slug, self.may_sign(i, now).err()?.clause()));
        let mut found: Vec<_> = self.issuers.values().filter(of_domain).filter_map(why).collect();
        found.extend(self.bad_rows.iter().filter(|bad| bad.table == "issuers").map(ToString::to_string));
        let found = if found.is_empty() { String::new() } else { format!(" ({})", found.join(", ")) };
        match candidates {
            Candidates::Any => {
                let exists = self.domains.iter().any(|known| known.slug == domain);
                let (state, fix) = match exists {
                    true => (
                        "has no active issuer",
                        "run `chancery doctor`, which says what lets it issue again".to_owned(),
                    ),
                    false => ("does not exist", format!("run `chancery ca create {domain}` to make it")),
                };
                let value = format!("trust domain \"{domain}\", which {state}{found}");
                let sentence = format!("trust domain \"{domain}\" {state}{found}; {fix}");
                let allowed = "a domain with an active issuer";
                Error::refused(ErrorKind::Refused, "profile.domain", value, allowed, fix).saying(sentence)
            }
            Candidates::Listed(slugs) => {
                let list = if slugs.is_empty() { "which is empty".to_owned() } else { slugs.join(", ") };
                let fix = "ask an operator to change the directory's issuers or profiles";
                let value =
                    format!("trust domain \"{domain}\", of which no issuer in the list ({list}) is active{found}");
                let sentence = format!(
                    "no issuer of trust domain \"{domain}\" in the directory's list ({list}) is active{found}; {fix}"
                );
                let allowed = "a domain with an active issuer in the list";
                Error::refused(ErrorKind::Refused, "directory.issuers", value, allowed, fix).saying(sentence)
            }
        }
    }
}
