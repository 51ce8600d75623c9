//! An issuer's certificate and key: `prepare` builds the bytes, reads them back, and runs policy and lint on them;
//! `seal` signs and verifies. Root, issuing and responder certificates take the same path with rules of their own.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::algorithm::{algorithm_identifier, verify};
use super::der::{self as asn1, DerError};
use super::lint::{self, Above, Kind};
use super::name::{DistinguishedName, SubjectFields};
use super::oids;
use super::path::IssuingPath;
use super::policy;
use super::prepared::{Facts, Prepared, SealedCertificate};
use super::profile::{ExtendedKeyUsage, Profile};
use super::request::CertificateRequest;
use super::signer::Signer;
use super::tbs::{self, Pointers, TbsView, Template};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::IssuerId;
use crate::model::identifier::Identifier;
use crate::model::issuer::Issuer;
use crate::model::key::SignatureAlgorithm;
use crate::model::names::NameRule;
use crate::model::serial::SerialNumber;
use crate::model::validity::{RequestedValidity, Validity};

/// What one issuance asks for, besides key and profile.
#[derive(Debug)]
pub struct Ask {
    pub serial: SerialNumber,
    pub now: Timestamp,
    /// Those of the request when absent.
    pub names: Option<Vec<Identifier>>,
    pub common_name: Option<String>,
    /// What was asked of the subject besides; only what the profile takes as asked is read.
    pub subject: SubjectFields,
    pub validity: RequestedValidity,
    pub via_acme: bool,
    /// The CA's own host names and addresses: reserved.
    pub own_hosts: Vec<String>,
    /// The name rules of the grant that it is asked under: they may mention reserved names.
    pub granted: Vec<NameRule>,
    /// The server's own certificate names reserved names.
    pub reserved_allowed: bool,
}

/// A name and a key, with the certificates that new ones chain to.
pub struct IssuerKey {
    id: IssuerId,
    slug: String,
    subject: Vec<u8>,
    key_id: Vec<u8>,
    validity: Validity,
    usages: Vec<der::oid::ObjectIdentifier>,
    path: IssuingPath,
    pointers: Pointers,
    signer: Arc<dyn Signer>,
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IssuerKey({})", self.slug)
    }
}

impl IssuerKey {
    /// `path` is the issuer's own certificate with those above it. Refuses one whose key is not the signer's.
    pub fn new(issuer: &Issuer, path: IssuingPath, signer: Arc<dyn Signer>) -> Result<Self> {
        let wrong = |why: &str| Error::inconsistent(format!("the certificate of issuer {} {why}", issuer.slug));
        let own = path.cas().first().ok_or_else(|| wrong("is missing"))?;
        if own.spki != signer.public_key() {
            return Err(wrong("has another public key than its key row"));
        }
        let key_id = match &own.subject_key_id {
            Some(id) => id.clone(),
            None => tbs::key_identifier(&own.spki).map_err(|e| wrong("cannot be read").because(e))?,
        };
        Ok(IssuerKey {
            id: issuer.id,
            slug: issuer.slug.clone(),
            subject: own.subject.clone(),
            key_id,
            validity: path.validity().unwrap_or(own.validity),
            usages: own.usages.clone(),
            pointers: Pointers {
                crl: own.signs_crls.then(|| issuer.crl_url()),
                ocsp: Some(issuer.ocsp_url()),
                issuer: issuer.certificate_url(),
            },
            path,
            signer,
        })
    }

    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// The issuer's name in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// The time in which every CA of the path is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Its own certificate with those above it, and what they permit together.
    pub fn path(&self) -> &IssuingPath {
        &self.path
    }

    /// May its key sign CRLs, by the certificate that new ones chain to?
    pub fn signs_crls(&self) -> bool {
        self.path.cas().first().is_none_or(|own| own.signs_crls)
    }

    /// Empty when it sets none.
    pub fn usages(&self) -> &[der::oid::ObjectIdentifier] {
        &self.usages
    }

