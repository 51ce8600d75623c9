//! Certification requests (PKCS#10, RFC 2986; extensions by RFC 2985 §5.4.2). From a CSR only the key and the
//! checked names flow on: a `CertificateRequest` cannot be built without signature, key and names having passed.

use std::collections::BTreeSet;

use ::der::oid::ObjectIdentifier;

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::der::{self, Cursor, DerError};
use super::general_name::{self, GeneralNameError};
use super::input::{self, Input};
use super::key_policy::{KeyPolicy, KeyRefusal, PublicKeyInfo};
use super::name::DistinguishedName;
use super::oids;
use super::pem::Block;
use crate::error::{Error, ErrorKind};
use crate::model::identifier::{Identifier, shown};

/// A key that its holder proved to have, and the names asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    version: u8,
    public_key: PublicKeyInfo,
    san: Vec<Identifier>,
    common_name: Option<String>,
    subject: DistinguishedName,
    asked_extensions: Vec<(ObjectIdentifier, Vec<u8>)>,
    der: Option<Vec<u8>>,
}

impl CertificateRequest {
    pub const MAX_OCTETS: usize = 32 * 1024;
    pub const MAX_NAMES: usize = 100;

    /// Reads and judges a CSR in DER.
    pub fn from_der(csr: &[u8], keys: &KeyPolicy) -> Result<Self, CsrRefusal> {
        if csr.len() > Self::MAX_OCTETS {
            return Err(CsrRefusal::TooLarge(csr.len()));
        }
        let mut outer = der::only_sequence(csr)?;
        let info = outer.expect(der::SEQUENCE)?;
        let algorithm = outer.expect(der::SEQUENCE)?;
        let signature = outer.bit_octets()?;
        outer.finish()?;

        let mut body = info.inside();
        // RFC 2986 knows v1(0) alone; printers and the libraries behind old ACME clients write 1 or 2 and mean the same
        let version = match body.integer()? {
            [version @ 0..=2] => *version,
            _ => return Err(CsrRefusal::Version),
        };
        let subject = DistinguishedName::from_der(body.expect(der::SEQUENCE)?.raw)?;
        let spki = body.expect(der::SEQUENCE)?.raw;
        let attributes = body.optional(der::context_constructed(0))?;
        body.finish()?;

        let public_key = keys.check(spki)?;
        let scheme = SignatureScheme::parse(algorithm.raw).map_err(CsrRefusal::Signature)?;
        planted!(
            "csr-is-not-signed",
            (),
            verify_with(scheme, spki, info.raw, signature).map_err(CsrRefusal::Signature)?
        );

        let extensions = match attributes {
            Some(set) => requested_extensions(set.inside())?,
            None => Vec::new(),
        };
        if extensions.iter().any(|e| e.id == oids::TLS_FEATURE) {
            return Err(CsrRefusal::MustStaple);
        }
        let asked_extensions = extensions.iter().map(|e| (e.id, e.value.to_vec())).collect();
        let san = match extensions.iter().find(|e| e.id == oids::SUBJECT_ALT_NAME) {
            Some(extension) => read_san(extension.value)?,
            None => Vec::new(),
        };
        let common_name = read_common_name(&subject)?;
        let der = Some(csr.to_vec());
        Ok(CertificateRequest { version, public_key, san, common_name, subject, asked_extensions, der })
    }

    /// Reads a CSR in PEM or DER.
    pub fn from_pem_or_der(csr: &[u8], keys: &KeyPolicy) -> Result<Self, CsrRefusal> {
        Self::from_der(&csr_from_pem_or_der(csr)?, keys)
    }

    /// For a key that the server made: no signature proves it, because nobody else has held it.
    pub fn for_key(public_key: PublicKeyInfo, names: Vec<Identifier>) -> Self {
        let mut san: Vec<Identifier> = Vec::new();
        names.into_iter().for_each(|name| {
            if !san.contains(&name) {
                san.push(name)
            }
        });
        let subject = DistinguishedName::empty();
        let asked_extensions = Vec::new();
        CertificateRequest { version: 0, public_key, san, common_name: None, subject, asked_extensions, der: None }
    }

