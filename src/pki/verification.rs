//! Whether a certificate stands below a trusted root, as verifiers judge it (RFC 5280 §6.1), whoever made it. The verdict
//! is that of OpenSSL (tests/it/pki/differential.rs). What we issue ourselves is judged more strictly, by `IssuingPath`:
//! there an excluded subtree is read broadly. Certificate policies are judged as Go does, and OpenSSL with -policy_check.

use ::der::oid::ObjectIdentifier;

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::ca_certificate::{CaCertificate, names, unknown_critical};
use super::der::DerError;
use super::name::DistinguishedName;
use super::name_constraints::ConstraintViolation;
use super::oids;
use super::path::usage_name;
use super::path_finder;
use super::policies::{PolicyExtensions, ValidPolicies};
use super::profile::ExtendedKeyUsage;
use super::subtree::ConstrainedName;
use super::tbs::{DIGITAL_SIGNATURE, TbsView, split_certificate};
use crate::clock::Timestamp;
use crate::model::identifier::shown;
use crate::model::serial::to_hex;

/// The roots that count, and the CA certificates that may stand in between.
#[derive(Debug, Default)]
pub struct Trust {
    roots: Vec<CaCertificate>,
    /// Those in between, then the roots.
    pool: Vec<CaCertificate>,
    purpose: Purpose,
}

/// With digitalSignature the key usages of which a TLS server needs one (RFC 5280 §4.2.1.12).
const KEY_ENCIPHERMENT: u16 = 0x2000;
const KEY_AGREEMENT: u16 = 0x0800;

/// What a certificate is verified for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Purpose {
    #[default]
    Any,
    TlsServer,
}

/// Why a certificate is not trusted; of several reasons the one that came furthest is reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Distrust {
    NoIssuer(String),
    Signature(String),
    KeyIdentifier(String),
    NoRoot(String),
    Path(String),
}

impl Trust {
    /// From certificates in DER; what is no CA certificate stands above nothing.
    pub fn read(roots: &[Vec<u8>], between: &[Vec<u8>]) -> Self {
        let read =
            |ders: &[Vec<u8>]| -> Vec<_> { ders.iter().filter_map(|der| CaCertificate::parse(der).ok()).collect() };
        let roots = read(roots);
        let pool = read(between).into_iter().chain(roots.iter().cloned()).collect();
        Trust { roots, pool, purpose: Purpose::Any }
    }

    /// The same, for certificates of TLS servers (RFC 5280 §4.2.1.12): a certificate and every CA above it that has extended
    /// key usages must have serverAuth among them, as OpenSSL's purpose `sslserver` and browsers have it.
    pub fn for_servers(self) -> Self {
        Trust { purpose: Purpose::TlsServer, ..self }
    }

    /// The CAs above a certificate up to a trusted root, nearest first, all of them valid at `at`. An error is a clause that
    /// says why there is no such way.
    pub fn verify(&self, certificate: &[u8], at: Timestamp) -> Result<Vec<CaCertificate>, String> {
        let target = Target::read(certificate).map_err(|e| format!("it cannot be read ({e})"))?;
        let named = || shown(&target.issuer_name());
        let mut worst = Distrust::NoIssuer(format!("no certificate of its issuer {} is at hand", named()));
        for issuer in self.pool.iter().filter(|ca| ca.subject == target.view.issuer) {
            match self.below(&target, issuer, at) {
                Ok(way) => return Ok(way),
                Err(why) => worst = worst.max(why),
            }
        }
        Err(match worst {
            Distrust::NoIssuer(why)
            | Distrust::Signature(why)
            | Distrust::KeyIdentifier(why)
            | Distrust::NoRoot(why)
            | Distrust::Path(why) => why,
        })
    }

    fn below(
        &self,
        target: &Target<'_>,
        issuer: &CaCertificate,
        at: Timestamp,
    ) -> Result<Vec<CaCertificate>, Distrust> {
        let name = shown(&issuer.name());
        target.is_signed_by(issuer).map_err(|e| {
            Distrust::Signature(match e {
                VerifyError::Weak(hash) => format!("it is signed with {hash}, which verifiers refuse"),
                _ => format!("the key of {name} did not sign it"),
            })
        })?;
        if let Some(why) = target.other_key_id(issuer) {
            return Err(Distrust::KeyIdentifier(why));
        }
        let mut worst = Distrust::NoRoot(format!("{name} stands below no trusted root"));
        for way in self.ways(issuer, at) {
            match target.judge(&way, at).and_then(|()| self.suits(target, &way)) {
                Ok(()) => return Ok(way),
                Err(why) => worst = worst.max(Distrust::Path(why)),
            }
        }
        Err(worst)
    }