    /// Builds what would be signed and judges those bytes by the profile and by lint.
    pub fn prepare(&self, profile: &Profile, request: &CertificateRequest, ask: &Ask) -> Result<Prepared> {
        let names = match &ask.names {
            Some(names) => names.clone(),
            None if profile.common_name_is_a_name() => {
                request.san().iter().cloned().chain(request.common_name_identifier()).collect()
            }
            None => request.san().to_vec(),
        };
        let names = distinct(names);
        let key = request.public_key();
        profile.check_key(key.algorithm())?;
        profile.check_groups(request.subject())?;
        let subject = policy::subject(profile, &self.path, ask, &names)?;
        let validity = self.choose_validity(profile, &names, ask)?;
        let template = Template {
            serial: &ask.serial,
            signature: SignatureAlgorithm::for_key(self.signer.algorithm()),
            issuer: &self.subject,
            validity,
            subject,
            spki: key.spki(),
            names: &names,
            key_usage: profile.key_usage(key.algorithm()),
            usages: profile.usages(),
            critical_usages: profile.critical_usages(),
            policies: profile.policies(),
            ca: None,
            name_constraints: None,
            subject_key_id: None,
            authority_key_id: Some(&self.key_id),
            pointers: (!profile.no_revocation()).then(|| self.pointers.clone()),
            ocsp_no_check: false,
            no_rev_avail: profile.no_revocation(),
        };
        let tbs = template.build()?;
        policy::judge_leaf(&tbs, profile, &self.above(), ask)?;
        self.prepared(tbs, Kind::Leaf)
    }

    /// The certificate of a delegated OCSP responder (RFC 6960 §4.2.2.2): OCSPSigning, id-pkix-ocsp-nocheck,
    /// no pointers.
    pub fn prepare_responder(
        &self,
        spki: &[u8],
        serial: SerialNumber,
        now: Timestamp,
        life: Duration,
    ) -> Result<Prepared> {
        let not_after = (now + life).min(self.validity.not_after());
        let validity = Validity::new((now - crate::clock::minutes(60)).max(self.validity.not_before()), not_after)?;
        let template = Template {
            serial: &serial,
            signature: SignatureAlgorithm::for_key(self.signer.algorithm()),
            issuer: &self.subject,
            validity,
            subject: self.path.subject(&format!("{} OCSP responder", self.slug))?,
            spki,
            names: &[],
            key_usage: tbs::DIGITAL_SIGNATURE,
            usages: &[ExtendedKeyUsage::OcspSigning],
            critical_usages: false,
            policies: &self.path.inherited_policies(),
            ca: None,
            name_constraints: None,
            subject_key_id: None,
            authority_key_id: Some(&self.key_id),
            pointers: None,
            ocsp_no_check: true,
            no_rev_avail: false,
        };
        self.prepared(template.build()?, Kind::Responder)
    }

    /// A CA certificate below this one, path length 0, with the usages of its domain.
    pub fn prepare_issuing(&self, below: &NewIssuer<'_>, serial: SerialNumber) -> Result<Prepared> {
        self.issuing(self.path.subject(below.name)?, below, None, serial)
    }

    /// One more certificate for a CA below this one: name, key and constraints of `certificate` byte for byte, and its
    /// usages without OCSPSigning, which would be a delegation by this CA (RFC 6960 §4.2.2.2).
    pub fn prepare_renewal(&self, certificate: &[u8], validity: Validity, serial: SerialNumber) -> Result<Prepared> {
        let unreadable = |e: DerError| Error::inconsistent("the certificate of an issuer cannot be read").because(e);
        let (raw, ..) = tbs::split_certificate(certificate).map_err(unreadable)?;
        let view = TbsView::parse(raw).map_err(unreadable)?;
        let given = view.extended_key_usage().map_err(unreadable)?;
        let kept = ExtendedKeyUsage::ALL.into_iter().filter(|usage| *usage != ExtendedKeyUsage::OcspSigning);
        let usages: Vec<_> = kept.filter(|usage| given.contains(&usage.oid())).collect();
        let constraints = view.extension(&oids::NAME_CONSTRAINTS).map(|(_, value)| value);
        let below = NewIssuer { name: "", spki: view.spki, usages: &usages, constraints, validity };
        let key_id = view.subject_key_id().map_err(unreadable)?;
        self.issuing(DistinguishedName::from_der(view.subject).map_err(unreadable)?, &below, key_id, serial)
    }