    /// The names in the subjectAltName and the CN, if that is a DNS name or an address (RFC 8555 §7.4).
    pub fn names(&self) -> BTreeSet<Identifier> {
        self.san.iter().cloned().chain(self.common_name_identifier()).collect()
    }

    /// The names in the subjectAltName, in the order asked, each once.
    pub fn san(&self) -> &[Identifier] {
        &self.san
    }

    /// The subject's CN as it was written.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The CN as a name, if it is one.
    pub fn common_name_identifier(&self) -> Option<Identifier> {
        let text = self.common_name.as_deref()?;
        Identifier::ip(text).or_else(|_| Identifier::dns(text)).ok()
    }

    /// Is there a CN that is a name and not among the SANs?
    pub fn common_name_outside_san(&self) -> bool {
        self.common_name_identifier().is_some_and(|name| !self.san.contains(&name))
    }

    pub fn public_key(&self) -> &PublicKeyInfo {
        &self.public_key
    }

    /// The subject as asked: for reports, never copied into a certificate.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// As written: 0 is what RFC 2986 calls version 1.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The extensions that were asked for, with their values: for reports, never copied into a certificate.
    pub fn asked_extensions(&self) -> &[(ObjectIdentifier, Vec<u8>)] {
        &self.asked_extensions
    }

    /// The CSR; none for a key that the server made.
    pub fn der(&self) -> Option<&[u8]> {
        self.der.as_deref()
    }
}

/// A version that RFC 2986 does not know is accepted and leaves a line in the log.
pub fn note_version(request: &CertificateRequest, protocol: &str) {
    if request.version() != 0 {
        tracing::info!(protocol, version = request.version(), subject = %request.subject(), "a CSR has a version number that RFC 2986 does not know");
    }
}

/// The DER of a CSR as people paste it (`input`): PEM (RFC 7468 §7, or `NEW CERTIFICATE REQUEST` of older tools), DER or
/// base64. A private key beside it is refused, because whoever reads this is not its owner.
fn csr_from_pem_or_der(csr: &[u8]) -> Result<Vec<u8>, CsrRefusal> {
    let file = CsrFile::read(csr)?;
    if file.has_private_key { Err(CsrRefusal::PrivateKey) } else { Ok(file.csr) }
}

/// What the owner of a key has in one file.
pub struct CsrFile {
    /// In DER.
    pub csr: Vec<u8>,
    pub has_private_key: bool,
}

impl CsrFile {
    pub fn read(bytes: &[u8]) -> Result<Self, CsrRefusal> {
        let blocks = match blocks(bytes)? {
            Input::Der(csr) => return Ok(CsrFile { csr, has_private_key: false }),
            Input::Blocks(blocks) => blocks,
        };
        let has_private_key = blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY"));
        Ok(CsrFile { csr: only_request(blocks)?, has_private_key })
    }
}

fn blocks(csr: &[u8]) -> Result<Input, CsrRefusal> {
    // base64 and its lines add less than half, UTF-16 doubles that
    if csr.len() > 3 * CertificateRequest::MAX_OCTETS {
        return Err(CsrRefusal::TooLarge(csr.len()));
    }
    input::read(csr).map_err(|e| CsrRefusal::Pem(e.detail))
}

