//! The CSR of an issuer of ours for a CA elsewhere (RFC 2986): name and key, and what it wants to be: a CA of path
//! length 0 with these usages.

use super::algorithm::algorithm_identifier;
use super::der;
use super::oids;
use super::profile::ExtendedKeyUsage;
use super::signer::Signer;
use super::tbs::{CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN};
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::SignatureAlgorithm;

/// `subject` is a Name in DER. `key_id` is the key identifier of the CA, which every certificate of it must have: what
/// it signed names that one.
pub async fn build(
    subject: &[u8],
    key_id: &[u8],
    signer: &dyn Signer,
    usages: &[ExtendedKeyUsage],
) -> Result<Vec<u8>> {
    let ids: Vec<_> = usages.iter().map(|usage| der::oid(&usage.oid())).collect();
    let ids: Vec<_> = ids.iter().map(Vec::as_slice).collect();
    let basic = der::sequence(&[&der::boolean_true(), &der::unsigned(&[0])]);
    let bits = der::named_bit_string(KEY_CERT_SIGN | CRL_SIGN | DIGITAL_SIGNATURE);
    let mut extensions =
        vec![der::extension(&oids::BASIC_CONSTRAINTS, true, &basic), der::extension(&oids::KEY_USAGE, true, &bits)];
    extensions.push(der::extension(&oids::SUBJECT_KEY_ID, false, &der::octet_string(key_id)));
    if !ids.is_empty() {
        extensions.push(der::extension(&oids::EXTENDED_KEY_USAGE, false, &der::sequence(&ids)));
    }
    let list = der::sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let attribute = der::sequence(&[&der::oid(&oids::EXTENSION_REQUEST), &der::tlv(der::SET, &list)]);
    let attributes = der::constructed(der::context_constructed(0), &[&attribute]);
    let info = der::sequence(&[&der::unsigned(&[0]), subject, signer.public_key(), &attributes]);
    let signature = signer.sign(&info).await;
    let signature = signature
        .map_err(|e| Error::new(ErrorKind::Unavailable, "the signing key did not answer; try again").because(e))?;
    let algorithm = algorithm_identifier(SignatureAlgorithm::for_key(signer.algorithm()));
    Ok(der::sequence(&[&info, &algorithm, &der::bit_string(&signature)]))
}
