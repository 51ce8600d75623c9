//! CA certificates that others made: read, judged, and put in a path up to a root. Names and keys stay byte for byte
//! as they came (repeated RDNs, T61 and BMP strings), because that is how verifiers compare them.

use ::der::oid::ObjectIdentifier;

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::der::DerError;
use super::key_policy::KeyPolicy;
use super::name::DistinguishedName;
use super::oids;
use super::tbs::{CRL_SIGN, KEY_CERT_SIGN, TbsView, split_certificate};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::validity::Validity;

/// A certificate that says CA:TRUE and may sign certificates and CRLs.
#[derive(Debug, Clone)]
pub struct CaCertificate {
    pub der: Vec<u8>,
    pub subject: Vec<u8>,
    pub issuer: Vec<u8>,
    pub spki: Vec<u8>,
    pub validity: Validity,
    pub path_len: Option<u32>,
    pub usages: Vec<ObjectIdentifier>,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
}

impl CaCertificate {
    pub fn read(der: &[u8]) -> Result<Self> {
        let (raw, ..) = split_certificate(der).map_err(unreadable)?;
        let view = TbsView::parse(raw).map_err(unreadable)?;
        let Some(path_len) = view.ca().map_err(unreadable)? else {
            let allowed = "a CA certificate (basicConstraints with CA:TRUE, RFC 5280 §4.2.1.9)";
            return Err(refuse(
                "issuer.ca",
                &shown(view.subject),
                allowed,
                "give the certificate of the CA, not of a server",
            ));
        };
        let bits = view.key_usage().map_err(unreadable)?;
        if bits.is_some_and(|bits| bits & KEY_CERT_SIGN == 0 || bits & CRL_SIGN == 0) {
            let allowed = "keyCertSign and cRLSign (RFC 5280 §4.2.1.3)";
            return Err(refuse(
                "issuer.key_usage",
                "a CA that may not sign certificates and CRLs",
                allowed,
                "ask for another certificate",
            ));
        }
        if view.subject.len() <= 2 {
            return Err(refuse(
                "issuer.subject",
                "a CA without a name",
                "a subject (RFC 5280 §4.1.2.6)",
                "ask for another certificate",
            ));
        }
        KeyPolicy::with_any_rsa_length().check(view.spki)?;
        Ok(CaCertificate {
            der: der.to_vec(),
            subject: view.subject.to_vec(),
            issuer: view.issuer.to_vec(),
            spki: view.spki.to_vec(),
            validity: view.validity,
            path_len,
            usages: view.extended_key_usage().map_err(unreadable)?,
            subject_key_id: view.subject_key_id().map_err(unreadable)?.map(<[u8]>::to_vec),
            authority_key_id: view.authority_key_id().map_err(unreadable)?.map(<[u8]>::to_vec),
        })
    }

    /// Its CN, or the whole subject where there is none.
    pub fn name(&self) -> String {
        let Ok(subject) = DistinguishedName::from_der(&self.subject) else { return "(unreadable name)".into() };
        let common = subject.texts(&oids::COMMON_NAME).ok().and_then(|mut texts| texts.pop());
        common.unwrap_or_else(|| subject.to_string())
    }

    /// Signed by its own key. A weak hash does not count against a root, whose signature nobody relies on.
    pub fn is_root(&self) -> bool {
        self.subject == self.issuer && matches!(self.signed_by(&self.spki), Ok(()) | Err(VerifyError::Weak(_)))
    }

    pub fn check_time(&self, now: Timestamp) -> Result<()> {
        if self.validity.not_before() <= now && now <= self.validity.not_after() {
            return Ok(());
        }
        let value =
            format!("{}, valid from {} to {}", self.name(), self.validity.not_before(), self.validity.not_after());
        Err(refuse("issuer.validity", &value, &format!("a certificate that is valid now, {now}"), "renew it first"))
    }