    fn suits(&self, target: &Target<'_>, way: &[CaCertificate]) -> Result<(), String> {
        match self.purpose {
            Purpose::Any => Ok(()),
            Purpose::TlsServer => {
                let own = target.refused_for_servers();
                own.or_else(|| way.iter().find_map(ca_refused_for_servers)).map_or(Ok(()), Err)
            }
        }
    }

    /// Ways from a CA up to a trusted root by name, key and key identifier.
    fn ways(&self, lowest: &CaCertificate, at: Timestamp) -> Vec<Vec<CaCertificate>> {
        let found = path_finder::find(lowest, &self.pool, at);
        let trusted = |ca: &CaCertificate| self.roots.iter().any(|root| root.is_same_ca(ca));
        let mut ways = Vec::new();
        for mut way in found.complete.into_iter().chain(found.open.into_iter().map(|(way, _)| way)) {
            let Some(end) = way.iter().position(trusted) else { continue };
            way.truncate(end + 1);
            if way.iter().zip(way.iter().skip(1)).all(|(below, above)| above.fits_above(below)) {
                ways.push(way);
            }
        }
        ways
    }
}

/// Why verifiers that look for the issuer's CRL refuse a certificate: one of these CA certificates has the issuer's name and
/// key, and another key identifier than the certificate names (RFC 5280 §4.2.1.1). None when no such one is there.
pub fn outdated_key_id(certificate: &[u8], issuers: &[Vec<u8>]) -> Option<String> {
    let target = Target::read(certificate).ok()?;
    let issuers: Vec<_> = issuers.iter().filter_map(|der| CaCertificate::parse(der).ok()).collect();
    let issuers = || issuers.iter().filter(|ca| ca.subject == target.view.issuer && target.is_signed_by(ca).is_ok());
    if issuers().any(|ca| target.other_key_id(ca).is_none()) {
        return None;
    }
    issuers().find_map(|ca| target.other_key_id(ca))
}

/// Did the key of this CA certificate sign the certificate?
pub fn is_signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    let (Ok(target), Ok(ca)) = (Target::read(certificate), CaCertificate::parse(issuer)) else { return false };
    ca.subject == target.view.issuer && target.is_signed_by(&ca).is_ok()
}

/// Why the certificate itself may not be that of a TLS server; none when it may.
pub fn refused_for_servers(certificate: &[u8]) -> Option<String> {
    match Target::read(certificate) {
        Ok(target) => target.refused_for_servers(),
        Err(e) => Some(format!("it cannot be read ({e})")),
    }
}

fn ca_refused_for_servers(ca: &CaCertificate) -> Option<String> {
    without_server_auth(&ca.usages)
        .map(|usages| format!("{} allows only {usages} below it, and a TLS server needs serverAuth", ca.described()))
}

/// The names of these usages, when serverAuth is not among them. No usage at all allows every one. anyExtendedKeyUsage does
/// not stand for serverAuth: OpenSSL and webpki refuse it.
fn without_server_auth(usages: &[ObjectIdentifier]) -> Option<String> {
    if usages.is_empty() || usages.contains(&ExtendedKeyUsage::ServerAuth.oid()) {
        return None;
    }
    Some(usages.iter().map(usage_name).collect::<Vec<_>>().join(", "))
}

/// The certificate that is verified: of a server, a user or a CA.
struct Target<'a> {
    certificate: &'a [u8],
    view: TbsView<'a>,
    key_id: Option<&'a [u8]>,
    subject: DistinguishedName,
    names: Vec<ConstrainedName>,
    usages: Vec<ObjectIdentifier>,
    is_ca: bool,
    policies: PolicyExtensions,
    unknown: Option<ObjectIdentifier>,
}

impl<'a> Target<'a> {
    fn read(certificate: &'a [u8]) -> Result<Self, DerError> {
        let (raw, ..) = split_certificate(certificate)?;
        let view = TbsView::parse(raw)?;
        Ok(Target {
            certificate,
            key_id: view.authority_key_id()?,
            subject: DistinguishedName::from_der(view.subject)?,
            names: names(&view)?,
            usages: view.extended_key_usage()?,
            is_ca: view.ca()?.is_some(),
            policies: PolicyExtensions::read(&view)?,
            unknown: unknown_critical(&view),
            view,
        })
    }

    fn issuer_name(&self) -> String {
        DistinguishedName::from_der(self.view.issuer)
            .map_or_else(|_| "(unreadable name)".into(), |name| name.to_string())
    }

    fn is_signed_by(&self, issuer: &CaCertificate) -> Result<(), VerifyError> {
        let (tbs, algorithm, signature) = split_certificate(self.certificate)?;
        verify_with(SignatureScheme::parse(algorithm)?, &issuer.spki, tbs, signature)
    }

