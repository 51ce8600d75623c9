//! The TLS clients of this room, both for TLS 1.2 and 1.3 and for any certificate.
//!
//! For redirects to https: a redirect was sent by whoever answers on port 80 of the name, so that its target's
//! certificate adds nothing (RFC 8555 §8.3 lets servers follow it; hashicorp/vault#22074: names that renew their
//! expired certificate this way must not be locked out). For tls-alpn-01 the certificate itself is the answer, and
//! the handshake must be signed with its key, so that nobody passes on a certificate that another made.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::error::{Error, Result};
use crate::pki::tbs::{TbsView, split_certificate};

/// RFC 8737 §6.2.
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

pub(super) fn for_redirects() -> Result<Arc<ClientConfig>> {
    client(b"http/1.1", false)
}

pub(super) fn for_tls_alpn() -> Result<Arc<ClientConfig>> {
    client(ACME_TLS, true)
}

fn client(protocol: &[u8], signed: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("no TLS client for validation", error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider, signed }))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    // each attempt is on its own: nothing is remembered about a server
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// RSA first, as the validators of Boulder and Pebble offer it. A server that has certificates of both kinds chooses by this
/// order, and Apache's mod_md answers for the wrong one when ECDSA comes first.
const OFFERED: [SignatureScheme; 9] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::ECDSA_NISTP384_SHA384,
];

#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    /// Is the handshake's signature looked at?
    signed: bool,
}

type Verdict = std::result::Result<HandshakeSignatureValid, rustls::Error>;

impl AnyCertificate {
    /// The bare key to verify with, because a critical acmeIdentifier is more than webpki knows. `None`: nothing is
    /// to be verified, or the certificate is not DER, and whoever reads it next refuses it.
    fn key<'a>(&self, certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
        let (tbs, ..) = split_certificate(certificate).ok()?;
        let view = TbsView::parse(tbs).ok()?;
        self.signed.then(|| SubjectPublicKeyInfoDer::from(view.spki))
    }
}

fn bad_signature<E>(_: E) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::BadSignature)
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Verdict {
        let Some(key) = self.key(certificate) else { return Ok(HandshakeSignatureValid::assertion()) };
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(bad_signature)?;
        let known = self.provider.signature_verification_algorithms.mapping;
        // TLS 1.2 leaves the curve open: one of them fits the key
        let mut fitting = known.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, list)| *list);
        if fitting.any(|one| key.verify_signature(*one, message, signed.signature()).is_ok()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(bad_signature(()))
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Verdict {
        let Some(key) = self.key(certificate) else { return Ok(HandshakeSignatureValid::assertion()) };
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, known).map_err(bad_signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = self.provider.signature_verification_algorithms.supported_schemes();
        let rest = known.iter().filter(|scheme| !OFFERED.contains(scheme));
        OFFERED.iter().filter(|scheme| known.contains(scheme)).chain(rest).copied().collect()
    }
}
