//! CA certificates, ours and those that others made, as paths are built of them. Names and keys stay byte for byte as
//! they came (repeated RDNs, T61 and BMP strings), because that is how verifiers compare them.

use ::der::oid::ObjectIdentifier;

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::der::{self, DerError};
use super::general_name;
use super::key_policy::KeyPolicy;
use super::name::DistinguishedName;
use super::name_constraints::NameConstraints;
use super::oids;
use super::policies::PolicyExtensions;
use super::subtree::ConstrainedName;
use super::tbs::{CRL_SIGN, KEY_CERT_SIGN, TbsView, split_certificate};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::serial::SerialNumber;
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
    /// May its key sign CRLs (RFC 5280 §4.2.1.3)? The roots of kubeadm, k3s and mkcert may not.
    pub signs_crls: bool,
    pub usages: Vec<ObjectIdentifier>,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
    pub(super) constraints: Option<NameConstraints>,
    pub(super) policies: PolicyExtensions,
    /// Its alternative names, of any form.
    pub(super) names: Vec<ConstrainedName>,
    /// A critical extension that we do not process.
    unknown: Option<ObjectIdentifier>,
}

/// The extensions of a CA certificate that are processed where they are critical.
const PROCESSED: [ObjectIdentifier; 12] = [
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::SUBJECT_KEY_ID,
    oids::AUTHORITY_KEY_ID,
    oids::SUBJECT_ALT_NAME,
    oids::NAME_CONSTRAINTS,
    oids::CERTIFICATE_POLICIES,
    oids::POLICY_MAPPINGS,
    oids::POLICY_CONSTRAINTS,
    oids::INHIBIT_ANY_POLICY,
    oids::CRL_DISTRIBUTION_POINTS,
];

impl CaCertificate {
    /// One under which certificates may be issued: it signs CRLs too, unless it is a root, and its key is sound.
    pub fn read(der: &[u8]) -> Result<Self> {
        let own = CaCertificate::parse(der)?;
        if !own.signs_crls && !own.is_self_issued() {
            return Err(not_for_signing());
        }
        KeyPolicy::with_any_rsa_length().check(&own.spki)?;
        Ok(own)
    }

    /// One as verifiers take it.
    pub fn parse(der: &[u8]) -> Result<Self> {
        let (raw, ..) = split_certificate(der).map_err(unreadable)?;
        let view = TbsView::parse(raw).map_err(unreadable)?;
        let Some(path_len) = view.ca().map_err(unreadable)? else {
            let allowed = "a CA certificate (basicConstraints with CA:TRUE, RFC 5280 §4.2.1.9)";
            let name = shown(view.subject);
            let fix = "give the certificate of the CA, not of a server; a CA that signs a CSR of `chancery ca csr` must take over \
                       its extensions (`openssl x509 -req -copy_extensions copyall`)";
            let wrong = format!("{name} is no CA certificate (basicConstraints with CA:TRUE, RFC 5280 §4.2.1.9)");
            return Err(refuse("issuer.ca", &name, allowed, &wrong, fix));
        };
        let bits = view.key_usage().map_err(unreadable)?;
        if bits.is_some_and(|bits| bits & KEY_CERT_SIGN == 0) {
            return Err(not_for_signing());
        }
        if view.subject.len() <= 2 {
            let (wrong, fix) =
                ("the CA certificate has no subject (RFC 5280 §4.1.2.6)", "ask for another certificate");
            return Err(refuse("issuer.subject", "a CA without a name", "a subject (RFC 5280 §4.1.2.6)", wrong, fix));
        }
        let constraints = view.extension(&oids::NAME_CONSTRAINTS).map(|(_, value)| NameConstraints::parse(value));
        Ok(CaCertificate {
            der: der.to_vec(),
            subject: view.subject.to_vec(),
            issuer: view.issuer.to_vec(),
            spki: view.spki.to_vec(),
            validity: view.validity,
            path_len,
            signs_crls: bits.is_none_or(|bits| bits & CRL_SIGN != 0),
            usages: view.extended_key_usage().map_err(unreadable)?,
            subject_key_id: view.subject_key_id().map_err(unreadable)?.map(<[u8]>::to_vec),
            authority_key_id: view.authority_key_id().map_err(unreadable)?.map(<[u8]>::to_vec),
            constraints: constraints.transpose().map_err(unreadable)?,
            policies: PolicyExtensions::read(&view).map_err(unreadable)?,
            names: names(&view).map_err(unreadable)?,
            unknown: unknown_critical(&view),
        })
    }

    /// Its CN, or the whole subject where there is none.
    pub fn name(&self) -> String {
        let Ok(subject) = DistinguishedName::from_der(&self.subject) else { return "(unreadable name)".into() };
        let common = subject.texts(&oids::COMMON_NAME).ok().and_then(|mut texts| texts.pop());
        common.unwrap_or_else(|| subject.to_string())
    }

    /// What it is and its CN, as in `root Corporate Root`.
    pub fn described(&self) -> String {
        format!("{} {}", if self.is_self_issued() { "root" } else { "CA" }, self.name())
    }

    pub(super) fn issuer_name(&self) -> String {
        shown(&self.issuer)
    }

    /// Issuer and subject are one name: a root, or a certificate for a new key of the same CA (RFC 5280 §3.2).
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Its extended key usages allow this one: none at all and anyExtendedKeyUsage allow every usage.
    pub fn allows_usage(&self, usage: &ObjectIdentifier) -> bool {
        let all = self.usages.is_empty() || self.usages.contains(&oids::ANY_EXTENDED_KEY_USAGE);
        all || self.usages.contains(usage)
    }

    /// One CA: the same name and key, whichever certificate of it this is.
    pub fn is_same_ca(&self, other: &CaCertificate) -> bool {
        self.subject == other.subject && self.spki == other.spki
    }

