//! The certificates that a TLS server shows, taken without judging them: `inspect` and `verify` judge.

use std::sync::Arc;
use std::time::Duration;

use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, ErrorKind, Result};

const TIME: Duration = Duration::from_secs(10);

/// `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub host: String,
    port: u16,
}

impl Peer {
    /// None when the text is no host and port; `ab:12` may also be a serial, and is taken for one.
    pub fn parse(text: &str) -> Option<Peer> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let serial = host.len() == 2 && host.bytes().all(|b| b.is_ascii_hexdigit());
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || serial || (bracketed.is_none() && host.contains([':', '/'])) {
            return None;
        }
        port.parse().ok().filter(|port| *port > 0).map(|port| Peer { host: host.to_owned(), port })
    }

    /// What it shows, its own certificate first.
    pub async fn certificates(&self) -> Result<Vec<Vec<u8>>> {
        let failed = |why: &dyn std::fmt::Display| {
            let detail = format!("no TLS certificate from {}:{}: {why}", self.host, self.port);
            Error::new(ErrorKind::Unavailable, detail)
        };
        match tokio::time::timeout(TIME, self.shake_hands()).await {
            Ok(Ok(shown)) if !shown.is_empty() => Ok(shown),
            Ok(Ok(_)) => Err(failed(&"it shows none")),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"no answer within 10 seconds")),
        }
    }

    async fn shake_hands(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unjudged(provider)))
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(shown.iter().map(|certificate| certificate.to_vec()).collect())
    }
}

/// Takes any certificate, for nothing is sent or believed; the handshake's signature must still be its key's.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_is_told_from_a_serial() {
        let host = |text: &str| Peer::parse(text).map(|peer| peer.host);
        assert_eq!(host("web.example:443").as_deref(), Some("web.example"));
        assert_eq!(host("[::1]:8443").as_deref(), Some("::1"));
        for other in ["7f:3a:91:22", "ab:12", "web.example", "web.example:x", "web.example:0", ":443", "a/b:1"] {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
