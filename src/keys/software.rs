//! Keys in memory on aws-lc-rs: making them, and signing with them. Private parts leave only as PKCS#8 in
//! memory that is wiped, to be sealed by `keys::seal` or handed to their requester.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::KeyAlgorithm;
use crate::pki::signer::{SignError, Signer};
use crate::pki::{der, oids};

/// A key pair as bytes. Neither printed nor cloned.
pub struct KeyPairDer {
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
}

/// Makes a key pair. RSA takes tens to hundreds of milliseconds: call it off the async threads.
pub fn generate(algorithm: KeyAlgorithm) -> Result<KeyPairDer> {
    let failed = |_| Error::new(ErrorKind::Unavailable, format!("a {algorithm} key could not be generated"));
    let private = match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 | KeyAlgorithm::P521 => {
            Private::Ec(EcdsaKeyPair::generate(curve(algorithm)?).map_err(failed)?)
        }
        KeyAlgorithm::Ed25519 => Private::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        KeyAlgorithm::Rsa(bits) => Private::Rsa(Arc::new(RsaKeyPair::generate(rsa_size(bits)?).map_err(failed)?)),
    };
    let pkcs8 = private.pkcs8().map_err(failed)?;
    Ok(KeyPairDer { pkcs8, public_key: private.public_key().map_err(failed)? })
}

/// A private key of others (PKCS#8): what it is, and the same in the form that we keep.
pub fn read(pkcs8: &[u8]) -> Result<(KeyAlgorithm, KeyPairDer)> {
    let algorithm = kind_of(pkcs8).map_err(|e| Error::malformed("the private key cannot be read").because(e))?;
    let signer = SoftwareSigner::from_pkcs8(algorithm, pkcs8)
        .map_err(|e| Error::malformed(format!("the private key is no sound {algorithm} key")).because(e))?;
    let failed = |_| Error::new(ErrorKind::Internal, "a private key could not be written");
    let pkcs8 = signer.private.pkcs8().map_err(failed)?;
    Ok((algorithm, KeyPairDer { pkcs8, public_key: signer.public_key }))
}

fn kind_of(pkcs8: &[u8]) -> std::result::Result<KeyAlgorithm, Box<dyn std::error::Error + Send + Sync>> {
    let mut key = der::only_sequence(pkcs8)?;
    key.small_integer()?;
    let mut algorithm = key.sequence()?;
    let id = algorithm.oid()?;
    Ok(match id {
        oids::ED25519 => KeyAlgorithm::Ed25519,
        oids::EC_PUBLIC_KEY => match algorithm.oid()? {
            oids::P256 => KeyAlgorithm::P256,
            oids::P384 => KeyAlgorithm::P384,
            oids::P521 => KeyAlgorithm::P521,
            other => return Err(format!("the curve {other} is not supported").into()),
        },
        oids::RSA_ENCRYPTION => {
            let pair = RsaKeyPair::from_pkcs8(pkcs8)?;
            KeyAlgorithm::Rsa(u32::try_from(pair.public_modulus_len() * 8)?)
        }
        other => return Err(format!("keys of kind {other} are not supported").into()),
    })
}

/// A private key in this process's memory.
pub struct SoftwareSigner {
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
    private: Private,
}

enum Private {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Arc<RsaKeyPair>),
}

impl SoftwareSigner {
    /// Opens an unencrypted PKCS#8 key that must be of this kind.
    pub fn from_pkcs8(algorithm: KeyAlgorithm, pkcs8: &[u8]) -> Result<Self> {
        let wrong = || Error::inconsistent(format!("a private key is not the {algorithm} key that it should be"));
        let private = match algorithm {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 | KeyAlgorithm::P521 => {
                Private::Ec(EcdsaKeyPair::from_pkcs8(curve(algorithm)?, pkcs8).map_err(|e| wrong().because(e))?)
            }
            KeyAlgorithm::Ed25519 => {
                Private::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|e| wrong().because(e))?)
            }
            KeyAlgorithm::Rsa(bits) => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|e| wrong().because(e))?;
                if pair.public_modulus_len() * 8 != bits as usize {
                    return Err(wrong());
                }
                Private::Rsa(Arc::new(pair))
            }
        };
        let public_key = private.public_key().map_err(|_| wrong())?;
        Ok(SoftwareSigner { algorithm, public_key, private })
    }

    fn sign_now(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignError> {
        match &self.private {
            Private::Ec(pair) => {
                let hash = match self.algorithm {
                    KeyAlgorithm::P384 => &SHA384,
                    KeyAlgorithm::P521 => &SHA512,
                    KeyAlgorithm::P256 | KeyAlgorithm::Ed25519 | KeyAlgorithm::Rsa(_) => &SHA256,
                };
                pair.sign_digest(&digest(hash, message)).map(|s| s.as_ref().to_vec()).map_err(|_| failed())
            }
            Private::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()).map_err(|_| failed()),
            Private::Rsa(pair) => sign_rsa(pair, &digest(&SHA256, message)),
        }
    }
}

