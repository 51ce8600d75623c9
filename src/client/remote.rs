//! A server reached over TLS: HTTP/1.1, one connection a call, a bearer token, and the roots that are trusted for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::http;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;
use zeroize::Zeroizing;

use super::{Answer, Transport};
use crate::error::{Error, ErrorKind, Result};

const TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// Where systems keep the roots they trust, when no `--root` is given.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

pub struct Remote {
    base: Url,
    token: Option<Zeroizing<String>>,
    tls: TlsConnector,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.base)
    }
}

impl Remote {
    /// `root` is a PEM file of the roots to trust instead of the system's.
    pub fn new(base: &str, token: Zeroizing<String>, root: Option<&Path>) -> Result<Remote> {
        let base = address(base)?;
        let config = builder()?.with_root_certificates(roots(root)?).with_no_client_auth();
        Ok(Remote { base, token: Some(token), tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Without a token, trusting one root alone.
    pub fn anonymous(base: &str, root: &[u8]) -> Result<Remote> {
        let mut store = rustls::RootCertStore::empty();
        store.add(CertificateDer::from(root)).map_err(|e| {
            Error::malformed("the root is no certificate that a TLS client can trust".to_owned()).because(e)
        })?;
        let config = builder()?.with_root_certificates(store).with_no_client_auth();
        Ok(Remote { base: address(base)?, token: None, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Without a token and believing any certificate: only to fetch what is then compared with a fingerprint.
    pub fn unverified(base: &str) -> Result<Remote> {
        let config = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(super::anchor::Anyone::new()))
            .with_no_client_auth();
        Ok(Remote { base: address(base)?, token: None, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn exchange(&self, mut request: http::Request<Vec<u8>>) -> Result<Answer> {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.base.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| self.unreachable(&e))?;
        let name = ServerName::try_from(host)
            .map_err(|e| Error::malformed(format!("--url {} has no usable host name", self.base)).because(e))?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| self.untrusted(e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(&e))?;
        let driver = tokio::spawn(connection);
        self.dress(&mut request)?;
        let response = sender
            .send_request(request.map(|body| Full::new(Bytes::from(body))))
            .await
            .map_err(|e| self.unreachable(&e))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|e| Error::new(ErrorKind::Unavailable, format!("the answer of {} broke off: {e}", self.base)))?;
        driver.abort();
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    }

    /// Host, token and the name of this client.
    fn dress(&self, request: &mut http::Request<Vec<u8>>) -> Result<()> {
        let host = match (self.base.host_str(), self.base.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let bad = |e: http::header::InvalidHeaderValue| {
            Error::malformed("the token file holds characters that no token has; write the secret alone into it")
                .because(e)
        };
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, http::HeaderValue::from_str(&host).map_err(bad)?);
        if let Some(token) = &self.token {
            let mut token = http::HeaderValue::from_str(&format!("Bearer {}", token.as_str())).map_err(bad)?;
            token.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, token);
        }
        let agent = concat!("chancery/", env!("CARGO_PKG_VERSION"));
        headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static(agent));
        Ok(())
    }

    fn unreachable(&self, why: &dyn std::error::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("cannot reach {}: {why}; is the server running there?", self.base))
    }

    fn untrusted(&self, error: std::io::Error) -> Error {
        let detail = format!(
            "the TLS certificate of {} is not trusted ({error}); name the CA's root certificate with --root FILE or, when the CA \
             has a new root, fetch it with `chancery bootstrap {} --fingerprint F`: {}",
            self.base,
            self.base,
            super::anchor::WHERE
        );
        Error::new(ErrorKind::Unavailable, detail)
    }
}

impl Transport for Remote {
    fn send<'a>(&'a self, request: http::Request<Vec<u8>>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("{} did not answer within 60 seconds; what was asked may still happen", self.base),
                )),
            }
        })
    }

    fn is_by_token(&self) -> bool {
        self.token.is_some()
    }
}

fn address(base: &str) -> Result<Url> {
    Url::parse(base)
        .ok()
        .filter(|u| u.scheme() == "https" && u.host_str().is_some())
        .ok_or_else(|| Error::malformed(format!("--url \"{base}\" is not an https:// address")))
}

fn builder() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("TLS versions", e))
}

fn roots(root: Option<&Path>) -> Result<rustls::RootCertStore> {
    let mut store = rustls::RootCertStore::empty();
    let files: Vec<&Path> = match root {
        Some(path) => vec![path],
        None => SYSTEM_ROOTS.iter().map(Path::new).filter(|p| p.exists()).take(1).collect(),
    };
    for path in files {
        let unreadable = |e: &dyn std::fmt::Display| {
            Error::malformed(format!("cannot read root certificates from {}: {e}", path.display()))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| unreadable(&e))?;
            // a system bundle may hold roots that webpki does not read; the one that was named must be readable
            match store.add(certificate) {
                Err(error) if root.is_some() => return Err(unreadable(&error)),
                _ => {}
            }
        }
    }
    Ok(store)
}
