//! One request over TLS to an address that the operator set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{StatusCode, http};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// Where systems keep the roots that they trust.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// Octets of an answer.
const BODY: usize = 4 << 20;

#[derive(Debug)]
pub struct HttpsAnswer {
    pub status: StatusCode,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<u64>,
    pub body: Bytes,
}

/// Sends the request with the path and the host of `url`, to a server whose certificate stands under a root in `roots`.
pub async fn send(url: &Url, roots: &Path, mut request: http::Request<Full<Bytes>>) -> std::io::Result<HttpsAnswer> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    let stream = connector(roots)?.connect(name, stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    let driver = tokio::spawn(connection);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    *request.uri_mut() = target.parse().map_err(std::io::Error::other)?;
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let headers = request.headers_mut();
    headers.insert(HOST, host.parse().map_err(std::io::Error::other)?);
    headers.insert(USER_AGENT, http::HeaderValue::from_static(concat!("chancery/", env!("CARGO_PKG_VERSION"))));
    let answer = read(sender.send_request(request).await).await;
    driver.abort();
    answer
}

async fn read(answer: hyper::Result<http::Response<hyper::body::Incoming>>) -> std::io::Result<HttpsAnswer> {
    let (head, body) = answer.map_err(std::io::Error::other)?.into_parts();
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(body, BODY).collect().await.map_err(std::io::Error::other)?.to_bytes();
    Ok(HttpsAnswer { status: head.status, retry_after, body })
}

/// The roots that this system trusts; SSL_CERT_FILE names another file of roots.
pub fn system_roots() -> std::io::Result<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    named.or_else(usual).ok_or_else(|| std::io::Error::other("this system has no file of trusted roots"))
}

fn connector(roots: &Path) -> std::io::Result<TlsConnector> {
    let mut store = RootCertStore::empty();
    let unread =
        |why: &dyn std::fmt::Display| std::io::Error::other(format!("cannot read {}: {why}", roots.display()));
    for root in CertificateDer::pem_file_iter(roots).map_err(|e| unread(&e))? {
        // a system bundle may hold roots that webpki does not read
        let _ = store.add(root.map_err(|e| unread(&e))?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let config = config.with_root_certificates(store).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