fn only_request(blocks: Vec<Block>) -> Result<Vec<u8>, CsrRefusal> {
    let mut requests =
        blocks.into_iter().filter(|b| matches!(b.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"));
    match (requests.next(), requests.next()) {
        (Some(only), None) => Ok(only.der),
        (Some(_), Some(_)) => Err(CsrRefusal::Pem("the PEM text holds more than one certificate request".into())),
        (None, _) => Err(CsrRefusal::Pem("the PEM text holds no certificate request".into())),
    }
}

/// Why a CSR is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrRefusal {
    #[error("a CSR of {0} octets")]
    TooLarge(usize),
    #[error("{0}")]
    Pem(String),
    #[error("it comes with a private key, which nobody but its owner may have")]
    PrivateKey,
    #[error("a CSR that is {0}")]
    Der(#[from] DerError),
    #[error("a CSR of another version than 1, 2 or 3")]
    Version,
    #[error("a CSR that asks for OCSP must-staple (the TLS feature extension, RFC 7633)")]
    MustStaple,
    #[error("a CSR that asks for the extension {0} with two different values")]
    Contradiction(ObjectIdentifier),
    #[error("a CSR with the attribute {0} twice")]
    DuplicateAttribute(ObjectIdentifier),
    #[error("a CSR that asks for the extension {0} twice")]
    DuplicateExtension(ObjectIdentifier),
    #[error("a CSR whose proof of possession fails: {0}")]
    Signature(VerifyError),
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    #[error("a CSR with an empty subjectAltName")]
    EmptySan,
    #[error("a CSR with {0} names")]
    TooManyNames(usize),
    #[error("a CSR whose subjectAltName holds {0}")]
    San(GeneralNameError),
    #[error("a CSR whose common name {0}")]
    CommonName(&'static str),
}

impl CsrRefusal {
    pub fn rule(&self) -> &'static str {
        match self {
            CsrRefusal::TooLarge(_) => "csr.size",
            CsrRefusal::Pem(_) => "csr.pem",
            CsrRefusal::PrivateKey => "csr.private_key",
            CsrRefusal::Der(_) => "csr.der",
            CsrRefusal::Version => "csr.version",
            CsrRefusal::MustStaple => "csr.must_staple",
            CsrRefusal::Contradiction(_) => "csr.contradiction",
            CsrRefusal::DuplicateAttribute(_) => "csr.duplicate_attribute",
            CsrRefusal::DuplicateExtension(_) => "csr.duplicate_extension",
            CsrRefusal::Signature(_) => "csr.signature",
            CsrRefusal::Key(refusal) => refusal.rule(),
            CsrRefusal::EmptySan => "csr.empty_san",
            CsrRefusal::TooManyNames(_) => "csr.names",
            CsrRefusal::San(_) => "csr.san",
            CsrRefusal::CommonName(_) => "csr.common_name",
        }
    }

    fn allowed(&self) -> String {
        match self {
            CsrRefusal::TooLarge(_) => format!("at most {} octets of DER", CertificateRequest::MAX_OCTETS),
            CsrRefusal::TooManyNames(_) => format!("at most {}", CertificateRequest::MAX_NAMES),
            CsrRefusal::Signature(_) => {
                "a signature by the key itself with SHA-256, SHA-384, SHA-512 or Ed25519".into()
            }
            CsrRefusal::San(_) | CsrRefusal::EmptySan => "DNS names, IP addresses, mail addresses and URIs".into(),
            CsrRefusal::CommonName(_) => "a CN of readable text".into(),
            CsrRefusal::PrivateKey => "the CSR alone".into(),
            CsrRefusal::MustStaple => "no TLS feature, which no profile gives".into(),
            CsrRefusal::Contradiction(_) => "each extension once, or twice with the same value".into(),
            _ => "one PKCS#10 request in strict DER (RFC 2986)".into(),
        }
    }
}

impl From<CsrRefusal> for Error {
    fn from(refusal: CsrRefusal) -> Error {
        let kind = match refusal {
            CsrRefusal::Key(key) => return key.into(),
            CsrRefusal::TooLarge(_) => ErrorKind::TooLarge,
            _ => ErrorKind::BadCsr,
        };
        let fix = match refusal {
            CsrRefusal::San(_) | CsrRefusal::EmptySan | CsrRefusal::TooManyNames(_) => "make a CSR with such names",
            CsrRefusal::PrivateKey => "make another key, since this one was sent, and send its CSR",
            CsrRefusal::MustStaple => "make the CSR without must-staple (certbot: leave --must-staple out)",
            _ => {
                "make the CSR again, for example with `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256`"
            }
        };
        Error::refused(kind, refusal.rule(), &refusal, refusal.allowed(), fix)
            .explained(format!("the CSR is not accepted: {refusal}; this CA takes {}", refusal.allowed()))
    }
}

struct Extension<'a> {
    id: ObjectIdentifier,
    value: &'a [u8],
}

/// The extensions of all extensionRequest attributes, PKCS's and the one that Windows wrote before (1.3.6.1.4.1.311.2.1.14).
/// Some programs write two attributes, or one without a value. Other attributes are read over, none may come twice.
fn requested_extensions<'a>(mut attributes: Cursor<'a>) -> Result<Vec<Extension<'a>>, CsrRefusal> {
    let mut seen = BTreeSet::new();
    let mut extensions: Vec<Extension<'a>> = Vec::new();
    while !attributes.is_empty() {
        let mut attribute = attributes.sequence()?;
        let id = attribute.oid()?;
        let mut values = attribute.expect(der::SET)?.inside();
        attribute.finish()?;
        if id == oids::EXTENSION_REQUEST || id == oids::MS_EXTENSION_REQUEST {
            while !values.is_empty() {
                add(&mut extensions, read_extensions(values.sequence()?)?)?;
            }
        } else if !seen.insert(id) {
            return Err(CsrRefusal::DuplicateAttribute(id));
        }
    }
    Ok(extensions)
}

