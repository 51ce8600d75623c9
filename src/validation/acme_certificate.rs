//! The certificate of a tls-alpn-01 challenge (RFC 8737 §3): self-signed, with exactly one name and a critical
//! acmeIdentifier that holds the digest of the key authorization. Trust and validity in time mean nothing here.

use aws_lc_rs::digest::{SHA256, digest};
use der::oid::ObjectIdentifier;

use super::error::CertificateSeen;
use crate::model::identifier::Identifier;
use crate::pki::algorithm::{SignatureScheme, verify_with};
use crate::pki::der::{self as asn1, Cursor, DerError};
use crate::pki::general_name;
use crate::pki::oids;
use crate::pki::tbs::{TbsView, split_certificate};

/// id-pe-acmeIdentifier (RFC 8737 §6.1).
const ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");
/// A challenge certificate has a few hundred octets; RSA keys of 8,192 bits need three thousand.
const MAX_CERTIFICATE: usize = 16 * 1024;

pub(super) fn judge(certificate: &[u8], name: &Identifier, key_authorization: &str) -> Result<(), CertificateSeen> {
    if certificate.len() > MAX_CERTIFICATE {
        return Err(CertificateSeen::TooLarge { limit: MAX_CERTIFICATE });
    }
    let (tbs, algorithm, signature) = split_certificate(certificate)?;
    // strict DER, and each extension once
    let view = TbsView::parse(tbs)?;
    one_name(&view, name)?;
    acme_identifier(&view, key_authorization)?;
    if planted!("alpn-certificate-of-a-ca", false, view.issuer != view.subject || view.signature != algorithm) {
        return Err(CertificateSeen::NotSelfSigned);
    }
    let scheme = SignatureScheme::parse(algorithm).map_err(|_| CertificateSeen::NotSelfSigned)?;
    verify_with(scheme, view.spki, tbs, signature).map_err(|_| CertificateSeen::NotSelfSigned)
}

fn one_name(view: &TbsView<'_>, name: &Identifier) -> Result<(), CertificateSeen> {
    let (_, value) = view.extension(&oids::SUBJECT_ALT_NAME).ok_or(CertificateSeen::NoName)?;
    let mut list = asn1::only_sequence(value)?;
    let only = list.any().map_err(|_| CertificateSeen::NoName)?;
    if planted!("alpn-certificate-of-several-names", false, !list.is_empty()) {
        return Err(CertificateSeen::SeveralNames);
    }
    let wanted = general_name::encode(name);
    let wanted = Cursor::new(&wanted).any()?;
    if only.tag != wanted.tag {
        return Err(CertificateSeen::OtherKind { seen: general_name::kind(only) });
    }
    // names are compared without regard to case; the octets of an address have none
    let same = match name {
        Identifier::Dns(_) => only.content.eq_ignore_ascii_case(wanted.content),
        Identifier::Ip(_) | Identifier::Email(_) | Identifier::Uri(_) => only.content == wanted.content,
    };
    if planted!("alpn-certificate-of-another-name", true, same) { Ok(()) } else { Err(CertificateSeen::OtherName) }
}

fn acme_identifier(view: &TbsView<'_>, key_authorization: &str) -> Result<(), CertificateSeen> {
    let (critical, value) = view.extension(&ACME_IDENTIFIER).ok_or(CertificateSeen::NoAcmeIdentifier)?;
    if planted!("alpn-identifier-not-critical", false, !critical) {
        return Err(CertificateSeen::NotCritical);
    }
    let octets = authorization(value).map_err(|_| CertificateSeen::BadAcmeIdentifier)?;
    if octets.len() != 32 {
        return Err(CertificateSeen::BadAcmeIdentifier);
    }
    // the value is public, so that the comparison needs no constant time
    let expected = digest(&SHA256, key_authorization.as_bytes());
    if planted!("alpn-digest-of-another-account", true, octets == expected.as_ref()) {
        Ok(())
    } else {
        Err(CertificateSeen::OtherDigest)
    }
}

/// Authorization ::= OCTET STRING (SIZE (32)), and nothing behind it.
fn authorization(value: &[u8]) -> Result<&[u8], DerError> {
    let mut inside = Cursor::new(value);
    let octets = inside.expect(asn1::OCTET_STRING)?.content;
    inside.finish()?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORIZATION: &str = "token.thumbprint";

    fn right() -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let digest = digest(&SHA256, AUTHORIZATION.as_bytes());
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest.as_ref())];
        params.self_signed(&key).unwrap().der().to_vec()
    }

    /// Whatever is changed, cut off or added: it proves nothing, and nothing panics.
    #[test]
    fn l2_no_octet_of_the_certificate_can_change() {
        let (certificate, name) = (right(), Identifier::dns("a.test").unwrap());
        assert_eq!(judge(&certificate, &name, AUTHORIZATION), Ok(()));
        for at in 0..certificate.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut changed = certificate.clone();
                if let Some(octet) = changed.get_mut(at) {
                    *octet ^= flip;
                }
                assert!(judge(&changed, &name, AUTHORIZATION).is_err(), "octet {at} xor {flip:#x}");
            }
            assert!(judge(&certificate[..at], &name, AUTHORIZATION).is_err(), "{at} octets");
        }
        let longer = [&certificate[..], &[0]].concat();
        assert!(matches!(judge(&longer, &name, AUTHORIZATION), Err(CertificateSeen::Der(_))));
    }
}