    /// Refuses a critical extension that is not processed (RFC 5280 §6.1.4 o).
    pub fn check_extensions(&self) -> Result<()> {
        let Some(id) = self.unknown else { return Ok(()) };
        let fix = "have it signed without this extension, or with it as not critical";
        let wrong =
            format!("{} has the critical extension {id}, which verifiers do not know (RFC 5280 §4.2)", self.name());
        let value = format!("{}, with the critical extension {id}", self.name());
        let allowed = "critical extensions that every verifier processes (RFC 5280 §4.2)";
        Err(refuse("issuer.extensions", &value, allowed, &wrong, fix))
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
        let wrong = format!("{value}, is not valid now ({now})");
        let allowed = format!("a certificate that is valid now, {now}");
        Err(refuse("issuer.validity", &value, &allowed, &wrong, "renew it first"))
    }

    /// OCSPSigning in a CA certificate is a delegation by the CA above: whoever has this key can answer OCSP requests
    /// about its own certificate (RFC 6960 §4.2.2.2).
    pub fn answers_for_its_issuer(&self) -> bool {
        self.usages.contains(&oids::EKU_OCSP_SIGNING) && self.subject != self.issuer
    }

    /// The plain http URLs of CRLs that it names; what cannot be read names none (RFC 5280 §4.2.1.13).
    pub fn crl_urls(&self) -> Vec<String> {
        let read = || {
            let (raw, ..) = split_certificate(&self.der)?;
            let view = TbsView::parse(raw)?;
            view.extension(&oids::CRL_DISTRIBUTION_POINTS).map_or(Ok(Vec::new()), |(_, value)| point_urls(value))
        };
        let urls: Vec<String> = read().unwrap_or_default();
        urls.into_iter().filter(|url| url.starts_with("http://")).collect()
    }

    /// The serial number's content octets.
    pub fn serial(&self) -> Result<SerialNumber> {
        let (raw, ..) = split_certificate(&self.der).map_err(unreadable)?;
        SerialNumber::from_octets(TbsView::parse(raw).map_err(unreadable)?.serial)
    }

    /// May `self` be what signed `below`, by name and key identifier?
    pub fn fits_above(&self, below: &CaCertificate) -> bool {
        let ids = self.subject_key_id.as_ref().zip(below.authority_key_id.as_ref());
        self.subject == below.issuer && ids.is_none_or(|(own, named)| own == named)
    }

    /// Whether the key of another CA signed it, under that CA's name.
    pub fn is_signed_by(&self, above: &CaCertificate) -> bool {
        self.issuer == above.subject && self.signed_by(&above.spki).is_ok()
    }

    pub(super) fn signed_by(&self, spki: &[u8]) -> std::result::Result<(), VerifyError> {
        let (tbs, algorithm, signature) = split_certificate(&self.der)?;
        verify_with(SignatureScheme::parse(algorithm)?, spki, tbs, signature)
    }
}

/// A critical extension that is not processed.
pub(super) fn unknown_critical(view: &TbsView<'_>) -> Option<ObjectIdentifier> {
    let unknown = view.extensions.iter().find(|(id, critical, _)| *critical && !PROCESSED.contains(id));
    unknown.map(|(id, ..)| *id)
}

fn not_for_signing() -> Error {
    let allowed = "keyCertSign and cRLSign (RFC 5280 §4.2.1.3)";
    let value = "a CA that may not sign certificates and CRLs";
    let wrong =
        "this CA may not sign certificates and CRLs: its key usages lack keyCertSign or cRLSign (RFC 5280 §4.2.1.3)";
    refuse("issuer.key_usage", value, allowed, wrong, "ask for another certificate")
}

/// The alternative names of a certificate, of any form.
pub(super) fn names(view: &TbsView<'_>) -> std::result::Result<Vec<ConstrainedName>, DerError> {
    let Some((_, value)) = view.extension(&oids::SUBJECT_ALT_NAME) else { return Ok(Vec::new()) };
    let mut list = super::der::only_sequence(value)?;
    let mut names = Vec::new();
    while !list.is_empty() {
        names.push(ConstrainedName::read(list.any()?)?);
    }
    Ok(names)
}

/// The URIs of every distribution point's fullName; other CAs write names of other kinds beside them.
fn point_urls(value: &[u8]) -> std::result::Result<Vec<String>, DerError> {
    let mut points = der::only_sequence(value)?;
    let mut urls = Vec::new();
    while !points.is_empty() {
        let mut point = points.sequence()?;
        let Some(name) = point.optional(der::context_constructed(0))? else { continue };
        let Some(full) = name.inside().optional(der::context_constructed(0))? else { continue };
        let mut names = full.inside();
        while !names.is_empty() {
            let one = names.any()?;
            if one.tag == general_name::URI {
                urls.push(String::from_utf8_lossy(one.content).into_owned());
            }
        }
    }
    Ok(urls)
}

fn shown(name: &[u8]) -> String {
    DistinguishedName::from_der(name).map_or_else(|_| "(unreadable name)".to_owned(), |name| name.to_string())
}

fn refuse(rule: &str, value: &str, allowed: &str, wrong: &str, fix: &str) -> Error {
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix).explained(wrong)
}

fn unreadable(error: DerError) -> Error {
    let wrong = format!("the certificate cannot be read ({error}); it must be X.509 version 3 in DER or PEM");
    let value = format!("a certificate that cannot be read ({error})");
    let fix =
        "check the file; `openssl x509 -req` makes one of version 1 unless -copy_extensions or -extfile is given";
    refuse("issuer.certificate", &value, "an X.509 certificate of version 3 in DER or PEM", &wrong, fix)
        .because(error)
}
