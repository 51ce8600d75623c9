//! The TBSCertificate (RFC 5280 §4.1.2): written from a template, and read again for policy and lint, so that
//! what was judged is what is signed. Issuer name, key identifier and public key are copied byte for byte.

use aws_lc_rs::digest::{SHA256, digest};
use der::oid::ObjectIdentifier;

use super::algorithm::algorithm_identifier;
use super::der::{self as asn1, Cursor, DerError};
use super::general_name;
use super::name::DistinguishedName;
use super::oids;
use super::profile::ExtendedKeyUsage;
use crate::error::{Error, Result};
use crate::model::identifier::Identifier;
use crate::model::key::SignatureAlgorithm;
use crate::model::serial::SerialNumber;
use crate::model::validity::Validity;

/// Everything that a certificate of ours says.
#[derive(Debug)]
pub struct Template<'a> {
    pub serial: &'a SerialNumber,
    pub signature: SignatureAlgorithm,
    pub issuer: &'a [u8],
    pub validity: Validity,
    pub subject: DistinguishedName,
    pub spki: &'a [u8],
    pub names: &'a [Identifier],
    /// Bit 0 first, as in the BIT STRING.
    pub key_usage: u16,
    pub usages: &'a [ExtendedKeyUsage],
    pub critical_usages: bool,
    pub policies: &'a [ObjectIdentifier],
    /// `Some(path length)` for a CA.
    pub ca: Option<Option<u8>>,
    /// The value of the extension, for a CA.
    pub name_constraints: Option<&'a [u8]>,
    /// The key identifier that a CA has already; otherwise it is made of the public key.
    pub subject_key_id: Option<&'a [u8]>,
    /// The issuer's key identifier; none for a root.
    pub authority_key_id: Option<&'a [u8]>,
    pub pointers: Option<Pointers>,
    pub ocsp_no_check: bool,
    pub no_rev_avail: bool,
}

/// Where a verifier finds CRL, OCSP and issuer: plain HTTP (RFC 5280 §4.2.1.13, §4.2.2.1).
#[derive(Debug, Clone)]
pub struct Pointers {
    /// None below a CA whose key may sign no CRL.
    pub crl: Option<String>,
    pub ocsp: Option<String>,
    pub issuer: String,
}

pub const DIGITAL_SIGNATURE: u16 = 0x8000;
pub const KEY_CERT_SIGN: u16 = 0x0400;
pub const CRL_SIGN: u16 = 0x0200;

/// The key identifier: the left-most 160 bits of SHA-256 over the public key bits (RFC 7093 §2 method 1).
pub fn key_identifier(spki: &[u8]) -> Result<Vec<u8>, DerError> {
    let mut inside = asn1::only_sequence(spki)?;
    inside.sequence()?;
    let bits = inside.bit_octets()?;
    Ok(digest(&SHA256, bits).as_ref().iter().take(20).copied().collect())
}

