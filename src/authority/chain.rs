//! The chains of an issuer: every way up (`pki::path_finder`) over the certificates of our issuers and those of others
//! above them.

use std::cmp::Reverse;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::Authority;
use super::snapshot::LoadedIssuer;
use crate::clock::{Timestamp, days};
use crate::error::{Error, Result};
use crate::model::certificate::Certificate;
use crate::model::identifier::Identifier;
use crate::model::issuer::{Anchor, Issuer, IssuerCertificate, IssuerRole};
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::path::IssuingPath;
use crate::pki::path_finder;

/// Ways up that one issuer has at most: renewed or cross-signed a few times.
const MOST: usize = 16;

/// A cross-certificate leaves the chains so long before it expires: what fetched it lives on for some days.
const DROPPED_EARLY: Duration = days(7);

/// Where a way up ends. An issuer's own hierarchy comes first, whatever others certified and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ends {
    /// At a root of the issuer's own domain.
    Own,
    /// At the root that its first certificate came from.
    First,
    /// At another root in the bundle of the domain.
    Bundled,
    /// At a root that clients of the domain do not trust.
    Foreign,
    /// Below a certificate that is not known.
    Open,
}

/// One way from an issuer's certificate up, nearest first, without the root.
#[derive(Debug, Clone)]
pub struct Chain {
    pub ders: Vec<Vec<u8>>,
    /// When the first of them expires.
    pub until: Timestamp,
    /// The root that it leads to.
    pub root: String,
    path: IssuingPath,
    ends: Ends,
    created_at: Timestamp,
}

impl Chain {
    /// It stands in URLs: the same certificates have the same name, whatever other chains come and go.
    pub fn name(&self) -> String {
        let mut all = Context::new(&SHA256);
        self.ders.iter().for_each(|der| all.update(der));
        to_hex(all.finish().as_ref().get(..8).unwrap_or_default())
    }

    /// Whether it may still be given out.
    pub fn is_served(&self, now: Timestamp) -> bool {
        now + DROPPED_EARLY < self.until
    }

    /// Whether it leads to a root of its domain's bundle. Which state a root of ours is in is asked apart.
    pub fn ends_in_bundle(&self) -> bool {
        match self.ends {
            Ends::Own | Ends::First | Ends::Bundled => true,
            Ends::Foreign | Ends::Open => false,
        }
    }

    /// Whether a certificate with this authority key identifier and these names may stand below it.
    fn fits(&self, named: Option<&[u8]>, names: &[Identifier]) -> bool {
        let key_id = self.path.cas().first().and_then(|own| own.subject_key_id.as_deref());
        key_id.zip(named).is_none_or(|(own, named)| own == named) && self.path.check_names(names).is_ok()
    }
}

impl LoadedIssuer {
    /// The chains besides the usual one: cross-certificates and other roots.
    pub fn alternates(&self, now: Timestamp) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(move |chain| chain.ders != self.chain && chain.is_served(now))
    }
}

impl Authority {
    /// The chains that go with a certificate: the usual one, then every other that is valid for it and leads elsewhere
    /// (RFC 8555 §7.4.2).
    pub fn chains_of(&self, certificate: &Certificate, der: &[u8]) -> Result<Vec<Chain>> {
        let unreadable = |e| Error::inconsistent(format!("{} cannot be read", certificate.id)).because(e);
        let named = CertificateFacts::parse(der).map_err(unreadable)?.authority_key_id;
        let (snapshot, now) = (self.snapshot(), self.store().now());
        let Some(issuer) = snapshot.issuer_by_id(certificate.issuer_id) else { return Ok(Vec::new()) };
        let fits = |chain: &&Chain| chain.fits(named.as_deref(), &certificate.names);
        let usual = issuer.chains.iter().filter(|chain| chain.ders == issuer.chain);
        let mut chains: Vec<_> = usual.chain(issuer.alternates(now)).filter(fits).cloned().collect();
        if chains.is_empty() {
            chains.extend(issuer.chains.first().cloned());
        }
        Ok(chains)
    }
}

impl Authority {
    /// Certificates of an issuer, by CAs elsewhere, that are constrained to other names than the one that its certificates
    /// chain to, in a sentence each.
    pub fn narrower_certificates(&self, slug: &str) -> Vec<String> {
        let snapshot = self.snapshot();
        let Ok(issuer) = snapshot.issuer(slug) else { return Vec::new() };
        let own = issuer.path.constraints();
        let narrower = issuer.chains.iter().filter(|chain| {
            let other = chain.path.constraints();
            !other.is_empty() && other != own
        });
        let names = |path: &IssuingPath, all: &str| match path.permitted_names().as_slice() {
            [] => all.to_owned(),
            names => format!("{} only", names.join(", ")),
        };
        let told = narrower.map(|chain| {
            format!(
                "the certificate of {slug} below {} permits {}, while {slug} may sign {}; whoever trusts {} alone refuses \
                 certificates for the rest",
                chain.root,
                names(&chain.path, "not every name"),
                names(&issuer.path, "every name"),
                chain.root
            )
        });
        told.collect()
    }
}

