//! Building and sealing CRLs (RFC 5280 §5): version 2, entries in ascending order and each once, no entry list
//! at all when there is none, reason `unspecified` left out. The issuer's name is copied byte for byte.

use super::algorithm::{self, VerifyError, algorithm_identifier};
use super::crl_facts::{self, Finding, lint_crl};
use super::der::{Cursor, DerError};
use super::signer::{SignError, Signer};
use super::{der, oids};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::model::crl::{CrlNumber, Listed};
use crate::model::key::SignatureAlgorithm;
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;

/// Everything but the entries.
#[derive(Debug, Clone)]
pub struct CrlInput<'a> {
    /// The subject of the issuer's certificate, in DER.
    pub issuer_name: &'a [u8],
    /// The issuer's subject key identifier.
    pub authority_key_id: &'a [u8],
    /// That of the key that will sign.
    pub algorithm: SignatureAlgorithm,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub number: CrlNumber,
    pub scope: CrlScope<'a>,
    /// From when on certificates stay listed past their notAfter (X.509 §9.5.2.8, id-ce-expiredCertsOnCRL).
    pub expired_certs_on_crl: Option<Timestamp>,
}

/// Which certificates of the issuer the CRL speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlScope<'a> {
    /// All of them.
    Complete,
    /// Those that name this URI as their distribution point.
    Shard(&'a str),
    /// Certificates of other issuers too, each named by an extension of its entry; published at this URI (RFC 5280
    /// §5.2.5, §5.3.3).
    Indirect(&'a str),
}

#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    #[error("serial {0} stands twice or out of order")]
    Order(SerialNumber),
    #[error("the entries to go on from cannot be read: {0}")]
    Entries(#[from] DerError),
    #[error("nextUpdate does not lie after thisUpdate")]
    Window,
    #[error("the signing key is not of the kind that the CRL names")]
    Algorithm,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the signature was not made by the issuer's key: {0}")]
    Signature(#[from] VerifyError),
    #[error("the CRL breaks {}", list(.0))]
    Lint(Vec<Finding>),
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

impl From<CrlError> for Error {
    fn from(error: CrlError) -> Error {
        let kind = match error {
            CrlError::Sign(SignError::Unavailable(_)) => ErrorKind::Unavailable,
            CrlError::Order(_)
            | CrlError::Entries(_)
            | CrlError::Window
            | CrlError::Algorithm
            | CrlError::Sign(SignError::Failed(_))
            | CrlError::Signature(_)
            | CrlError::Lint(_) => ErrorKind::Internal,
        };
        Error::new(kind, "a CRL could not be made").because(error)
    }
}

/// Revoked certificates as DER, one after the other. Serials must ascend octet by octet, as the database sorts
/// them, so that none stands twice.
#[derive(Debug, Clone, Default)]
pub struct CrlEntries {
    der: Vec<u8>,
    count: u64,
    last: Option<SerialNumber>,
    /// Whose certificates come next, until an entry has said so.
    certificate_issuer: Option<Vec<u8>>,
}

/// The octets of the longest entry that has no invalidity date, as nearly all have none.
const ENTRY: usize = 64;
/// What names, times, extensions, a signature and the seal of a CRL that waits take at most beside the entries.
const AROUND: usize = 8_192;

impl CrlEntries {
    pub fn new() -> Self {
        Self::default()
    }

    /// Space for so many octets of entries, and for what stands around them: a list that was foreseen is not copied.
    pub fn with_octets(octets: usize) -> Self {
        CrlEntries { der: Vec::with_capacity(octets.saturating_add(AROUND)), ..Self::default() }
    }

    /// The entries that follow are certificates of the CA with this Name (DER), for an indirect CRL. Their serials
    /// ascend anew.
    pub fn under(&mut self, issuer_name: &[u8]) {
        self.last = None;
        self.certificate_issuer = Some(issuer_name.to_vec());
    }

    pub fn push(
        &mut self,
        serial: SerialNumber,
        revoked_at: Timestamp,
        reason: Option<RevocationReason>,
    ) -> Result<(), CrlError> {
        let reason = reason.unwrap_or(RevocationReason::Unspecified);
        self.list(Listed { serial, revoked_at, reason, invalidity_date: None })
    }

    pub fn list(&mut self, entry: Listed) -> Result<(), CrlError> {
        let Listed { serial, revoked_at, reason, invalidity_date } = entry;
        if self.last.as_ref().is_some_and(|last| last.octets() >= serial.octets()) {
            return Err(CrlError::Order(serial));
        }
        if let Some(name) = self.certificate_issuer.take() {
            self.der.extend_from_slice(&first_under(&name, &serial, revoked_at, reason, invalidity_date));
            self.count += 1;
            self.last = Some(serial);
            return Ok(());
        }
        if self.der.capacity() - self.der.len() < ENTRY {
            // by an eighth and not by all of it: twice a large list would be its peak
            self.der.reserve_exact((self.der.len() / 8).max(64 * ENTRY));
        }
        let start = self.der.len();
        // at most 20 + 2 + 17 + 14 + 26 octets: the lengths fit in one octet
        self.der.extend_from_slice(&[der::SEQUENCE, 0, der::INTEGER]);
        der::write_length(&mut self.der, serial.octets().len());
        self.der.extend_from_slice(serial.octets());
        der::write_time(&mut self.der, revoked_at);
        match (Some(reason).filter(|r| *r != RevocationReason::Unspecified), invalidity_date) {
            (Some(reason), None) => {
                self.der.extend_from_slice(&crl_facts::REASON);
                self.der.push(reason.code());
            }
            (None, None) => {}
            (reason, date @ Some(_)) => self.der.extend(der::sequence(&[&entry_extensions(reason, date)])),
        }
        let length = self.der.len() - start - 2;
        if let Some(octet) = self.der.get_mut(start + 1) {
            *octet = length as u8;
        }
        self.count += 1;
        self.last = Some(serial);
        Ok(())
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds the entries of a CRL of one issuer as they stand there, and `fresh` between them. Both ascend by serial, and
    /// what stands in both is added once. False, and nothing is added, when together they are not `expected` entries.
    pub fn merge(&mut self, entries: &[u8], fresh: Vec<Listed>, expected: u64) -> Result<bool, CrlError> {
        let before = (self.der.len(), self.count, self.last.clone(), self.certificate_issuer.clone());
        self.merge_all(entries, fresh)?;
        if self.count - before.1 == expected {
            return Ok(true);
        }
        self.der.truncate(before.0);
        (self.count, self.last, self.certificate_issuer) = (before.1, before.2, before.3);
        Ok(false)
    }

    fn merge_all(&mut self, entries: &[u8], fresh: Vec<Listed>) -> Result<(), CrlError> {
        let fits = self.der.capacity() - self.der.len() >= entries.len() + ENTRY * fresh.len();
        if !fits {
            self.der.reserve_exact(entries.len() + ENTRY * fresh.len() + AROUND);
        }
        let mut fresh = fresh.into_iter().peekable();
        let mut rest = Cursor::new(entries);
        // what lies between these two places is still to be copied
        let (mut copied, mut at) = (0, 0);
        let mut last: Option<&[u8]> = None;
        while !rest.is_empty() {
            let entry = rest.expect(der::SEQUENCE)?;
            let serial = entry.inside().integer()?;
            while let Some(new) = fresh.next_if(|new| new.serial.octets() < serial) {
                self.copy(entries.get(copied..at), last)?;
                copied = at;
                self.list(new)?;
            }
            fresh.next_if(|new| new.serial.octets() == serial);
            at += entry.raw.len();
            if self.certificate_issuer.is_some() {
                // the first one of an issuer names it
                self.push_again(entry.raw)?;
                copied = at;
            } else {
                self.count += 1;
                last = Some(serial);
            }
        }
        self.copy(entries.get(copied..at), last)?;
        fresh.try_for_each(|new| self.list(new))
    }

    fn copy(&mut self, entries: Option<&[u8]>, last: Option<&[u8]>) -> Result<(), CrlError> {
        self.der.extend_from_slice(entries.unwrap_or_default());
        if let Some(octets) = last {
            self.last = Some(SerialNumber::from_octets(octets).map_err(|_| DerError("a serial is not one of ours"))?);
        }
        Ok(())
    }

    fn push_again(&mut self, entry: &[u8]) -> Result<(), CrlError> {
        const FOREIGN: DerError = DerError("an entry is not one of ours");
        let entry = crl_facts::entry(&mut Cursor::new(entry))?;
        let serial = SerialNumber::from_octets(entry.serial).map_err(|_| FOREIGN)?;
        let known = |code| RevocationReason::ALL.into_iter().find(|reason| reason.code() == code).ok_or(FOREIGN);
        let reason = entry.reason.map(known).transpose()?.unwrap_or(RevocationReason::Unspecified);
        self.list(Listed { serial, revoked_at: entry.revoked_at, reason, invalidity_date: entry.invalidity_date })
    }
}

/// The first entry of an issuer in an indirect CRL: those behind it are of the same issuer (RFC 5280 §5.3.3).
fn first_under(
    issuer_name: &[u8],
    serial: &SerialNumber,
    revoked_at: Timestamp,
    reason: RevocationReason,
    invalidity_date: Option<Timestamp>,
) -> Vec<u8> {
    let directory_name = der::constructed(der::context_constructed(4), &[issuer_name]);
    let reason = Some(reason).filter(|r| *r != RevocationReason::Unspecified);
    let mut extensions = entry_extensions(reason, invalidity_date);
    extensions.extend(der::extension(&oids::CERTIFICATE_ISSUER, true, &der::sequence(&[&directory_name])));
    let serial = der::tlv(der::INTEGER, serial.octets());
    der::sequence(&[&serial, &der::time(revoked_at), &der::sequence(&[&extensions])])
}

/// Reason and invalidity date of an entry (RFC 5280 §5.3.1, §5.3.2), without the SEQUENCE around them.
fn entry_extensions(reason: Option<RevocationReason>, invalidity_date: Option<Timestamp>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(reason) = reason {
        extensions = der::extension(&oids::CRL_REASON, false, &der::tlv(der::ENUMERATED, &[reason.code()]));
    }
    if let Some(date) = invalidity_date {
        extensions.extend(der::extension(&oids::INVALIDITY_DATE, false, &der::generalized_time(date)));
    }
    extensions
}

/// A CRL that only lacks its signature.
#[derive(Debug)]
pub struct PreparedCrl {
    tbs: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

impl PreparedCrl {
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }
}

/// Builds the TBSCertList. Takes the entries, so that a large list is not in memory twice.
pub fn prepare_crl(input: &CrlInput<'_>, entries: CrlEntries) -> Result<PreparedCrl, CrlError> {
    if input.next_update.secs() <= input.this_update.secs() {
        return Err(CrlError::Window);
    }
    let head = [
        der::unsigned(&[1]),
        algorithm_identifier(input.algorithm),
        input.issuer_name.to_vec(),
        der::time(input.this_update),
        der::time(input.next_update),
    ]
    .concat();
    let mut list_header = Vec::new();
    if entries.count > 0 {
        list_header.push(der::SEQUENCE);
        der::write_length(&mut list_header, entries.der.len());
    }
    let tail = der::constructed(der::context_constructed(0), &[&extensions(input)]);
    let length = head.len() + list_header.len() + entries.der.len() + tail.len();
    let mut tbs = entries.der;
    tbs.reserve_exact(head.len() + AROUND / 2);
    tbs.splice(0..0, [header(length), head, list_header].concat());
    tbs.extend_from_slice(&tail);
    Ok(PreparedCrl { tbs, algorithm: input.algorithm })
}

/// Signs, verifies the signature with the issuer's own public key (SubjectPublicKeyInfo), reads the whole CRL
/// again, and only then lets it go.
pub async fn seal_crl(
    prepared: PreparedCrl,
    signer: &dyn Signer,
    issuer_public_key: &[u8],
) -> Result<Vec<u8>, CrlError> {
    if SignatureAlgorithm::for_key(signer.algorithm()) != prepared.algorithm {
        return Err(CrlError::Algorithm);
    }
    let signature = signer.sign(&prepared.tbs).await?;
    algorithm::verify(issuer_public_key, &prepared.tbs, &signature)?;
    let tail = [algorithm_identifier(prepared.algorithm), der::bit_string(&signature)].concat();
    let mut crl = prepared.tbs;
    let length = crl.len() + tail.len();
    crl.splice(0..0, header(length));
    crl.extend_from_slice(&tail);
    match lint_crl(&crl) {
        findings if findings.is_empty() => Ok(crl),
        findings => Err(CrlError::Lint(findings)),
    }
}

fn header(length: usize) -> Vec<u8> {
    let mut header = vec![der::SEQUENCE];
    der::write_length(&mut header, length);
    header
}

fn extensions(input: &CrlInput<'_>) -> Vec<u8> {
    let key_id = der::sequence(&[&der::tlv(der::context(0), input.authority_key_id)]);
    let number = der::unsigned(input.number.octets());
    let mut all = vec![
        der::extension(&oids::AUTHORITY_KEY_ID, false, &key_id),
        der::extension(&oids::CRL_NUMBER, false, &number),
    ];
    let point = match input.scope {
        CrlScope::Complete => None,
        CrlScope::Shard(uri) => Some(distribution_point(uri, &[])),
        // indirectCRL [4] TRUE
        CrlScope::Indirect(uri) => Some(distribution_point(uri, &der::tlv(der::context(4), &[0xff]))),
    };
    if let Some(point) = point {
        all.push(der::extension(&oids::ISSUING_DISTRIBUTION_POINT, true, &point));
    }
    if let Some(since) = input.expired_certs_on_crl {
        all.push(der::extension(&oids::EXPIRED_CERTS_ON_CRL, false, &der::generalized_time(since)));
    }
    der::sequence(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// IssuingDistributionPoint with fullName and flags that are true; those that are false are left out (RFC 5280 §5.2.5).
fn distribution_point(uri: &str, flags: &[u8]) -> Vec<u8> {
    let names = der::constructed(der::context_constructed(0), &[&der::tlv(der::context(6), uri.as_bytes())]);
    der::sequence(&[&der::constructed(der::context_constructed(0), &[&names]), flags])
}
