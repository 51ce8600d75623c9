//! Keys that the server makes for a requester: returned once, as PEM or in PKCS#12, never stored, never logged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use zeroize::Zeroizing;

use super::Api;
use super::issue::unfit;
use crate::authority::issue::Issued;
use crate::error::{Error, Result};
use crate::model::key::KeyAlgorithm;
use crate::pki::pkcs12::{self, Contents, Scheme};
use crate::pki::{pem, private_key};
use crate::wire::certificates::{Certificate, IssueRequest, Pkcs12Request};

/// A fresh key pair. The secret does not print.
pub struct MadeKey {
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// PKCS#8 of version 1 in DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

/// RSA takes up to seconds, so it happens off the runtime's threads.
pub async fn make(algorithm: KeyAlgorithm) -> Result<MadeKey> {
    let made = tokio::task::spawn_blocking(move || generate(algorithm)).await;
    made.map_err(|e| Error::internal("the key generation task ended early", e))?
}

fn generate(algorithm: KeyAlgorithm) -> Result<MadeKey> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let pair = match algorithm {
        KeyAlgorithm::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::P521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyAlgorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyAlgorithm::Rsa(2048) => rsa(RsaKeySize::_2048),
        KeyAlgorithm::Rsa(3072) => rsa(RsaKeySize::_3072),
        KeyAlgorithm::Rsa(4096) => rsa(RsaKeySize::_4096),
        KeyAlgorithm::Rsa(bits) => {
            return Err(Error::malformed(format!(
                "RSA-{bits} is not made here: choose RSA-2048, RSA-3072 or RSA-4096"
            )));
        }
    };
    let pair = pair.map_err(|e| Error::internal("a key could not be made", e))?;
    let pkcs8 = Zeroizing::new(pair.serialize_der());
    Ok(MadeKey { spki: pair.subject_public_key_info(), pkcs8: private_key::first_version(&pkcs8)? })
}

/// The form in which a requester gets the key.
#[derive(Debug)]
pub enum KeyForm {
    /// PKCS#8 in PEM.
    Pem,
    Pkcs12(Pkcs12Request),
}

impl KeyForm {
    /// Reads the form from the request, and refuses one that cannot be made before anything is issued.
    pub fn of(asked: &IssueRequest) -> Result<KeyForm> {
        let Some(form) = &asked.pkcs12 else { return Ok(KeyForm::Pem) };
        if asked.csr.is_some() {
            return Err(unfit(
                "/pkcs12",
                "the server does not have the private key of a CSR; leave pkcs12 out and make the file where the key is",
            ));
        }
        if let Some(password) = &form.password {
            pkcs12::check_password(password)?;
        }
        Ok(KeyForm::Pkcs12(form.clone()))
    }

    /// Puts the key into the answer. The certificate is issued: where PKCS#12 cannot be made, the key is given as PEM.
    pub async fn give(self, api: &Api, issued: &Issued, key: Zeroizing<Vec<u8>>, answer: &mut Certificate) {
        let made = match self {
            KeyForm::Pem => None,
            KeyForm::Pkcs12(form) => match file(api, issued, &key, form).await {
                Ok(made) => Some(made),
                Err(error) => {
                    tracing::error!(error = %error.chain(), "a PKCS#12 file could not be made; the key is given as PEM");
                    None
                }
            },
        };
        match made {
            Some((file, password)) => {
                answer.pkcs12 = Some(STANDARD.encode(file));
                answer.pkcs12_password = password;
            }
            None => answer.private_key = Some(pem::encode("PRIVATE KEY", &key)),
        }
    }
}

/// The file, and its password where one was made. Deriving keys takes a tenth of a second.
async fn file(
    api: &Api,
    issued: &Issued,
    key: &Zeroizing<Vec<u8>>,
    form: Pkcs12Request,
) -> Result<(Vec<u8>, Option<String>)> {
    let key = key.clone();
    let entropy = api.authority.store().entropy.clone();
    let scheme = if form.legacy { Scheme::Legacy } else { Scheme::Modern };
    let (password, made) = match form.password {
        Some(password) => (Zeroizing::new(password), None),
        None => {
            let password = pkcs12::make_password(entropy.as_ref())?;
            let told = Some(password.to_string());
            (password, told)
        }
    };
    let chain: Vec<_> = std::iter::once(&issued.der).chain(&issued.chain).cloned().collect();
    let name = issued.certificate.names.first().map_or_else(|| issued.certificate.serial.to_string(), |n| n.value());
    let writing = tokio::task::spawn_blocking(move || {
        let contents = Contents { key: &key, chain: &chain, name: &name };
        pkcs12::write(&contents, &password, scheme, entropy.as_ref())
    });
    let file = writing.await.map_err(|e| Error::internal("making a PKCS#12 file ended early", e))?;
    Ok((file?, made))
}
