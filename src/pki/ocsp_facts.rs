//! Reading OCSP answers (RFC 6960 §4.2): what one says, for inspect and for tests.

use super::algorithm::{SignatureScheme, VerifyError, verify_with};
use super::der::{self, Cursor, DerError, Tlv};
use super::extension::extensions;
use super::ocsp_request::{CertId, Nonce};
use super::oids;
use crate::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OcspFacts<'a> {
    /// Without an answer: malformedRequest and the like.
    Failed(OcspFailure),
    Answered(Box<OcspAnswer<'a>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspFailure {
    MalformedRequest,
    InternalError,
    TryLater,
    SigRequired,
    Unauthorized,
}

impl OcspFailure {
    /// The name in RFC 6960 §4.2.1.
    pub const fn name(self) -> &'static str {
        match self {
            OcspFailure::MalformedRequest => "malformedRequest",
            OcspFailure::InternalError => "internalError",
            OcspFailure::TryLater => "tryLater",
            OcspFailure::SigRequired => "sigRequired",
            OcspFailure::Unauthorized => "unauthorized",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspAnswer<'a> {
    pub responder: ResponderId<'a>,
    pub produced_at: Timestamp,
    pub singles: Vec<OcspSingle<'a>>,
    pub nonce: Option<Nonce<'a>>,
    /// Certificates that the answer carries, in DER.
    pub certificates: Vec<&'a [u8]>,
    tbs: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponderId<'a> {
    /// Name in DER.
    ByName(&'a [u8]),
    /// SHA-1 of the key.
    ByKey(&'a [u8]),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspSingle<'a> {
    pub cert_id: CertId<'a>,
    pub status: OcspStatus,
    pub this_update: Timestamp,
    pub next_update: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspStatus {
    Good,
    /// With the CRLReason code, if one is given.
    Revoked {
        at: Timestamp,
        reason: Option<u32>,
    },
    Unknown,
}

impl<'a> OcspFacts<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut outer = der::only_sequence(bytes)?;
        let status = enumerated(&mut outer)?;
        let body = outer.optional(der::context_constructed(0))?;
        outer.finish()?;
        let failure = match (status, body) {
            (0, Some(body)) => return answer(body.inside()).map(|a| OcspFacts::Answered(Box::new(a))),
            (0, None) => return Err(DerError("a successful answer is empty")),
            (1, None) => OcspFailure::MalformedRequest,
            (2, None) => OcspFailure::InternalError,
            (3, None) => OcspFailure::TryLater,
            (5, None) => OcspFailure::SigRequired,
            (6, None) => OcspFailure::Unauthorized,
            _ => return Err(DerError("the status of the answer is not known, or an error has an answer")),
        };
        Ok(OcspFacts::Failed(failure))
    }
}

impl OcspAnswer<'_> {
    /// Is it signed by this key (SubjectPublicKeyInfo)?
    pub fn verify(&self, public_key: &[u8]) -> Result<(), VerifyError> {
        verify_with(SignatureScheme::parse(self.algorithm)?, public_key, self.tbs, self.signature)
    }
}

fn answer(mut body: Cursor<'_>) -> Result<OcspAnswer<'_>, DerError> {
    let mut bytes = body.sequence()?;
    body.finish()?;
    if bytes.oid()? != oids::OCSP_BASIC {
        return Err(DerError("the answer is not a basic one"));
    }
    let mut basic = der::only_sequence(bytes.expect(der::OCTET_STRING)?.content)?;
    bytes.finish()?;

    let data = basic.expect(der::SEQUENCE)?;
    let algorithm = basic.expect(der::SEQUENCE)?.raw;
    let signature = basic.bit_octets()?;
    let certificates = match basic.optional(der::context_constructed(0))? {
        Some(explicit) => certificates(explicit)?,
        None => Vec::new(),
    };
    basic.finish()?;

    let mut inside = data.inside();
    if inside.optional(der::context_constructed(0))?.is_some() {
        return Err(DerError("the version stands there and is the default, or is not v1"));
    }
    let responder = responder(inside.any()?)?;
    let produced_at = generalized(&mut inside)?;
    let mut list = inside.sequence()?;
    let mut singles = Vec::new();
    while !list.is_empty() {
        singles.push(single(list.sequence()?)?);
    }
    let mut nonce = None;
    if let Some(explicit) = inside.optional(der::context_constructed(1))? {
        let mut explicit = explicit.inside();
        let found = extensions(&mut explicit)?;
        explicit.finish()?;
        nonce = found.iter().find(|e| e.id == oids::OCSP_NONCE).map(|e| Nonce::parse(e.value)).transpose()?;
    }
    inside.finish()?;
    Ok(OcspAnswer { responder, produced_at, singles, nonce, certificates, tbs: data.raw, algorithm, signature })
}

fn responder(id: Tlv<'_>) -> Result<ResponderId<'_>, DerError> {
    let mut inside = id.inside();
    const BY_NAME: u8 = der::context_constructed(1);
    const BY_KEY: u8 = der::context_constructed(2);
    let responder = match id.tag {
        BY_NAME => ResponderId::ByName(inside.expect(der::SEQUENCE)?.raw),
        BY_KEY => ResponderId::ByKey(inside.expect(der::OCTET_STRING)?.content),
        _ => return Err(DerError("the responder is named neither by name nor by key")),
    };
    inside.finish()?;
    Ok(responder)
}

fn single(mut list: Cursor<'_>) -> Result<OcspSingle<'_>, DerError> {
    let cert_id = CertId::read(&mut list)?;
    let status = status(list.any()?)?;
    let this_update = generalized(&mut list)?;
    let mut next_update = None;
    if let Some(explicit) = list.optional(der::context_constructed(0))? {
        let mut explicit = explicit.inside();
        next_update = Some(generalized(&mut explicit)?);
        explicit.finish()?;
    }
    if let Some(explicit) = list.optional(der::context_constructed(1))? {
        let mut explicit = explicit.inside();
        extensions(&mut explicit)?;
        explicit.finish()?;
    }
    list.finish()?;
    Ok(OcspSingle { cert_id, status, this_update, next_update })
}

fn status(value: Tlv<'_>) -> Result<OcspStatus, DerError> {
    const GOOD: u8 = der::context(0);
    const REVOKED: u8 = der::context_constructed(1);
    const UNKNOWN: u8 = der::context(2);
    match (value.tag, value.content) {
        (GOOD, []) => Ok(OcspStatus::Good),
        (UNKNOWN, []) => Ok(OcspStatus::Unknown),
        (REVOKED, _) => {
            let mut info = value.inside();
            let at = generalized(&mut info)?;
            let reason = match info.optional(der::context_constructed(0))? {
                Some(explicit) => {
                    let mut explicit = explicit.inside();
                    let code = enumerated(&mut explicit)?;
                    explicit.finish()?;
                    Some(code)
                }
                None => None,
            };
            info.finish()?;
            Ok(OcspStatus::Revoked { at, reason })
        }
        _ => Err(DerError("the status of a certificate is none of good, revoked and unknown")),
    }
}

fn certificates(explicit: Tlv<'_>) -> Result<Vec<&[u8]>, DerError> {
    let mut explicit = explicit.inside();
    let mut list = explicit.sequence()?;
    explicit.finish()?;
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.expect(der::SEQUENCE)?.raw);
    }
    Ok(found)
}

fn enumerated(list: &mut Cursor<'_>) -> Result<u32, DerError> {
    der::small(der::minimal_integer(list.expect(der::ENUMERATED)?.content)?)
}

/// RFC 6960 §4.2.2.1: GeneralizedTime everywhere.
fn generalized(list: &mut Cursor<'_>) -> Result<Timestamp, DerError> {
    match list.peek() {
        Some(der::GENERALIZED_TIME) => list.time(),
        _ => Err(DerError("a time of an OCSP answer is not GeneralizedTime")),
    }
}