impl Template<'_> {
    pub fn build(&self) -> Result<Vec<u8>> {
        let validity =
            asn1::sequence(&[&asn1::time(self.validity.not_before()), &asn1::time(self.validity.not_after())]);
        Ok(asn1::sequence(&[
            &[0xa0, 3, 2, 1, 2],
            &asn1::tlv(asn1::INTEGER, self.serial.octets()),
            &algorithm_identifier(self.signature),
            self.issuer,
            &validity,
            self.subject.as_der(),
            self.spki,
            &asn1::constructed(asn1::context_constructed(3), &[&self.extensions()?]),
        ]))
    }

    fn extensions(&self) -> Result<Vec<u8>> {
        let mut list: Vec<Vec<u8>> = Vec::with_capacity(12);
        let mut add = |id, critical, value: &[u8]| list.push(asn1::extension(id, critical, value));
        if let Some(path_length) = self.ca {
            let length = path_length.map_or(Vec::new(), |n| asn1::unsigned(&[n]));
            add(&oids::BASIC_CONSTRAINTS, true, &asn1::sequence(&[&asn1::boolean_true(), &length]));
        } else {
            add(&oids::BASIC_CONSTRAINTS, true, &asn1::sequence(&[]));
        }
        add(&oids::KEY_USAGE, true, &asn1::named_bit_string(self.key_usage));
        if !self.usages.is_empty() {
            let usages: Vec<_> = self.usages.iter().map(|u| asn1::oid(&u.oid())).collect();
            let usages: Vec<_> = usages.iter().map(Vec::as_slice).collect();
            add(&oids::EXTENDED_KEY_USAGE, self.critical_usages, &asn1::sequence(&usages));
        }
        if !self.policies.is_empty() {
            let policies: Vec<_> = self.policies.iter().map(|id| asn1::sequence(&[&asn1::oid(id)])).collect();
            let policies: Vec<_> = policies.iter().map(Vec::as_slice).collect();
            add(&oids::CERTIFICATE_POLICIES, false, &asn1::sequence(&policies));
        }
        let unreadable = |e| Error::malformed("the public key cannot be read").because(e);
        let own = match self.subject_key_id {
            Some(id) => id.to_vec(),
            None => key_identifier(self.spki).map_err(unreadable)?,
        };
        add(&oids::SUBJECT_KEY_ID, false, &asn1::octet_string(&own));
        if let Some(id) = self.authority_key_id {
            add(&oids::AUTHORITY_KEY_ID, false, &asn1::sequence(&[&asn1::tlv(asn1::context(0), id)]));
        }
        if !self.names.is_empty() {
            let names: Vec<_> = self.names.iter().map(general_name::encode).collect();
            let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
            add(&oids::SUBJECT_ALT_NAME, self.subject.is_empty(), &asn1::sequence(&names));
        }
        if let Some(constraints) = self.name_constraints {
            add(&oids::NAME_CONSTRAINTS, true, constraints);
        }
        if let Some(pointers) = &self.pointers {
            if let Some(crl) = &pointers.crl {
                add(&oids::CRL_DISTRIBUTION_POINTS, false, &distribution_point(crl));
            }
            add(&oids::AUTHORITY_INFO_ACCESS, false, &information_access(pointers));
        }
        if self.ocsp_no_check {
            add(&oids::OCSP_NOCHECK, false, &asn1::null());
        }
        if self.no_rev_avail {
            add(&oids::NO_REV_AVAIL, false, &asn1::null());
        }
        Ok(asn1::sequence(&list.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }
}

fn uri(url: &str) -> Vec<u8> {
    asn1::tlv(asn1::context(6), url.as_bytes())
}

fn distribution_point(url: &str) -> Vec<u8> {
    let full_name = asn1::constructed(asn1::context_constructed(0), &[&uri(url)]);
    let point = asn1::constructed(asn1::context_constructed(0), &[&full_name]);
    asn1::sequence(&[&asn1::sequence(&[&point])])
}

fn information_access(pointers: &Pointers) -> Vec<u8> {
    let description = |id: &ObjectIdentifier, url: &str| asn1::sequence(&[&asn1::oid(id), &uri(url)]);
    let ocsp = pointers.ocsp.as_ref().map_or(Vec::new(), |url| description(&oids::AD_OCSP, url));
    asn1::sequence(&[&ocsp, &description(&oids::AD_CA_ISSUERS, &pointers.issuer)])
}

impl ExtendedKeyUsage {
    pub const ALL: [ExtendedKeyUsage; 6] = [
        ExtendedKeyUsage::ServerAuth,
        ExtendedKeyUsage::ClientAuth,
        ExtendedKeyUsage::CodeSigning,
        ExtendedKeyUsage::EmailProtection,
        ExtendedKeyUsage::TimeStamping,
        ExtendedKeyUsage::OcspSigning,
    ];

    /// As profiles and people write it.
    pub const fn name(self) -> &'static str {
        match self {
            ExtendedKeyUsage::ServerAuth => "serverAuth",
            ExtendedKeyUsage::ClientAuth => "clientAuth",
            ExtendedKeyUsage::CodeSigning => "codeSigning",
            ExtendedKeyUsage::EmailProtection => "emailProtection",
            ExtendedKeyUsage::TimeStamping => "timeStamping",
            ExtendedKeyUsage::OcspSigning => "OCSPSigning",
        }
    }

    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            ExtendedKeyUsage::ServerAuth => oids::EKU_SERVER_AUTH,
            ExtendedKeyUsage::ClientAuth => oids::EKU_CLIENT_AUTH,
            ExtendedKeyUsage::CodeSigning => oids::EKU_CODE_SIGNING,
            ExtendedKeyUsage::EmailProtection => oids::EKU_EMAIL_PROTECTION,
            ExtendedKeyUsage::TimeStamping => oids::EKU_TIME_STAMPING,
            ExtendedKeyUsage::OcspSigning => oids::EKU_OCSP_SIGNING,
        }
    }
}

/// A TBSCertificate as it was read from its bytes.
#[derive(Debug, Clone)]
pub struct TbsView<'a> {
    pub raw: &'a [u8],
    pub serial: &'a [u8],
    pub signature: &'a [u8],
    pub issuer: &'a [u8],
    pub validity: Validity,
    pub subject: &'a [u8],
    pub spki: &'a [u8],
    /// (oid, critical, value) in order.
    pub extensions: Vec<(ObjectIdentifier, bool, &'a [u8])>,
}

/// (TBSCertificate, signature AlgorithmIdentifier, signature) of a Certificate.
pub type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

pub fn split_certificate(certificate: &[u8]) -> Result<Parts<'_>, DerError> {
    let mut outer = asn1::only_sequence(certificate)?;
    let (tbs, algorithm) = (outer.expect(asn1::SEQUENCE)?.raw, outer.expect(asn1::SEQUENCE)?.raw);
    let signature = outer.bit_octets()?;
    outer.finish()?;
    Ok((tbs, algorithm, signature))
}