    fn other_key_id(&self, issuer: &CaCertificate) -> Option<String> {
        let (named, own) = self.key_id.zip(issuer.subject_key_id.as_deref())?;
        (named != own).then(|| {
            format!(
                "it names the key identifier {} of its issuer, and the certificate of {} has {}; issue it anew",
                to_hex(named),
                shown(&issuer.name()),
                to_hex(own)
            )
        })
    }

    /// Why the certificate is not valid at the end of this way.
    fn judge(&self, way: &[CaCertificate], at: Timestamp) -> Result<(), String> {
        if let Some(id) = self.unknown {
            return Err(format!("it has the critical extension {id}, which verifiers do not know"));
        }
        for (depth, ca) in way.iter().enumerate() {
            let below = way.get(..depth).unwrap_or_default();
            ca.check_time(at).map_err(|_| {
                format!(
                    "{} is valid from {} to {}",
                    ca.described(),
                    ca.validity.not_before(),
                    ca.validity.not_after()
                )
            })?;
            ca.check_extensions().map_err(|e| e.detail)?;
            let length = below.iter().filter(|ca| !ca.is_self_issued()).count();
            if ca.path_len.is_some_and(|most| usize::try_from(most).is_ok_and(|most| length > most)) {
                return Err(format!("{} allows fewer CAs below it (RFC 5280 §4.2.1.9)", ca.described()));
            }
            if let Some(violation) = self.violation(ca, below) {
                let (name, who) = (shown(&violation.name), ca.described());
                return Err(format!("{who} {}, and {name} is outside of that", violation.rule));
            }
        }
        self.judge_policies(way)?;
        let allowed = |usage: &ObjectIdentifier| way.iter().all(|ca| ca.allows_usage(usage));
        // of a CA they limit what is below it
        match self.is_ca || self.usages.is_empty() || self.usages.iter().any(allowed) {
            true => Ok(()),
            false => Err("a CA above it allows none of its extended key usages".to_owned()),
        }
    }

    /// Whether its policies are valid under every CA of the way but the root, which is no part of the path (RFC 5280 §6.1).
    fn judge_policies(&self, way: &[CaCertificate]) -> Result<(), String> {
        let mut valid = ValidPolicies::default();
        for ca in way.iter().rev().skip(1) {
            valid = valid
                .below(&ca.policies, ca.is_self_issued())
                .map_err(|why| format!("{} {why} (RFC 5280 §6.1.3)", ca.described()))?;
        }
        let refused = valid.refuses_last(&self.policies);
        refused.map_or(Ok(()), |why| Err(format!("{why} (policyConstraints, RFC 5280 §6.1.5)")))
    }

    /// Why it may not be the certificate of a TLS server.
    fn refused_for_servers(&self) -> Option<String> {
        if let Some(usages) = without_server_auth(&self.usages) {
            return Some(format!("its extended key usage is {usages}, and a TLS server needs serverAuth"));
        }
        let handshake = DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT;
        match self.view.key_usage() {
            Ok(None) => None,
            Ok(Some(usage)) if usage & handshake != 0 => None,
            Ok(Some(_)) => Some("its key usage allows no TLS handshake (digitalSignature is missing)".to_owned()),
            Err(e) => Some(format!("its key usage cannot be read ({e})")),
        }
    }

    /// What the name constraints of a CA say against this certificate or a CA in between.
    fn violation(&self, ca: &CaCertificate, below: &[CaCertificate]) -> Option<ConstraintViolation> {
        let constraints = ca.constraints.as_ref()?;
        let between = below.iter().filter(|ca| !ca.is_self_issued());
        let mut broken = between.filter_map(|ca| {
            let subject = DistinguishedName::from_der(&ca.subject).ok()?;
            constraints.breaks_any(&subject, &ca.names)
        });
        let names: Vec<_> = self.names.iter().cloned().chain(self.host_names()).collect();
        constraints.breaks_any(&self.subject, &names).or_else(|| broken.next())
    }

    /// Common names that look like host names count where there is no DNS name, as clients once read them.
    fn host_names(&self) -> Vec<ConstrainedName> {
        if self.view.ca().is_ok_and(|ca| ca.is_some())
            || self.names.iter().any(|n| matches!(n, ConstrainedName::Dns(_)))
        {
            return Vec::new();
        }
        let label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let is_host = |text: &String| text.contains('.') && text.split('.').all(label);
        let texts = self.subject.texts(&oids::COMMON_NAME).unwrap_or_default();
        texts.into_iter().filter(is_host).map(|text| ConstrainedName::Dns(text.to_ascii_lowercase())).collect()
    }
}