/// Every CA certificate that is known, and the roots that clients trust.
#[derive(Debug)]
pub(super) struct Above {
    all: Vec<CaCertificate>,
    /// Domain and root.
    own: Vec<(String, CaCertificate)>,
    bundled: Vec<(String, CaCertificate)>,
    now: Timestamp,
}

impl Above {
    /// One that cannot be read stands above nothing; fsck tells of it.
    pub fn read(issuers: &[Issuer], certificates: &[IssuerCertificate], anchors: &[Anchor], now: Timestamp) -> Self {
        let read = |der: &[u8]| CaCertificate::read(der).ok();
        let roots = issuers.iter().filter(|i| i.role == IssuerRole::Root);
        let of = |id| certificates.iter().filter(move |c: &&IssuerCertificate| c.issuer_id == id);
        let own = roots.flat_map(|i| of(i.id).filter_map(|c| Some((i.domain.clone(), read(&c.der)?))));
        let bundled = anchors.iter().filter(|a| a.standing.is_trusted());
        let all = certificates.iter().map(|c| &c.der).chain(anchors.iter().map(|a| &a.der));
        Above {
            all: all.filter_map(|der| read(der)).collect(),
            own: own.filter(|(_, ca)| ca.is_root()).collect(),
            bundled: bundled.filter_map(|a| Some((a.domain.clone(), read(&a.der)?))).collect(),
            now,
        }
    }

    /// Every way up from the certificates of an issuer, each once, its own first. Roots are left out, so that a way up
    /// to another certificate of the same root is no other way.
    pub fn chains(&self, domain: &str, certificates: &[IssuerCertificate]) -> Vec<Chain> {
        let mut oldest: Vec<_> = certificates.iter().collect();
        oldest.sort_by_key(|c| c.created_at);
        let mut first: Option<CaCertificate> = None;
        let mut chains: Vec<Chain> = Vec::new();
        for certificate in oldest {
            let Ok(own) = CaCertificate::read(&certificate.der) else { continue };
            let found = path_finder::find(&own, &self.all, self.now);
            let open = found.open.into_iter().map(|(way, _)| (Ends::Open, way));
            for (ends, way) in found.complete.into_iter().map(|way| (Ends::Foreign, way)).chain(open) {
                let Some(root) = way.last().cloned() else { continue };
                let ends = if ends == Ends::Open {
                    ends
                } else {
                    self.ends(domain, &root, first.get_or_insert(root.clone()))
                };
                chains.extend(Chain::of(way, ends, certificate.created_at));
            }
        }
        let now = self.now;
        chains.sort_by_key(|c| (c.ends, c.path.check(now).is_err(), Reverse(c.until), c.created_at, c.ders.len()));
        let mut seen: Vec<Vec<Vec<u8>>> = Vec::new();
        chains.retain(|chain| {
            let fresh = seen.len() < MOST && !seen.contains(&chain.ders);
            fresh.then(|| seen.push(chain.ders.clone())).is_some()
        });
        chains
    }

    fn ends(&self, domain: &str, root: &CaCertificate, first: &CaCertificate) -> Ends {
        let holds =
            |roots: &[(String, CaCertificate)]| roots.iter().any(|(of, ca)| of == domain && ca.is_same_ca(root));
        if holds(&self.own) {
            Ends::Own
        } else if holds(&self.bundled) {
            if first.is_same_ca(root) { Ends::First } else { Ends::Bundled }
        } else {
            Ends::Foreign
        }
    }
}

impl Chain {
    fn of(way: Vec<CaCertificate>, ends: Ends, created_at: Timestamp) -> Option<Self> {
        let below = || way.iter().filter(|ca| !ca.is_root());
        Some(Chain {
            until: below().map(|ca| ca.validity.not_after()).min().unwrap_or(way.first()?.validity.not_after()),
            ders: below().map(|ca| ca.der.clone()).collect(),
            root: way.last()?.name(),
            path: IssuingPath::known(way),
            ends,
            created_at,
        })
    }

    pub fn path(&self) -> &IssuingPath {
        &self.path
    }
}

/// The certificates of an issuer with the one first that new ones chain to.
pub(super) fn own_first(certificates: &mut [IssuerCertificate], usual: &Chain) {
    let own = usual.path.cas().first().map(|own| own.der.as_slice());
    certificates.sort_by_key(|c| own != Some(c.der.as_slice()));
}

pub(super) fn is_self_issued(der: &[u8]) -> bool {
    CaCertificate::read(der).is_ok_and(|c| c.is_self_issued())
}
