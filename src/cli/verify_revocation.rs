//! Revocation for `verify`: the certificate and every CA certificate above it, as verifiers see it that check every CRL of
//! a chain. The CA says it of what it issued; for the rest a CRL does: that of --crl, one that the installation of this host
//! has of a CA elsewhere, else the one that the certificate points to.

use std::path::Path;

use super::failure::Result;
use super::verify::{Case, read};
use super::{objects, output};
use crate::client::{Client, encode, fetch};
use crate::error::Error;
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::crl_facts::CrlFacts;
use crate::pki::oids::CRL_DISTRIBUTION_POINTS;
use crate::pki::verification::is_signed_by;

/// A hierarchy is a few levels; the limit stops a loop.
const MAX_DEPTH: usize = 8;

pub(super) enum Revocation {
    /// And who says so.
    Good(String),
    Revoked(String),
    /// And why nobody can say.
    Unknown(String),
}

impl Revocation {
    /// What OCSP says beside it of a certificate that an issuer of this CA signed and this CA does not know.
    fn without_a_record(self) -> Self {
        const UNKNOWN: &str = "but this CA has no record of it, so its OCSP answers unknown: `chancery ca \
             import-certificates FILE` takes in what an issuer here signed before a backup was restored, or elsewhere";
        match self {
            Revocation::Good(by) => Revocation::Good(format!("{by}; {UNKNOWN}")),
            Revocation::Unknown(why) => Revocation::Unknown(format!("{why}; {UNKNOWN}")),
            revoked @ Revocation::Revoked(_) => revoked,
        }
    }
}

impl Case {
    /// Of the certificate, then of each CA above it, nearest first.
    pub(super) async fn revocation(&self, crl: Option<&Path>) -> Result<Revocation> {
        let crls = crl.map(crls_of).transpose()?;
        let certificate = One { der: self.leaf(), facts: self.facts.clone() };
        let own = self.of_one(&certificate, crls.as_ref(), true).await?;
        if matches!(own, Revocation::Revoked(_)) {
            return Ok(own);
        }
        let own = if self.lacks_a_record().await? { own.without_a_record() } else { own };
        if let Some(revoked) = self.issuer_as_the_ca_says().await? {
            return Ok(revoked);
        }
        let mut unchecked = None;
        for ca in self.above() {
            let name = ca.facts.subject.to_string();
            match self.of_one(&ca, crls.as_ref(), false).await? {
                Revocation::Good(_) => {}
                Revocation::Revoked(why) => {
                    let serial = to_hex(&ca.facts.serial);
                    return Ok(Revocation::Revoked(format!("stands under {name}, whose certificate {serial} {why}")));
                }
                Revocation::Unknown(why) => {
                    unchecked = unchecked.or(Some(format!("that of {name} not checked: {why}")))
                }
            }
        }
        Ok(match (own, unchecked) {
            (Revocation::Good(by), Some(why)) => Revocation::Good(format!("{by}; {why}")),
            (own, _) => own,
        })
    }