impl Signer for SoftwareSigner {
    fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Elliptic curves sign at once (tens of microseconds); RSA takes up to 2 ms and goes to the blocking pool.
    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, std::result::Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            match (&self.private, Handle::try_current()) {
                (Private::Rsa(pair), Ok(runtime)) => {
                    let (pair, hash) = (pair.clone(), digest(&SHA256, message));
                    let signing = runtime.spawn_blocking(move || sign_rsa(&pair, &hash));
                    signing.await.map_err(|_| SignError::Unavailable("the server is shutting down".into()))?
                }
                _ => self.sign_now(message),
            }
        })
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareSigner({})", self.algorithm)
    }
}

impl fmt::Debug for KeyPairDer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPairDer")
    }
}

impl Private {
    fn pkcs8(&self) -> std::result::Result<Zeroizing<Vec<u8>>, aws_lc_rs::error::Unspecified> {
        Ok(Zeroizing::new(match self {
            Private::Ec(pair) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            // version 1: OpenSSL refuses version 2
            Private::Ed25519(pair) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            Private::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair.as_ref())?.as_ref().to_vec(),
        }))
    }

    fn public_key(&self) -> std::result::Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let der: PublicKeyX509Der<'_> = match self {
            Private::Ec(pair) => pair.public_key().as_der()?,
            Private::Ed25519(pair) => pair.public_key().as_der()?,
            Private::Rsa(pair) => pair.public_key().as_der()?,
        };
        Ok(der.as_ref().to_vec())
    }
}

fn sign_rsa(pair: &RsaKeyPair, hash: &aws_lc_rs::digest::Digest) -> std::result::Result<Vec<u8>, SignError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(&RSA_PKCS1_SHA256, hash, &mut signature).map_err(|_| failed())?;
    Ok(signature)
}

fn failed() -> SignError {
    SignError::Failed("the cryptographic library gave no signature".into())
}

fn curve(algorithm: KeyAlgorithm) -> Result<&'static EcdsaSigningAlgorithm> {
    match algorithm {
        KeyAlgorithm::P256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::P384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyAlgorithm::P521 => Ok(&ECDSA_P521_SHA512_ASN1_SIGNING),
        KeyAlgorithm::Ed25519 | KeyAlgorithm::Rsa(_) => {
            Err(Error::new(ErrorKind::Internal, format!("{algorithm} is no elliptic curve of ECDSA")))
        }
    }
}

fn rsa_size(bits: u32) -> Result<KeySize> {
    match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        _ => Err(Error::refused(
            ErrorKind::BadKey,
            "key.rsa_bits",
            bits,
            "2048, 3072 or 4096",
            "ask for one of these or for P-256",
        )
        .explained(format!("an RSA key of {bits} bits cannot be made; there are 2048, 3072 and 4096"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::algorithm::verify;

    const ALL: [KeyAlgorithm; 5] =
        [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::P521, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa(2048)];

    #[tokio::test]
    async fn every_kind_signs_what_its_public_key_verifies() {
        for algorithm in ALL {
            let pair = generate(algorithm).unwrap();
            let signer = SoftwareSigner::from_pkcs8(algorithm, &pair.pkcs8).unwrap();
            assert_eq!(signer.public_key(), pair.public_key);
            assert_eq!(signer.algorithm(), algorithm);
            let signature = signer.sign(b"tbs").await.unwrap();
            verify(signer.public_key(), b"tbs", &signature).unwrap();
            assert!(verify(signer.public_key(), b"tbt", &signature).is_err());
        }
    }

    #[test]
    fn rsa_signs_without_a_runtime_too() {
        let pair = generate(KeyAlgorithm::Rsa(2048)).unwrap();
        let signer = SoftwareSigner::from_pkcs8(KeyAlgorithm::Rsa(2048), &pair.pkcs8).unwrap();
        let signature = futures_util::FutureExt::now_or_never(signer.sign(b"tbs")).unwrap().unwrap();
        verify(signer.public_key(), b"tbs", &signature).unwrap();
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let pair = generate(KeyAlgorithm::P256).unwrap();
        for other in [KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa(2048)] {
            assert!(SoftwareSigner::from_pkcs8(other, &pair.pkcs8).is_err());
        }
        let rsa = generate(KeyAlgorithm::Rsa(2048)).unwrap();
        assert!(SoftwareSigner::from_pkcs8(KeyAlgorithm::Rsa(3072), &rsa.pkcs8).is_err());
    }

    #[test]
    fn rsa_of_another_length_is_refused() {
        for bits in [1024, 2047, 8192] {
            assert_eq!(generate(KeyAlgorithm::Rsa(bits)).unwrap_err().kind, ErrorKind::BadKey);
        }
    }

    #[test]
    fn nothing_private_is_printed() {
        let pair = generate(KeyAlgorithm::P256).unwrap();
        let signer = SoftwareSigner::from_pkcs8(KeyAlgorithm::P256, &pair.pkcs8).unwrap();
        assert_eq!(format!("{pair:?} {signer:?}"), "KeyPairDer SoftwareSigner(P-256)");
    }
}