    fn issuing(
        &self,
        subject: DistinguishedName,
        below: &NewIssuer<'_>,
        key_id: Option<&[u8]>,
        serial: SerialNumber,
    ) -> Result<Prepared> {
        let policies = self.path.inherited_policies();
        let not_after = below.validity.not_after().min(self.validity.not_after());
        let template = Template {
            serial: &serial,
            signature: SignatureAlgorithm::for_key(self.signer.algorithm()),
            issuer: &self.subject,
            validity: Validity::new(below.validity.not_before().max(self.validity.not_before()), not_after)?,
            subject,
            spki: below.spki,
            names: &[],
            key_usage: tbs::KEY_CERT_SIGN | tbs::CRL_SIGN | tbs::DIGITAL_SIGNATURE,
            usages: below.usages,
            critical_usages: false,
            policies: &policies,
            ca: Some(Some(0)),
            name_constraints: below.constraints,
            subject_key_id: key_id,
            authority_key_id: Some(&self.key_id),
            pointers: Some(self.pointers.clone()),
            ocsp_no_check: false,
            no_rev_avail: false,
        };
        let tbs = template.build()?;
        let above = Above { below_key_id: key_id, ..self.above() };
        self.linted(tbs, Kind::Issuing, &above)
    }

    /// Signs, and verifies the signature before anybody sees it.
    pub async fn seal(&self, prepared: Prepared) -> Result<SealedCertificate> {
        if prepared.issuer != self.id {
            return Err(Error::inconsistent(format!("issuer {} was given bytes that another prepared", self.slug)));
        }
        seal(self.signer.as_ref(), prepared).await
    }

    fn prepared(&self, tbs: Vec<u8>, kind: Kind) -> Result<Prepared> {
        self.linted(tbs, kind, &self.above())
    }

    fn linted(&self, tbs: Vec<u8>, kind: Kind, above: &Above<'_>) -> Result<Prepared> {
        let signature = SignatureAlgorithm::for_key(self.signer.algorithm());
        lint::refuse(lint::lint(&tbs, kind, signature, above))?;
        let facts = facts(&tbs)?;
        Ok(Prepared { issuer: self.id, tbs, facts })
    }

    fn above(&self) -> Above<'_> {
        Above {
            subject: &self.subject,
            key_id: &self.key_id,
            validity: self.validity,
            path: &self.path,
            below_key_id: None,
        }
    }

    /// Explicit values are honoured exactly or refused later, on the bytes; defaults are capped. A lifetime counts from
    /// now and the backdate comes on top, as far as the profile's maximum leaves room for it.
    fn choose_validity(&self, profile: &Profile, names: &[Identifier], ask: &Ask) -> Result<Validity> {
        let asked = ask.validity;
        let last_second = Duration::from_secs(1);
        let longest = profile.max_lifetime(names, ask.via_acme);
        let now = ask.now.max(self.validity.not_before()).truncated();
        let from = asked.not_before.unwrap_or(now).truncated();
        let end = match (asked.not_after, asked.ttl) {
            (Some(_), Some(_)) => {
                return Err(Error::malformed("not_after and ttl contradict each other: give one of them"));
            }
            (Some(not_after), None) => Some(not_after.truncated()),
            (None, Some(ttl)) => Some(from + ttl - last_second),
            (None, None) => None,
        };
        let backdated = (ask.now - profile.backdate()).max(self.validity.not_before()).truncated();
        let not_before = match (asked.not_before, end) {
            (Some(_), _) => from,
            (None, Some(end)) => backdated.max((end + last_second - longest).min(now)),
            (None, None) => backdated,
        };
        let not_after = end.unwrap_or_else(|| {
            let whole = match asked.like_before {
                Some(length) => not_before + length,
                None => from + profile.default_lifetime(names, ask.via_acme),
            };
            let usual = whole.min(not_before + longest) - last_second;
            planted!("default-outlives-its-issuer", usual, usual.min(self.validity.not_after()))
        });
        Validity::new(not_before, not_after)
    }
}

/// What a new issuing CA is.
#[derive(Debug)]
pub struct NewIssuer<'a> {
    pub name: &'a str,
    pub spki: &'a [u8],
    pub usages: &'a [ExtendedKeyUsage],
    /// The value of the extension (`ConstraintList::der`).
    pub constraints: Option<&'a [u8]>,
    pub validity: Validity,
}