    /// The CA certificates above, without the root: those that came with the certificate count first.
    fn above(&self) -> Vec<One<'_>> {
        let known = self.intermediates.iter().filter_map(|der| {
            let facts = CertificateFacts::parse(der).ok().filter(|ca| ca.is_ca && ca.subject != ca.issuer)?;
            Some(One { der, facts })
        });
        let known: Vec<_> = known.collect();
        let mut path: Vec<One<'_>> = Vec::new();
        while path.len() < MAX_DEPTH {
            let (facts, der) = path.last().map_or((&self.facts, self.leaf()), |below| (&below.facts, below.der));
            let is_above = |ca: &&One<'_>| {
                let ids = ca.facts.subject_key_id.as_ref().zip(facts.authority_key_id.as_ref());
                ca.facts.subject == facts.issuer
                    && ids.is_none_or(|(own, named)| own == named)
                    && is_signed_by(der, ca.der)
            };
            let Some(next) = known.iter().find(is_above).cloned() else { break };
            path.push(next);
        }
        path
    }

    /// `given` are CRLs of a file, which alone count for the certificate itself.
    async fn of_one(&self, one: &One<'_>, given: Option<&Crls>, is_own: bool) -> Result<Revocation> {
        if let Some(crls) = given
            && let Some(found) = self.in_given(one, crls, is_own)?
        {
            return Ok(found);
        }
        if let Some(client) = &self.client
            && let Some(told) = as_the_ca_says(client, &one.facts).await?
        {
            return Ok(told);
        }
        if let Some(found) = self.in_known(one) {
            return Ok(found);
        }
        let pointer = one.facts.extensions.iter().find(|e| e.id == CRL_DISTRIBUTION_POINTS);
        let Some(url) = pointer.and_then(|e| e.words.split(", ").find(|url| url.starts_with("http://"))) else {
            return Ok(Revocation::Unknown("it names no CRL".into()));
        };
        Ok(match fetch::plain(url).await {
            Ok(der) => {
                self.in_crl(one, &der).unwrap_or_else(|why| Revocation::Unknown(format!("the CRL of {url} {why}")))
            }
            Err(error) => Revocation::Unknown(error.detail),
        })
    }

    /// What the CRLs of --crl say. Whoever names a file relies on it: an unusable one is an error.
    fn in_given(&self, one: &One<'_>, crls: &Crls, is_own: bool) -> Result<Option<Revocation>, Error> {
        let (issuer, file) = (&one.facts.issuer, &crls.from);
        let mut found = None;
        for der in crls.of(issuer.as_der()) {
            match self.in_crl(one, der) {
                Ok(revoked @ Revocation::Revoked(_)) => return Ok(Some(revoked)),
                Ok(good) => found = Some(Ok(good)),
                Err(why) => found = found.or(Some(Err(why))),
            }
        }
        match found {
            Some(Ok(good)) => Ok(Some(good)),
            Some(Err(why)) => {
                let what = format!("the CRL of {issuer} in {file} {why}; fetch the newest one of that CA for --crl");
                Err(Error::malformed(what))
            }
            None if is_own => {
                let what =
                    format!("{file} has no CRL of {issuer}, which issued the certificate; give that one to --crl");
                Err(Error::malformed(what))
            }
            None => Ok(None),
        }
    }

    /// What this installation knows from CAs elsewhere. Their CRL takes a certificate back also when it has expired: only a
    /// newer one says otherwise. Without one, an issuer that the CA shows as revoked is revoked.
    fn in_known(&self, one: &One<'_>) -> Option<Revocation> {
        let of_issuer = self.crls.iter().filter_map(|der| CrlFacts::parse(der).ok());
        let of_issuer = of_issuer.filter(|crl| self.is_of_issuer(one, crl));
        let mut good = None;
        for crl in of_issuer {
            let ended = crl.next_update.is_none_or(|end| end <= self.at);
            match listed(one, &crl) {
                found @ Revocation::Revoked(_) => return Some(found),
                found if !ended => good = Some(found),
                _ => {}
            }
        }
        let shown = self.revoked.iter().any(|der| der == one.der);
        good.or(shown.then(|| Revocation::Revoked("was revoked, as the CA says".to_owned())))
    }

    /// Whether an issuer of this CA signed the certificate, which this CA does not know.
    async fn lacks_a_record(&self) -> Result<bool> {
        let Some(client) = &self.client else { return Ok(false) };
        let is_ours = !self.facts.is_ca && self.issuers.iter().any(|der| is_signed_by(self.leaf(), der));
        Ok(is_ours && known(client, &self.facts).await?.is_null())
    }

    /// A CA above that this CA knows as revoked.
    async fn issuer_as_the_ca_says(&self) -> Result<Option<Revocation>> {
        let Some(client) = &self.client else { return Ok(None) };
        let found = known(client, &self.facts).await?;
        let above = &found["issuer_revocation"];
        Ok(above["issuer"].as_str().map(|slug| {
            let at = output::text(above, "revoked_at");
            let how = if above["on_hold"] == true { "put on hold" } else { "revoked" };
            Revocation::Revoked(format!("stands under the issuer {slug}, which was {how} at {at}"))
        }))
    }

    /// A CRL counts when the issuer signed it, it has not ended and it covers such certificates. An error says why it does not
    /// count.
    fn in_crl(&self, one: &One<'_>, der: &[u8]) -> Result<Revocation, String> {
        let crl = CrlFacts::parse(der).map_err(|e| format!("cannot be read ({e})"))?;
        let why = if crl.issuer != one.facts.issuer.as_der() {
            Some("is of another issuer".to_owned())
        } else if !self.is_of_issuer(one, &crl) {
            Some("is not signed by the key that signed the certificate".to_owned())
        } else if crl.delta_base.is_some() {
            Some("is a delta CRL, which lists changes alone".to_owned())
        } else if crl.has_unknown_critical() {
            Some("has a critical extension that is not known here (RFC 5280 §5.2)".to_owned())
        } else if crl.leaves_out(one.facts.is_ca) {
            Some("does not cover such certificates for every reason (RFC 5280 §5.2.5)".to_owned())
        } else {
            crl.next_update.filter(|end| *end <= self.at).map(|end| format!("expired at {end}"))
        };
        why.map_or_else(|| Ok(listed(one, &crl)), Err)
    }

    /// Is the CRL signed by the key that signed the certificate? A CA certificate of the same name that came with it proves
    /// nothing.
    fn is_of_issuer(&self, one: &One<'_>, crl: &CrlFacts<'_>) -> bool {
        let mut above = self.intermediates.iter().chain(&self.roots);
        crl.issuer == one.facts.issuer.as_der()
            && above.any(|der| {
                CaCertificate::parse(der).is_ok_and(|ca| ca.subject == crl.issuer && crl.verify(&ca.spki).is_ok())
                    && is_signed_by(one.der, der)
            })
    }
}