impl<'a> TbsView<'a> {
    pub fn parse(raw: &'a [u8]) -> Result<Self, DerError> {
        let mut tbs = asn1::only_sequence(raw)?;
        let mut version = tbs.expect(asn1::context_constructed(0))?.inside();
        if version.small_integer()? != 2 {
            return Err(DerError("a certificate is not of version 3"));
        }
        version.finish()?;
        let serial = tbs.integer()?;
        let signature = tbs.expect(asn1::SEQUENCE)?.raw;
        let issuer = tbs.expect(asn1::SEQUENCE)?.raw;
        let mut validity = tbs.sequence()?;
        let (from, to) = (validity.time()?, validity.time()?);
        validity.finish()?;
        let validity = Validity::new(from, to).map_err(|_| DerError("a validity ends before it begins"))?;
        let subject = tbs.expect(asn1::SEQUENCE)?.raw;
        let spki = tbs.expect(asn1::SEQUENCE)?.raw;
        let mut extensions: Vec<(ObjectIdentifier, bool, &'a [u8])> = Vec::new();
        if let Some(wrapped) = tbs.optional(asn1::context_constructed(3))? {
            let mut wrapped = wrapped.inside();
            let mut list = wrapped.sequence()?;
            wrapped.finish()?;
            while !list.is_empty() {
                let mut one = list.sequence()?;
                let (id, critical) = (one.oid()?, one.default_false()?);
                let value = one.expect(asn1::OCTET_STRING)?.content;
                one.finish()?;
                if extensions.iter().any(|(known, ..)| *known == id) {
                    return Err(DerError("an extension stands twice"));
                }
                extensions.push((id, critical, value));
            }
        }
        tbs.finish()?;
        Ok(TbsView { raw, serial, signature, issuer, validity, subject, spki, extensions })
    }

    pub fn extension(&self, id: &ObjectIdentifier) -> Option<(bool, &'a [u8])> {
        self.extensions.iter().find(|(known, ..)| known == id).map(|(_, critical, value)| (*critical, *value))
    }

    /// `None` for a leaf, `Some(path length)` for a CA.
    pub fn ca(&self) -> Result<Option<Option<u32>>, DerError> {
        let Some((_, value)) = self.extension(&oids::BASIC_CONSTRAINTS) else { return Ok(None) };
        let mut inside = asn1::only_sequence(value)?;
        if !inside.default_false()? {
            inside.finish()?;
            return Ok(None);
        }
        let length = if inside.is_empty() { None } else { Some(inside.small_integer()?) };
        inside.finish()?;
        Ok(Some(length))
    }

    pub fn key_usage(&self) -> Result<Option<u16>, DerError> {
        let Some((_, value)) = self.extension(&oids::KEY_USAGE) else { return Ok(None) };
        let mut inside = Cursor::new(value);
        let bits = inside.expect(asn1::BIT_STRING)?;
        inside.finish()?;
        asn1::named_bits(bits.content).map(Some)
    }

    pub fn extended_key_usage(&self) -> Result<Vec<ObjectIdentifier>, DerError> {
        let Some((_, value)) = self.extension(&oids::EXTENDED_KEY_USAGE) else { return Ok(Vec::new()) };
        let mut inside = asn1::only_sequence(value)?;
        let mut list = Vec::new();
        while !inside.is_empty() {
            list.push(inside.oid()?);
        }
        Ok(list)
    }

    pub fn subject_key_id(&self) -> Result<Option<&'a [u8]>, DerError> {
        let Some((_, value)) = self.extension(&oids::SUBJECT_KEY_ID) else { return Ok(None) };
        let mut inside = Cursor::new(value);
        let id = inside.expect(asn1::OCTET_STRING)?.content;
        inside.finish()?;
        Ok(Some(id))
    }

    pub fn authority_key_id(&self) -> Result<Option<&'a [u8]>, DerError> {
        let Some((_, value)) = self.extension(&oids::AUTHORITY_KEY_ID) else { return Ok(None) };
        Ok(asn1::only_sequence(value)?.optional(asn1::context(0))?.map(|id| id.content))
    }

    /// The names of the SAN, typed; a form that we never issue is an error.
    pub fn names(&self) -> Result<Vec<Identifier>, DerError> {
        let Some((_, value)) = self.extension(&oids::SUBJECT_ALT_NAME) else { return Ok(Vec::new()) };
        let mut inside = asn1::only_sequence(value)?;
        let mut names = Vec::new();
        while !inside.is_empty() {
            let name = general_name::identifier(inside.any()?);
            names.push(name.map_err(|_| DerError("a name in the SAN has a form that is not issued"))?);
        }
        Ok(names)
    }
}