/// A self-signed root (RFC 5280 §4.2.1.1: without an authority key identifier). `id` is its issuer's.
pub fn prepare_root(
    id: IssuerId,
    name: &str,
    signer: &dyn Signer,
    serial: SerialNumber,
    validity: Validity,
) -> Result<Prepared> {
    let subject = common_name(name)?;
    let issuer = subject.as_der().to_vec();
    let template = Template {
        serial: &serial,
        signature: SignatureAlgorithm::for_key(signer.algorithm()),
        issuer: &issuer,
        validity,
        subject,
        spki: signer.public_key(),
        names: &[],
        key_usage: tbs::KEY_CERT_SIGN | tbs::CRL_SIGN,
        usages: &[],
        critical_usages: false,
        policies: &[],
        ca: Some(None),
        name_constraints: None,
        subject_key_id: None,
        authority_key_id: None,
        pointers: None,
        ocsp_no_check: false,
        no_rev_avail: false,
    };
    let tbs = template.build()?;
    let key_id = tbs::key_identifier(signer.public_key());
    let key_id = key_id.map_err(|e| Error::internal("the public key of a new root cannot be read", e))?;
    let path = IssuingPath::none();
    let above = Above { subject: &issuer, key_id: &key_id, validity, path, below_key_id: None };
    lint::refuse(lint::lint(&tbs, Kind::Root, SignatureAlgorithm::for_key(signer.algorithm()), &above))?;
    let facts = facts(&tbs)?;
    Ok(Prepared { issuer: id, tbs, facts })
}

/// Seals a root, which has no `IssuerKey` before it exists.
pub async fn seal_root(signer: &dyn Signer, prepared: Prepared) -> Result<SealedCertificate> {
    seal(signer, prepared).await
}

async fn seal(signer: &dyn Signer, prepared: Prepared) -> Result<SealedCertificate> {
    let unavailable = |e| Error::new(ErrorKind::Unavailable, "the signing key did not answer; try again").because(e);
    let signature = signer.sign(&prepared.tbs).await.map_err(unavailable)?;
    // a wrong signature (a broken HSM, a flipped bit) must not leave
    planted!(
        "wrong-signature-leaves",
        (),
        verify(signer.public_key(), &prepared.tbs, &signature).map_err(|e| Error::internal(
            "a signature of ours does not verify; the certificate is not released",
            e
        ))?
    );
    let algorithm = algorithm_identifier(SignatureAlgorithm::for_key(signer.algorithm()));
    let der = asn1::sequence(&[&prepared.tbs, &algorithm, &asn1::bit_string(&signature)]);
    if tbs::split_certificate(&der).map(|(embedded, ..)| embedded) != Ok(prepared.tbs.as_slice()) {
        return Err(Error::new(ErrorKind::Internal, "the sealed bytes are not those that were prepared"));
    }
    let fingerprint = sha256(&der);
    Ok(SealedCertificate { der, fingerprint, facts: prepared.facts })
}

fn facts(tbs: &[u8]) -> Result<Facts> {
    let unreadable = |e: DerError| Error::internal("bytes that were just built cannot be read", e);
    let view = TbsView::parse(tbs).map_err(unreadable)?;
    Ok(Facts {
        serial: SerialNumber::from_octets(view.serial)?,
        subject: DistinguishedName::from_der(view.subject).map_err(unreadable)?.to_string(),
        names: view.names().map_err(unreadable)?,
        validity: view.validity,
        spki_sha256: sha256(view.spki),
    })
}

fn common_name(text: &str) -> Result<DistinguishedName> {
    DistinguishedName::build(&SubjectFields::common_name(text)).map_err(|e| {
        let sentence = e.to_string();
        Error::refused(
            ErrorKind::Malformed,
            format!("subject.{}", e.attribute),
            e.value,
            e.why,
            "choose another name",
        )
        .explained(sentence)
    })
}

/// The names in the order given, each once.
fn distinct(names: Vec<Identifier>) -> Vec<Identifier> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().filter(|n| seen.insert(n.clone())).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