/// A certificate whose revocation is looked up.
#[derive(Clone)]
struct One<'a> {
    der: &'a [u8],
    facts: CertificateFacts,
}

/// The CRLs of a file.
struct Crls {
    ders: Vec<Vec<u8>>,
    from: String,
}

impl Crls {
    fn of(&self, issuer: &[u8]) -> impl Iterator<Item = &[u8]> {
        let is_of = move |der: &&Vec<u8>| CrlFacts::parse(der).is_ok_and(|crl| crl.issuer == issuer);
        self.ders.iter().filter(is_of).map(Vec::as_slice)
    }
}

fn crls_of(path: &Path) -> Result<Crls, Error> {
    let from = path.display().to_string();
    let ders: Vec<_> = objects::read(&read(path)?)?.into_iter().map(|block| block.der).collect();
    match ders.iter().find_map(|der| CrlFacts::parse(der).err()) {
        Some(why) => Err(Error::malformed(format!(
            "{from} has something that is no CRL that can be read ({why}); --crl takes CRLs in PEM or DER"
        ))),
        None => Ok(Crls { ders, from }),
    }
}

fn listed(one: &One<'_>, crl: &CrlFacts<'_>) -> Revocation {
    match crl.entries().find(|entry| entry.serial == one.facts.serial) {
        Some(entry) => {
            let reason = entry.reason.and_then(|code| RevocationReason::from_code(i64::from(code)).ok());
            was_revoked(entry.revoked_at, reason.unwrap_or(RevocationReason::Unspecified).name())
        }
        None => Revocation::Good(format!("CRL of {}", crl.this_update)),
    }
}

/// What this CA knows of a certificate; null when nothing.
async fn known(client: &Client, facts: &CertificateFacts) -> Result<serde_json::Value> {
    let path = format!("/api/v1/certificates?fingerprint={}", encode(&to_hex(&facts.fingerprint)));
    Ok(client.get(&path).await?["items"][0].clone())
}

/// None when this CA does not know it.
async fn as_the_ca_says(client: &Client, facts: &CertificateFacts) -> Result<Option<Revocation>> {
    let found = known(client, facts).await?;
    let revocation = &found["revocation"];
    Ok(match (found.is_null(), revocation.is_null()) {
        (true, _) => None,
        (false, true) => Some(Revocation::Good("the CA says so".into())),
        (false, false) => {
            let (at, reason) = (output::text(revocation, "revoked_at"), output::text(revocation, "reason"));
            Some(was_revoked(at, &reason))
        }
    })
}

fn was_revoked(at: impl std::fmt::Display, reason: &str) -> Revocation {
    if reason == RevocationReason::CertificateHold.name() {
        return Revocation::Revoked(format!("is on hold since {at} ({reason}), which its issuer may take back"));
    }
    Revocation::Revoked(format!("was revoked at {at} ({reason})"))
}
