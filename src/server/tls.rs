//! The TLS certificate of the HTTPS listener: one that can be changed while connections come in, so that a renewal
//! needs no restart. TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{Error, Result};

/// The certificate that the next handshake shows.
#[derive(Debug)]
pub struct HotCertificate(ArcSwap<CertifiedKey>);

impl HotCertificate {
    pub fn new(first: CertifiedKey) -> Arc<Self> {
        Arc::new(HotCertificate(ArcSwap::from_pointee(first)))
    }

    pub fn replace(&self, next: CertifiedKey) {
        self.0.store(Arc::new(next));
    }

    pub fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for HotCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub fn server_config(certificate: Arc<HotCertificate>) -> Result<Arc<rustls::ServerConfig>> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS versions", e))?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Chain and key in PEM as rustls has them; the key must be the one of the first certificate.
pub fn certified_key(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the certificate: {e}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the key: {e}"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|e| e.to_string())
}

/// Lasts until the unlock key is there: for a locked start without any certificate on the disk.
pub fn ephemeral(names: Vec<String>) -> Result<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|e| Error::internal("cannot make an ephemeral certificate", e))?;
    certified_key(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
        .map_err(|why| Error::internal("the ephemeral certificate cannot be used", why))
}
