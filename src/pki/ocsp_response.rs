//! OCSP answers (RFC 6960 §4.2, RFC 5019 §2.2): built, and signed by a delegated responder or by the issuer
//! itself. What cannot be answered gets one of the unsigned constants.

use std::sync::Arc;

use super::algorithm::{SpkiError, algorithm_identifier};
use super::ocsp_request::{IssuerHashes, Nonce};
use super::signer::{SignError, Signer};
use super::{der, oids};
use crate::clock::Timestamp;
use crate::model::key::SignatureAlgorithm;
use crate::model::reason::RevocationReason;

/// Answers that carry nothing but their status, and no signature.
pub const MALFORMED_REQUEST: [u8; 5] = unsigned(1);
pub const INTERNAL_ERROR: [u8; 5] = unsigned(2);
pub const TRY_LATER: [u8; 5] = unsigned(3);
/// We are not the one to ask about this issuer, or cannot speak for it (RFC 5019 §2.2.3).
pub const UNAUTHORIZED: [u8; 5] = unsigned(6);

const fn unsigned(status: u8) -> [u8; 5] {
    [der::SEQUENCE, 3, der::ENUMERATED, 1, status]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertStatus {
    Good,
    Revoked {
        at: Timestamp,
        reason: RevocationReason,
    },
    /// Never issued by us.
    Unknown,
}

/// The answer about one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleAnswer<'a> {
    /// `CertId::raw` of the request.
    pub cert_id: &'a [u8],
    pub status: CertStatus,
    /// When the status was read, less the backdate.
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    /// Since when the status of certificates is kept past their end (RFC 6960 §4.4.4).
    pub archive_cutoff: Option<Timestamp>,
}

/// A key that answers for one issuer. It names itself by its key, which fits whatever certificate it shows.
#[derive(Debug, Clone)]
pub struct OcspResponder {
    signer: Arc<dyn Signer>,
    responder_id: Vec<u8>,
    algorithm: Vec<u8>,
    /// `certs [0]` in DER, or nothing.
    certificates: Vec<u8>,
}

impl OcspResponder {
    /// A delegate with its certificate in DER, which is shown to the client.
    pub fn delegated(signer: Arc<dyn Signer>, certificate: &[u8]) -> Result<Self, SpkiError> {
        let list = der::sequence(&[certificate]);
        Self::new(signer, der::constructed(der::context_constructed(0), &[&list]))
    }

    /// The issuer's own key; the client has its certificate.
    pub fn issuer(signer: Arc<dyn Signer>) -> Result<Self, SpkiError> {
        Self::new(signer, Vec::new())
    }

    fn new(signer: Arc<dyn Signer>, certificates: Vec<u8>) -> Result<Self, SpkiError> {
        let hashes = IssuerHashes::of(&[], signer.public_key())?;
        let by_key = der::constructed(der::context_constructed(2), &[&der::octet_string(hashes.key_sha1())]);
        let algorithm = algorithm_identifier(SignatureAlgorithm::for_key(signer.algorithm()));
        Ok(OcspResponder { signer, responder_id: by_key, algorithm, certificates })
    }

    /// Names itself by the subject of its certificate (DER) from now on.
    pub fn named(mut self, subject: &[u8]) -> Self {
        self.responder_id = der::constructed(der::context_constructed(1), &[subject]);
        self
    }

    /// A signed answer. The signature is not verified again: that costs three times the signing, and a bad one
    /// harms nobody, as clients refuse it.
    pub async fn answer(
        &self,
        answers: &[SingleAnswer<'_>],
        produced_at: Timestamp,
        nonce: Option<Nonce<'_>>,
    ) -> Result<Vec<u8>, SignError> {
        let data = self.response_data(answers, produced_at, nonce);
        let signature = self.signer.sign(&data).await?;
        let basic = der::sequence(&[&data, &self.algorithm, &der::bit_string(&signature), &self.certificates]);
        let bytes = der::sequence(&[&der::oid(&oids::OCSP_BASIC), &der::octet_string(&basic)]);
        let explicit = der::constructed(der::context_constructed(0), &[&bytes]);
        Ok(der::sequence(&[&[der::ENUMERATED, 1, 0], &explicit]))
    }

    fn response_data(
        &self,
        answers: &[SingleAnswer<'_>],
        produced_at: Timestamp,
        nonce: Option<Nonce<'_>>,
    ) -> Vec<u8> {
        let singles: Vec<u8> = answers.iter().flat_map(single).collect();
        let extensions = nonce.map_or(Vec::new(), |nonce| {
            let one = der::extension(&oids::OCSP_NONCE, false, nonce.raw());
            der::constructed(der::context_constructed(1), &[&der::sequence(&[&one])])
        });
        let produced_at = der::generalized_time(produced_at);
        der::sequence(&[&self.responder_id, &produced_at, &der::sequence(&[&singles]), &extensions])
    }
}

fn single(answer: &SingleAnswer<'_>) -> Vec<u8> {
    let next = der::constructed(der::context_constructed(0), &[&der::generalized_time(answer.next_update)]);
    let this = der::generalized_time(answer.this_update);
    let extensions = answer.archive_cutoff.map_or(Vec::new(), |since| {
        let one = der::extension(&oids::OCSP_ARCHIVE_CUTOFF, false, &der::generalized_time(since));
        der::constructed(der::context_constructed(1), &[&der::sequence(&[&one])])
    });
    der::sequence(&[answer.cert_id, &status(answer.status), &this, &next, &extensions])
}

/// CertStatus, implicitly tagged; the reason `unspecified` is left out as on CRLs.
fn status(status: CertStatus) -> Vec<u8> {
    match status {
        CertStatus::Good => vec![der::context(0), 0],
        CertStatus::Unknown => vec![der::context(2), 0],
        CertStatus::Revoked { at, reason } => {
            let at = der::generalized_time(at);
            let reason = match reason {
                RevocationReason::Unspecified => Vec::new(),
                given => {
                    let code = der::tlv(der::ENUMERATED, &[given.code()]);
                    der::constructed(der::context_constructed(0), &[&code])
                }
            };
            der::constructed(der::context_constructed(1), &[&at, &reason])
        }
    }
}