/// One extension may be asked for again if it says the same.
fn add<'a>(all: &mut Vec<Extension<'a>>, more: Vec<Extension<'a>>) -> Result<(), CsrRefusal> {
    for extension in more {
        match all.iter().find(|known| known.id == extension.id) {
            None => all.push(extension),
            Some(known) if known.value == extension.value => {}
            Some(_) => return Err(CsrRefusal::Contradiction(extension.id)),
        }
    }
    Ok(())
}

fn read_extensions<'a>(mut list: Cursor<'a>) -> Result<Vec<Extension<'a>>, CsrRefusal> {
    let mut extensions: Vec<Extension<'a>> = Vec::new();
    let mut seen = BTreeSet::new();
    while !list.is_empty() {
        let mut extension = list.sequence()?;
        let id = extension.oid()?;
        extension.default_false()?;
        let value = extension.expect(der::OCTET_STRING)?.content;
        extension.finish()?;
        if !seen.insert(id) {
            return Err(CsrRefusal::DuplicateExtension(id));
        }
        extensions.push(Extension { id, value });
    }
    Ok(extensions)
}

fn read_san(value: &[u8]) -> Result<Vec<Identifier>, CsrRefusal> {
    let mut list = der::only_sequence(value)?;
    let (mut names, mut seen, mut count) = (Vec::new(), BTreeSet::new(), 0);
    while !list.is_empty() {
        let entry = list.any()?;
        count += 1;
        if count <= CertificateRequest::MAX_NAMES {
            let name = general_name::identifier(entry).map_err(CsrRefusal::San)?;
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
    }
    match count {
        0 => Err(CsrRefusal::EmptySan),
        n if n > CertificateRequest::MAX_NAMES => Err(CsrRefusal::TooManyNames(n)),
        _ => Ok(names),
    }
}

/// The last CN, which stands nearest to the thing itself: AD writes the container before it. All are readable and without
/// NUL (CVE-2009-2408).
fn read_common_name(subject: &DistinguishedName) -> Result<Option<String>, CsrRefusal> {
    let mut texts =
        subject.texts(&oids::COMMON_NAME).map_err(|_| CsrRefusal::CommonName("is not a readable string"))?;
    if texts.iter().any(|text| text.chars().any(char::is_control)) {
        return Err(CsrRefusal::CommonName("has NUL or other control characters"));
    }
    match texts.pop() {
        Some(text) if shown(&text).is_empty() => Ok(None),
        text => Ok(text),
    }
}