    /// Does the OCSP delegate of this CA verify? Where it sets usages, OCSPSigning must be one of them.
    pub fn can_delegate(&self) -> bool {
        self.usages.is_empty() || self.usages.contains(&oids::EKU_OCSP_SIGNING)
    }

    /// May `self` be what signed `below`, by name and key identifier?
    pub fn fits_above(&self, below: &CaCertificate) -> bool {
        let ids = self.subject_key_id.as_ref().zip(below.authority_key_id.as_ref());
        self.subject == below.issuer && ids.is_none_or(|(own, named)| own == named)
    }

    fn signed_by(&self, spki: &[u8]) -> std::result::Result<(), VerifyError> {
        let (tbs, algorithm, signature) = split_certificate(&self.der)?;
        verify_with(SignatureScheme::parse(algorithm)?, spki, tbs, signature)
    }
}

/// The certificates above `lowest` out of `pool`, the root last. Refuses a gap, an end of validity, a path length or
/// usages that do not leave room for it.
pub fn path(lowest: &CaCertificate, pool: &[CaCertificate], now: Timestamp) -> Result<Vec<CaCertificate>> {
    const LONGEST: usize = 8;
    let mut path: Vec<CaCertificate> = Vec::new();
    let mut below = lowest;
    while !below.is_root() {
        let above = next(below, pool)?;
        above.check_time(now)?;
        leaves_room(above, lowest, path.len())?;
        path.push(above.clone());
        below = above;
        if path.len() > LONGEST {
            return Err(Error::malformed("the certificates above the CA do not end in a root"));
        }
    }
    Ok(path)
}

fn next<'a>(below: &CaCertificate, pool: &'a [CaCertificate]) -> Result<&'a CaCertificate> {
    let mut weak = None;
    for above in pool.iter().filter(|above| above.subject == below.issuer) {
        match below.signed_by(&above.spki) {
            Ok(()) => return Ok(above),
            Err(VerifyError::Weak(hash)) => weak = Some(hash),
            Err(_) => {}
        }
    }
    if let Some(hash) = weak {
        let value = format!("{}, signed with {hash}", below.name());
        return Err(refuse("issuer.signature", &value, "SHA-256 or better", "have it signed again"));
    }
    let value = format!("{}, whose issuer {} is not given", below.name(), shown(&below.issuer));
    let allowed = "the certificates above it, up to its root";
    Err(refuse("issuer.chain", &value, allowed, "give them with --chain FILE"))
}

fn leaves_room(above: &CaCertificate, lowest: &CaCertificate, between: usize) -> Result<()> {
    let room = above.path_len.is_none_or(|length| usize::try_from(length).is_ok_and(|length| length > between));
    if !room {
        let value =
            format!("{} below {} with path length {}", lowest.name(), above.name(), above.path_len.unwrap_or(0));
        let allowed = format!("a path length of {} or more (RFC 5280 §4.2.1.9)", between + 1);
        return Err(refuse("issuer.path_len", &value, &allowed, "have it signed by a CA that may have CAs below it"));
    }
    let outside = lowest.usages.iter().find(|usage| !above.usages.is_empty() && !above.usages.contains(usage));
    if let Some(usage) = outside {
        let value = format!("usage {usage} of {} below {}", lowest.name(), above.name());
        let allowed = "only usages that every CA above has too";
        return Err(refuse("issuer.extended_key_usage", &value, allowed, "have it signed without this usage"));
    }
    Ok(())
}

fn shown(name: &[u8]) -> String {
    DistinguishedName::from_der(name).map_or_else(|_| "(unreadable name)".to_owned(), |name| name.to_string())
}

fn refuse(rule: &str, value: &str, allowed: &str, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix)
}

fn unreadable(error: DerError) -> Error {
    refuse(
        "issuer.certificate",
        &format!("a certificate that cannot be read ({error})"),
        "an X.509 certificate of version 3 in DER or PEM",
        "check the file",
    )
    .because(error)
}
